//! The connection of one gateway to the state that it shares with others.
//!
//! Decides when the gateway may ask for grants: it is connected, the functions are there, and it has
//! said what stands in its log. A thread of its own connects, tells which holds have ended, gives a
//! sign of life and hears what has changed. Whatever goes wrong, asking is refused at once and the
//! thread begins again; nothing that was said is lost, because it stands in the log.

use super::connect::{Connection, Connector};
use super::functions::{self, Known, State};
use super::share::{self, Mirror, News, Share};
use crate::budget::AccountSpec;
use crate::identity::AttemptId;
use crate::ledger::log::Clock;
use crate::ledger::shared::{End, Witness};
use crate::money::Nanos;
use crate::settings;
use arc_swap::ArcSwapOption;
use redis::RedisError;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// The first wait before connecting again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LAST_WAIT: Duration = Duration::from_millis(500);

/// How often the gateway gives a sign of life, and how often while the state is put together.
const SYNC: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(50);

/// How often holds that nobody has any more are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// A count of changes that there never is.
const NO_NEWS: u64 = 1 << 53;

/// Ends that are said in one call.
const BATCH: usize = 64;

/// Accounts that are told of in one call.
const CHUNK: usize = 200;

/// Ends that are kept while Redis is away: more are in the log anyway.
const KEPT: usize = 100_000;

/// What may be asked of Redis now.
pub(super) struct Up {
    pub(super) connection: Connection,
    /// The chain of this process, and its name among gateways.
    pub(super) chain: Arc<str>,
    pub(super) source: String,
    epoch: String,
    /// The latest count of changes seen.
    seen: AtomicU64,
}

impl Up {
    pub(super) fn known(&self) -> Known {
        Known {
            epoch: self.epoch.clone(),
            seen: self.seen.load(Ordering::Relaxed),
        }
    }

    pub(super) fn saw(&self, count: u64) {
        self.seen.fetch_max(count, Ordering::Relaxed);
    }
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether Redis answers and grants are possible.
    pub up: bool,
    /// Ends that have not been heard by Redis yet.
    pub backlog: usize,
    /// How often the connection was lost.
    pub lost: u64,
    /// How often the shared state had to be put together again.
    pub recoveries: u64,
}

/// What the thread and the requests share.
pub(super) struct Link {
    connector: Connector,
    pub(super) state_key: String,
    /// The id of the log. With the name of a chain it is the name of a gateway.
    log_id: String,
    /// Tells this process from another one that has a copy of its log.
    nonce: String,
    settings: settings::Redis,
    clock: Clock,
    up: ArcSwapOption<Up>,
    ends: Mutex<VecDeque<End>>,
    overtaken: Mutex<Vec<Arc<AccountSpec>>>,
    pub(super) mirror: Mutex<Mirror>,
    /// Wakes the thread: there is something to say, or the connection is suspect.
    wake: Notify,
    broken: AtomicBool,
    /// Told to say what is left and to go; and gone: no more signs of life.
    leaving: AtomicBool,
    gone: AtomicBool,
    /// The thread is to end.
    closed: AtomicBool,
    /// Ends put into the queue, and those said.
    queued: AtomicU64,
    said: watch::Sender<u64>,
    lost: AtomicU64,
    recoveries: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the thread begins again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the shared state is another one by now")]
    Moved(State),
    #[error("Redis said something that is no answer to what was asked")]
    Nonsense,
    #[error("another process gives signs of life as this gateway: its spend log was copied")]
    Twin,
    #[error("a request found the connection broken")]
    Suspect,
}

impl Link {
    pub(super) fn new(
        connector: Connector,
        log_id: String,
        settings: settings::Redis,
        clock: Clock,
    ) -> Self {
        Self {
            connector,
            state_key: functions::state_key(&settings.tenant),
            log_id,
            nonce: format!("{:016x}", fastrand::u64(..)),
            settings,
            clock,
            up: ArcSwapOption::empty(),
            ends: Mutex::default(),
            overtaken: Mutex::default(),
            mirror: Mutex::default(),
            wake: Notify::new(),
            broken: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            queued: AtomicU64::new(0),
            said: watch::Sender::new(0),
            lost: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
        }
    }

    /// What may be asked now, if anything.
    pub(super) fn up(&self) -> Option<Arc<Up>> {
        self.up.load_full()
    }

    /// The name of the gateway whose chain that is.
    pub(super) fn source(&self, chain: &str) -> String {
        format!("{}:{chain}", self.log_id)
    }

