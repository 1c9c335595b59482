//! What is sent by OpenTelemetry: how much of it arrived, and how much was lost.

use super::counters;
use prometheus::{IntCounter, IntCounterVec, Registry};

/// The families.
pub(super) struct Signals {
    sent: IntCounterVec,
    lost: IntCounterVec,
}

/// The counts of one signal. Cheap to clone.
#[derive(Clone)]
pub struct Signal {
    sent: IntCounter,
    lost: IntCounter,
}

impl Signals {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent: counters(
                registry,
                "weir_otel_sent_total",
                "Spans, and messages with metrics, that the collector has taken.",
                &["signal"],
            )?,
            lost: counters(
                registry,
                "weir_otel_lost_total",
                "Spans, and messages with metrics, that were lost: the collector was away or late.",
                &["signal"],
            )?,
        })
    }

    pub(super) fn of(&self, name: &'static str) -> Signal {
        Signal {
            sent: self.sent.with_label_values(&[name]),
            lost: self.lost.with_label_values(&[name]),
        }
    }
}

impl Signal {
    /// So many have arrived.
    pub fn sent(&self, count: usize) {
        self.sent.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// So many are lost.
    pub fn lost(&self, count: usize) {
        self.lost.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
