//! What is measured of the exchanges with the console.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of the console.
pub(super) struct Console {
    syncs: IntCounterVec,
    last: IntGauge,
    backlog: IntGauge,
}

impl Console {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let syncs = IntCounterVec::new(
            Opts::new(
                "weir_console_sync_total",
                "Exchanges with the console, by what came of them.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(syncs.clone()))?;
        Ok(Self {
            syncs,
            last: gauge(
                "weir_console_last_success_timestamp_seconds",
                "When an exchange with the console last succeeded, in Unix seconds; 0 for never.",
            )?,
            backlog: gauge(
                "weir_console_backlog_records",
                "Settlements that the console does not have yet.",
            )?,
        })
    }

    pub(super) fn synced(&self, result: &'static str) {
        self.syncs.with_label_values(&[result]).inc();
        if result == "ok" {
            self.last.set(jiff::Timestamp::now().as_second());
        }
    }

    pub(super) fn backlog(&self, records: u64) {
        self.backlog.set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}
