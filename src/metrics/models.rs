//! What is measured of providers and models.
//!
//! Decides how many models are told apart. Names of the policy always are; names that only the price
//! table knows are until there are [`KNOWN`] of them, because any client may ask for any of them. All
//! others are counted together.

use super::cache::Cache;
use super::titan::{Titan, TitanModel};
use super::{SECONDS, counters, histograms};
use crate::usage::{Bill, Usage};
use prometheus::{
    Counter, CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pairs of a provider and a model that only the price table knows, told apart at most.
const KNOWN: usize = 256;

/// The name under which all other models are counted.
const OTHER: &str = "other";

/// Seconds that suit the wait for the first token.
const FIRST: &[f64] = &[
    0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
];

/// Seconds that suit the time between two tokens: from a thousand a second to one in two seconds.
const BETWEEN: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 2.0,
];

/// The kinds of tokens.
const KINDS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];

/// The name of a model as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// One that the policy or the models file names.
    Stated(&'a str),
    /// One that the price table knows.
    Known(&'a str),
    /// Any other.
    Other,
}

impl Name<'_> {
    /// The name itself.
    pub const fn text(&self) -> &str {
        match self {
            Self::Stated(name) | Self::Known(name) => name,
            Self::Other => OTHER,
        }
    }
}

/// How a request that went to a provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its answer is complete.
    Whole,
    /// With an error.
    Failed,
    /// The client left before.
    Gone,
}

impl End {
    const ALL: [Self; 3] = [Self::Whole, Self::Failed, Self::Gone];

    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::Failed => "error",
            Self::Gone => "client_gone",
        }
    }
}

/// A request that went to a provider and has ended.
#[derive(Clone, Copy, Debug)]
pub struct Proxied<'a> {
    /// The route, a closed set.
    pub route: &'static str,
    /// The provider's block.
    pub provider: &'a str,
    /// The model that answered, else the one asked for.
    pub model: Name<'a>,
    /// How it ended.
    pub end: End,
    /// From its header to its end.
    pub duration: Duration,
    /// From its header to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From its header to the first generated token, for streams.
    pub first_token: Option<Duration>,
    /// Between two generated tokens, on average, for streams.
    pub per_token: Option<Duration>,
}

/// The families, and the series of each provider.
pub(super) struct Models {
    attempts: IntCounterVec,
    requests: IntCounterVec,
    duration: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    titan: Option<Titan>,
    providers: Cache<Provider>,
    known: AtomicUsize,
}

/// The series of a provider.
struct Provider {
    attempts: IntCounter,
    models: Cache<Model>,
}

/// The series of a model at a provider.
struct Model {
    ends: [IntCounter; End::ALL.len()],
    duration: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    tokens: [IntCounter; KINDS.len()],
    cost: Counter,
    titan: Option<TitanModel>,
}

impl Models {
    pub(super) fn new(registry: &Registry, titan: bool) -> Result<Self, prometheus::Error> {
        let labels = &["provider", "model"];
        let cost = CounterVec::new(
            Opts::new(
                "weir_model_cost_usd_total",
                "Money settled, in US dollars, by provider and model.",
            ),
            labels,
        )?;
        registry.register(Box::new(cost.clone()))?;
        Ok(Self {
            attempts: counters(
                registry,
                "weir_upstream_attempts_total",
                "Attempts at providers.",
                &["provider"],
            )?,
            requests: counters(
                registry,
                "weir_model_requests_total",
                "Requests that went to a provider, by how they ended: ok, error, client_gone.",
                &["provider", "model", "outcome"],
            )?,
            duration: histograms(
                registry,
                "weir_model_duration_seconds",
                "From the request's header to the end of its answer, by who answered.",
                labels,
                SECONDS,
            )?,
            first_token: histograms(
                registry,
                "weir_time_to_first_token_seconds",
                "From the request's header to the first generated token of a stream.",
                labels,
                FIRST,
            )?,
            per_token: histograms(
                registry,
                "weir_time_per_output_token_seconds",
                "Between two generated tokens of a stream, on average over the stream.",
                labels,
                BETWEEN,
            )?,
            tokens: counters(
                registry,
                "weir_tokens_total",
                "Tokens settled, by kind; cached and reasoning tokens are parts of input and output.",
                &["provider", "model", "kind"],
            )?,
            cost,
            titan: titan.then(|| Titan::new(registry)).transpose()?,
            providers: Cache::default(),
            known: AtomicUsize::new(0),
        })
    }

    /// The series of a provider. Its name comes from the policy.
    fn provider(&self, name: &str) -> Arc<Provider> {
        self.providers.get(name, || Provider {
            attempts: self.attempts.with_label_values(&[name]),
            models: Cache::default(),
        })
    }

    fn model(&self, provider: &str, name: Name<'_>) -> Arc<Model> {
        let models = &self.provider(provider).models;
        if let Some(found) = models.find(name.text()) {
            return found;
        }
        let room = || self.known.fetch_add(1, Ordering::Relaxed) < KNOWN;
        let name = match name {
            Name::Known(_) if !room() => Name::Other,
            name => name,
        };
        let labels = &[provider, name.text()];
        models.get(name.text(), || Model {
            ends: End::ALL.map(|end| {
                let labels = &[provider, name.text(), end.name()];
                self.requests.with_label_values(labels)
            }),
            duration: self.duration.with_label_values(labels),
            first_token: self.first_token.with_label_values(labels),
            per_token: self.per_token.with_label_values(labels),
            tokens: KINDS.map(|kind| {
                let labels = &[provider, name.text(), kind];
                self.tokens.with_label_values(labels)
            }),
            cost: self.cost.with_label_values(labels),
            titan: self.titan.as_ref().map(|titan| titan.model(name.text())),
        })
    }

    pub(super) fn attempted(&self, provider: &str) {
        self.provider(provider).attempts.inc();
    }

    pub(super) fn ended(&self, proxied: &Proxied<'_>) {
        let model = self.model(proxied.provider, proxied.model);
        let [whole, failed, gone] = &model.ends;
        match proxied.end {
            End::Whole => whole.inc(),
            End::Failed => failed.inc(),
            End::Gone => gone.inc(),
        }
        model.duration.observe(proxied.duration.as_secs_f64());
        if let Some(time) = proxied.first_token {
            model.first_token.observe(time.as_secs_f64());
        }
        if let Some(time) = proxied.per_token {
            model.per_token.observe(time.as_secs_f64());
        }
        if let Some(titan) = &model.titan {
            titan.ended(proxied.end != End::Failed, proxied.duration);
        }
    }

    pub(super) fn settled(&self, provider: &str, name: Name<'_>, bill: &Bill) {
        let model = self.model(provider, name);
        let cost = bill.cost.at_least_zero().as_usd_f64();
        model.cost.inc_by(cost);
        for (series, count) in model.tokens.iter().zip(counts(&bill.usage)) {
            series.inc_by(count);
        }
        if let Some(titan) = &self.titan {
            titan.settled(cost);
        }
    }

    /// A request was refused with this code.
    pub(super) fn refused(&self, code: &'static str) {
        if let Some(titan) = &self.titan {
            titan.refused(code);
        }
    }
}

/// The counts of a usage, in the order of [`KINDS`].
fn counts(usage: &Usage) -> [u64; KINDS.len()] {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    let Usage {
        input,
        output,
        cache_read,
        reasoning,
        ..
    } = *usage;
    [input, output, cache_read, written, reasoning]
}
