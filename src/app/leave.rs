//! Leaving without a trace: answers say `Connection: close`, streams end, money is settled.
//!
//! On TERM or QUIT the process first says that it is leaving, then lets Pingora close its
//! listeners (or hand them over), and goes as soon as nothing is in flight, at the latest after
//! the grace period.

use crate::gateway::Gateway;
use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long new requests are still answered, with `Connection: close`, once the process was told
/// to leave: clients with a kept-alive connection learn of it before it ends.
const LAME_DUCK: Duration = Duration::from_millis(500);

/// How long nothing must have been in flight.
const QUIET: Duration = Duration::from_millis(500);

const LOOK: Duration = Duration::from_millis(20);

/// Waits for the signal to leave.
pub(super) struct Signals {
    stopping: Arc<AtomicBool>,
    upgrade_socket: PathBuf,
}

impl Signals {
    pub(super) fn new(gateway: &Gateway) -> Self {
        Self {
            stopping: Arc::clone(&gateway.stopping),
            upgrade_socket: gateway.settings.upgrade.socket.clone(),
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut quit), Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::quit()),
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            tracing::error!("signals cannot be received; the process can only be killed");
            return std::future::pending().await;
        };
        let hand_over = tokio::select! {
            _ = quit.recv() => self.upgrade_socket.exists(),
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        };
        self.stopping.store(true, Ordering::Relaxed);
        tracing::info!(hand_over, "leaving");
        tokio::time::sleep(LAME_DUCK).await;
        if hand_over {
            ShutdownSignal::GracefulUpgrade
        } else {
            ShutdownSignal::GracefulTerminate
        }
    }
}

/// Ends the process once nothing is in flight.
pub(super) struct Leave {
    gateway: Arc<Gateway>,
    in_flight: Arc<AtomicUsize>,
}

impl Leave {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            in_flight: Arc::clone(&gateway.in_flight),
        }
    }
}

#[async_trait]
impl BackgroundService for Leave {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|told| *told).await.is_err() {
            return;
        }
        let deadline = Instant::now() + self.gateway.settings.shutdown.grace;
        let mut quiet_since = Instant::now();
        while Instant::now() < deadline && quiet_since.elapsed() < QUIET {
            if self.in_flight.load(Ordering::Acquire) > 0 {
                quiet_since = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
        let left = self.in_flight.load(Ordering::Acquire);
        self.gateway.book.close();
        tracing::info!(requests.cut = left, "left");
        crate::telemetry::flush();
        // Pingora would wait for its whole grace period.
        std::process::exit(0);
    }
}
