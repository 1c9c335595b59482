//! What a store of balances that several gateways share is asked and told.
//!
//! With such a store, it decides and this process's log records: [`super::Book`] holds there first,
//! writes INTENT, and says what became of the hold once SETTLE is written. The log stays the record
//! of truth: [`Witness`] says what stands in it, so that a store that lost its state can be put
//! together again.

use super::{Ask, Denied, Grant, Push};
use crate::budget::account::{Based, Pushed};
use crate::budget::{AccountSpec, Balance};
use crate::identity::{AccountId, AttemptId};
use crate::money::Nanos;
use std::fmt::Debug;
use std::sync::{Arc, Weak};

/// The store cannot be reached, or cannot promise anything now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared store of budgets cannot be reached")]
pub struct Away;

/// A hold that the store has granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What was granted.
    pub grant: Grant,
    /// How each account came to its present period, in the order of the ask.
    pub moved: Vec<Moved>,
}

/// How an account came to its present period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How often its period has changed, from 1.
    pub turn: u64,
    /// Start of the last window of the period before.
    pub last: i64,
    /// Start of the window in which what was posted and held there counts.
    pub first: i64,
    /// What this process's records have charged in the present window, for a process that has
    /// missed more than one change.
    pub charged: Nanos,
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The attempt.
    pub id: AttemptId,
    /// The chain that held it, which may be that of a process that died.
    pub chain: Arc<str>,
    /// What the attempt cost; `None` when the hold was given back.
    pub cost: Option<Nanos>,
    /// What this process's records have charged by now. Empty when the hold was given back.
    pub charges: Vec<Charge>,
}

/// Everything that a process's records have charged to an account in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The account.
    pub account: AccountId,
    /// How often its period had changed: windows of different periods may begin at the same time.
    pub turn: u64,
    /// Start of the window.
    pub window: i64,
    /// The total.
    pub total: Nanos,
}

/// A budget as it stands after it was set from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What was posted before.
    pub before: Nanos,
    /// The state now.
    pub balance: Balance,
    /// What is posted now besides charges.
    pub based: Based,
    /// How the account came to its period.
    pub moved: Moved,
}

/// Balances that several gateways share.
#[async_trait::async_trait]
pub trait Shared: Send + Sync + Debug {
    /// As [`super::Ledger::reserve`]; [`Denied::Unavailable`] when the store is away.
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Granted, Denied>;

    /// Says that a hold has ended, once that is recorded. Never waits: it is said again until the store
    /// has heard it.
    fn end(&self, end: End);

    /// The state of an account, after everything that this process has said before.
    async fn balance(&self, spec: &AccountSpec, now_millis: u64) -> Result<Balance, Away>;

    /// The state of an account as last heard of.
    fn glance(&self, spec: &AccountSpec, now_millis: u64) -> Option<Balance>;

    /// Sets the limit or the spend of an account.
    async fn push(
        &self,
        spec: &AccountSpec,
        change: Push,
        now_millis: u64,
    ) -> Result<Changed, Away>;

    /// After a push or a reset: warning levels above what is posted now are told again when they are
    /// passed.
    async fn arm(&self, _spec: &AccountSpec, _balance: &Balance, _now_millis: u64) {}

    /// Ends pushes that the policy's own limits have overtaken.
    fn adopt(&self, specs: &[Arc<AccountSpec>], now_millis: u64);

    /// Whether it is kept there what each user spends in a day, whatever the user's own budget.
    fn keeps_days(&self) -> bool {
        false
    }

    /// Begins, with what the log says.
    fn begin(&self, witness: Weak<dyn Witness>);

    /// Waits until everything said before has been heard, or the store is away, and leaves.
    fn leave(&self);
}

/// What stands in this process's log.
pub trait Witness: Send + Sync {
    /// The chain of this process.
    fn chain(&self) -> Arc<str>;

    /// Whether an attempt's hold is open, or its end not recorded yet.
    fn has_open(&self, id: AttemptId) -> bool;

    /// Everything, at one moment.
    fn testimony(&self) -> Testimony;
}

/// What a log says, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// The chain of this process.
    pub own: Arc<str>,
    /// Chains of the same log whose processes are dead.
    pub dead: Vec<Arc<str>>,
    /// Every account.
    pub accounts: Vec<Standing>,
    /// What each chain has charged.
    pub charged: Vec<(Arc<str>, Charge)>,
    /// Open holds of this process, with those whose end is not recorded yet.
    pub open: Vec<Held>,
}

impl Testimony {
    /// Whether anything was ever charged or held by it.
    pub fn has_spent(&self) -> bool {
        let charged = |(_, charge): &(_, Charge)| charge.total > Nanos::ZERO;
        !self.open.is_empty() || self.charged.iter().any(charged)
    }
}

/// An account in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which account.
    pub account: AccountId,
    /// [`crate::budget::period::Period::tag`] of its period.
    pub tag: String,
    /// How often that has changed, from 1.
    pub turn: u64,
    /// Start of its current window.
    pub window: i64,
    /// What is posted in it besides charges.
    pub based: Based,
    /// The push in force.
    pub pushed: Option<Pushed>,
}

/// An open hold in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The attempt.
    pub id: AttemptId,
    /// The money.
    pub held: Nanos,
    /// The accounts and the windows it is held in.
    pub accounts: Vec<(AccountId, i64)>,
}

#[cfg(test)]
mod tests;
