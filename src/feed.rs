//! Where events go: everybody who watches gets each event, and nobody who is slow holds anybody up.
//!
//! Decides that an event nobody watches costs nothing, and that a watcher who falls behind loses the oldest ones
//! and learns how many. What an event says is decided in [`crate::event`].

use crate::event::{Event, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// Events a watcher may be behind.
const BEHIND: usize = 1 << 14;

/// The feed of one process.
#[derive(Debug)]
pub struct Feed {
    watchers: broadcast::Sender<Arc<Event>>,
    told: AtomicU64,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            watchers: broadcast::Sender::new(BEHIND),
            told: AtomicU64::new(0),
        }
    }
}

impl Feed {
    /// Whether anybody watches.
    pub fn watched(&self) -> bool {
        self.watchers.receiver_count() > 0
    }

    /// Tells everybody who watches; `kind` is only made when somebody does. Never waits.
    pub fn tell(&self, kind: impl FnOnce() -> Kind) {
        if !self.watched() {
            return;
        }
        let event = Event {
            seq: self.told.fetch_add(1, Ordering::Relaxed) + 1,
            at: now(),
            kind: kind(),
        };
        // The last watcher may have left meanwhile.
        let _ = self.watchers.send(Arc::new(event));
    }

    /// Everything that happens from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Event>> {
        self.watchers.subscribe()
    }
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
