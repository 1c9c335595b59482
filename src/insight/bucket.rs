//! Sums of an hour and a model, on their way to and from the tables of sums.
//!
//! Rows that come add to their hour, rows that are forgotten take away from it, in the transaction that
//! does the one or the other; days are made of their hours. So sums are those of the rows at every
//! moment, without any row being read again. Percentiles are no sums: see `percentile`.

use super::record::{Record, SUCCESS, day_of};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What changes in the tables of sums.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<(String, i64), Sums>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Sums {
    request_count: i64,
    success_count: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    nano_usd: i64,
    latency_count: i64,
    latency_sum_ms: i64,
}

/// What one row comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) success: bool,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    pub(super) nano_usd: i64,
    pub(super) latency_ms: Option<i64>,
}

#[derive(Serialize)]
struct Hour<'a> {
    model: &'a str,
    hour_ms: i64,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Day<'a> {
    model: &'a str,
    day_ms: i64,
}

impl Buckets {
    /// A row that has come.
    pub(super) fn add(&mut self, record: &Record) {
        let share = Share {
            success: record.status == SUCCESS,
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            nano_usd: record.nano_usd,
            latency_ms: record.latency_ms,
        };
        self.change(&record.model, record.hour_ms(), share, 1);
    }

    /// A row that has gone.
    pub(super) fn remove(&mut self, model: &str, hour_ms: i64, share: Share) {
        self.change(model, hour_ms, share, -1);
    }

    fn change(&mut self, model: &str, hour_ms: i64, share: Share, sign: i64) {
        let sums = self.0.entry((model.to_owned(), hour_ms)).or_default();
        let latency = share.latency_ms;
        for (sum, part) in [
            (&mut sums.request_count, 1),
            (&mut sums.success_count, i64::from(share.success)),
            (&mut sums.prompt_tokens, share.prompt_tokens),
            (&mut sums.completion_tokens, share.completion_tokens),
            (&mut sums.nano_usd, share.nano_usd),
            (&mut sums.latency_count, i64::from(latency.is_some())),
            (&mut sums.latency_sum_ms, latency.unwrap_or(0)),
        ] {
            *sum = sum.saturating_add(part * sign);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be added to each hour, as JSON.
    pub(super) fn hours(&self) -> String {
        let hours = self.0.iter().map(|((model, hour_ms), sums)| Hour {
            model,
            hour_ms: *hour_ms,
            sums: *sums,
        });
        json(&hours.collect::<Vec<_>>())
    }

    /// The days that these hours are of, as JSON.
    pub(super) fn days(&self) -> String {
        let days = self.0.keys().map(|(model, hour_ms)| Day {
            model,
            day_ms: day_of(*hour_ms),
        });
        json(&days.collect::<BTreeSet<_>>())
    }
}

/// Plain structs with text keys serialise without fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_again_leaves_nothing_behind() {
        let share = |nano_usd| Share {
            success: true,
            prompt_tokens: 3,
            completion_tokens: 4,
            nano_usd,
            latency_ms: (nano_usd > 1).then_some(8),
        };
        let mut buckets = Buckets::default();
        assert!(buckets.is_empty());
        for cost in [1, 2] {
            buckets.change("m", 3_600_000, share(cost), 1);
        }
        buckets.change("m", 90_000_000, share(9), 1);
        let hours = buckets.hours();
        assert!(
            hours.contains(
                r#"{"model":"m","hour_ms":3600000,"request_count":2,"success_count":2,"prompt_tokens":6,"completion_tokens":8,"nano_usd":3,"latency_count":1,"latency_sum_ms":8}"#
            ),
            "{hours}"
        );
        assert_eq!(
            buckets.days(),
            r#"[{"model":"m","day_ms":0},{"model":"m","day_ms":86400000}]"#
        );
        for cost in [1, 2] {
            buckets.remove("m", 3_600_000, share(cost));
        }
        assert_eq!(buckets.0[&("m".to_owned(), 3_600_000)], Sums::default());
    }
}
