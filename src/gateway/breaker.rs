//! The running cost circuit breaker.
//!
//! Decides where it learns what was spent: from the spend log, which is read on as soon as something was settled,
//! off the way of requests. A request reads one number that is always there; only from level SOFT on does it look
//! further. What is held for requests in flight is not spent yet and is not counted: budgets count that. What a
//! level does to a request is decided by [`crate::breaker::Rules`] and done by the proxy.

mod alert;
mod change;
mod journal;
mod kept;
mod known;
mod share;

pub use alert::Alert;
pub use change::{NotLimited, NotTracked, Told, Tracked};

use super::{Gateway, Live};
use crate::breaker::repeat::{Calls, Heard, Seed};
use crate::breaker::rules::Named;
use crate::breaker::window::By;
use crate::breaker::{Action, Level, Place, Rules, Spent, Standing};
use crate::identity::AgentId;
use crate::money::Nanos;
use crate::policy;
use crate::refusal::CostLimit;
use crate::route::{Candidate, Route, Swapped};
use arc_swap::ArcSwap;
use known::{Found, Known};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, watch};

/// Locks that calls are spread over.
const SHARDS: usize = 16;

/// Messages that wait for a webhook.
const WAITING: usize = 64;

/// How often it is looked without anything to read: the window moves on.
const LOOK: Duration = Duration::from_millis(500);

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Now, in Unix milliseconds.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The breaker of a process.
pub struct Breaker {
    known: Arc<Mutex<Known>>,
    /// How things stood when it was looked last.
    standing: ArcSwap<Standing>,
    /// The level of that, for requests.
    level: AtomicU8,
    /// Something was settled.
    settled: Notify,
    /// Calls that agents make, by digest.
    calls: [Mutex<Calls>; SHARDS],
    seed: Seed,
    /// Agents that are refused, and until when.
    paused: Mutex<HashMap<AgentId, i64>>,
    /// How many they are.
    pauses: AtomicUsize,
    alerts: mpsc::Sender<Alert>,
    /// Whether a level was told that Redis may not have.
    owed: AtomicBool,
    /// For whoever sends them.
    waiting: Mutex<Option<mpsc::Receiver<Alert>>>,
}

/// What would become of a request for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allowed,
    /// This model runs instead.
    Downgraded(String),
    /// Nothing runs.
    Refused(CostLimit),
}

