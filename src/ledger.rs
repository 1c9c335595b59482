//! Reserve, settle, replay: where balances are kept.
//!
//! [`Ledger`] is the contract every store of balances fulfils; [`log`] is the record of truth that
//! all of them are projections of; [`Book`] puts the two together and is what the rest of Weir
//! talks to. It does not know HTTP, models or prices.
//!
//! The life of a reservation: [`Book::reserve`] holds the worst case on every account in one atomic
//! step and writes INTENT; [`Reservation::settle`] posts the actual once and writes SETTLE;
//! [`Reservation::void`] releases it, with proof that nothing was billed. A reservation that is
//! dropped without either is charged in full as [`Unresolved`](crate::usage::CostSource::Unresolved):
//! never free.

mod book;
#[cfg(test)]
pub(crate) mod contract;
pub mod day;
mod days;
mod ending;
mod follow;
mod keeper;
pub mod log;
pub mod memory;
pub mod named;
mod projection;
mod recover;
#[cfg(test)]
mod replay_tests;
mod reservation;
#[cfg(test)]
pub(crate) mod scratch;
pub mod shared;
pub mod statement;
#[cfg(test)]
mod tests;
mod turn;
#[cfg(test)]
mod turn_tests;
mod warned;
#[cfg(test)]
mod warned_tests;

pub use book::{Book, Counters};
pub use reservation::{Reservation, Settled};

use crate::budget::tier::{self, Threshold};
use crate::budget::{AccountSpec, Balance, Offer};
use crate::identity::{AgentId, AttemptId, KeyId, UserId};
use crate::money::Nanos;
use std::sync::Arc;

/// What a reservation is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The attempt; every attempt has a reservation of its own.
    pub id: AttemptId,
    /// Whose request it is.
    pub agent: &'a AgentId,
    /// The key it came with.
    pub key: Option<&'a KeyId>,
    /// The person behind the key.
    pub user: Option<&'a UserId>,
    /// Every account the request falls under; the first is the agent's, whose share decides the tier.
    pub accounts: &'a [Arc<AccountSpec>],
    /// Thresholds of the agent's tiers; empty for an agent without tiers.
    pub thresholds: &'a [Threshold],
    /// The tier, where it is decided already: a further attempt stays on the tier of the first.
    pub tier: Option<usize>,
    /// What the request needs, one offer per tier; one offer when there are no tiers, or when the
    /// tier is decided.
    pub offers: &'a [Offer],
    /// The models of each tier, for the record; one list where there is one offer.
    pub models: &'a [Vec<String>],
    /// Now, in Unix milliseconds.
    pub now_millis: u64,
}

impl Ask<'_> {
    /// The output tokens per choice that the offer of a tier wants.
    pub fn wanted(&self, tier: usize) -> u64 {
        let offer = self.offers.get(tier).or(self.offers.last());
        offer.map_or(0, |offer| offer.wanted)
    }
}

/// A hold that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The tier, from 0.
    pub tier: usize,
    /// Output tokens per choice that money is held for.
    pub tokens: u64,
    /// Whether that is less than was wanted.
    pub fitted: bool,
    /// The money held on every account.
    pub held: Nanos,
    /// State of the accounts after the hold, in the order of the ask.
    pub balances: Vec<Balance>,
    /// Start of the window that each account was charged in, in the order of the ask.
    pub windows: Vec<i64>,
}

/// Why no hold was granted. Nothing is held then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The budget of an account is spent, whatever becomes of the requests in flight.
    #[error("account number {account} is exhausted")]
    Exhausted {
        /// Index of the tightest account in the ask.
        account: usize,
        /// The tier that was tried.
        tier: usize,
        /// The account's state.
        balance: Balance,
    },
    /// The budget would do if requests in flight did not hold it.
    #[error("account number {account} is held by requests in flight")]
    InFlight {
        /// Index of the tightest account in the ask.
        account: usize,
        /// The tier that was tried.
        tier: usize,
        /// The account's state.
        balance: Balance,
    },
    /// A candidate of the tier has no price, under a hard limit.
    #[error("model {model} of tier {tier} has no price")]
    Unpriced {
        /// The tier.
        tier: usize,
        /// The model.
        model: String,
    },
    /// The store or its log cannot promise anything now.
    #[error("no budget can be held at present")]
    Unavailable,
}

/// An open hold, as settling needs it.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The attempt.
    pub id: AttemptId,
    /// The accounts it is held on.
    pub accounts: Vec<Arc<AccountSpec>>,
    /// Start of the window of each account that it was admitted in.
    pub windows: Vec<i64>,
    /// The money held on each of them.
    pub held: Nanos,
}

