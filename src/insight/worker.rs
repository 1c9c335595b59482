//! From the spend log to the store, for as long as the process lives.
//!
//! Decides when it is read and how fast. One process of a log works at a time; the others wait for
//! their turn. It follows the log as any reader would, so nothing waits for it, and while it catches
//! up it rests much longer than it works. A store that is away is asked ever more rarely and never
//! given up: the log keeps what it does not have.

use super::Insights;
use super::kept::Home;
use super::record::Record;
use super::store::{Store, StoreError};
use super::text::Pending;
use super::write::{Batch, Written};
use crate::ledger::log::LogError;
use crate::ledger::log::tail::{Ended, Position, Tail};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The most rows of one transaction, and texts.
const BATCH: usize = 500;
const TEXTS: usize = 100;

/// After a batch that is not the last, it rests so many times as long as the batch took, so that
/// catching up takes a tenth of a core; at most so long.
const REST: (u32, Duration) = (9, Duration::from_millis(250));

/// The waits for a store that is away: the first, doubled up to the last.
const AWAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Percentiles are found so many times as long apart as finding them takes, and at least so many
/// intervals.
const PERCENTILES: (u32, u32) = (50, 5);

/// Hours whose percentiles are found in one go.
const HOURS: i64 = 16;

/// How often it is looked for rows past keeping.
const PRUNE: Duration = Duration::from_secs(600);

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the spend log cannot be read: {0}")]
    Log(#[from] LogError),
    #[error("beside the spend log: {0}")]
    Home(std::io::Error),
    #[error("the spend log was not read to an end")]
    Unfinished,
}

/// Where it stands in the log.
struct Stand {
    /// As the store has it.
    stored: Option<String>,
    /// After that.
    tail: Tail,
    /// At the end of the log, and how many attempts are between, while there is more than a batch.
    end: Option<(Tail, u64)>,
}

/// The one who writes.
pub(super) struct Worker {
    insights: Arc<Insights>,
    home: Option<Home>,
    stand: Option<Stand>,
    pending: Pending,
    failures: u32,
    /// What was told last, so that it is told once.
    failed: Option<String>,
    percentiles: Option<(Instant, Duration)>,
    pruned: Option<Instant>,
    /// Where the store stood when it was last asked; a process that never reached it counts from the
    /// end of the log as it found it.
    stood: Option<Tail>,
    /// While it is away: the end of the log as last seen, and the attempts between.
    behind: Option<(Tail, u64)>,
}

impl Worker {
    pub(super) fn new(insights: Arc<Insights>) -> Self {
        Self {
            insights,
            home: None,
            stand: None,
            pending: Pending::default(),
            failures: 0,
            failed: None,
            percentiles: None,
            pruned: None,
            stood: None,
            behind: None,
        }
    }

    /// Works until the process leaves, and then once more.
    pub(super) async fn run(mut self) {
        loop {
            let leaving = self.insights.leaving.load(Ordering::Acquire);
            let pause = match self.round(leaving).await {
                Ok(pause) => {
                    self.succeeded();
                    pause
                }
                Err(failure) => {
                    self.count().await;
                    self.failed(&failure)
                }
            };
            if leaving {
                break;
            }
            let told = self.insights.told.notified();
            if !self.insights.leaving.load(Ordering::Acquire) {
                let _ = tokio::time::timeout(pause, told).await;
            }
        }
        if let Some(store) = self.insights.store.swap(None) {
            store.close().await;
        }
    }

    /// One round, and how long to wait then. A process that leaves takes all there is.
    async fn round(&mut self, leaving: bool) -> Result<Duration, Failure> {
        let store = self.store().await?;
        let interval = self.insights.options.interval;
        let redacts = self.insights.redacts;
        self.pending.gather(&self.insights.queue, redacts);
        if self.home.is_none() {
            self.home = Home::claim(&self.insights.log).map_err(Failure::Home)?;
        }
        if self.home.is_none() {
            // Another process writes the rows; texts of this one's are here.
            self.texts(&store, None).await?;
            self.pending.expire(&self.insights.queue);
            return Ok(interval);
        }
        loop {
            let began = Instant::now();
            let more = self.batch(&store).await?;
            if !more {
                break;
            }
            if !leaving {
                return Ok((began.elapsed() * REST.0).min(REST.1));
            }
        }
        self.texts(&store, None).await?;
        self.pending.expire(&self.insights.queue);
        self.percentiles(&store, leaving).await?;
        if !leaving {
            self.prune(&store).await?;
        }
        Ok(interval)
    }

