//! Money that this gateway may grant by itself while nobody can be asked.
//!
//! Decides what of a lease is left, for how long it counts, and when it is given back. A lease is an
//! ordinary hold in Redis, taken in advance over the accounts of requests that came lately, so that
//! nobody else can have its money. What is granted from it stands in the log like every hold. Redis is
//! never told of the end of a lease before it was told of everything that was granted from it, so that
//! no money is free twice.

mod one;

use crate::budget::{AccountSpec, Balance, tier};
use crate::identity::AttemptId;
use crate::ledger::shared::{Granted, Held, Moved};
use crate::ledger::{Ask, Decision, Denied, Grant};
use crate::money::Nanos;
use crate::settings;
use one::{Lease, Terms, hard, path_of, same};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Accounts of requests that were seen within this time are leased.
const LATELY: Duration = Duration::from_secs(300);

/// The most leases of one gateway.
const MOST: usize = 128;

/// The leases of one gateway.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) terms: settings::Lease,
    table: Mutex<Table>,
    granted: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    /// Nothing is granted while the log is asked what stands in it, and after the end.
    paused: bool,
    closed: bool,
    /// By what accounts they are.
    paths: HashMap<u64, Path>,
    /// Whether there is a path that was never asked for.
    fresh: bool,
    /// What was granted and has not ended, and the lease it came from.
    grants: HashMap<AttemptId, Taken>,
    /// Leases that grant nothing any more, and how many of their grants are open.
    retired: HashMap<AttemptId, usize>,
    asked: Option<Instant>,
}

/// The accounts of requests that nobody may pass, as one came with them last.
#[derive(Debug)]
struct Path {
    specs: Vec<Arc<AccountSpec>>,
    used: Instant,
    lease: Option<Lease>,
}

/// What was granted from a lease.
#[derive(Clone, Copy, Debug)]
struct Taken {
    path: u64,
    lease: AttemptId,
    held: Nanos,
}

/// A lease as it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    path: u64,
    pub(super) id: AttemptId,
    /// What counts on it here.
    pub(super) amount: Nanos,
    pub(super) specs: Vec<Arc<AccountSpec>>,
}

/// What was said to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Held in Redis now.
    pub(super) held: Nanos,
    /// What it should come down to.
    pub(super) target: Nanos,
    /// The accounts, unless the lease cannot go on as it is.
    pub(super) accounts: Option<Vec<(Balance, Moved)>>,
}

impl Table {
    /// Takes a lease away: it is over at once, or when the last of its grants is.
    fn retire(&mut self, lease: &Lease, over: &mut Vec<AttemptId>) {
        if lease.open == 0 {
            over.push(lease.id);
        } else {
            self.retired.insert(lease.id, lease.open);
        }
    }
}

