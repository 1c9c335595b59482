//! Where events go: everybody who watches gets each event, and nobody who is slow holds anybody up.
//!
//! Decides that an event nobody watches costs nothing, and that a watcher who falls behind loses the oldest ones
//! and learns how many. What an event says is decided in [`crate::event`]. Two watchers are part of it: a stream
//! in Redis and a file; whoever else watches does so from outside.

mod file;
pub mod filter;
mod redis;
mod sink;
mod tally;

#[cfg(test)]
mod tests;

pub use file::Lines;
pub use redis::Stream;
pub use tally::{Figures, Place, Sink, Tally};

use crate::event::{Event, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

/// Events a watcher may be behind.
pub const BEHIND: usize = 1 << 14;

/// The feed of one process.
#[derive(Debug)]
pub struct Feed {
    watchers: broadcast::Sender<Arc<Event>>,
    /// How many there are. The channel knows, too, and would take its lock to say so.
    watching: Arc<AtomicUsize>,
    told: AtomicU64,
    kinds: [AtomicU64; Kind::NAMES.len()],
    tallies: [Tally; Sink::ALL.len()],
    stage: watch::Sender<Stage>,
}

/// How far the process has come on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It serves.
    Serving,
    /// It finishes what it has: nobody should go on watching it.
    Leaving,
    /// Nothing happens any more.
    Over,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            watchers: broadcast::Sender::new(BEHIND),
            watching: Arc::default(),
            told: AtomicU64::new(0),
            kinds: Default::default(),
            tallies: Default::default(),
            stage: watch::Sender::new(Stage::Serving),
        }
    }
}

impl Feed {
    /// Whether anybody watches.
    pub fn watched(&self) -> bool {
        self.watching.load(Ordering::Relaxed) > 0
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
        self.kinds[event.kind.number()].fetch_add(1, Ordering::Relaxed);
        // The last watcher may have left meanwhile.
        let _ = self.watchers.send(Arc::new(event));
    }

    /// Everything that happens from now on.
    pub fn watch(&self) -> Watch {
        self.watching.fetch_add(1, Ordering::Relaxed);
        Watch {
            receiver: self.watchers.subscribe(),
            watching: Arc::clone(&self.watching),
        }
    }

    /// What is known of where events go.
    pub fn tally(&self, sink: Sink) -> &Tally {
        &self.tallies[sink.number()]
    }

    /// The process has begun to leave: whoever watches should watch another one.
    pub fn leave(&self) {
        self.advance(Stage::Leaving);
    }

    /// Comes back once the process has begun to leave.
    pub async fn left(&self) {
        self.reached(Stage::Leaving).await;
    }

    /// Nothing happens any more: what is under way is written, then the sinks end.
    pub fn close(&self) {
        self.advance(Stage::Over);
    }

    /// Comes back once nothing happens any more.
    pub(crate) async fn over(&self) {
        self.reached(Stage::Over).await;
    }

    /// Whether every sink that writes has ended.
    pub fn is_written(&self) -> bool {
        self.tallies.iter().all(|tally| !tally.runs())
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let later = *stage < to;
            *stage = to.max(*stage);
            later
        });
    }

    async fn reached(&self, wanted: Stage) {
        // The sender is this feed's own, so it is there.
        let _ = self
            .stage
            .subscribe()
            .wait_for(|stage| *stage >= wanted)
            .await;
    }

    /// What has been told so far, and what became of it.
    pub fn figures(&self) -> Figures {
        let kind = |number: usize| self.kinds[number].load(Ordering::Relaxed);
        Figures {
            told: std::array::from_fn(kind),
            sinks: std::array::from_fn(|number| self.tallies[number].figures()),
        }
    }
}

/// One watcher's place in the feed.
#[derive(Debug)]
pub struct Watch {
    receiver: broadcast::Receiver<Arc<Event>>,
    watching: Arc<AtomicUsize>,
}

impl Watch {
    /// Waits for something to happen and adds it to `events`, with whatever else has happened by then: at most
    /// `most` of them. Gives how many were lost before these. Nothing is lost when it is not waited for.
    pub async fn next(&mut self, events: &mut Vec<Arc<Event>>, most: usize) -> u64 {
        match self.receiver.recv().await {
            Ok(event) => {
                events.push(event);
                self.more(events, most.saturating_sub(1))
            }
            // What is left is there already, and need not be waited for.
            Err(RecvError::Lagged(lost)) => lost + self.more(events, most),
            // The feed outlives whoever watches it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Adds what has happened to `events`, at most `most` of them; gives how many were lost.
    pub fn more(&mut self, events: &mut Vec<Arc<Event>>, most: usize) -> u64 {
        let (mut lost, mut taken) = (0, 0);
        while taken < most {
            match self.receiver.try_recv() {
                Ok(event) => {
                    events.push(event);
                    taken += 1;
                }
                Err(TryRecvError::Lagged(count)) => lost += count,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        lost
    }

    /// How many events are not there any more, because this watcher is too far behind. They are known as lost
    /// from then on.
    pub fn forgone(&mut self) -> u64 {
        if !self.is_late() {
            return 0;
        }
        match self.receiver.try_recv() {
            Err(TryRecvError::Lagged(count)) => count,
            // One that was still there after all is gone with this.
            Ok(_) => 1,
            Err(TryRecvError::Empty | TryRecvError::Closed) => 0,
        }
    }

    /// Whether this watcher is so far behind that it has lost events.
    pub fn is_late(&self) -> bool {
        self.behind() > BEHIND
    }

    /// How many events it has not taken yet, those it has lost included.
    pub fn behind(&self) -> usize {
        self.receiver.len()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
