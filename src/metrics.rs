//! Every metric of the gateway: name, unit, help and its closed set of labels, in one place.
//!
//! Callers state facts (`metrics.settled(..)`); what is counted is decided here. Agent ids are
//! labels only because they come from the policy, never from a client. Nothing here can fail a
//! request. The registry belongs to the gateway, so that several can live in one process.

mod console;
mod insights;
mod events;
mod reloads;
mod shared;
mod today;

use crate::feed;
use crate::fleet::Figures;
use crate::insight;
use crate::usage::{Bill, CostSource};
use console::Console;
use insights::Insights;
use events::Events;
use prometheus::{
    CounterVec, Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};
pub use reloads::Reload;
use reloads::Reloads;
use shared::Shared;
use std::sync::OnceLock;
use std::time::Duration;
pub use today::Day;
use today::Today;

/// Seconds that suit answers of language models, from cached ones to long reasoning.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
];

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    upstream_errors: IntCounterVec,
    duration: Histogram,
    first_byte: Histogram,
    tokens: IntCounterVec,
    cost: CounterVec,
    bills: IntCounterVec,
    over_bound: IntCounter,
    client_gone: IntCounter,
    retries: IntCounter,
    reservations: IntGauge,
    in_flight: IntGauge,
    lost_records: IntGauge,
    log_bytes: IntGauge,
    log_failed: IntGauge,
    reloads: Reloads,
    console: Console,
    events: Events,
    limited_alone: IntCounter,
    shared: OnceLock<Option<Shared>>,
    insights: OnceLock<Option<Insights>>,
    today: Today,
}