impl Leases {
    pub(super) fn new(terms: settings::Lease) -> Self {
        Self {
            terms,
            table: Mutex::default(),
            granted: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come under these accounts.
    pub(super) fn note(&self, specs: &[Arc<AccountSpec>]) {
        let (path, now) = (path_of(specs), Instant::now());
        let mut table = self.lock();
        if let Some(known) = table.paths.get_mut(&path) {
            known.used = now;
            if !same(&known.specs, specs) {
                known.specs = hard(specs).map(Arc::clone).collect();
            }
            return;
        }
        if table.paths.len() >= MOST || table.closed {
            return;
        }
        let specs = hard(specs).map(Arc::clone).collect();
        let fresh = Path {
            specs,
            used: now,
            lease: None,
        };
        table.paths.insert(path, fresh);
        table.fresh = true;
    }

    /// Grants from a lease what could not be asked for. Of accounts that only steer tiers `heard` knows
    /// what was last heard.
    pub(super) fn grant(
        &self,
        ask: &Ask<'_>,
        heard: impl Fn(&AccountSpec) -> Option<Balance>,
    ) -> Result<Granted, Denied> {
        let path = path_of(ask.accounts);
        let mut table = self.lock();
        let paused = table.paused || table.closed;
        let known = table.paths.get_mut(&path);
        let lease = known.and_then(|path| path.lease.as_mut());
        let time = self.terms.time;
        let lease = lease
            .filter(|lease| !paused && lease.covers(ask, Instant::now(), time))
            .ok_or(Denied::Unavailable)?;
        let mut accounts = lease.accounts(ask, heard);
        let share = accounts.first().map(|(balance, _)| *balance);
        let share = share.unwrap_or_default();
        let tier = ask
            .tier
            .unwrap_or_else(|| tier::select(ask.thresholds, share.remaining(), share.limit));
        let left = Balance {
            limit: lease.left(),
            ..Balance::default()
        };
        let ask_in = Ask {
            tier: Some(tier),
            ..*ask
        };
        let decision = Decision::make(&ask_in, &vec![left; ask.accounts.len()]);
        let decision = decision.map_err(|denied| match denied {
            Denied::Unpriced { .. } => denied,
            // Nobody knows whether that is all there is.
            _ => Denied::Unavailable,
        })?;
        lease.used += decision.held;
        lease.open += 1;
        let taken = Taken {
            path,
            lease: lease.id,
            held: decision.held,
        };
        for (balance, _) in &mut accounts {
            balance.pending += decision.held;
        }
        let (balances, moved): (Vec<Balance>, Vec<Moved>) = accounts.into_iter().unzip();
        let grant = Grant {
            tier: decision.tier,
            tokens: decision.tokens,
            fitted: decision.tokens < ask.wanted(decision.tier),
            held: decision.held,
            windows: balances.iter().map(|b| b.period_start).collect(),
            balances,
        };
        let granted = Granted { grant, moved };
        table.grants.insert(ask.id, taken);
        self.granted.fetch_add(1, Ordering::Relaxed);
        Ok(granted)
    }

    /// A hold has ended, and its end waits to be said. The lease that is to end after it, if it was the
    /// last that kept one.
    pub(super) fn ended(&self, id: AttemptId, cost: Option<Nanos>) -> Option<AttemptId> {
        let mut table = self.lock();
        let taken = table.grants.remove(&id)?;
        if let Some(open) = table.retired.get_mut(&taken.lease) {
            *open = open.saturating_sub(1);
            let last = *open == 0;
            return last.then(|| {
                table.retired.remove(&taken.lease);
                taken.lease
            });
        }
        let path = table.paths.get_mut(&taken.path);
        let lease = path.and_then(|path| path.lease.as_mut());
        if let Some(lease) = lease.filter(|lease| lease.id == taken.lease) {
            lease.used += cost.unwrap_or_default() - taken.held;
            lease.open = lease.open.saturating_sub(1);
        }
        None
    }

    /// Whether it is time to ask: there is something new, or enough time has passed.
    pub(super) fn due(&self, now: Instant) -> bool {
        let mut table = self.lock();
        let fresh = std::mem::take(&mut table.fresh);
        let asked = table.asked;
        !table.closed && (fresh || asked.is_none_or(|at| now - at >= self.terms.time / 4))
    }

    /// What is to be asked for now, and which leases are over. A lease that something was granted from
    /// is followed by another one.
    pub(super) fn round(&self, now: Instant, now_millis: u64) -> (Vec<Wish>, Vec<AttemptId>) {
        let (mut wishes, mut over) = (Vec::new(), Vec::new());
        let mut table = self.lock();
        table.asked = Some(now);
        let mut paths = std::mem::take(&mut table.paths);
        paths.retain(|at, path| {
            let idle = now.saturating_duration_since(path.used) > LATELY;
            let used = |lease: &mut Lease| {
                lease.used != Nanos::ZERO || lease.open > 0 || lease.amount == Nanos::ZERO
            };
            if let Some(lease) = path.lease.take_if(|lease| idle || used(lease)) {
                table.retire(&lease, &mut over);
            }
            if idle {
                return false;
            }
            let lease = path.lease.as_ref();
            wishes.push(Wish {
                path: *at,
                id: lease.map_or_else(|| AttemptId::lease(now_millis), |lease| lease.id),
                amount: lease.map_or(Nanos::ZERO, |lease| lease.amount),
                specs: path.specs.clone(),
            });
            true
        });
        table.paths = paths;
        (wishes, over)
    }

    /// Takes over what was said to wishes that were asked for at `asked`. Leases that are over, and
    /// whether some should come down further than they could at once.
    pub(super) fn heard(
        &self,
        wishes: Vec<Wish>,
        answers: Vec<Answer>,
        asked: (Instant, u64),
    ) -> (Vec<AttemptId>, bool) {
        let (mut over, mut again) = (Vec::new(), false);
        let mut table = self.lock();
        let closed = table.closed;
        for (wish, answer) in wishes.into_iter().zip(answers) {
            let path = table.paths.get_mut(&wish.path).filter(|_| !closed);
            let Some(path) = path else {
                // Given back since, or never known of.
                over.push(wish.id);
                continue;
            };
            let lease = path.lease.take_if(|lease| lease.id == wish.id);
            let Some(accounts) = answer.accounts else {
                match lease {
                    Some(lease) => table.retire(&lease, &mut over),
                    None => over.push(wish.id),
                }
                continue;
            };
            let without = |(balance, moved): (Balance, Moved)| {
                let pending = balance.pending - answer.held;
                (Balance { pending, ..balance }, moved)
            };
            let terms = Terms {
                accounts: accounts.into_iter().map(without).collect(),
                specs: wish.specs,
            };
            // What was granted while it was asked for stays.
            let used = lease.as_ref().map_or(Nanos::ZERO, |lease| lease.used);
            let open = lease.as_ref().map_or(0, |lease| lease.open);
            let amount = answer.held.min(answer.target.max(used));
            again |= amount < answer.held;
            if amount == Nanos::ZERO && open == 0 {
                over.push(wish.id);
                continue;
            }
            path.lease = Some(Lease {
                id: wish.id,
                amount,
                used,
                open,
                until: asked.0 + self.terms.time,
                confirmed: asked.1,
                terms,
            });
        }
        (over, again)
    }

    /// Nobody knows what came of the wishes: new ones are given back, in case they were granted.
    pub(super) fn unheard(&self, wishes: &[Wish]) -> Vec<AttemptId> {
        let fresh = wishes.iter().filter(|wish| wish.amount == Nanos::ZERO);
        fresh.map(|wish| wish.id).collect()
    }

    /// Grants nothing until [`Leases::testified`].
    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    /// The log was asked what stands in it: what was granted is told from there by itself. What is left
    /// of each lease, as it is told besides.
    pub(super) fn testified(&self, now: Instant) -> Vec<Held> {
        let mut table = self.lock();
        table.paused = false;
        table.grants.clear();
        table.retired.clear();
        let mut told = Vec::new();
        for path in table.paths.values_mut() {
            let Some(mut lease) = path.lease.take() else {
                continue;
            };
            for (balance, _) in &mut lease.terms.accounts {
                balance.pending += lease.used;
            }
            (lease.amount, lease.used, lease.open) = (lease.left(), Nanos::ZERO, 0);
            if lease.amount > Nanos::ZERO && now < lease.until {
                told.push(lease.as_held());
                path.lease = Some(lease);
            }
        }
        told
    }

    /// Whether a hold in Redis is one of the leases, or may be one soon.
    pub(super) fn knows(&self, id: AttemptId) -> bool {
        let table = self.lock();
        let mut paths = table.paths.values();
        let of = |path: &Path| path.lease.as_ref().map(|lease| lease.id);
        table.retired.contains_key(&id) || paths.any(|path| of(path) == Some(id))
    }

    /// Grants nothing any more. The leases that are over.
    pub(super) fn close(&self) -> Vec<AttemptId> {
        let mut over = Vec::new();
        let mut table = self.lock();
        table.closed = true;
        for (_, path) in std::mem::take(&mut table.paths) {
            if let Some(lease) = path.lease {
                table.retire(&lease, &mut over);
            }
        }
        over
    }

    /// How many leases there are now, what is left of them, and how many requests were granted so.
    pub(super) fn figures(&self) -> (usize, Nanos, u64) {
        let now = Instant::now();
        let table = self.lock();
        let leases = table.paths.values().filter_map(|path| path.lease.as_ref());
        let valid = leases.filter(|lease| now < lease.until);
        let (count, left) = valid.fold((0, Nanos::ZERO), |(count, left), lease| {
            (count + 1, left + lease.left())
        });
        (count, left, self.granted.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