    /// The store, opened where it was not.
    async fn store(&self) -> Result<Arc<Store>, Failure> {
        if let Some(store) = self.insights.store.load_full() {
            return Ok(store);
        }
        let store = Arc::new(Store::open(&self.insights.place).await?);
        self.insights.store.store(Some(Arc::clone(&store)));
        Ok(store)
    }

    /// Writes the next rows, and says whether there are more.
    async fn batch(&mut self, store: &Store) -> Result<bool, Failure> {
        let Some(home) = &self.home else {
            return Ok(false);
        };
        let log_id = Arc::clone(home.log_id());
        let stand = match self.stand.take() {
            Some(stand) => stand,
            None => Stand::find(store, &log_id, &self.insights.log).await?,
        };
        self.stood = Some(stand.tail.clone());
        self.behind = None;
        let (mut stand, ended) = stand.read().await?;
        let full = ended.len() == BATCH;
        self.insights
            .figures
            .backlog
            .store(stand.waiting(ended.len()), Ordering::Relaxed);
        if ended.is_empty() {
            self.stand = Some(stand);
            return Ok(false);
        }
        let count = ended.len();
        let records: Vec<Record> = ended
            .into_iter()
            .map(|ended| Record::new(&log_id, ended))
            .collect();
        let ids: Vec<String> = records.iter().map(|r| r.attempt_id.clone()).collect();
        let after = super::bucket::json(&stand.tail.position());
        let batch = Batch {
            log_id: &log_id,
            before: stand.stored.as_deref(),
            after: &after,
            records,
            now_ms: super::now_ms(),
        };
        let written = store.write(batch).await?;
        stand.stored = Some(after);
        self.stood = Some(stand.tail.clone());
        stand.wrote(count);
        let figures = &self.insights.figures;
        figures.backlog.store(stand.waiting(0), Ordering::Relaxed);
        figures.wrote(written);
        self.stand = Some(stand);
        self.texts(store, Some(&ids)).await?;
        Ok(full)
    }