/// What is shown to operators.
pub struct Costs {
    /// How things stand.
    pub standing: Standing,
    /// `sliding`, or the name of the period.
    pub window: &'static str,
    /// Where the window begins, in Unix milliseconds.
    pub since: i64,
    /// What this gateway's log and `/track` say.
    pub own: Nanos,
    /// How many requests that were.
    pub requests: u64,
    /// Their input and output tokens.
    pub tokens: (u64, u64),
    /// The sums by model, user, key and agent, the largest first.
    pub by: [Vec<(Arc<str>, Nanos)>; By::ALL.len()],
    /// The last requests, the latest first.
    pub recent: Vec<Spent>,
    /// Levels whose limit was set by hand.
    pub set: Vec<Level>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Breaker {
    /// The breaker of the log at `log`. It knows what was kept; the rest it reads when it is first asked to.
    pub(super) fn beside(log: &Path, policy: &policy::breaker::Breaker) -> Self {
        let (alerts, waiting) = mpsc::channel(WAITING);
        let mut known = Known::at(log, &policy.rules);
        let standing = known.standing();
        Self {
            known: Arc::new(Mutex::new(known)),
            level: AtomicU8::new(standing.level.number()),
            standing: ArcSwap::from_pointee(standing),
            settled: Notify::new(),
            calls: std::array::from_fn(|_| Mutex::default()),
            seed: Seed::new([fastrand::u64(..), fastrand::u64(..)]),
            paused: Mutex::default(),
            pauses: AtomicUsize::new(0),
            alerts,
            owed: AtomicBool::new(false),
            waiting: Mutex::new(Some(waiting)),
        }
    }

    /// How things stood when it was looked last, which is a moment ago.
    pub fn standing(&self) -> Standing {
        **self.standing.load()
    }

    /// The level then. Costs next to nothing.
    pub fn level(&self) -> Level {
        Level::numbered(self.level.load(Ordering::Relaxed))
    }

    /// Something was settled: it is read soon.
    pub fn settled(&self) {
        self.settled.notify_one();
    }

    /// The messages for a webhook, for the first who asks.
    pub fn alerts(&self) -> Option<mpsc::Receiver<Alert>> {
        lock(&self.waiting).take()
    }

    fn show(&self, standing: Standing) {
        self.level.store(standing.level.number(), Ordering::Relaxed);
        self.standing.store(Arc::new(standing));
    }

    /// Hears of a call: whether it has come once too often.
    pub fn hear(&self, rules: &Rules, agent: &AgentId, body: &[u8], now_millis: u64) -> Heard {
        if rules.repeats.action == Action::Off {
            return Heard::New;
        }
        let digest = self.seed.digest(agent.as_str(), body);
        let shard = usize::try_from(digest % SHARDS as u128).unwrap_or(0);
        lock(&self.calls[shard]).hear(&rules.repeats, digest, now_millis)
    }

    /// For how long an agent is refused, in milliseconds; nothing when it is not.
    pub fn paused(&self, agent: &AgentId, now_millis: u64) -> Option<u64> {
        if self.pauses.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = i64::try_from(now_millis).unwrap_or(i64::MAX);
        let mut paused = lock(&self.paused);
        let until = paused.get(agent).copied();
        paused.retain(|_, until| *until > now);
        self.pauses.store(paused.len(), Ordering::Relaxed);
        let left = until?.checked_sub(now).filter(|left| *left > 0)?;
        u64::try_from(left).ok()
    }

    fn pause(&self, agent: AgentId, until: i64) {
        let mut paused = lock(&self.paused);
        paused.insert(agent, until);
        self.pauses.store(paused.len(), Ordering::Relaxed);
    }
}

/// Why nothing runs.
fn limit(standing: &Standing) -> CostLimit {
    CostLimit {
        level: standing.level.name(),
        total: standing.total,
        threshold: standing.threshold(),
    }
}

impl Gateway {
    /// Reads what was spent up to now, off this thread, and says how things stand. While the spend log cannot be
    /// read, that is how they stood.
    pub async fn costs_now(&self) -> Standing {
        let read = self.with_known(|_| ()).await;
        read.map_or_else(|| self.breaker.standing(), |(standing, ())| standing)
    }

    /// What would become of a request for `model` by a client, were levels enforced (which the policy decides for
    /// other routes: [`Gateway::breaker_enforces`]). `standing` is what [`Gateway::costs_now`] gave, or
    /// [`Breaker::standing`].
    pub fn verdict(&self, live: &Live, standing: &Standing, model: &str) -> Verdict {
        let rules = &live.policy.breaker.rules;
        let directory = live.directory();
        let target = directory.of_client(model);
        let named = Named {
            name: model,
            engine: target.as_ref().map_or(model, |target| &target.engine),
            trusted: target.as_ref().is_some_and(|target| target.model.is_some()),
        };
        match rules.place(standing.level, named) {
            Place::Stays => Verdict::Allowed,
            Place::Taken(to) if directory.of_client(to).is_some() => {
                Verdict::Downgraded(to.to_owned())
            }
            Place::Taken(_) | Place::Gone => Verdict::Refused(limit(standing)),
        }
    }

    /// Whether levels act on requests, as the policy has it.
    pub fn breaker_enforces(&self, live: &Live) -> bool {
        live.policy.breaker.rules.enforced
    }

    /// What becomes of a route at the present level. `Err` when nothing of it runs.
    pub fn at_level(
        &self,
        live: &Live,
        route: &Route,
        able: impl Fn(&Candidate) -> bool,
    ) -> Result<(Level, Swapped), CostLimit> {
        let standing = self.breaker.standing();
        let rules = &live.policy.breaker.rules;
        match route.at(standing.level, rules, live.directory(), able) {
            Swapped::Nothing => Err(limit(&standing)),
            swapped => Ok((standing.level, swapped)),
        }
    }

