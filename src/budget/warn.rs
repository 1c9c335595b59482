//! Warning levels: shares of a limit that somebody wants to hear of when they are passed.
//!
//! Decides which level a spend has passed and at which amount the next one is. A spend of exactly that
//! amount has passed it. When a level is told, and that it is told once, is decided in
//! [`super::account`].

use super::tier::{Threshold, WHOLE};
use crate::identity::AccountId;
use crate::money::Nanos;
use std::sync::Arc;

/// The level where nothing else is said: four fifths.
const USUAL: Threshold = Threshold(800_000_000);

/// The levels of an account, from the lowest to the highest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels(Arc<[Threshold]>);

/// A level that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whose.
    pub account: AccountId,
    /// The highest level that was passed.
    pub level: Threshold,
    /// What is posted.
    pub total: Nanos,
    /// The limit in force.
    pub limit: Nanos,
    /// Start of the window in Unix seconds; 0 without periods.
    pub window: i64,
}

impl Default for Levels {
    fn default() -> Self {
        Self::of([USUAL])
    }
}

impl Levels {
    /// These levels; none of them is zero.
    pub fn of(levels: impl IntoIterator<Item = Threshold>) -> Self {
        let mut levels: Vec<_> = levels.into_iter().filter(|level| level.0 > 0).collect();
        levels.sort_unstable();
        levels.dedup();
        Self(levels.into())
    }

    /// The same and the limit itself, for limits that nobody is held to.
    #[must_use]
    pub fn and_the_limit(self) -> Self {
        if self.0.is_empty() {
            return self;
        }
        Self::of(self.0.iter().copied().chain([Threshold(WHOLE)]))
    }

    /// Whether nobody wants to hear of anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, from the lowest to the highest.
    pub fn all(&self) -> &[Threshold] {
        &self.0
    }

    /// The highest level that a spend has passed; zero for none, and for a limit of nothing.
    pub fn passed(&self, posted: Nanos, limit: Nanos) -> Threshold {
        let reached = |level: &&Threshold| limit > Nanos::ZERO && posted >= amount(limit, **level);
        let highest = self.0.iter().rev().find(reached);
        highest.copied().unwrap_or(Threshold(0))
    }

    /// The spend that passes the next level above `told`; more than there can be when there is none.
    pub fn next(&self, limit: Nanos, told: Threshold) -> Nanos {
        let next = self.0.iter().find(|level| **level > told);
        match next.filter(|_| limit > Nanos::ZERO) {
            Some(level) => amount(limit, *level),
            None => Nanos(i64::MAX),
        }
    }
}

/// The least spend that is so much of the limit.
fn amount(limit: Nanos, level: Threshold) -> Nanos {
    let product = i128::from(limit.0) * i128::from(level.0);
    let whole = i128::from(WHOLE);
    let up = i128::from(product % whole > 0);
    Nanos(i64::try_from(product / whole + up).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(shares: &[u32]) -> Levels {
        Levels::of(shares.iter().map(|percent| Threshold(percent * 10_000_000)))
    }

    #[test]
    fn a_level_is_passed_at_its_amount() {
        let levels = levels(&[95, 50, 80, 50, 0]);
        assert_eq!(levels.all().len(), 3);
        let at = |posted| levels.passed(Nanos(posted), Nanos(1000)).0 / 10_000_000;
        let seen = [0, 499, 500, 799, 800, 949, 950, 5000].map(at);
        assert_eq!(seen, [0, 0, 50, 50, 80, 80, 95, 95]);
        assert_eq!(levels.next(Nanos(1000), Threshold(0)), Nanos(500));
        assert_eq!(
            levels.next(Nanos(1001), Threshold(500_000_000)),
            Nanos(801),
            "rounded up"
        );
        assert_eq!(
            levels.next(Nanos(1000), Threshold(950_000_000)),
            Nanos(i64::MAX)
        );
    }

    #[test]
    fn a_limit_of_nothing_has_no_levels_and_a_soft_one_has_the_limit_itself() {
        let usual = Levels::default();
        assert_eq!(usual.passed(Nanos(5), Nanos::ZERO), Threshold(0));
        assert_eq!(usual.next(Nanos::ZERO, Threshold(0)), Nanos(i64::MAX));
        let soft = usual.and_the_limit();
        assert_eq!(soft.all(), [USUAL, Threshold(WHOLE)]);
        assert!(Levels::of([]).and_the_limit().is_empty());
    }

    proptest! {
        #[test]
        fn the_next_level_is_passed_at_its_amount_and_not_before(
            limit in 1_i64..9_000_000_000_000_000,
            share in 1_u32..=WHOLE,
        ) {
            let levels = Levels::of([Threshold(share)]);
            let due = levels.next(Nanos(limit), Threshold(0));
            prop_assert_eq!(levels.passed(due, Nanos(limit)), Threshold(share));
            prop_assert_eq!(levels.passed(Nanos(due.0 - 1), Nanos(limit)), Threshold(0));
        }
    }
}
