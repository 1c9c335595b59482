//! What is left, which tier that affords, and what a request can cost at most.
//!
//! Pure arithmetic over one account at a time. It does not know where balances are kept (that is
//! [`crate::ledger`]) nor what a model costs (that is [`crate::catalog`]).

pub mod account;
pub mod bound;
pub mod period;
pub mod tier;
pub mod warn;

use crate::identity::AccountId;
use crate::money::{Nanos, Picos};
use period::Period;
use tier::Threshold;
use warn::Levels;

/// An account as the policy describes it. Two specs with the same id are the same account; the
/// one that a request carries sets the limit for that request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountSpec {
    /// Which account.
    pub id: AccountId,
    /// The limit of each period.
    pub limit: Nanos,
    /// Spend to begin with, posted once when the account is first seen.
    pub opening: Nanos,
    /// Whether the limit is never exceeded (hard) or only steers tiers (soft).
    pub hard: bool,
    /// When spend starts over.
    pub period: Period,
    /// When somebody is warned.
    pub warn: Levels,
}

/// What a request would need on one tier, so that the ledger can pick the tier and hold the money
/// in one atomic step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Cost of input and fees at the dearest candidate's rates, rounded up.
    pub fixed: Nanos,
    /// Cost of one more token in every requested choice at the dearest output rate.
    pub per_token: Picos,
    /// The output tokens per choice to hold money for: the client's `max_tokens`, else the model's
    /// limit.
    pub wanted: u64,
    /// The fewest output tokens per choice worth dispatching for; equal to `wanted` when the
    /// number must not be fitted.
    pub minimum: u64,
    /// A candidate without a price, if there is one: such a tier is refused under a hard limit, and
    /// holds nothing under a soft one.
    pub unpriced: Option<String>,
}

impl Offer {
    /// The hold for `tokens` output tokens per choice.
    pub fn hold(&self, tokens: u64) -> Nanos {
        self.fixed + Picos(self.per_token.0.saturating_mul(u128::from(tokens))).ceil_nanos()
    }

    /// The most output tokens per choice that `available` affords, at most `wanted`; `None` when
    /// not even `minimum` fits.
    pub fn fit(&self, available: Nanos) -> Option<u64> {
        if self.hold(self.wanted) <= available {
            return Some(self.wanted);
        }
        let room = u128::from((available - self.fixed).at_least_zero().0.unsigned_abs()) * 1000;
        let tokens = room.checked_div(self.per_token.0)?;
        let tokens = u64::try_from(tokens).ok()?.min(self.wanted);
        (tokens >= self.minimum && self.hold(tokens) <= available).then_some(tokens)
    }
}

/// One account's state at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The limit in force (a pushed one wins over the policy's).
    pub limit: Nanos,
    /// Settled in the current period.
    pub posted: Nanos,
    /// Held by requests in flight.
    pub pending: Nanos,
    /// When the current period began, in Unix seconds; 0 for an account without periods.
    pub period_start: i64,
    /// When the current period ends, in Unix seconds; `None` for an account without periods.
    pub period_end: Option<i64>,
    /// Whether a pushed budget is in force instead of the policy's.
    pub pushed: bool,
}

impl Balance {
    /// What is left once everything in flight has cost its hold. Negative after a soft limit was
    /// passed.
    pub fn remaining(&self) -> Nanos {
        self.limit - self.posted - self.pending
    }
}

/// Thresholds of an agent's tiers, in file order; empty for an agent without tiers.
pub type Thresholds = [Threshold];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fitted_number_is_affordable_and_the_next_one_is_not(
            fixed in 0_i64..1_000_000_000,
            per_token in 1_u128..100_000_000,
            wanted in 1_u64..200_000,
            available in 0_i64..2_000_000_000,
        ) {
            let offer = Offer {
                fixed: Nanos(fixed),
                per_token: Picos(per_token),
                wanted,
                minimum: 1,
                unpriced: None,
            };
            match offer.fit(Nanos(available)) {
                Some(tokens) => {
                    prop_assert!(offer.hold(tokens) <= Nanos(available));
                    prop_assert!(tokens == wanted || offer.hold(tokens + 1) > Nanos(available));
                }
                None => prop_assert!(offer.hold(1) > Nanos(available)),
            }
        }
    }

    #[test]
    fn a_free_model_fits_whatever_was_asked_for() {
        let offer = Offer {
            fixed: Nanos::ZERO,
            per_token: Picos(0),
            wanted: 9,
            minimum: 1,
            unpriced: None,
        };
        assert_eq!(offer.fit(Nanos::ZERO), Some(9));
    }
}
