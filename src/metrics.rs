//! Every metric of the gateway: name, unit, help and its closed set of labels, in one place.
//!
//! Callers state facts (`metrics.settled(..)`); what is counted is decided here. Agent ids are
//! labels only because they come from the policy, never from a client. Nothing here can fail a
//! request. The registry belongs to the gateway, so that several can live in one process.

mod breaker;
mod budgets;
mod cache;
mod console;
mod events;
mod guard;
mod insights;
mod models;
mod otel;
mod process;
mod reloads;
mod routes;
mod shared;
mod titan;

use crate::breaker::{Action, Level, Standing};
use crate::budget::Balance;
use crate::feed;
use crate::fleet::Figures;
use crate::guard::finding;
use crate::identity::AccountId;
use crate::insight;
use crate::usage::{Bill, CostSource};
use breaker::Breaker;
use budgets::Budgets;
use cache::Cache;
use console::Console;
use events::Events;
use guard::Guard;
use insights::Insights;
use models::Models;
pub use models::{End, Name, Proxied};
pub use otel::Signal;
use otel::Signals;
use process::Process;
use prometheus::{
    Counter, CounterVec, Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
pub use reloads::Reload;
use reloads::Reloads;
use routes::Routes;
use shared::Shared;
use std::sync::OnceLock;

/// Seconds that suit answers of language models, from cached ones to long reasoning.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
    640.0,
];

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    routes: Routes,
    models: Models,
    signals: Signals,
    process: Process,
    refusals: IntCounterVec,
    upstream_errors: IntCounterVec,
    first_byte: Histogram,
    cost: CounterVec,
    agents: Cache<[Counter; SOURCES.len()]>,
    bills: [IntCounter; SOURCES.len()],
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
    budgets: Budgets,
    breaker: Breaker,
    events: Events,
    guard: Guard,
    limited_alone: IntCounter,
    shared: OnceLock<Option<Shared>>,
    insights: OnceLock<Option<Insights>>,
}

