//! The connection of one gateway to the state that it shares with others.
//!
//! Decides when the gateway may ask for grants: it is connected, the functions are there, and it has
//! said what stands in its log. A thread of its own connects, tells which holds have ended, gives a
//! sign of life and hears what has changed. Whatever goes wrong, asking is refused at once and the
//! thread begins again; nothing that was said is lost, because it stands in the log.

mod hear;
mod hints;
mod lease;
mod peers;
mod say;
mod tell;

use super::connect::{Connection, Connector};
use super::functions::{self, Known, State};
use super::lease::Leases;
use super::share::Mirror;
use crate::balance::Endpoints;
use crate::budget::AccountSpec;
use crate::ledger::log::{Clock, place};
use crate::ledger::shared::{End, Witness};
use crate::money::Nanos;
use crate::settings;
use arc_swap::ArcSwapOption;
use peers::Peers;
use redis::RedisError;
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
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

/// How long another process that is alive as this gateway is taken for one that has just ended, and
/// how long is waited between two looks.
const JUST_ENDED: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(100);

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
    /// How many leases there are, and what is left of them.
    pub leases: usize,
    /// What is left of them.
    pub leased: Nanos,
    /// How many requests were granted from leases.
    pub lease_grants: u64,
    /// How many endpoints of providers other gateways have ejected.
    pub hints: usize,
}

/// What the thread and the requests share.
pub(super) struct Link {
    connector: Connector,
    pub(super) state_key: String,
    /// The id of the log. With the name of a chain it is the name of a gateway.
    log_id: String,
    /// Tells this process from another one that has a copy of its log, and begins with the place of
    /// the log: whoever goes on with it there has seen the end of the process before.
    nonce: String,
    settings: settings::Redis,
    clock: Clock,
    up: ArcSwapOption<Up>,
    ends: Mutex<VecDeque<End>>,
    overtaken: Mutex<Vec<Arc<AccountSpec>>>,
    /// What the server does when its memory is full, as last heard.
    policy: Mutex<String>,
    pub(super) mirror: Mutex<Mirror>,
    /// What may be granted while Redis is away, where that is asked for.
    pub(super) leases: Option<Leases>,
    /// What is known of the endpoints of providers.
    pub(super) endpoints: OnceLock<Arc<Endpoints>>,
    peers: Peers,
    /// Wakes the thread: there is something to say, or the connection is suspect.
    wake: Notify,
    broken: Mutex<Option<String>>,
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
pub(super) enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the shared state is another one by now")]
    Moved(State),
    #[error("Redis said something that is no answer to what was asked")]
    Nonsense,
    #[error(
        "another process is alive as this gateway: one of the two has a copy of the other's spend log"
    )]
    Twin,
    #[error("a request was not answered: {0}")]
    Suspect(String),
}

impl Link {
    pub(super) fn new(
        connector: Connector,
        log_id: String,
        log: &Path,
        settings: settings::Redis,
        clock: Clock,
    ) -> Self {
        let (place, peers) = (place(log), Peers::beside(log));
        Self {
            connector,
            state_key: functions::state_key(&settings.tenant),
            leases: settings.lease.map(Leases::new),
            endpoints: OnceLock::new(),
            log_id,
            nonce: format!("{place}/{:016x}", fastrand::u64(..)),
            settings,
            clock,
            up: ArcSwapOption::empty(),
            ends: Mutex::default(),
            overtaken: Mutex::default(),
            policy: Mutex::default(),
            mirror: Mutex::new(Mirror::knowing(peers.all())),
            peers,
            wake: Notify::new(),
            broken: Mutex::default(),
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

    /// The id of the log.
    pub(super) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// Whether the AI Firewall's keys are kept.
    pub(super) fn keeps_days(&self) -> bool {
        self.settings.firewall_keys
    }

    /// The name of the gateway whose chain that is.
    pub(super) fn source(&self, chain: &str) -> String {
        format!("{}:{chain}", self.log_id)
    }

    /// A request found that Redis cannot be asked: nobody else has to find out by waiting.
    pub(super) fn suspect(&self, up: &Arc<Up>, why: impl FnOnce() -> String) {
        let current = self.up.load();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, up)) {
            self.up.store(None);
            *lock(&self.broken) = Some(why());
            self.wake.notify_one();
        }
    }

