//! The Model Gateway's four families, under its names.
//!
//! Decides their semantics, which hold for every surface and for streams: a request counts once it has
//! ended, with the status `success` or `error`; a client that left had no error; a budget counts as
//! exceeded for each request that is refused because of it.

use super::{SECONDS, counters, histograms};
use prometheus::{Counter, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use std::time::Duration;

/// The families.
pub(super) struct Titan {
    requests: IntCounterVec,
    latency: HistogramVec,
    cost: Counter,
    exceeded: IntCounter,
}

/// The series of one model.
pub(super) struct TitanModel {
    success: IntCounter,
    error: IntCounter,
    latency: Histogram,
}

impl Titan {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let cost = Counter::new("titan_cost_usd_total", "Total cost in USD.")?;
        registry.register(Box::new(cost.clone()))?;
        let exceeded = IntCounter::new(
            "titan_budget_exceeded_total",
            "Requests refused because a budget is used up.",
        )?;
        registry.register(Box::new(exceeded.clone()))?;
        Ok(Self {
            requests: counters(
                registry,
                "titan_model_requests_total",
                "Total requests per model, by status: success, error.",
                &["model", "status"],
            )?,
            latency: histograms(
                registry,
                "titan_model_latency_seconds",
                "Request latency per model.",
                &["model"],
                SECONDS,
            )?,
            cost,
            exceeded,
        })
    }

    pub(super) fn model(&self, name: &str) -> TitanModel {
        TitanModel {
            success: self.requests.with_label_values(&[name, "success"]),
            error: self.requests.with_label_values(&[name, "error"]),
            latency: self.latency.with_label_values(&[name]),
        }
    }

    /// So many dollars were settled.
    pub(super) fn settled(&self, dollars: f64) {
        self.cost.inc_by(dollars);
    }

    pub(super) fn refused(&self, code: &'static str) {
        if matches!(code, "budget_exhausted") {
            self.exceeded.inc();
        }
    }
}

impl TitanModel {
    pub(super) fn ended(&self, success: bool, after: Duration) {
        let status = if success { &self.success } else { &self.error };
        status.inc();
        self.latency.observe(after.as_secs_f64());
    }
}