    /// Puts texts beside their rows: those of `ids`, or all that may have one by now.
    async fn texts(&mut self, store: &Store, ids: Option<&[String]>) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let texts = match ids {
            Some(ids) => self.pending.of(ids.iter().map(String::as_str), BATCH),
            None => self.pending.some(BATCH),
        };
        for texts in texts.chunks(TEXTS) {
            match store.write_texts(texts).await {
                Ok(done) => self.pending.done(&done),
                Err(error) if error.is_of_the_data() => self.one_by_one(store, texts).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Among texts that the database refuses, finds those that it does not.
    async fn one_by_one(
        &mut self,
        store: &Store,
        texts: &[super::write::Text],
    ) -> Result<(), Failure> {
        for text in texts {
            match store.write_texts(std::slice::from_ref(text)).await {
                Ok(done) => self.pending.done(&done),
                Err(error) if error.is_of_the_data() => {
                    self.pending.drop_one(&text.attempt_id);
                    self.insights.queue.lose(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Finds percentiles, when it is time.
    async fn percentiles(&mut self, store: &Store, now: bool) -> Result<(), Failure> {
        let (factor, intervals) = PERCENTILES;
        let due = self.percentiles.is_none_or(|(at, took)| {
            at.elapsed() >= (took * factor).max(self.insights.options.interval * intervals)
        });
        if due || now {
            let began = Instant::now();
            store.find_percentiles(HOURS).await?;
            self.percentiles = Some((Instant::now(), began.elapsed()));
        }
        Ok(())
    }

    /// Removes what is past keeping, when it is time.
    async fn prune(&mut self, store: &Store) -> Result<(), Failure> {
        let Some(keep) = self.insights.options.keep else {
            return Ok(());
        };
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE) {
            return Ok(());
        }
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let more = store.prune(super::now_ms().saturating_sub(keep)).await?;
        // A chunk each round, until there are no more.
        self.pruned = (!more).then(Instant::now);
        Ok(())
    }

    /// Counts what a store that is away does not have.
    async fn count(&mut self) {
        if self.home.is_none() {
            self.home = Home::claim(&self.insights.log).ok().flatten();
        }
        if self.home.is_none() {
            return;
        }
        let (behind, stood) = (self.behind.take(), self.stood.clone());
        let log = self.insights.log.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let (mut tail, waiting) = match (behind, stood) {
                (Some(behind), _) => behind,
                (None, Some(stood)) => (stood, 0),
                (None, None) => {
                    let mut tail = Tail::after(&log, Position::default());
                    tail.skip_ended()?;
                    (tail, 0)
                }
            };
            let more = tail.skip_ended()?;
            Ok::<_, LogError>((tail, waiting.saturating_add(more)))
        });
        if let Ok(Ok((tail, waiting))) = counted.await {
            self.insights
                .figures
                .backlog
                .store(waiting, Ordering::Relaxed);
            self.behind = Some((tail, waiting));
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        let figures = &self.insights.figures;
        let first = !figures.up.swap(true, Ordering::Relaxed);
        if self.failed.take().is_some() {
            tracing::info!("insights are written again");
        } else if first {
            let place = self.insights.place.shown();
            tracing::info!(%place, "insights are written");
        }
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // What was on its way is looked for again, from where the store says that it stands.
        self.stand = None;
        let moved = matches!(failure, Failure::Store(StoreError::Moved));
        self.insights.figures.up.store(moved, Ordering::Relaxed);
        let text = failure.to_string();
        if self.failed.as_ref() == Some(&text) {
            tracing::debug!(error = %text, "no insights are written");
        } else {
            let place = self.insights.place.shown();
            tracing::warn!(%place, error = %text, "no insights are written; the spend log keeps them");
            self.failed = Some(text);
        }
        let doubled = AWAY.0 * 2_u32.saturating_pow(self.failures.saturating_sub(1));
        doubled.min(AWAY.1) * fastrand::u32(50..=100) / 100
    }
}

impl Stand {
    /// Where the store stands.
    async fn find(store: &Store, log_id: &str, log: &Path) -> Result<Self, Failure> {
        let stored = store.position(log_id).await?;
        let position: Option<Position> = stored
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        Ok(Self {
            tail: Tail::after(log, position.unwrap_or_default()),
            stored,
            end: None,
        })
    }

    /// The next batch.
    async fn read(mut self) -> Result<(Self, Vec<Ended>), Failure> {
        let read = tokio::task::spawn_blocking(move || {
            let before = self.tail.clone();
            let ended = self.tail.ended(BATCH)?;
            if ended.len() < BATCH {
                self.end = None;
            } else {
                // The batch and all behind it.
                let (mut end, waiting) = self.end.take().unwrap_or((before, 0));
                let more = end.skip_ended()?;
                self.end = Some((end, waiting.saturating_add(more)));
            }
            Ok::<_, LogError>((self, ended))
        });
        Ok(read.await.map_err(|_| Failure::Unfinished)??)
    }

    /// Attempts that the store does not have, when the batch at hand has so many.
    fn waiting(&self, batch: usize) -> u64 {
        let batch = u64::try_from(batch).unwrap_or(u64::MAX);
        self.end.as_ref().map_or(batch, |(_, waiting)| *waiting)
    }

    /// So many of them are written.
    fn wrote(&mut self, batch: usize) {
        if let Some((_, waiting)) = &mut self.end {
            *waiting = waiting.saturating_sub(u64::try_from(batch).unwrap_or(u64::MAX));
        }
    }
}

impl super::Counted {
    fn wrote(&self, written: Written) {
        self.written.fetch_add(written.rows, Ordering::Relaxed);
        let dropped = written.forgotten + written.expired;
        self.left_out.fetch_add(dropped, Ordering::Relaxed);
    }
}
