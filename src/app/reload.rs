//! When the configuration is read again without anybody asking the admin API: on the signal HUP, and,
//! where that is set, when a file changes.
//!
//! What a reload does is the gateway's business. HUP is caught from the first moment on, because a
//! process that does not catch it is ended by it.

use super::watch;
use crate::gateway::Gateway;
use crate::gateway::reload::Trigger;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A thread of its own for both, which serves no requests.
pub(super) struct Reloads {
    runtime: Runtime,
    hangup: Signal,
}

impl Reloads {
    /// Catches the signal. It is kept until [`Reloads::serve`].
    ///
    /// # Errors
    /// When the thread cannot be started, or the signal cannot be caught.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("reload")
            .enable_all()
            .build()?;
        let hangup = {
            let _inside = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup })
    }

    /// Begins to reload, until what is given back is dropped.
    #[must_use]
    pub(super) fn serve(self, gateway: &Arc<Gateway>) -> Runtime {
        let Self {
            runtime,
            mut hangup,
        } = self;
        let told = Arc::clone(gateway);
        runtime.spawn(async move {
            while hangup.recv().await.is_some() {
                // It has said what came of it.
                let _ = told.reload(Trigger::Hangup).await;
            }
        });
        if gateway.settings.reload.watch {
            runtime.spawn(watch::run(Arc::clone(gateway)));
        }
        runtime
    }
}
