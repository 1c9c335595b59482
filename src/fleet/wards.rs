//! Quarantine and the canaries of sessions, as gateways share them through Redis.
//!
//! Decides nothing about who is in quarantine: a record is the sum of what every gateway has seen of a caller
//! ([`Record`]), and Redis holds that sum. A strike is added and the sum read in one step, so that of strikes
//! at several gateways the last one always sees all. Gateways hear of each other's changes within
//! half a second, and everything they have seen themselves is told again after Redis was away or has forgotten.
//!
//! Keys, all with one hash tag: `weir:{tenant}:q:w:CALLER` the record of a caller, a hash of which fields are
//! only ever added; `q:index` all callers by when their record ends; `q:news` a stream of callers whose record
//! has changed; `q:mark` that says that nothing was lost; `s:SESSION` the token of a session.

mod words;

use super::connect::{Connection, Connector};
use crate::guard::quarantine::{Cells, Record, Who};
use crate::ledger::log::Clock;
use crate::settings;
use arc_swap::ArcSwapOption;
use redis::RedisError;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use words::Words;

/// How often it is looked what other gateways have seen.
const LOOK: Duration = Duration::from_millis(500);

/// The first wait before connecting again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Callers that are asked for in one call.
const CHUNK: usize = 128;

/// Told of every record that has changed because of another gateway.
pub type Heard = Box<dyn Fn(&Who, Record) + Send + Sync>;

/// A gateway's part in the quarantines and sessions that several share.
pub struct Wards {
    connector: Connector,
    words: Words,
    cells: Arc<Cells>,
    clock: Clock,
    heard: Heard,
    up: ArcSwapOption<Connection>,
    /// Callers whose record Redis has yet to hear.
    later: Mutex<HashSet<Who>>,
    wake: Notify,
    broken: AtomicBool,
    closed: AtomicBool,
    timeout: Duration,
}

