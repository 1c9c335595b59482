//! What all sinks that write have in common: one batch after the other, and patience.
//!
//! Decides that events wait for a sink that is away in the feed, as far as that reaches back, and are lost and
//! counted after that; and that an event which may have been written is not written again.

use super::{Feed, Sink, Tally, Watch};
use crate::event::Event;
use std::sync::Arc;
use std::time::Duration;

/// The most events of one batch.
const BATCH: usize = 256;

/// How long events are gathered after a batch that was not full: nobody has to be woken for each of them.
const GATHER: Duration = Duration::from_millis(10);

/// The first wait after a failure; twice as long each time after.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(2);

/// Why a batch was not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Events that may have been written or not, and are gone.
    pub(super) lost: usize,
    /// What went wrong.
    pub(super) why: String,
}

/// A place to write events to.
pub(super) trait Write {
    /// Makes ready for the next batch, or finds out that it could not be written.
    ///
    /// # Errors
    /// Why it could not.
    fn prepare(&mut self) -> impl Future<Output = Result<(), String>> + Send;

    /// Writes `events` in their order and takes away those that were written, and those that may have been.
    ///
    /// # Errors
    /// When some of them were not written. Those that are left were not, for certain.
    fn write(
        &mut self,
        events: &mut Vec<Arc<Event>>,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
}

/// Whether events arrive, and how long to wait until they may.
struct State<'f> {
    name: Sink,
    tally: &'f Tally,
    /// Before the first attempt it is neither up nor down.
    up: Option<bool>,
    pause: Duration,
}

impl State<'_> {
    fn works(&mut self) {
        if self.up.replace(true) == Some(false) {
            tracing::info!(sink = self.name.name(), "events arrive again");
        }
        self.tally.is_up(true);
        self.pause = PAUSE;
    }

    /// Gives how long to wait.
    fn fails(&mut self, error: &str) -> Duration {
        if self.up.replace(false) != Some(false) {
            let sink = self.name.name();
            tracing::warn!(sink, %error, "events do not arrive; they wait");
        }
        self.tally.is_up(false);
        let wait = self.pause;
        self.pause = (wait * 2).min(LONGEST);
        wait
    }

    async fn prepare(&mut self, sink: &mut impl Write) {
        match sink.prepare().await {
            Ok(()) => self.works(),
            Err(error) => {
                self.fails(&error);
            }
        }
    }
}

/// Writes what `watch` sees until nothing happens any more.
pub(super) async fn run(feed: &Feed, name: Sink, mut watch: Watch, mut sink: impl Write) {
    let count = |lost: usize| u64::try_from(lost).unwrap_or(u64::MAX);
    let mut state = State {
        name,
        tally: feed.tally(name),
        up: None,
        pause: PAUSE,
    };
    let mut events: Vec<Arc<Event>> = Vec::with_capacity(BATCH);
    let mut over = std::pin::pin!(feed.over());
    let mut ending = false;
    state.prepare(&mut sink).await;
    loop {
        if events.is_empty() && ending {
            state.tally.lose(watch.more(&mut events, BATCH));
            if events.is_empty() {
                break;
            }
        }
        if events.is_empty() {
            tokio::select! {
                lost = watch.next(&mut events, BATCH) => state.tally.lose(lost),
                () = over.as_mut() => {
                    ending = true;
                    continue;
                }
                () = tokio::time::sleep(state.pause), if state.up != Some(true) => {
                    state.prepare(&mut sink).await;
                    continue;
                }
            }
        }
        if events.is_empty() {
            continue;
        }
        let full = events.len() >= BATCH;
        let wait = match sink.write(&mut events).await {
            Ok(()) => {
                state.works();
                if full { Duration::ZERO } else { GATHER }
            }
            Err(failed) => {
                state.tally.lose(count(failed.lost));
                state.tally.lose(watch.forgone());
                if ending {
                    // Nobody waits any longer.
                    state.tally.lose(count(events.len() + watch.behind()));
                    break;
                }
                state.fails(&failed.why)
            }
        };
        if !ending && !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = over.as_mut() => ending = true,
            }
        }
    }
    state.tally.run(false);
}
