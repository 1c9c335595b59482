//! Who tells of warning levels.
//!
//! Decides that a gateway by itself tells at the very settlement that passes a level, and that of several
//! gateways with one Redis one tells, within a second or two: each looks at the balances of all together
//! as it last heard of them, and whoever sees a level first takes it on in Redis. While Redis is away
//! each tells by itself what it knows: the last it heard and what it charged since.

use super::Gateway;
use crate::budget::tier::Threshold;
use crate::budget::warn::Passed;
use crate::budget::{AccountSpec, Balance};
use crate::fleet::{Fleet, Once};
use crate::identity::AccountId;
use crate::money::Nanos;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the balances of all gateways are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often the others are told what was settled today.
const TELL: Duration = Duration::from_secs(2);

/// How soon it is seen that nothing is in flight any more.
const HURRY: Duration = Duration::from_millis(50);

/// Tells of warning levels, and other gateways of the day's spending, until the process has left.
pub async fn run(gateway: &Arc<Gateway>, mut leaving: watch::Receiver<bool>) {
    let Some(fleet) = gateway.fleet.clone() else {
        let told = Arc::downgrade(gateway);
        gateway.book.on_warning(move |passed| {
            if let Some(gateway) = told.upgrade() {
                gateway.warned(passed);
            }
        });
        return;
    };
    let mut watched = Watched::new(fleet);
    let (mut told, mut due) = (Default::default(), Instant::now());
    loop {
        let left = *leaving.borrow() && gateway.in_flight.load(Ordering::Acquire) == 0;
        watched.round(gateway).await;
        if left || Instant::now() >= due {
            gateway.tell_day(&mut told).await;
            due = Instant::now() + TELL;
        }
        if left {
            return;
        }
        let pause = if *leaving.borrow() { HURRY } else { LOOK };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            told = leaving.changed(), if !*leaving.borrow() => {
                if told.is_err() {
                    return;
                }
            }
        }
    }
}

/// What is known of accounts that gateways share.
struct Watched {
    fleet: Arc<Fleet>,
    accounts: HashMap<AccountId, Known>,
}

/// What is known of one of them.
#[derive(Clone, Debug)]
struct Known {
    once: (String, i64),
    /// Changes with every push and reset.
    version: String,
    limit: Nanos,
    /// The highest level that somebody has told; zero for none.
    told: Threshold,
    /// Whether that was told while Redis was away, and it does not know yet.
    owed: bool,
    /// What all had posted when Redis was last there, and this gateway alone.
    heard: (Nanos, Nanos),
}

/// What a look at an account comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    /// Levels to take on, the last of which is told by whoever does so first.
    claim: Vec<Threshold>,
    /// Whether they were told already, without Redis.
    silent: bool,
    /// Levels to be told again.
    arm: Vec<Threshold>,
}

impl Known {
    fn new(once: (String, i64), limit: Nanos) -> Self {
        Self {
            once,
            version: String::new(),
            limit,
            told: Threshold(0),
            owed: false,
            heard: (Nanos::ZERO, Nanos::ZERO),
        }
    }

    /// What is posted, all gateways together, as far as that can be known.
    fn posted(&mut self, up: bool, all: Nanos, own: Nanos) -> Nanos {
        if up {
            self.heard = (all, own);
            return all;
        }
        let since = (own - self.heard.1).at_least_zero();
        all.max(self.heard.0 + since)
    }

    /// Decides about a balance.
    fn step(&mut self, spec: &AccountSpec, balance: &Balance, version: String) -> Step {
        let level = spec.warn.passed(balance.posted, balance.limit);
        let all = || spec.warn.all().iter().copied();
        let mut step = Step::default();
        if balance.limit != self.limit && level < self.told {
            step.arm = all().filter(|other| *other > level).collect();
        }
        // After a push or a reset Redis knows which levels are armed again.
        let told = if version == self.version {
            self.told
        } else {
            Threshold(0)
        };
        let news = level > told;
        if news || (self.owed && level > Threshold(0)) {
            step.silent = !news;
            step.claim = all().filter(|other| *other <= level).collect();
        }
        (self.version, self.limit, self.told) = (version, balance.limit, level);
        step
    }
}

impl Watched {
    fn new(fleet: Arc<Fleet>) -> Self {
        Self {
            fleet,
            accounts: HashMap::new(),
        }
    }

    /// Looks at every account of the policy.
    async fn round(&mut self, gateway: &Gateway) {
        let up = self.fleet.figures().up;
        let live = gateway.live();
        for spec in live.policy.accounts() {
            if !spec.warn.is_empty() {
                self.look(gateway, &spec, up).await;
            }
        }
    }

