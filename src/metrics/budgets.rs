//! What is measured of budgets: warnings, refusals and how much is used.
//!
//! Decides that accounts are told apart by their kind only; how much is used is said of agents that the
//! policy knows.

use crate::budget::Balance;
use crate::identity::AccountId;
use crate::money::Nanos;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

/// The kinds of accounts, as their ids begin.
const KINDS: [&str; 4] = ["agent", "user", "team", "gateway"];

/// Metrics of budgets.
pub(super) struct Budgets {
    warnings: IntCounterVec,
    exceeded: IntCounterVec,
    used: GaugeVec,
}

impl Budgets {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str| {
            let metric = IntCounterVec::new(Opts::new(name, help), &["kind"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let used = GaugeVec::new(
            Opts::new(
                "weir_budget_used_ratio",
                "What is posted of an agent's budget in its present period; 1 is the limit.",
            ),
            &["agent"],
        )?;
        registry.register(Box::new(used.clone()))?;
        Ok(Self {
            warnings: counters(
                "weir_budget_warnings_total",
                "Warning levels that accounts have passed, by kind of account.",
            )?,
            exceeded: counters(
                "weir_budget_exceeded_total",
                "Requests refused because a budget is used up, by kind of account.",
            )?,
            used,
        })
    }

    pub(super) fn warned(&self, account: &AccountId) {
        self.warnings.with_label_values(&[kind(account)]).inc();
    }

    pub(super) fn exceeded(&self, account: &AccountId) {
        self.exceeded.with_label_values(&[kind(account)]).inc();
    }

    pub(super) fn used<'a>(&self, agents: impl Iterator<Item = (&'a str, Balance)>) {
        // Those that are gone from the policy are gone from here.
        self.used.reset();
        for (agent, balance) in agents {
            self.used.with_label_values(&[agent]).set(ratio(&balance));
        }
    }
}

fn kind(account: &AccountId) -> &'static str {
    let id = account.as_str();
    let word = id.split(':').next().unwrap_or_default();
    let known = KINDS.into_iter().find(|kind| *kind == word);
    known.unwrap_or("other")
}

/// A limit of nothing is used up whatever is posted.
fn ratio(balance: &Balance) -> f64 {
    if balance.limit <= Nanos::ZERO {
        return 1.0;
    }
    balance.posted.as_usd_f64() / balance.limit.as_usd_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Levels, Metrics};

    #[test]
    fn accounts_are_counted_by_kind_and_agents_by_what_they_used() {
        let metrics = Metrics::new().unwrap();
        metrics.warned(&AccountId::new("agent:a").unwrap());
        metrics.warned(&AccountId::new("agent:b").unwrap());
        metrics.exceeded(&AccountId::gateway());
        let balance = |posted| Balance {
            limit: Nanos(200),
            posted: Nanos(posted),
            ..Balance::default()
        };
        metrics.used([("a", balance(50)), ("gone", balance(1))].into_iter());
        metrics.used([("a", balance(300)), ("b", Balance::default())].into_iter());
        let text = metrics.expose(Levels::default());
        for line in [
            r#"weir_budget_warnings_total{kind="agent"} 2"#,
            r#"weir_budget_exceeded_total{kind="gateway"} 1"#,
            r#"weir_budget_used_ratio{agent="a"} 1.5"#,
            r#"weir_budget_used_ratio{agent="b"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}