    /// A hold has ended.
    pub(super) fn end(&self, end: End) {
        let (id, cost, chain) = (end.id, end.cost, Arc::clone(&end.chain));
        self.queue(end);
        // Only now: a lease must not end before what was granted from it.
        let over = self.leases.as_ref().and_then(|all| all.ended(id, cost));
        self.give_back(over.into_iter().collect(), &chain);
    }

    /// Has it said that a hold has ended.
    fn queue(&self, end: End) {
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
        let leases = self.leases.as_ref().map(Leases::figures);
        let (leases, leased, lease_grants) = leases.unwrap_or_default();
        Figures {
            leases,
            leased,
            lease_grants,
            hints: self.hinted(),
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
        let mut twin: Option<Instant> = None;
        while !self.closed.load(Ordering::Acquire) {
            *lock(&self.broken) = None;
            let outcome = match self.connect(&witness, &mut epoch).await {
                Ok(Some(up)) => {
                    tracing::info!("connected to Redis");
                    (wait, complaint, twin) = (FIRST_WAIT, None, None);
                    self.serve(&up, &witness).await
                }
                Ok(None) => return,
                Err(broken) => Err(broken),
            };
            self.up.store(None);
            let Err(broken) = outcome else { return };
            self.lost.fetch_add(1, Ordering::Relaxed);
            let since =
                matches!(broken, Broken::Twin).then(|| *twin.get_or_insert_with(Instant::now));
            if since.is_some_and(|since| since.elapsed() < JUST_ENDED) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let reason = broken.to_string();
            if complaint.as_ref() != Some(&reason) {
                tracing::warn!(%reason, "no shared budgets at present");
                complaint = Some(reason);
            }
            tokio::time::sleep(wait * fastrand::u32(50..=100) / 100).await;
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
            let rally = self.rally(&*witness);
            *epoch = self.begin(&mut connection, &up, rally).await?;
            up.epoch.clone_from(epoch);
        }
        let lost = state != State::Open;
        self.testify(&mut connection, &up, &*witness, lost).await?;
        Ok(Some(Arc::new(up)))
    }

    async fn load(&self, connection: &mut Connection) -> Result<(), Broken> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(functions::LIBRARY);
        connection.everywhere(&load).await?;
        Ok(())
    }

    /// Says what ends and hears what changes, until something breaks.
    async fn serve(&self, up: &Arc<Up>, witness: &Weak<dyn Witness>) -> Result<(), Broken> {
        let mut connection = up.connection.clone();
        let mut since = 0;
        let mut next = Instant::now();
        let mut swept = Instant::now();
        let mut doubtful = HashSet::new();
        while !self.closed.load(Ordering::Acquire) {
            let broken = lock(&self.broken).take();
            if let Some(why) = broken {
                return Err(Broken::Suspect(why));
            }
            self.say(up, &mut connection, next).await?;
            if self.leaving.swap(false, Ordering::AcqRel) {
                let over = self.leases.as_ref().map(Leases::close);
                self.give_back(over.unwrap_or_default(), &up.chain);
                self.say(up, &mut connection, Instant::now() + SYNC).await?;
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
                if !soon {
                    self.lease(up, &mut connection).await?;
                    self.hints(up, &mut connection).await?;
                }
                next = Instant::now() + if soon { SOON } else { SYNC };
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep(up, &mut connection, witness, &mut doubtful)
                    .await?;
            }
            if !lock(&self.ends).is_empty() {
                continue;
            }
            let left = next.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            // Waking up by time or by name: both go round the loop.
            let _ = tokio::time::timeout(left, self.wake.notified()).await;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether Redis does not know the functions.
pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}
