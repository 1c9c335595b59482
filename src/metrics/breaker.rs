//! What is measured of the cost breaker.
//!
//! Decides that levels and actions are closed sets, and that agents are not told apart: the log and the events say
//! which one it was.

use crate::breaker::{Action, Level, Standing};
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of the breaker.
pub(super) struct Breaker {
    level: IntGauge,
    window: Gauge,
    thresholds: GaugeVec,
    changes: IntCounterVec,
    requests: IntCounterVec,
    found: IntCounterVec,
    sent: IntCounterVec,
}

impl Breaker {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let level = IntGauge::new(
            "weir_breaker_level",
            "Level of the cost breaker: 0 OK, 1 WARNING, 2 SOFT, 3 HARD, 4 EMERGENCY.",
        )?;
        registry.register(Box::new(level.clone()))?;
        let window = Gauge::new(
            "weir_breaker_window_usd",
            "Spend in the window of the cost breaker, in US dollars.",
        )?;
        registry.register(Box::new(window.clone()))?;
        let thresholds = GaugeVec::new(
            Opts::new(
                "weir_breaker_threshold_usd",
                "Where a level of the cost breaker begins, in US dollars.",
            ),
            &["level"],
        )?;
        registry.register(Box::new(thresholds.clone()))?;
        Ok(Self {
            level,
            window,
            thresholds,
            changes: counters(
                "weir_breaker_changes_total",
                "Changes of level that this process has told, by the level it came to.",
                &["level"],
            )?,
            requests: counters(
                "weir_breaker_requests_total",
                "Requests that a level acted on, or would have: downgraded, refused, would_downgrade, would_refuse.",
                &["action"],
            )?,
            found: counters(
                "weir_breaker_found_total",
                "Spikes of spending and repeated requests of agents, by rule and action.",
                &["rule", "action"],
            )?,
            sent: counters(
                "weir_breaker_webhook_total",
                "Messages to the breaker's webhook: ok, failed, dropped.",
                &["result"],
            )?,
        })
    }

    pub(super) fn stands(&self, standing: &Standing) {
        self.level.set(i64::from(standing.level.number()));
        self.window.set(standing.total.as_usd_f64());
        for (level, from) in standing.thresholds.all() {
            let threshold = self.thresholds.with_label_values(&[level.name()]);
            threshold.set(from.as_usd_f64());
        }
    }

    pub(super) fn changed(&self, level: Level) {
        self.changes.with_label_values(&[level.name()]).inc();
    }

    pub(super) fn acted(&self, action: &'static str) {
        self.requests.with_label_values(&[action]).inc();
    }

    pub(super) fn found(&self, rule: &'static str, action: Action) {
        self.found.with_label_values(&[rule, action.name()]).inc();
    }

    pub(super) fn sent(&self, result: &'static str) {
        self.sent.with_label_values(&[result]).inc();
    }
}
