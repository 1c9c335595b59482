//! Which warning level of an account is told.
//!
//! Decides that a level is told once in a window, and again when the spend was below it meanwhile: after
//! a reset, a push, or because the limit is a higher one. Of several levels that are passed at once the
//! highest is told. What is restored from records counts as told.

use super::Account;
use crate::budget::AccountSpec;
use crate::budget::tier::Threshold;
use crate::budget::warn::Passed;
use crate::money::Nanos;
use std::sync::Arc;

/// What is told of an account.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Where the levels come from, once that is known.
    spec: Option<Arc<AccountSpec>>,
    /// The highest level that is told; zero for none.
    told: Threshold,
    /// The spend that passes the next one.
    due: Nanos,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            spec: None,
            told: Threshold(0),
            due: Nanos(i64::MAX),
        }
    }
}

impl Account {
    /// Takes the levels of `spec`. The first time, what is passed by now counts as told unless
    /// `told` is false.
    pub fn watch(&mut self, spec: &Arc<AccountSpec>, told: bool) {
        let first = self.watch.spec.replace(Arc::clone(spec)).is_none();
        if first && told {
            self.look();
            return;
        }
        let limit = self.standing(spec).limit;
        self.watch.due = spec.warn.next(limit, self.watch.told);
    }

    /// Whether the spend has come to the next level: all that a settlement asks.
    pub fn is_due(&self) -> bool {
        self.posted >= self.watch.due
    }

    /// Looks which level is passed now, and gives it if it is to be told.
    pub fn look(&mut self) -> Option<Passed> {
        let spec = Arc::clone(self.watch.spec.as_ref()?);
        let balance = self.standing(&spec);
        let level = spec.warn.passed(balance.posted, balance.limit);
        self.watch.due = spec.warn.next(balance.limit, level);
        let told = std::mem::replace(&mut self.watch.told, level);
        (level > told).then(|| Passed {
            account: spec.id.clone(),
            level,
            total: balance.posted,
            limit: balance.limit,
            window: self.window.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::account::Pushed;
    use crate::budget::period::{Period, PeriodKind};
    use crate::budget::warn::Levels;
    use crate::identity::{AccountId, AttemptId, RequestId};
    use jiff::tz::TimeZone;

    fn spec(limit: i64, opening: i64, percents: &[u32]) -> Arc<AccountSpec> {
        let levels = percents
            .iter()
            .map(|percent| Threshold(percent * 10_000_000));
        Arc::new(AccountSpec {
            id: AccountId::gateway(),
            limit: Nanos(limit),
            opening: Nanos(opening),
            hard: true,
            period: Period {
                kind: PeriodKind::Daily,
                zone: TimeZone::UTC,
            },
            warn: Levels::of(levels),
        })
    }

    /// Charges an amount, and gives the level that is told, in per cent.
    fn charge(account: &mut Account, amount: i64) -> Option<u32> {
        let id = AttemptId {
            request: RequestId::new(1_000_000),
            number: 1,
        };
        account.hold(id, Nanos(amount));
        account.settle(id, Nanos(amount));
        let due = account.is_due();
        let passed = account.look();
        assert_eq!(due, passed.is_some(), "the compare says the same");
        passed.map(|passed| passed.level.0 / 10_000_000)
    }

    fn told(account: &mut Account) -> Option<u32> {
        account.look().map(|passed| passed.level.0 / 10_000_000)
    }

    fn open(spec: &Arc<AccountSpec>) -> Account {
        let mut account = Account::new();
        account.adopt(spec, 0);
        account
    }

    #[test]
    fn every_level_is_told_once_and_of_several_the_highest() {
        let mut account = open(&spec(100, 0, &[50, 80, 95]));
        let told = [49, 1, 10, 39, 1, 50].map(|amount| charge(&mut account, amount));
        assert_eq!(told, [None, Some(50), None, Some(95), None, None]);
    }

    #[test]
    fn a_new_window_a_reset_and_a_push_below_it_arm_a_level_again() {
        let spec = spec(100, 0, &[50, 80]);
        let mut account = open(&spec);
        assert_eq!(charge(&mut account, 85), Some(80));
        account.roll(&spec, 86_400);
        assert_eq!(charge(&mut account, 55), Some(50), "the next day");
        account.reset();
        assert_eq!(told(&mut account), None);
        assert_eq!(charge(&mut account, 60), Some(50), "after a reset");
        account.push(None, Some(Nanos(90)));
        assert_eq!(told(&mut account), Some(80), "a push passes levels, too");
        account.push(None, Some(Nanos(55)));
        assert_eq!(told(&mut account), None);
        assert_eq!(
            charge(&mut account, 30),
            Some(80),
            "and only that one again"
        );
    }

    #[test]
    fn a_raised_limit_arms_and_a_lowered_one_tells() {
        let mut account = open(&spec(100, 0, &[80]));
        assert_eq!(charge(&mut account, 85), Some(80));
        account.adopt(&spec(200, 0, &[80]), 0);
        assert_eq!(told(&mut account), None);
        assert_eq!(charge(&mut account, 80), Some(80));
        account.adopt(&spec(1000, 0, &[80]), 0);
        assert_eq!(told(&mut account), None);
        account.adopt(&spec(100, 0, &[80]), 0);
        assert_eq!(told(&mut account), Some(80));
        account.push(
            Some(Pushed {
                total: Nanos(1000),
                policy: Nanos(100),
                at: 1,
            }),
            None,
        );
        assert_eq!(told(&mut account), None);
        account.end_push();
        assert_eq!(told(&mut account), Some(80));
    }

    #[test]
    fn what_is_restored_is_told_and_opening_spend_is_news() {
        let spec = spec(100, 90, &[80]);
        let mut account = open(&spec);
        assert_eq!(told(&mut account), Some(80), "90 were spent to begin with");
        let mut restored = Account::restored(account.kept());
        assert!(!restored.is_due(), "nothing is known of levels");
        restored.watch(&spec, true);
        restored.adopt(&spec, 0);
        assert_eq!(told(&mut restored), None);
        assert_eq!(charge(&mut restored, 30), None);
    }
}
