//! A scripted collector of OpenTelemetry: it keeps what it is sent, as it was sent.

use super::eventually;
use super::listener::Listener;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What it was sent.
#[derive(Clone, Default)]
struct Memory {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    resources: Vec<BTreeMap<String, String>>,
    headers: Vec<HeaderMap>,
    raw: Vec<u8>,
    /// Messages to refuse before any is taken.
    refusing: usize,
}

/// A running collector; it ends when this is dropped.
pub(crate) struct Collector {
    listener: Listener,
    memory: Arc<Mutex<Memory>>,
}

type Shared = State<Arc<Mutex<Memory>>>;

impl Collector {
    pub(crate) async fn start() -> Self {
        let memory = Arc::<Mutex<Memory>>::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&memory));
        let listener = Listener::start(router).await;
        Self { listener, memory }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub(crate) fn endpoint(&self) -> String {
        self.listener.url("")
    }

    /// Refuses so many messages with 503.
    pub(crate) fn refuse(&self, messages: usize) {
        lock(&self.memory).refusing = messages;
    }

    /// The spans so far, once there are `count`.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Span> {
        let memory = &self.memory;
        eventually(&format!("{count} spans"), || {
            let spans = lock(memory).spans.clone();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }

    /// How many spans there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.memory).spans.len()
    }

    /// The data points of a histogram as it was sent last, once it was.
    pub(crate) async fn histogram(&self, name: &str) -> (Metric, Vec<HistogramDataPoint>) {
        let memory = &self.memory;
        eventually(name, || {
            let metrics = &lock(memory).metrics;
            let found = metrics.iter().rfind(|metric| metric.name == name)?;
            match found.data.as_ref()? {
                Data::Histogram(histogram) => Some((found.clone(), histogram.data_points.clone())),
                _ => None,
            }
        })
        .await
    }

    /// What the sender said of itself, each time.
    pub(crate) fn resources(&self) -> Vec<BTreeMap<String, String>> {
        lock(&self.memory).resources.clone()
    }

    /// The headers of every message.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        lock(&self.memory).headers.clone()
    }

    /// Whether any message has these bytes in it.
    pub(crate) fn saw(&self, text: &str) -> bool {
        let raw = &lock(&self.memory).raw;
        raw.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

fn lock(memory: &Mutex<Memory>) -> std::sync::MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    fn take(&mut self, headers: HeaderMap, body: &[u8]) -> Result<(), StatusCode> {
        if self.refusing > 0 {
            self.refusing -= 1;
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        self.headers.push(headers);
        self.raw.extend_from_slice(body);
        Ok(())
    }
}

async fn traces(
    State(memory): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let mut memory = lock(&memory);
    memory.take(headers, &body)?;
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    for of in message.resource_spans {
        let resource = of.resource.unwrap_or_default();
        memory.resources.push(attributes(&resource.attributes));
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        memory.spans.extend(spans);
    }
    Ok(Vec::new())
}

async fn metrics(
    State(memory): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let mut memory = lock(&memory);
    memory.take(headers, &body)?;
    let message = ExportMetricsServiceRequest::decode(body).unwrap();
    for of in message.resource_metrics {
        let all = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        memory.metrics.extend(all);
    }
    Ok(Vec::new())
}

/// Attributes as text.
pub(crate) fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| {
        let value = pair.value.as_ref()?.value.as_ref()?;
        let text = match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::DoubleValue(number) => number.to_string(),
            Value::BoolValue(flag) => flag.to_string(),
            other => format!("{other:?}"),
        };
        Some((pair.key.clone(), text))
    };
    all.iter().filter_map(text).collect()
}

/// A number of a span or a trace as it is written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
