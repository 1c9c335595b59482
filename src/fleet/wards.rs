//! Quarantine and the canaries of sessions, as gateways share them through Redis.
//!
//! Decides nothing about who is in quarantine: a record is the sum of what every gateway has seen of a caller
//! ([`Record`]), and Redis holds that sum. A strike is added and the sum read in one step, so that of strikes
//! at several gateways the last one always sees all. Gateways hear of each other's changes within
//! half a second, and everything they have seen themselves is told again after Redis was away or has forgotten.
//!
//! How it is kept there is in `wards.lua`.

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
use words::{Fields, News, Words};

/// How often it is looked what other gateways have seen.
const LOOK: Duration = Duration::from_millis(500);

/// The first wait before connecting again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How often a condition is looked at that is about to come true.
const MOMENT: Duration = Duration::from_millis(2);

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
    /// Whether connecting was tried, with or without success.
    tried: AtomicBool,
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
    /// broken; `heard` is called there. The first try is waited for: who is in quarantine elsewhere should be known
    /// before anybody is served.
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
            tried: AtomicBool::new(false),
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
        let deadline = Instant::now() + settings.connect_timeout + settings.timeout;
        while Instant::now() < deadline && !wards.tried.load(Ordering::Acquire) {
            std::thread::sleep(MOMENT);
        }
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
                let command = self.words.add(who, record, ends, self.clock.millis());
                let sum = command.query_async::<Fields>(&mut connection).await;
                self.known(&up, sum).and_then(|sum| words::record(&sum))
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

    /// The token of a session: `mine` unless another gateway was there before, or nothing where that is empty;
    /// it is kept for `keep` from now on. And that of the session `before`. `None` when Redis cannot be asked.
    pub async fn token(
        &self,
        session: &str,
        before: &str,
        mine: &str,
        keep: Duration,
    ) -> Option<[Option<String>; 2]> {
        let up = self.up.load_full()?;
        let mut connection = Connection::clone(&up);
        let command = self.words.token(session, before, mine, keep);
        let said = command.query_async::<[String; 2]>(&mut connection).await;
        let tokens = self.known(&up, said)?;
        Some(tokens.map(|token| Some(token).filter(|token| !token.is_empty())))
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
            std::thread::sleep(MOMENT);
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
            self.tried.store(true, Ordering::Release);
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
        let mut place = self.sum(&mut connection).await?;
        self.up.store(Some(Arc::new(connection.clone())));
        self.tried.store(true, Ordering::Release);
        *wait = FIRST_WAIT;
        while !self.closed.load(Ordering::Acquire) {
            if self.broken.load(Ordering::Acquire) {
                return Err(Broken::Suspect);
            }
            self.say(&mut connection).await?;
            place = match self.hear(&mut connection, &place).await? {
                Some(place) => place,
                // Redis was emptied: everything is told again.
                None => self.sum(&mut connection).await?,
            };
            // Waking up by time or by name: both go round the loop.
            let _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
        }
        self.say(&mut connection).await?;
        Ok(())
    }

    /// Puts together what Redis and this gateway know. Gives the place in the news from which on to listen.
    async fn sum(&self, connection: &mut Connection) -> Result<News, RedisError> {
        let now = self.clock.millis();
        let mark = format!("{:016x}", fastrand::u64(..));
        let open = self.words.open(now, &mark);
        let opened = match open.query_async::<Vec<String>>(connection).await {
            Err(error) if error.to_string().contains("Function not found") => {
                let mut load = redis::cmd("FUNCTION");
                load.arg("LOAD").arg("REPLACE").arg(words::LIBRARY);
                load.exec_async(connection).await?;
                open.query_async::<Vec<String>>(connection).await?
            }
            opened => opened?,
        };
        let opened = words::news(&opened).ok_or_else(unclear)?;
        self.ask(connection, &opened.callers).await?;
        for (who, record) in self.cells.all(now) {
            self.tell(connection, &who, &record).await?;
        }
        Ok(opened)
    }

    /// Asks for some records and takes them over.
    async fn ask(&self, connection: &mut Connection, callers: &[Who]) -> Result<(), RedisError> {
        for chunk in callers.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            for who in chunk {
                pipeline.add_command(self.words.record(who));
            }
            let said: Vec<Fields> = pipeline.query_async(connection).await?;
            let now = self.clock.millis();
            for (who, fields) in chunk.iter().zip(said) {
                let record = words::record(&fields);
                if let Some(news) = record.and_then(|record| self.cells.merge(who, &record, now)) {
                    (self.heard)(who, news);
                }
            }
        }
        Ok(())
    }

    /// What others have changed since then; `None` when Redis has lost what it knew.
    async fn hear(
        &self,
        connection: &mut Connection,
        since: &News,
    ) -> Result<Option<News>, RedisError> {
        let mut place = News {
            mark: since.mark.clone(),
            seq: since.seq,
            callers: Vec::new(),
        };
        loop {
            let said = self.words.news(place.seq);
            let said = said.query_async::<Vec<String>>(connection).await?;
            let news = words::news(&said).ok_or_else(unclear)?;
            if news.mark != place.mark {
                return Ok(None);
            }
            self.ask(connection, &news.callers).await?;
            if news.callers.is_empty() {
                return Ok(Some(news));
            }
            place = news;
        }
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
        let command = self.words.add(who, record, ends, now);
        let said: Fields = command.query_async(connection).await?;
        if let Some(sum) = words::record(&said)
            && let Some(news) = self.cells.merge(who, &sum, now)
        {
            (self.heard)(who, news);
        }
        Ok(())
    }
}

/// An answer that makes no sense.
fn unclear() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::InvalidData).into()
}

impl Drop for Wards {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