    async fn look(&mut self, gateway: &Gateway, spec: &Arc<AccountSpec>, up: bool) {
        let mut balance = gateway.book.glance(spec);
        let own = gateway.book.own(spec);
        let window = (spec.period.tag(), balance.period_start);
        let known = self
            .accounts
            .entry(spec.id.clone())
            .or_insert_with(|| Known::new(window.clone(), balance.limit));
        if known.once != window {
            *known = Known::new(window.clone(), balance.limit);
        }
        let own = if own.period_start == balance.period_start {
            own.posted
        } else {
            Nanos::ZERO
        };
        balance.posted = known.posted(up, balance.posted, own);
        let version = self.fleet.version(spec);
        let step = known.step(spec, &balance, version);
        if step == Step::default() || (step.silent && !up) {
            return;
        }
        let once = Once::new(spec, &balance, jiff::Timestamp::now().as_second());
        // Without Redis there is nothing to arm, and it is looked at again.
        let _ = self.fleet.arm(&once, &step.arm).await;
        let Some(level) = step.claim.last() else {
            return;
        };
        let claimed = self.fleet.claim(&once, &step.claim).await;
        known.owed = claimed.is_err();
        if !step.silent && claimed.unwrap_or(true) {
            gateway.warned(&Passed {
                account: spec.id.clone(),
                level: *level,
                total: balance.posted,
                limit: balance.limit,
                window: balance.period_start,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::warn::Levels;
    use crate::ledger::contract::account;

    fn percent(percent: u32) -> Threshold {
        Threshold(percent * 10_000_000)
    }

    fn spec() -> AccountSpec {
        AccountSpec {
            warn: Levels::of([percent(50), percent(80)]),
            ..account("agent:a", 100)
        }
    }

    fn known() -> Known {
        Known::new(("none".into(), 0), Nanos(100))
    }

    fn step(known: &mut Known, limit: i64, posted: i64, version: &str) -> Step {
        let balance = Balance {
            limit: Nanos(limit),
            posted: Nanos(posted),
            ..Balance::default()
        };
        known.step(&spec(), &balance, version.into())
    }

    fn claim(levels: &[Threshold]) -> Step {
        Step {
            claim: levels.to_vec(),
            ..Step::default()
        }
    }

    #[test]
    fn a_level_is_taken_on_once_and_asked_about_again_after_a_push_or_a_reset() {
        let mut known = known();
        let none = Step::default();
        assert_eq!(step(&mut known, 100, 49, ""), none);
        assert_eq!(step(&mut known, 100, 50, ""), claim(&[percent(50)]));
        assert_eq!(step(&mut known, 100, 60, ""), none);
        let both = claim(&[percent(50), percent(80)]);
        assert_eq!(step(&mut known, 100, 85, ""), both);
        assert_eq!(step(&mut known, 100, 0, "1"), none, "a reset");
        assert_eq!(step(&mut known, 100, 55, "1"), claim(&[percent(50)]));
        let again = step(&mut known, 100, 56, "2");
        assert_eq!(
            again,
            claim(&[percent(50)]),
            "Redis says whether that is news"
        );
    }

    #[test]
    fn a_higher_limit_arms_what_is_not_passed_any_more() {
        let mut known = known();
        step(&mut known, 100, 85, "");
        let raised = step(&mut known, 150, 85, "");
        assert_eq!(raised.arm, [percent(80)]);
        assert!(raised.claim.is_empty());
        let both = claim(&[percent(50), percent(80)]);
        assert_eq!(step(&mut known, 150, 120, ""), both);
    }

    #[test]
    fn what_was_told_without_redis_is_taken_on_silently_later() {
        let mut known = known();
        assert!(!step(&mut known, 100, 50, "").silent);
        known.owed = true;
        let later = step(&mut known, 100, 55, "");
        assert!(later.silent && later.claim == [percent(50)]);
        known.owed = false;
        assert_eq!(step(&mut known, 100, 55, ""), Step::default());
    }

    #[test]
    fn without_redis_own_charges_are_added_to_what_was_last_heard() {
        let mut known = known();
        assert_eq!(known.posted(true, Nanos(60), Nanos(20)), Nanos(60));
        assert_eq!(known.posted(false, Nanos(60), Nanos(45)), Nanos(85));
        assert_eq!(
            known.posted(false, Nanos(60), Nanos(0)),
            Nanos(60),
            "reset here"
        );
        assert_eq!(known.posted(true, Nanos(90), Nanos(50)), Nanos(90));
    }
}