impl Metrics {
    /// A fresh set on a registry of its own.
    ///
    /// # Errors
    /// Never in practice: only when two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        Self::of(&crate::settings::Metrics::default())
    }

    /// The same, as the settings have it.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn of(settings: &crate::settings::Metrics) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
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
        let first_byte = Histogram::with_opts(
            HistogramOpts::new(
                "weir_time_to_first_byte_seconds",
                "From the request's header to the first byte of the provider's answer.",
            )
            .buckets(SECONDS.to_vec()),
        )?;
        registry.register(Box::new(first_byte.clone()))?;
        let bills = counters(
            &registry,
            "weir_bills_total",
            "Settlements, by where the amount came from.",
            &["source"],
        )?;
        let cost = CounterVec::new(
            Opts::new("weir_cost_usd_total", "Money settled, in US dollars."),
            &["agent", "source"],
        )?;
        registry.register(Box::new(cost.clone()))?;
        Ok(Self {
            routes: Routes::new(&registry)?,
            models: Models::new(&registry, settings.titan)?,
            signals: Signals::new(&registry)?,
            process: Process::new(&registry)?,
            refusals: counters(
                &registry,
                "weir_refusals_total",
                "Requests that Weir itself refused, by code.",
                &["code"],
            )?,
            upstream_errors: counters(
                &registry,
                "weir_upstream_errors_total",
                "Attempts that failed upstream, by provider and kind.",
                &["provider", "kind"],
            )?,
            first_byte,
            cost,
            agents: Cache::default(),
            bills: SOURCES.map(|source| bills.with_label_values(&[source.name()])),
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
            budgets: Budgets::new(&registry)?,
            breaker: Breaker::new(&registry)?,
            events: Events::new(&registry)?,
            guard: Guard::new(&registry)?,
            limited_alone: counter(
                "weir_limits_alone_total",
                "Requests whose shared limits this gateway judged by its own counts: Redis was away or late.",
            )?,
            shared: OnceLock::new(),
            insights: OnceLock::new(),
            registry,
        })
    }

    /// A request was answered.
    pub fn answered(&self, route: &'static str, status: u16) {
        self.routes.answered(route, status);
    }

    /// A request was refused with this code.
    pub fn refused(&self, code: &'static str) {
        self.refusals.with_label_values(&[code]).inc();
        self.models.refused(code);
    }

    /// A provider is asked.
    pub fn attempted(&self, provider: &str) {
        self.models.attempted(provider);
    }

    /// An attempt at a provider failed.
    pub fn upstream_error(&self, provider: &str, kind: &'static str) {
        let labels = &[provider, kind];
        self.upstream_errors.with_label_values(labels).inc();
    }

    /// A request that went to a provider ended.
    pub fn proxied(&self, proxied: &Proxied<'_>) {
        self.routes.took(proxied.route, proxied.duration);
        if let Some(first_byte) = proxied.first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
        if proxied.end == End::Gone {
            self.client_gone.inc();
        }
        self.models.ended(proxied);
    }

    /// Money was settled for an agent that the policy knows, for what a model at a provider did.
    pub fn settled(
        &self,
        agent: &str,
        provider: &str,
        model: Name<'_>,
        bill: &Bill,
        over_bound: bool,
    ) {
        let known = SOURCES.iter().position(|source| *source == bill.source);
        let at = known.unwrap_or_default();
        self.bills[at].inc();
        let series = self.agents.get(agent, || {
            SOURCES.map(|source| self.cost.with_label_values(&[agent, source.name()]))
        });
        series[at].inc_by(bill.cost.at_least_zero().as_usd_f64());
        self.models.settled(provider, model, bill);
        if over_bound {
            self.over_bound.inc();
        }
        if bill.source == CostSource::Unresolved {
            self.upstream_error(provider, "unresolved");
        }
    }

    /// The counts of what is sent by OpenTelemetry: `traces`, `metrics`.
    pub fn signal(&self, name: &'static str) -> Signal {
        self.signals.of(name)
    }

    /// One more attempt is made.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// A request's limits were judged without the other gateways.
    pub fn limited_alone(&self) {
        self.limited_alone.inc();
    }

    /// The guard found something, in an answer or (not `out`) in a request.
    pub fn guard_found(&self, found: &finding::Finding, out: bool) {
        self.guard
            .found(found.control, out, found.action, found.count);
    }

    /// An exchange with the console came to this.
    pub fn console_synced(&self, result: &'static str) {
        self.console.synced(result);
    }

    /// So many settlements wait for the console.
    pub fn console_backlog(&self, records: u64) {
        self.console.backlog(records);
    }

    /// An account has passed a warning level.
    pub fn warned(&self, account: &AccountId) {
        self.budgets.warned(account);
    }

    /// A request was refused because the budget of an account is used up.
    pub fn exceeded(&self, account: &AccountId) {
        self.budgets.exceeded(account);
    }

    /// The cost breaker has told of another level.
    pub fn breaker_changed(&self, level: Level) {
        self.breaker.changed(level);
    }

    /// A level acted on a request, or would have: `downgraded`, `refused`, `would_downgrade`, `would_refuse`.
    pub fn breaker_acted(&self, action: &'static str) {
        self.breaker.acted(action);
    }

    /// The breaker has found something about an agent.
    pub fn breaker_found(&self, rule: &'static str, action: Action) {
        self.breaker.found(rule, action);
    }

    /// What became of a message to its webhook: `ok`, `failed`, `dropped`.
    pub fn breaker_sent(&self, result: &'static str) {
        self.breaker.sent(result);
    }

    /// How much of their limits agents of the policy have used, as of now.
    pub fn used<'a>(&self, agents: impl Iterator<Item = (&'a str, Balance)>) {
        self.budgets.used(agents);
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
        self.process.look();
        self.reservations.set(count(levels.reservations));
        self.in_flight.set(count(levels.in_flight));
        self.lost_records.set(total(levels.lost_records));
        self.log_bytes.set(total(levels.log_bytes));
        self.log_failed.set(i64::from(levels.log_failed));
        self.events.set(&levels.events);
        if let Some(standing) = &levels.breaker {
            self.breaker.stands(standing);
        }
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
    /// The cost breaker, where there is one.
    pub breaker: Option<Standing>,
}

/// Where a bill's amount may come from.
const SOURCES: [CostSource; 4] = [
    CostSource::Provider,
    CostSource::Usage,
    CostSource::Estimated,
    CostSource::Unresolved,
];

/// A family of counters.
fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// A family of histograms.
fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let metric = HistogramVec::new(options, labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests;
