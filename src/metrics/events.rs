//! Events: how many were told, and what became of them.

use crate::event::Kind;
use crate::feed::{Figures, Sink};
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use std::sync::{Mutex, PoisonError};

/// The metrics of events. They are counted elsewhere, and copied when somebody looks.
pub(super) struct Events {
    told: IntCounterVec,
    lost: IntCounterVec,
    up: IntGaugeVec,
    watchers: IntGaugeVec,
    dropped: IntCounterVec,
    /// Held while they are copied, so that nothing is added twice.
    copying: Mutex<()>,
}

impl Events {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| {
            let metric = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauges = |name: &str, help: &str| {
            let metric = IntGaugeVec::new(Opts::new(name, help), &["sink"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        Ok(Self {
            told: counters(
                "weir_events_total",
                "Events that somebody watched, by type.",
                "type",
            )?,
            lost: counters(
                "weir_event_sink_lost_total",
                "Events that did not arrive: redis or file was away for too long, a watcher was too slow.",
                "sink",
            )?,
            up: gauges(
                "weir_event_sink_up",
                "1 while events arrive there; for websocket: while it is listened on.",
            )?,
            watchers: gauges("weir_event_watchers", "Who watches events now.")?,
            dropped: counters(
                "weir_event_watchers_dropped_total",
                "Watchers that were sent away for being too slow.",
                "sink",
            )?,
            copying: Mutex::default(),
        })
    }

    pub(super) fn set(&self, figures: &Figures) {
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, told) in Kind::NAMES.iter().zip(figures.told) {
            raise(&self.told.with_label_values(&[*name]), told);
        }
        for (sink, figures) in Sink::ALL.iter().zip(figures.sinks) {
            if !figures.used {
                continue;
            }
            let label = [sink.name()];
            raise(&self.lost.with_label_values(&label), figures.lost);
            if matches!(sink, Sink::WebSocket | Sink::Sse) {
                let watchers = i64::try_from(figures.watchers).unwrap_or(i64::MAX);
                self.watchers.with_label_values(&label).set(watchers);
                raise(&self.dropped.with_label_values(&label), figures.dropped);
            }
            if *sink != Sink::Sse {
                let up = i64::from(figures.up);
                self.up.with_label_values(&label).set(up);
            }
        }
    }
}

/// Raises a counter to what was counted elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
