//! Metrics of the insights.

use crate::insight::Levels;
use prometheus::{IntCounter, IntGauge, Registry};

/// What is known of the insights; there is nothing of it where they are not kept.
pub(super) struct Insights {
    up: IntGauge,
    backlog: IntGauge,
    written: IntCounter,
    left_out: IntCounter,
    lost_texts: IntCounter,
}

impl Insights {
    pub(super) fn new(registry: &Registry) -> Option<Self> {
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).ok()?;
            registry.register(Box::new(metric.clone())).ok()?;
            Some(metric)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).ok()?;
            registry.register(Box::new(metric.clone())).ok()?;
            Some(metric)
        };
        Some(Self {
            up: gauge(
                "weir_insights_up",
                "1 while the store of insights takes what it is given.",
            )?,
            backlog: gauge(
                "weir_insights_backlog_records",
                "Ends of attempts in the spend log that the store of insights does not have yet.",
            )?,
            written: counter(
                "weir_insights_written_total",
                "Rows of insights written since the start.",
            )?,
            left_out: counter(
                "weir_insights_left_out_total",
                "Records of no row since the start: of somebody who was forgotten, or past keeping.",
            )?,
            lost_texts: counter(
                "weir_insights_lost_texts_total",
                "Prompts and answers lost since the start, because there was no room or no row.",
            )?,
        })
    }

    pub(super) fn set(&self, levels: Levels) {
        let raise = |metric: &IntCounter, to: u64| {
            metric.inc_by(to.saturating_sub(metric.get()));
        };
        self.up.set(i64::from(levels.up));
        let backlog = i64::try_from(levels.backlog).unwrap_or(i64::MAX);
        self.backlog.set(backlog);
        raise(&self.written, levels.written);
        raise(&self.left_out, levels.left_out);
        raise(&self.lost_texts, levels.lost_texts);
    }
}
