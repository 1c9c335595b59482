//! Whatever is told about requests on the side: how much of it arrived, and how much was lost.

use super::counters;
use prometheus::{IntCounter, IntCounterVec, Registry};

/// The families.
pub(super) struct Sinks {
    sent: IntCounterVec,
    lost: IntCounterVec,
}

/// The counts of one sink. Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    sent: IntCounter,
    lost: IntCounter,
}

impl Sinks {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent: counters(
                registry,
                "weir_sink_sent_total",
                "Records that arrived where they were sent, by sink.",
                &["sink"],
            )?,
            lost: counters(
                registry,
                "weir_sink_lost_total",
                "Records that were lost because a sink was away, late or full, by sink.",
                &["sink"],
            )?,
        })
    }

    pub(super) fn of(&self, name: &'static str) -> Sink {
        Sink {
            sent: self.sent.with_label_values(&[name]),
            lost: self.lost.with_label_values(&[name]),
        }
    }
}

impl Sink {
    /// So many records have arrived.
    pub fn sent(&self, records: usize) {
        self.sent.inc_by(u64::try_from(records).unwrap_or(u64::MAX));
    }

    /// So many records are lost.
    pub fn lost(&self, records: usize) {
        self.lost.inc_by(u64::try_from(records).unwrap_or(u64::MAX));
    }
}