/// Why the thread begins again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("Redis is slow")]
    Suspect,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wards {
    /// A part in what is at `connector`. A thread of its own connects, and again whenever the connection has
    /// broken; `heard` is called there.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        connector: Connector,
        settings: &settings::Redis,
        cells: Arc<Cells>,
        clock: Clock,
        heard: Heard,
    ) -> std::io::Result<Arc<Self>> {
        let wards = Arc::new(Self {
            connector,
            words: Words::new(&settings.tenant),
            cells,
            clock,
            heard,
            up: ArcSwapOption::empty(),
            later: Mutex::default(),
            wake: Notify::new(),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            timeout: settings.timeout,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let own = Arc::clone(&wards);
        std::thread::Builder::new()
            .name("weir-wards".to_owned())
            .spawn(move || runtime.block_on(own.run()))?;
        Ok(wards)
    }

    /// Whether Redis can be asked at present.
    pub fn is_up(&self) -> bool {
        self.up.load().is_some()
    }

    /// Adds what this gateway knows of a caller and gives the sum. `None` when Redis cannot be asked; then it
    /// is told later.
    pub async fn add(&self, who: &Who, record: &Record) -> Option<Record> {
        let sum = match self.up.load_full() {
            Some(up) => {
                let mut connection = Connection::clone(&up);
                let ends = record.ends(self.cells.rules());
                let sum = self
                    .words
                    .add(who, record, ends, self.clock.millis())
                    .query_async::<words::Added>(&mut connection)
                    .await;
                self.known(&up, sum).and_then(|sum| words::record(&sum.4))
            }
            None => None,
        };
        if sum.is_none() {
            self.tell_later(who);
        }
        sum
    }

    /// Tells Redis soon what is known of a caller.
    pub fn tell_later(&self, who: &Who) {
        lock(&self.later).insert(*who);
        self.wake.notify_one();
    }

    /// The token of a session: `mine` unless another gateway was there before, which is kept for `keep` from
    /// now on; and the one that it had before, if `before` names it. `None` when Redis cannot be asked.
    pub async fn token(
        &self,
        session: &str,
        before: Option<&str>,
        mine: &str,
        keep: Duration,
    ) -> Option<(String, Option<String>)> {
        let up = self.up.load_full()?;
        let mut connection = Connection::clone(&up);
        let pipeline = self.words.token(session, before, mine, keep);
        let said = pipeline
            .query_async::<(Option<String>, Option<String>, i64)>(&mut connection)
            .await;
        let (there, earlier, _) = self.known(&up, said)?;
        Some((there.unwrap_or_else(|| mine.to_owned()), earlier))
    }

    /// The tokens of two sessions, as far as they have one. `None` when Redis cannot be asked.
    pub async fn tokens(&self, sessions: &[String; 2]) -> Option<[Option<String>; 2]> {
        let up = self.up.load_full()?;
        let mut connection = Connection::clone(&up);
        let pipeline = self.words.tokens(sessions);
        let said = pipeline.query_async(&mut connection).await;
        let (one, two) = self.known(&up, said)?;
        Some([one, two])
    }

    fn known<T>(&self, up: &Arc<Connection>, said: Result<T, RedisError>) -> Option<T> {
        said.map_err(|error| {
            tracing::debug!(%error, "Redis was not asked about quarantine");
            let current = self.up.load();
            if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, up)) {
                self.up.store(None);
                self.broken.store(true, Ordering::Release);
                self.wake.notify_one();
            }
        })
        .ok()
    }

    /// Waits until Redis has heard everything, as long as a command may take, and ends the thread.
    pub fn close(&self) {
        let deadline = Instant::now() + self.timeout;
        self.wake.notify_one();
        while Instant::now() < deadline && self.is_up() && !lock(&self.later).is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    async fn run(self: Arc<Self>) {
        let mut wait = FIRST_WAIT;
        let mut complaint = None;
        while !self.closed.load(Ordering::Acquire) {
            let Err(reason) = self.live(&mut wait).await else {
                return;
            };
            self.up.store(None);
            let reason = reason.to_string();
            if complaint.as_ref() != Some(&reason) {
                tracing::warn!(%reason, "quarantine is not shared at present");
                complaint = Some(reason);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// Connects, puts together what both sides know, and listens until something breaks.
    async fn live(&self, wait: &mut Duration) -> Result<(), Broken> {
        let mut connection = self.connector.connect().await?;
        self.broken.store(false, Ordering::Release);
        let mut last = self.sum(&mut connection).await?;
        self.up.store(Some(Arc::new(connection.clone())));
        *wait = FIRST_WAIT;
        while !self.closed.load(Ordering::Acquire) {
            if self.broken.load(Ordering::Acquire) {
                return Err(Broken::Suspect);
            }
            self.say(&mut connection).await?;
            match self.hear(&mut connection, &last).await? {
                Some(heard) => last = heard,
                // Redis was emptied: everything is told again.
                None => last = self.sum(&mut connection).await?,
            }
            // Waking up by time or by name: both go round the loop.
            let _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
        }
        self.say(&mut connection).await?;
        Ok(())
    }

    /// Puts together what Redis and this gateway know. Gives the place in the news from which on to listen.
    async fn sum(&self, connection: &mut Connection) -> Result<String, RedisError> {
        let last = self.words.last(connection).await?;
        let now = self.clock.millis();
        let mut theirs = HashSet::new();
        for chunk in self.words.index(connection, now).await?.chunks(CHUNK) {
            self.ask(connection, chunk).await?;
            theirs.extend(chunk.iter().copied());
        }
        for (who, record) in self.cells.all(now) {
            // Those that Redis knows may have been heard just now and be no more than that; it does no harm.
            let _ = theirs.remove(&who);
            self.tell(connection, &who, &record).await?;
        }
        self.words.mark(connection).await?;
        Ok(last)
    }

    /// Asks for some records and takes them over.
    async fn ask(&self, connection: &mut Connection, callers: &[Who]) -> Result<(), RedisError> {
        let said = self.words.records(connection, callers).await?;
        let now = self.clock.millis();
        for (who, fields) in callers.iter().zip(said) {
            let Some(record) = words::record(&fields) else {
                continue;
            };
            if let Some(news) = self.cells.merge(who, &record, now) {
                (self.heard)(who, news);
            }
        }
        Ok(())
    }

    /// What others have changed; `None` when Redis has lost what it knew.
    async fn hear(
        &self,
        connection: &mut Connection,
        last: &str,
    ) -> Result<Option<String>, RedisError> {
        let Some((callers, last)) = self.words.news(connection, last).await? else {
            return Ok(None);
        };
        for chunk in callers.chunks(CHUNK) {
            self.ask(connection, chunk).await?;
        }
        Ok(Some(last))
    }

    async fn say(&self, connection: &mut Connection) -> Result<(), RedisError> {
        loop {
            let next = lock(&self.later).iter().next().copied();
            let Some(who) = next else {
                return Ok(());
            };
            if let Some(record) = self.cells.record(&who) {
                self.tell(connection, &who, &record).await?;
            }
            lock(&self.later).remove(&who);
        }
    }

    async fn tell(
        &self,
        connection: &mut Connection,
        who: &Who,
        record: &Record,
    ) -> Result<(), RedisError> {
        let ends = record.ends(self.cells.rules());
        let now = self.clock.millis();
        let said: words::Added = self
            .words
            .add(who, record, ends, now)
            .query_async(connection)
            .await?;
        if let Some(news) = words::record(&said.4)
            && let Some(news) = self.cells.merge(who, &news, now)
        {
            (self.heard)(who, news);
        }
        Ok(())
    }
}

impl Drop for Wards {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}
