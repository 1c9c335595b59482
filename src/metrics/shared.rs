//! Metrics of the store that gateways share.

use crate::fleet::Figures;
use prometheus::{Gauge, IntGauge, Registry};

/// What is known of the store that gateways share; there is nothing of it where there is none.
pub(super) struct Shared {
    up: IntGauge,
    backlog: IntGauge,
    lost: IntGauge,
    recoveries: IntGauge,
    leases: IntGauge,
    leased: Gauge,
    lease_grants: IntGauge,
    hints: IntGauge,
}

impl Shared {
    pub(super) fn new(registry: &Registry) -> Option<Self> {
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).ok()?;
            registry.register(Box::new(metric.clone())).ok()?;
            Some(metric)
        };
        Some(Self {
            up: gauge(
                "weir_redis_up",
                "1 while budgets can be held in Redis; hard budgets are refused otherwise.",
            )?,
            backlog: gauge(
                "weir_redis_backlog",
                "Holds that have ended and that Redis has not heard of yet.",
            )?,
            lost: gauge(
                "weir_redis_breaks",
                "How often Redis could not be asked any more since the start.",
            )?,
            recoveries: gauge(
                "weir_redis_recoveries",
                "How often this gateway began to put a lost state together again.",
            )?,
            leases: gauge(
                "weir_redis_leases",
                "Leases from which requests may be granted while Redis is away.",
            )?,
            leased: {
                let metric =
                    Gauge::new("weir_redis_leased_usd", "What is left of them, in dollars.");
                let metric = metric.ok()?;
                registry.register(Box::new(metric.clone())).ok()?;
                metric
            },
            lease_grants: gauge(
                "weir_redis_lease_grants",
                "Requests that were granted from leases since the start.",
            )?,
            hints: gauge(
                "weir_redis_hints",
                "Endpoints of providers that other gateways have ejected, which come last here.",
            )?,
        })
    }

    pub(super) fn set(&self, figures: Figures) {
        let total = |total: u64| i64::try_from(total).unwrap_or(i64::MAX);
        self.up.set(i64::from(figures.up));
        self.backlog
            .set(i64::try_from(figures.backlog).unwrap_or(i64::MAX));
        self.lost.set(total(figures.lost));
        self.recoveries.set(total(figures.recoveries));
        let leases = i64::try_from(figures.leases);
        self.leases.set(leases.unwrap_or(i64::MAX));
        self.leased.set(figures.leased.as_usd_f64());
        let hints = i64::try_from(figures.hints);
        self.hints.set(hints.unwrap_or(i64::MAX));
        self.lease_grants.set(total(figures.lease_grants));
    }
}
