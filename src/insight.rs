//! Insights: every attempt that was sent as a row that can be asked about.
//!
//! The spend log stays the source of truth: rows are made from it, in the background, and can be made
//! again. `store` is the database, SQLite beside the log or PostgreSQL; `worker` reads the log, `write`
//! is one transaction, `bucket` and `percentile` are the tables of sums, `text` is what no log holds,
//! `forget` is how rows go, `query` is what is asked,
//! `embed` makes texts vectors and `similar` compares them. What may be asked by whom is decided in
//! [`crate::admin`].

mod bucket;
pub mod embed;
mod forget;
mod kept;
mod percentile;
mod query;
mod record;
pub mod similar;
mod sql;
pub mod store;
mod text;
mod worker;
mod write;

use crate::settings::{InsightSettings, Stores};
use arc_swap::ArcSwapOption;
pub use forget::Whose;
pub use percentile::Made;
pub use query::{Figures, Group, Page};
use similar::{Found, SearchError, Similar};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Place, Store, StoreError};
pub use text::{LONGEST, Said};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a process that leaves waits for its last rows to be written.
const LAST: Duration = Duration::from_secs(5);

/// How often it works, and on what.
#[derive(Clone, Copy, Debug)]
struct Options {
    interval: Duration,
    keep: Option<Duration>,
    timeout: Duration,
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Whether the store took what it was last given.
    pub up: bool,
    /// Ends of attempts in the spend log that the store does not have.
    pub backlog: u64,
    /// Rows written since the start.
    pub written: u64,
    /// Rows left out since the start, because they were forgotten or past keeping.
    pub left_out: u64,
    /// Texts that no row will have.
    pub lost_texts: u64,
}

#[derive(Debug, Default)]
struct Counted {
    up: AtomicBool,
    backlog: AtomicU64,
    written: AtomicU64,
    left_out: AtomicU64,
}

/// The insights of a running gateway.
pub struct Insights {
    place: Place,
    log: PathBuf,
    options: Options,
    redacts: bool,
    keeps_texts: bool,
    store: ArcSwapOption<Store>,
    queue: text::Queue,
    figures: Counted,
    leaving: AtomicBool,
    told: Notify,
    similar: Similar,
    /// Told when no more vectors are made.
    settled: Notify,
    handle: Handle,
    /// Threads of its own: nothing here runs where requests are served.
    runtime: Mutex<Option<(Runtime, JoinHandle<()>)>>,
}

impl std::fmt::Debug for Insights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Insights").finish_non_exhaustive()
    }
}

/// Where the insights of the log at `log` are kept.
pub fn place(settings: &InsightSettings, stores: &Stores, log: &Path) -> Place {
    if let Some(postgres) = &stores.postgres {
        return Place::Postgres(Box::new(postgres.clone()));
    }
    let beside = || log.with_extension("insights.sqlite");
    Place::File(settings.file.clone().unwrap_or_else(beside))
}

impl Insights {
    /// Begins to write the insights of the log at `log`, on a thread of its own.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub fn start(
        settings: &InsightSettings,
        stores: &Stores,
        log: &Path,
    ) -> std::io::Result<Arc<Self>> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("insights")
            .enable_all()
            .build()?;
        let insights = Arc::new(Self {
            place: place(settings, stores, log),
            log: log.to_owned(),
            options: Options {
                interval: settings.interval,
                keep: settings.keep,
                timeout: settings.timeout,
            },
            redacts: settings.text == crate::settings::InsightText::Redacted,
            keeps_texts: settings.text != crate::settings::InsightText::Off,
            store: ArcSwapOption::empty(),
            queue: text::Queue::default(),
            figures: Counted::default(),
            leaving: AtomicBool::new(false),
            told: Notify::new(),
            similar: Similar::new(&settings.embedding).map_err(std::io::Error::other)?,
            settled: Notify::new(),
            handle: runtime.handle().clone(),
            runtime: Mutex::default(),
        });
        let worker = worker::Worker::new(Arc::clone(&insights));
        let working = runtime.spawn(worker.run());
        if insights.keeps_texts {
            runtime.spawn(similar::keep_filling(Arc::clone(&insights)));
        }
        *insights.running() = Some((runtime, working));
        Ok(insights)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<(Runtime, JoinHandle<()>)>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether prompts and answers are kept.
    pub fn keeps_texts(&self) -> bool {
        self.keeps_texts
    }

    /// Takes what was said in an attempt, to be put beside its row.
    pub fn said(&self, said: Said) {
        self.queue.push(said);
    }

    /// Asks the store, on its own threads.
    ///
    /// # Errors
    /// [`StoreError::Away`] while there is none, [`StoreError::Slow`] when it takes too long, and
    /// whatever else it says.
    pub async fn ask<T, F>(
        &self,
        question: impl FnOnce(Arc<Store>, Duration) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let store = self.store.load_full().ok_or(StoreError::Away)?;
        let limit = self.options.timeout;
        let asked = self.handle.spawn(question(store, limit));
        // The database keeps the limit itself; this is for one that does not answer at all.
        match tokio::time::timeout(limit + Duration::from_secs(1), asked).await {
            Ok(Ok(answer)) => answer.map_err(StoreError::told),
            Ok(Err(_)) => Err(StoreError::Away),
            Err(_) => Err(StoreError::Slow),
        }
    }

    /// The requests whose text is nearest to that of `query`, the nearest first.
    ///
    /// # Errors
    /// [`SearchError`] when the store is away or slow, or the model that makes the vectors is.
    pub async fn similar(
        self: &Arc<Self>,
        query: String,
        model: Option<String>,
        limit: usize,
    ) -> Result<Found, SearchError> {
        let store = self.store.load_full().ok_or(StoreError::Away)?;
        if !self.keeps_texts {
            return Ok(Found::nothing(similar::Reason::NoTexts));
        }
        let (insights, time) = (Arc::clone(self), self.options.timeout);
        let search = self.handle.spawn(async move {
            let search = insights
                .similar
                .find(&store, &query, model.as_deref(), limit, time);
            match tokio::time::timeout(time, search).await {
                Ok(found) => found,
                Err(_) => Err(StoreError::Slow.into()),
            }
        });
        match search.await {
            Ok(found) => found,
            Err(_) => Err(StoreError::Away.into()),
        }
    }

    /// Figures for the metrics.
    pub fn levels(&self) -> Levels {
        let figures = &self.figures;
        Levels {
            up: figures.up.load(Ordering::Relaxed),
            backlog: figures.backlog.load(Ordering::Relaxed),
            written: figures.written.load(Ordering::Relaxed),
            left_out: figures.left_out.load(Ordering::Relaxed),
            lost_texts: self.queue.lost(),
        }
    }

    /// Writes what is there still, if the store takes it at once, and ends. What it does not take is
    /// in the spend log.
    pub fn close(&self) {
        self.leaving.store(true, Ordering::Release);
        self.told.notify_one();
        self.settled.notify_one();
        let Some((runtime, working)) = self.running().take() else {
            return;
        };
        let last = runtime.block_on(async { tokio::time::timeout(LAST, working).await });
        if last.is_err() {
            tracing::warn!(
                "the last insights were not written in time; the next process writes them"
            );
        }
        runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