impl Metrics {
    /// A fresh set on a registry of its own.
    ///
    /// # Errors
    /// Never in practice: only when two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let seconds = |name: &str, help: &str| {
            let metric =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let cost = CounterVec::new(
            Opts::new("weir_cost_usd_total", "Money settled, in US dollars."),
            &["agent", "source"],
        )?;
        registry.register(Box::new(cost.clone()))?;
        Ok(Self {
            requests: counters(
                "weir_requests_total",
                "Requests answered, by route and status.",
                &["route", "status"],
            )?,
            refusals: counters(
                "weir_refusals_total",
                "Requests that Weir itself refused, by code.",
                &["code"],
            )?,
            upstream_errors: counters(
                "weir_upstream_errors_total",
                "Attempts that failed upstream, by kind.",
                &["kind"],
            )?,
            duration: seconds(
                "weir_request_duration_seconds",
                "From the request's header to the end of its answer, for proxied requests.",
            )?,
            first_byte: seconds(
                "weir_time_to_first_byte_seconds",
                "From the request's header to the first byte of the provider's answer.",
            )?,
            tokens: counters(
                "weir_tokens_total",
                "Tokens settled, by kind; cached and reasoning tokens are parts of input and output.",
                &["kind"],
            )?,
            cost,
            bills: counters(
                "weir_bills_total",
                "Settlements, by where the amount came from.",
                &["source"],
            )?,
            over_bound: counter(
                "weir_over_bound_total",
                "Settlements above what had been held: the provider billed more than documented.",
            )?,
            client_gone: counter(
                "weir_client_disconnects_total",
                "Clients that left before their answer was complete.",
            )?,
            retries: counter("weir_retries_total", "Attempts after the first.")?,
            reservations: gauge(
                "weir_reservations_open",
                "Reservations neither settled nor voided.",
            )?,
            in_flight: gauge("weir_requests_in_flight", "Requests being served.")?,
            lost_records: gauge(
                "weir_spend_log_lost_records",
                "Records that could not be written since the start.",
            )?,
            log_bytes: gauge(
                "weir_spend_log_segment_bytes",
                "Size of the spend log's active segment.",
            )?,
            log_failed: gauge(
                "weir_spend_log_failed",
                "1 once the spend log could not be written; hard budgets are then refused.",
            )?,
            reloads: Reloads::new(&registry)?,
            console: Console::new(&registry)?,
            events: Events::new(&registry)?,
            limited_alone: counter(
                "weir_limits_alone_total",
                "Requests whose shared limits this gateway judged by its own counts: Redis was away or late.",
            )?,
            shared: OnceLock::new(),
            insights: OnceLock::new(),
            today: Today::default(),
            registry,
        })
    }

    /// A request was answered.
    pub fn answered(&self, route: &'static str, status: u16) {
        self.requests
            .with_label_values(&[route, status_text(status)])
            .inc();
    }

    /// A request was refused with this code.
    pub fn refused(&self, code: &'static str) {
        self.refusals.with_label_values(&[code]).inc();
    }

    /// An attempt failed upstream.
    pub fn upstream_error(&self, kind: &'static str) {
        self.upstream_errors.with_label_values(&[kind]).inc();
    }

    /// A proxied request ended.
    pub fn proxied(&self, duration: Duration, first_byte: Option<Duration>) {
        self.duration.observe(duration.as_secs_f64());
        if let Some(first_byte) = first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
    }

    /// Money was settled for an agent that the policy knows.
    pub fn settled(&self, agent: &str, bill: &Bill, over_bound: bool) {
        self.today.add(day_number(), bill);
        let source = bill.source.name();
        self.bills.with_label_values(&[source]).inc();
        self.cost
            .with_label_values(&[agent, source])
            .inc_by(bill.cost.at_least_zero().as_usd_f64());
        let usage = &bill.usage;
        for (kind, count) in [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            (
                "cache_write",
                usage.cache_write.saturating_add(usage.cache_write_1h),
            ),
            ("reasoning", usage.reasoning),
        ] {
            if count > 0 {
                self.tokens.with_label_values(&[kind]).inc_by(count);
            }
        }
        if over_bound {
            self.over_bound.inc();
        }
        if bill.source == CostSource::Unresolved {
            self.upstream_error("unresolved");
        }
    }

    /// What this process settled today (UTC), by model.
    pub fn today(&self) -> Day {
        self.today.look(day_number())
    }

    /// Counts what is settled today from zero again.
    pub fn clear_today(&self) {
        self.today.clear(day_number());
    }

    /// The client left before the end.
    pub fn client_gone(&self) {
        self.client_gone.inc();
    }

    /// One more attempt is made.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// A request's limits were judged without the other gateways.
    pub fn limited_alone(&self) {
        self.limited_alone.inc();
    }

    /// An exchange with the console came to this.
    pub fn console_synced(&self, result: &'static str) {
        self.console.synced(result);
    }

    /// So many settlements wait for the console.
    pub fn console_backlog(&self, records: u64) {
        self.console.backlog(records);
    }

    /// The process has started with what the files held.
    pub fn configured(&self) {
        self.reloads.configured();
    }

    /// The files were read again.
    pub fn reloaded(&self, result: Reload) {
        self.reloads.reloaded(result);
    }

    /// The text exposition, with the gauges set to `levels` first.
    pub fn expose(&self, levels: Levels) -> String {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let total = |total: u64| i64::try_from(total).unwrap_or(i64::MAX);
        self.reservations.set(count(levels.reservations));
        self.in_flight.set(count(levels.in_flight));
        self.lost_records.set(total(levels.lost_records));
        self.log_bytes.set(total(levels.log_bytes));
        self.log_failed.set(i64::from(levels.log_failed));
        self.events.set(&levels.events);
        if let Some(figures) = levels.shared {
            let shared = self.shared.get_or_init(|| Shared::new(&self.registry));
            // Two metrics of one name there are never, so it is there.
            if let Some(shared) = shared {
                shared.set(figures);
            }
        }
        if let Some(levels) = levels.insights {
            let insights = self.insights.get_or_init(|| Insights::new(&self.registry));
            if let Some(insights) = insights {
                insights.set(levels);
            }
        }
        let mut text = Vec::new();
        // Writing to memory cannot fail; an exposition that cannot be encoded is empty.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Days since 1970-01-01, UTC.
fn day_number() -> i64 {
    jiff::Timestamp::now().as_second().div_euclid(86_400)
}

/// What is read at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    /// Open reservations.
    pub reservations: usize,
    /// Requests being served.
    pub in_flight: usize,
    /// Records that could not be written.
    pub lost_records: u64,
    /// Bytes of the active segment of the spend log.
    pub log_bytes: u64,
    /// Whether the spend log has failed.
    pub log_failed: bool,
    /// The store that gateways share, where there is one.
    pub shared: Option<Figures>,
    /// Insights, where they are kept.
    pub insights: Option<insight::Levels>,
    /// Events, and where they go.
    pub events: feed::Figures,
}

/// A status as a label without an allocation; statuses Weir does not know itself become their class.
fn status_text(status: u16) -> &'static str {
    match status {
        200 => "200",
        400 => "400",
        401 => "401",
        402 => "402",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        413 => "413",
        415 => "415",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        0 => "none",
        201..=299 => "2xx",
        300..=399 => "3xx",
        _ if status / 100 == 4 => "4xx",
        _ if status / 100 == 5 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Nanos;
    use crate::usage::Usage;

    #[test]
    fn a_settlement_shows_in_tokens_cost_and_source() {
        let metrics = Metrics::new().unwrap();
        let bill = Bill {
            cost: Nanos(1_500_000),
            source: CostSource::Provider,
            usage: Usage {
                input: 3,
                output: 4,
                ..Usage::default()
            },
            model: "m".into(),
            prices: "v".into(),
        };
        metrics.settled("agent-1", &bill, true);
        let text = metrics.expose(Levels {
            reservations: 2,
            ..Levels::default()
        });
        for line in [
            r#"weir_cost_usd_total{agent="agent-1",source="provider"} 0.0015"#,
            r#"weir_tokens_total{kind="output"} 4"#,
            "weir_over_bound_total 1",
            "weir_reservations_open 2",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
    }
}