    /// What operators are shown, of this moment.
    pub async fn costs(&self) -> Option<Costs> {
        let shown = self
            .with_known(|known| {
                let span = known.rules().span.clone();
                let rules = known.rules().clone();
                let tracker = &known.tracker;
                let window = tracker.window();
                let set = tracker.limits().iter().filter(|(level, limit)| {
                    rules.thresholds.of(**level) == Some(Nanos(limit.policy))
                });
                (
                    span.name(),
                    span.first(now()).max(window.after()),
                    window.own(),
                    window.tokens(),
                    By::ALL.map(|by| window.by(by)),
                    tracker.recent().rev().cloned().collect::<Vec<_>>(),
                    set.map(|(level, _)| *level).collect::<Vec<_>>(),
                )
            })
            .await;
        let (standing, (window, since, own, tokens, by, recent, set)) = shown?;
        Some(Costs {
            standing,
            window,
            since,
            own: Nanos(own.cost),
            requests: own.count,
            tokens,
            by,
            recent,
            set,
        })
    }

    /// Reads on and lets `act` at what is known, off this thread; then says what follows from it.
    async fn with_known<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Known) -> T + Send + 'static,
    ) -> Option<(Standing, T)> {
        let known = Arc::clone(&self.breaker.known);
        let policy = Arc::clone(&self.live().policy.breaker);
        let work = move || {
            let mut known = lock(&known);
            let mut found = Vec::new();
            let read = known.read(&policy.rules, &mut found);
            let done = act(&mut known);
            let standing = known.standing();
            (read, found, standing, done, known.floor)
        };
        // Broken off only with the process.
        let (read, found, standing, done, floor) = tokio::task::spawn_blocking(work).await.ok()?;
        if let Err(error) = read {
            tracing::warn!(%error, "the breaker does not know what was spent last");
        }
        let standing = self.standing_among(standing, floor);
        self.breaker.show(standing);
        self.found(&found);
        Some((standing, done))
    }

    /// Tells of spikes, and refuses who makes them where that is wanted.
    fn found(&self, found: &[Found]) {
        let live = self.live();
        let rules = &live.policy.breaker.rules.spikes;
        for (spike, request) in found {
            self.spiked(rules.action, spike, *request);
            if rules.action == Action::Refuse
                && let Ok(agent) = AgentId::new(&spike.agent)
            {
                let cool_down = i64::try_from(rules.cool_down.as_millis()).unwrap_or(i64::MAX);
                self.breaker.pause(agent, now().saturating_add(cool_down));
            }
        }
    }

    /// Reads what was spent before this process began. Called once, before it serves.
    pub fn restore_breaker(&self) {
        let rules = self.live().policy.breaker.rules.clone();
        let mut known = lock(&self.breaker.known);
        let mut found = Vec::new();
        if let Err(error) = known.read(&rules, &mut found) {
            tracing::warn!(%error, "the breaker does not know what was spent before");
        }
        let standing = known.standing();
        let floor = known.floor;
        drop(known);
        self.breaker.show(self.standing_among(standing, floor));
    }
}

/// Reads what is spent and tells of levels, until the process has left.
pub async fn run(gateway: &Arc<Gateway>, mut leaving: watch::Receiver<bool>) {
    let mut shares = gateway.fleet.clone().map(share::Shares::new);
    loop {
        let left = *leaving.borrow() && gateway.in_flight.load(Ordering::Acquire) == 0;
        gateway.look(shares.as_mut(), left).await;
        if left {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = gateway.breaker.settled.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
            told = leaving.changed(), if !*leaving.borrow() => {
                if told.is_err() {
                    return;
                }
            }
        }
    }
}

impl Gateway {
    async fn look(&self, shares: Option<&mut share::Shares>, last: bool) {
        if let Some(shares) = shares {
            shares.round(self).await;
        }
        let Some((standing, told)) = self.with_known(|known| known.told).await else {
            return;
        };
        let changed = standing.level != told;
        if changed {
            self.tell_level(standing, told).await;
        }
        let known = Arc::clone(&self.breaker.known);
        let keep = move || lock(&known).keep(changed || last);
        // Broken off only with the process.
        let _ = tokio::task::spawn_blocking(keep).await;
    }
}