    /// A request found that Redis cannot be asked: nobody else has to find out by waiting.
    pub(super) fn suspect(&self, up: &Arc<Up>) {
        let current = self.up.load();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, up)) {
            self.up.store(None);
            self.broken.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }

    pub(super) fn end(&self, end: End) {
        let mut ends = lock(&self.ends);
        if ends.len() >= KEPT && self.up.load().is_none() {
            // What was charged is said from the log once Redis is back.
            ends.pop_front();
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
        ends.push_back(end);
        self.queued.fetch_add(1, Ordering::Relaxed);
        drop(ends);
        self.wake.notify_one();
    }

    pub(super) fn adopt(&self, specs: &[Arc<AccountSpec>]) {
        let mirror = lock(&self.mirror);
        let overtaken = specs.iter().filter(|spec| mirror.overtaken(spec));
        lock(&self.overtaken).extend(overtaken.cloned());
        self.wake.notify_one();
    }

    /// Waits until everything that has ended so far was said, as long as a command may take.
    pub(super) async fn flushed(&self) -> bool {
        let target = self.queued.load(Ordering::Relaxed);
        let mut said = self.said.subscribe();
        let caught_up = said.wait_for(|said| *said >= target);
        let waited = tokio::time::timeout(self.settings.timeout * 2, caught_up).await;
        matches!(waited, Ok(Ok(_)))
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            up: self.up.load().is_some(),
            backlog: lock(&self.ends).len(),
            lost: self.lost.load(Ordering::Relaxed),
            recoveries: self.recoveries.load(Ordering::Relaxed),
        }
    }

    /// Says what is left to say and goes, within the time that two commands may take.
    pub(super) fn leave(&self) {
        let deadline = Instant::now() + self.settings.timeout * 2 + SOON;
        self.leaving.store(true, Ordering::Release);
        self.wake.notify_one();
        let left = || self.gone.load(Ordering::Acquire) || self.up.load().is_none();
        while Instant::now() < deadline && !left() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Ends the thread without a word, as a process does that is killed.
    #[cfg(test)]
    pub(super) fn cut(&self) {
        self.close();
        self.up.store(None);
    }

    /// Connects, and again whenever the connection has broken, until told to end.
    pub(super) async fn run(self: Arc<Self>, witness: Weak<dyn Witness>) {
        let mut wait = FIRST_WAIT;
        let mut complaint: Option<String> = None;
        let mut epoch = String::new();
        while !self.closed.load(Ordering::Acquire) {
            self.broken.store(false, Ordering::Release);
            let outcome = match self.connect(&witness, &mut epoch).await {
                Ok(Some(up)) => {
                    tracing::info!("connected to Redis");
                    (wait, complaint) = (FIRST_WAIT, None);
                    self.serve(&up, &witness).await
                }
                Ok(None) => return,
                Err(broken) => Err(broken),
            };
            self.up.store(None);
            let Err(broken) = outcome else { return };
            self.lost.fetch_add(1, Ordering::Relaxed);
            let reason = broken.to_string();
            if complaint.as_ref() != Some(&reason) {
                tracing::warn!(%reason, "no shared budgets at present");
                complaint = Some(reason);
            }
            tokio::time::sleep(wait.mul_f32(0.5 + fastrand::f32() / 2.0)).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// A connection over which grants may be asked for: the state is the one that was last known, or
    /// this gateway has said what it knows of it. `None` once the log is closed.
    async fn connect(
        &self,
        witness: &Weak<dyn Witness>,
        epoch: &mut String,
    ) -> Result<Option<Arc<Up>>, Broken> {
        let mut connection = self.connector.connect().await?;
        let Some(witness) = witness.upgrade() else {
            return Ok(None);
        };
        let chain = witness.chain();
        let source = self.source(&chain);
        let mut up = Up {
            connection: connection.clone(),
            source,
            chain,
            epoch: epoch.clone(),
            seen: AtomicU64::new(0),
        };
        let (state, _) = match self.sync(&mut connection, &up, None).await {
            Err(Broken::Redis(error)) if is_unknown(&error) => {
                self.load(&mut connection).await?;
                self.sync(&mut connection, &up, None).await?
            }
            state => state?,
        };
        if matches!(state, State::Lost | State::Changed) {
            *epoch = self.begin(&mut connection, &up).await?;
            up.epoch.clone_from(epoch);
        }
        // What was charged stands in the log, and is said from there. What was given back is said
        // again, in case it was asked for on a connection that broke.
        lock(&self.ends).retain(|end| end.cost.is_none());
        self.testify(&mut connection, &up, &*witness).await?;
        Ok(Some(Arc::new(up)))
    }

    async fn load(&self, connection: &mut Connection) -> Result<(), Broken> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(functions::LIBRARY);
        connection.everywhere(&load).await?;
        Ok(())
    }

    /// A new epoch of the state, or the one that another gateway has begun.
    async fn begin(&self, connection: &mut Connection, up: &Up) -> Result<String, Broken> {
        let new = format!("{:016x}", fastrand::u64(..));
        let mut command = functions::call("weir_begin_1", &self.state_key);
        command.arg(&up.epoch).arg(&new).arg(&up.source);
        for gateway in &lock(&self.mirror).gateways {
            command.arg(gateway);
        }
        let reply: Vec<String> = command.query_async(connection).await?;
        let epoch = reply.into_iter().next().ok_or(Broken::Nonsense)?;
        if epoch == new {
            self.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the shared state of budgets is put together from what gateways know");
        }
        Ok(epoch)
    }

    /// Says what stands in the log and what was last heard of the rest.
    async fn testify(
        &self,
        connection: &mut Connection,
        up: &Up,
        witness: &dyn Witness,
    ) -> Result<(), Broken> {
        let testimony = witness.testimony();
        let source = |chain: &str| self.source(chain);
        let mut shares = share::shares(&testimony, source);
        shares.extend(lock(&self.mirror).shares().cloned());
        let nothing = share::Holds::new();
        for chunk in shares.chunks(CHUNK) {
            self.assert(connection, up, chunk, &nothing, "").await?;
        }
        for chain in &testimony.dead {
            let dead = self.source(chain);
            let holds = share::Holds::from([(dead.clone(), BTreeMap::new())]);
            self.assert(connection, up, &[], &holds, "").await?;
            let mut command = functions::call("weir_leave_1", &self.state_key);
            let _: Vec<String> = command.arg(dead).query_async(connection).await?;
        }
        let holds = share::holds(&testimony, source);
        self.assert(connection, up, &[], &holds, &up.source).await
    }

    async fn assert(
        &self,
        connection: &mut Connection,
        up: &Up,
        shares: &[Share],
        holds: &share::Holds,
        done: &str,
    ) -> Result<(), Broken> {
        let text = |value: serde_json::Result<String>| value.map_err(|_| Broken::Nonsense);
        let mut command = functions::call("weir_assert_1", &self.state_key);
        command
            .arg(&up.epoch)
            .arg(text(serde_json::to_string(shares))?)
            .arg(text(serde_json::to_string(holds))?)
            .arg(done);
        let reply: Vec<String> = command.query_async(connection).await?;
        match reply.first().and_then(|word| State::of(word)) {
            Some(State::Open) => Ok(()),
            Some(state) => Err(Broken::Moved(state)),
            None => Err(Broken::Nonsense),
        }
    }

    /// A sign of life; what has changed since the last one goes into the mirror.
    async fn sync(
        &self,
        connection: &mut Connection,
        up: &Up,
        since: Option<&mut u64>,
    ) -> Result<(State, bool), Broken> {
        let mut command = functions::call("weir_sync_1", &self.state_key);
        command
            .arg(&up.epoch)
            .arg(up.seen.load(Ordering::Relaxed))
            .arg(&up.source)
            .arg(&self.nonce)
            .arg(since.as_deref().copied().unwrap_or(NO_NEWS))
            .arg(millis(self.settings.orphan_after))
            .arg(millis(self.settings.recovery_wait));
        let reply: Vec<String> = command.query_async(connection).await?;
        let [word, news] = reply.as_slice() else {
            return Err(Broken::Nonsense);
        };
        let state = State::of(word).ok_or(Broken::Nonsense)?;
        if matches!(state, State::Lost | State::Changed) {
            return Ok((state, false));
        }
        let mut news: News = serde_json::from_str(news).map_err(|_| Broken::Nonsense)?;
        if let Some(since) = since {
            if news
                .nonce
                .as_ref()
                .is_some_and(|nonce| *nonce != self.nonce)
            {
                return Err(Broken::Twin);
            }
            *since = news.last.parse().map_err(|_| Broken::Nonsense)?;
        }
        up.saw(news.ver.parse().map_err(|_| Broken::Nonsense)?);
        for gateway in &news.missing {
            tracing::error!(%gateway, "grants go on without a gateway that has not said what it charged");
        }
        if news.orphans != "0" && !news.orphans.is_empty() {
            let (holds, nanos) = (&news.orphans, &news.orphaned);
            tracing::warn!(%holds, nano_usd = %nanos, "charged what a gateway that is gone left held");
        }
        lock(&self.mirror).hear(&mut news);
        Ok((state, news.more))
    }

    /// Says what ends and hears what changes, until something breaks.
    async fn serve(&self, up: &Arc<Up>, witness: &Weak<dyn Witness>) -> Result<(), Broken> {
        let mut connection = up.connection.clone();
        let mut since = 0;
        let mut next = Instant::now();
        let mut swept = Instant::now();
        let mut doubtful = HashSet::new();
        while !self.closed.load(Ordering::Acquire) {
            if self.broken.load(Ordering::Acquire) {
                return Err(Broken::Suspect);
            }
            self.say(up, &mut connection).await?;
            if self.leaving.swap(false, Ordering::AcqRel) {
                let mut command = functions::call("weir_leave_1", &self.state_key);
                let _: Vec<String> = command.arg(&up.source).query_async(&mut connection).await?;
                self.gone.store(true, Ordering::Release);
            }
            if Instant::now() >= next && !self.gone.load(Ordering::Acquire) {
                let (state, more) = self.sync(&mut connection, up, Some(&mut since)).await?;
                let open = match state {
                    State::Open => true,
                    State::Recovering => false,
                    state => return Err(Broken::Moved(state)),
                };
                let soon = more || !open;
                if !open {
                    self.up.store(None);
                } else if !more && self.up.load().is_none() {
                    self.up.store(Some(Arc::clone(up)));
                }
                next = Instant::now() + if soon { SOON } else { SYNC };
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep(up, &mut connection, witness, &mut doubtful)
                    .await?;
            }
            let left = next.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            // Waking up by time or by name: both go round the loop.
            let _ = tokio::time::timeout(left, self.wake.notified()).await;
        }
        Ok(())
    }

    /// Says which holds have ended, in the order in which they did.
    async fn say(&self, up: &Up, connection: &mut Connection) -> Result<(), Broken> {
        for spec in std::mem::take(&mut *lock(&self.overtaken)) {
            let now = self.clock.millis();
            let command = functions::unpush(&self.state_key, &up.known(), &spec, now);
            let _: Vec<String> = command.query_async(connection).await?;
        }
        loop {
            let batch: Vec<End> = lock(&self.ends).iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                let queued = self.queued.load(Ordering::Relaxed);
                if lock(&self.ends).is_empty() {
                    self.said.send_replace(queued);
                }
                return Ok(());
            }
            let source = |chain: &str| self.source(chain);
            let (known, own) = (up.known(), &up.source);
            let command = functions::settle(&self.state_key, &known, own, &batch, source);
            let reply: Vec<String> = command.query_async(connection).await?;
            let mut words = reply.iter();
            match words.next().and_then(|word| State::of(word)) {
                Some(State::Open | State::Recovering | State::Changed) => {}
                Some(state) => return Err(Broken::Moved(state)),
                None => return Err(Broken::Nonsense),
            }
            if let Some(count) = words.next().and_then(|count| count.parse().ok()) {
                up.saw(count);
            }
            lock(&self.ends).drain(..batch.len());
            if self.settings.firewall_keys {
                self.days(words.as_slice(), connection).await;
            }
        }
    }

    /// Gives back what Redis holds for this gateway and nobody here has any more: twice in a row,
    /// so that nothing is taken away that is just being recorded.
    async fn sweep(
        &self,
        up: &Up,
        connection: &mut Connection,
        witness: &Weak<dyn Witness>,
        doubtful: &mut HashSet<AttemptId>,
    ) -> Result<(), Broken> {
        let Some(witness) = witness.upgrade() else {
            return Ok(());
        };
        let mut command = functions::call("weir_holds_1", &self.state_key);
        let held: Vec<String> = command.arg(&up.source).query_async(connection).await?;
        let ids = held.iter().filter_map(|id| id.parse().ok());
        let unknown: HashSet<AttemptId> = ids.filter(|id| !witness.has_open(*id)).collect();
        for id in unknown.intersection(doubtful) {
            tracing::warn!(attempt = %id, "gave back a hold that nobody has any more");
            self.end(End {
                id: *id,
                chain: Arc::clone(&up.chain),
                cost: None,
                charges: Vec::new(),
            });
        }
        *doubtful = unknown;
        Ok(())
    }

    /// Keeps the AI Firewall's keys: account, start of the day, nano-dollars of each. They are for its
    /// tools only, so a failure is no reason to stop; the next charge writes them again.
    async fn days(&self, figures: &[String], connection: &mut Connection) {
        for figure in figures.chunks_exact(3) {
            let Some((key, dollars)) = day(&figure[0], &figure[1], &figure[2]) else {
                continue;
            };
            let command = functions::call("weir_day_1", &key);
            let mut command = command;
            let written = command.arg(dollars).query_async::<Vec<String>>(connection);
            if let Err(error) = written.await {
                tracing::debug!(%error, "a daily key was not written");
            }
        }
    }
}

/// The AI Firewall's key of a user's day, and what it holds.
fn day(account: &str, start: &str, nanos: &str) -> Option<(String, String)> {
    let user = account.strip_prefix("user:")?;
    let start = jiff::Timestamp::from_second(start.parse().ok()?).ok()?;
    let date = jiff::tz::TimeZone::UTC.to_datetime(start).date();
    let spent = Nanos(nanos.parse().ok()?);
    Some((format!("budget:{user}:{date}"), spent.to_string()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether Redis does not know the functions.
fn is_unknown(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}
