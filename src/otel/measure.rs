//! Facts as metrics, under the names of the conventions.

use super::spans::scope;
use crate::metrics::Signal;
use crate::trace::{Finished, words};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use std::time::Duration;

/// Boundaries of token counts, as the conventions advise.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Boundaries of durations.
const SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Boundaries of the time to the first token.
const FIRST: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Boundaries of the time between tokens.
const BETWEEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];

/// The instruments.
pub(super) struct Measures {
    tokens: Histogram<u64>,
    duration: Histogram<f64>,
    first_token: Histogram<f64>,
    per_token: Histogram<f64>,
}

impl Measures {
    pub(super) fn new(provider: &SdkMeterProvider) -> Self {
        let meter = provider.meter_with_scope(scope());
        Self {
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            duration: seconds(
                &meter,
                "gen_ai.client.operation.duration",
                "Duration of the whole request.",
                SECONDS,
            ),
            first_token: seconds(
                &meter,
                "gen_ai.server.time_to_first_token",
                "Time to the first generated token of a stream.",
                FIRST,
            ),
            per_token: seconds(
                &meter,
                "gen_ai.server.time_per_output_token",
                "Time between two generated tokens of a stream.",
                BETWEEN,
            ),
        }
    }

    /// A request has ended; whether it is traced does not matter.
    pub(super) fn finished(&self, facts: &Finished) {
        let mut common = vec![KeyValue::new("gen_ai.operation.name", facts.operation)];
        if let Some(answered) = &facts.answered {
            let provider = words::provider(answered.kind, &answered.provider);
            common.push(KeyValue::new("gen_ai.provider.name", provider.to_owned()));
            let model = answered.label.clone();
            common.push(KeyValue::new("gen_ai.request.model", model));
        }
        if let Some(time) = facts.first_token {
            self.first_token.record(time.as_secs_f64(), &common);
        }
        if let Some(time) = facts.per_token {
            self.per_token.record(time.as_secs_f64(), &common);
        }
        let bill = facts
            .answered
            .as_ref()
            .and_then(|answered| answered.bill.as_ref());
        if let Some(bill) = bill {
            let kinds = [("input", bill.usage.input), ("output", bill.usage.output)];
            for (kind, count) in kinds {
                let mut labels = common.clone();
                labels.push(KeyValue::new("gen_ai.token.type", kind));
                self.tokens.record(count, &labels);
            }
        }
        common.extend(facts.error.map(|error| KeyValue::new("error.type", error)));
        self.duration.record(facts.elapsed.as_secs_f64(), &common);
    }
}

fn seconds(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    boundaries: &[f64],
) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(description)
        .with_boundaries(boundaries.to_vec())
        .build()
}

/// A provider that sends to `exporter` again and again.
pub(super) fn provider(
    exporter: Counted,
    interval: Duration,
    resource: Resource,
) -> SdkMeterProvider {
    let reader = PeriodicReader::builder(exporter)
        .with_interval(interval)
        .build();
    SdkMeterProvider::builder()
        .with_reader(reader)
        .with_resource(resource)
        .build()
}

/// An exporter whose failures are counted. What one message lacks the next one has: its numbers are
/// sums since the start.
pub(super) struct Counted {
    pub(super) exporter: MetricExporter,
    pub(super) count: Signal,
}

impl PushMetricExporter for Counted {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = self.exporter.export(metrics).await;
        match &sent {
            Ok(()) => self.count.sent(1),
            Err(_) => self.count.lost(1),
        }
        sent
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
