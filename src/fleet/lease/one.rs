//! One lease.
//!
//! Decides what it covers, and for how long.

use crate::budget::{AccountSpec, Balance};
use crate::identity::{AccountId, AttemptId};
use crate::ledger::Ask;
use crate::ledger::shared::{Held, Moved};
use crate::money::Nanos;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How an account came to its period, where nobody has said it: it is as it is.
const NOT_SAID: Moved = Moved {
    turn: 0,
    last: 0,
    first: 0,
    charged: Nanos::ZERO,
};

/// A lease as it counts here.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: AttemptId,
    /// What counts on it here; in Redis at least as much is held.
    pub(super) amount: Nanos,
    /// How much of that is held or charged by what was granted.
    pub(super) used: Nanos,
    /// How many grants have not ended.
    pub(super) open: usize,
    /// When it ends, by the clock that never goes back; and when it was confirmed by the other one,
    /// which knows when the machine slept.
    pub(super) until: Instant,
    pub(super) confirmed: u64,
    pub(super) terms: Terms,
}

/// The accounts of a lease when it was confirmed.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) specs: Vec<Arc<AccountSpec>>,
    /// Without the lease itself.
    pub(super) accounts: Vec<(Balance, Moved)>,
}

/// The accounts that nobody may pass: what steers tiers only is no reason to refuse.
pub(super) fn hard(specs: &[Arc<AccountSpec>]) -> impl Iterator<Item = &Arc<AccountSpec>> {
    specs.iter().filter(|spec| spec.hard)
}

pub(super) fn path_of(specs: &[Arc<AccountSpec>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for spec in hard(specs) {
        spec.id.as_str().hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether two lists of accounts say the same of those.
pub(super) fn same(one: &[Arc<AccountSpec>], other: &[Arc<AccountSpec>]) -> bool {
    hard(one).count() == hard(other).count()
        && hard(one)
            .zip(hard(other))
            .all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}

impl Lease {
    pub(super) fn left(&self) -> Nanos {
        (self.amount - self.used).at_least_zero()
    }

    /// Whether an ask may be granted from it now.
    pub(super) fn covers(&self, ask: &Ask<'_>, now: Instant, time: Duration) -> bool {
        let slept = ask.now_millis.saturating_sub(self.confirmed);
        let seconds = i64::try_from(ask.now_millis / 1000).unwrap_or(i64::MAX);
        let begun = |(balance, _): &(Balance, Moved)| {
            let end = balance.period_end;
            end.is_none_or(|end| seconds < end)
        };
        now < self.until
            && u128::from(slept) < time.as_millis()
            && same(&self.terms.specs, ask.accounts)
            && self.terms.accounts.iter().all(begun)
    }

    /// The accounts of an ask with everything that was granted, and how each came to its period. Of
    /// those that the lease is not about `heard` knows.
    pub(super) fn accounts(
        &self,
        ask: &Ask<'_>,
        heard: impl Fn(&AccountSpec) -> Option<Balance>,
    ) -> Vec<(Balance, Moved)> {
        let now = i64::try_from(ask.now_millis / 1000).unwrap_or(i64::MAX);
        let mut leased = self.terms.accounts.iter().peekable();
        let mut one = |spec: &Arc<AccountSpec>| {
            if let Some((balance, moved)) = leased.next_if(|_| spec.hard) {
                let pending = balance.pending + self.used;
                return (
                    Balance {
                        pending,
                        ..*balance
                    },
                    *moved,
                );
            }
            let window = spec.period.window(now);
            let mut balance = heard(spec).unwrap_or_default();
            (balance.period_start, balance.period_end) = (window.start, window.end);
            (balance, NOT_SAID)
        };
        ask.accounts.iter().map(&mut one).collect()
    }

    /// As an open hold.
    pub(super) fn as_held(&self) -> Held {
        let all = self.terms.specs.iter().zip(&self.terms.accounts);
        let place = |(spec, (balance, _)): (&Arc<AccountSpec>, &(Balance, Moved))| {
            (spec.id.clone(), balance.period_start)
        };
        let mut accounts: Vec<(AccountId, i64)> = Vec::new();
        for on in all.map(place) {
            if !accounts.contains(&on) {
                accounts.push(on);
            }
        }
        Held {
            id: self.id,
            held: self.amount,
            accounts,
        }
    }
}