impl Hold {
    /// The hold that a granted ask has become.
    pub fn new(ask: &Ask<'_>, grant: &Grant) -> Self {
        Self {
            id: ask.id,
            accounts: ask.accounts.to_vec(),
            windows: grant.windows.clone(),
            held: grant.held,
        }
    }
}

/// A budget set from outside. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// The limit from now on, until the policy's own number changes.
    pub total: Option<Nanos>,
    /// The spend of the current window.
    pub spent: Option<Nanos>,
}

/// A store of balances. Every method is one atomic step over all accounts it names.
#[async_trait::async_trait]
pub trait Ledger: Send + Sync {
    /// Picks the tier that the share of the first account affords and holds the worst case of its
    /// offer on every account, or on none. Hard accounts are never held beyond their limit; soft
    /// accounts never refuse.
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Grant, Denied>;

    /// Turns a hold into a charge in the windows it was admitted in; a no-op when it has ended. The
    /// accounts' state afterwards, in the order of the hold.
    async fn settle(&self, hold: &Hold, actual: Nanos) -> Vec<Balance>;

    /// Gives a hold back; a no-op when it has ended.
    async fn void(&self, hold: &Hold);

    /// Sets the limit or the spend of an account.
    async fn push(&self, spec: &AccountSpec, change: Push, now_millis: u64) -> Balance;

    /// Forgets the spend of the current window and says what it was.
    async fn reset(&self, spec: &AccountSpec, now_millis: u64) -> Nanos;

    /// The state of an account.
    async fn balance(&self, spec: &AccountSpec, now_millis: u64) -> Balance;

    /// How many holds are open.
    async fn open_holds(&self) -> usize;
}

/// What a reservation comes to, given the accounts' states: the rules every store shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The tier.
    pub tier: usize,
    /// Output tokens per choice to hold for.
    pub tokens: u64,
    /// The money to hold.
    pub held: Nanos,
}

impl Decision {
    /// Decides over `balances`, which are in the order of `ask.accounts`.
    ///
    /// # Errors
    /// [`Denied`] when a hard account cannot carry the offer, or the ask offers nothing.
    pub fn make(ask: &Ask<'_>, balances: &[Balance]) -> Result<Self, Denied> {
        let share = balances.first().copied().unwrap_or_default();
        let tier = ask
            .tier
            .unwrap_or_else(|| tier::select(ask.thresholds, share.remaining(), share.limit));
        let offer = ask
            .offers
            .get(tier)
            .or(ask.offers.last())
            .ok_or(Denied::Unavailable)?;
        let hard = || {
            let all = ask.accounts.iter().zip(balances).enumerate();
            all.filter(|(_, (spec, _))| spec.hard)
                .map(|(at, (_, balance))| (at, balance))
        };
        let settled = |balance: &Balance| balance.limit - balance.posted;
        let Some((spent, by_posted)) = hard().min_by_key(|(_, balance)| settled(balance)) else {
            let held = match offer.unpriced {
                Some(_) => Nanos::ZERO,
                None => offer.hold(offer.wanted),
            };
            let held = crate::budget::account::clamped(held);
            return Ok(Self {
                tier,
                tokens: offer.wanted,
                held,
            });
        };
        if let Some(model) = &offer.unpriced {
            return Err(Denied::Unpriced {
                tier,
                model: model.clone(),
            });
        }
        let exhausted = Denied::Exhausted {
            account: spent,
            tier,
            balance: *by_posted,
        };
        if settled(by_posted) <= Nanos::ZERO {
            return Err(exhausted);
        }
        let wanted = offer.hold(offer.wanted);
        if wanted <= Nanos::ZERO {
            return Ok(Self {
                tier,
                tokens: offer.wanted,
                held: Nanos::ZERO,
            });
        }
        let fit = |available: Nanos| offer.fit(available).filter(|_| available > Nanos::ZERO);
        let tightest = hard().min_by_key(|(_, balance)| balance.remaining());
        let (account, balance) = tightest.unwrap_or((spent, by_posted));
        match fit(balance.remaining()) {
            Some(tokens) => Ok(Self {
                tier,
                tokens,
                held: offer.hold(tokens),
            }),
            None if fit(settled(by_posted)).is_none() => Err(exhausted),
            None => Err(Denied::InFlight {
                account,
                tier,
                balance: *balance,
            }),
        }
    }
}
