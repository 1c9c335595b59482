//! OpenTelemetry: traces and metrics over OTLP, by the semantic conventions for generative AI.
//!
//! Decides how facts wait, when they are sent and what becomes of them when the collector is away:
//! they wait in a bounded queue, are tried a few times, and are counted when they are lost. No request
//! ever waits for any of it. What spans look like is decided in `spans`, metrics in `measure`.

mod client;
mod measure;
mod spans;

use crate::metrics::{self, Metrics};
use crate::settings::Otel;
use crate::trace::{Finished, Sink, Tracer};
use client::Client;
use measure::Measures;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

/// Spans sent together at most.
const BATCH: usize = 512;

/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);

/// How often a batch is tried.
const TRIES: u32 = 3;

/// The wait before the second try; it doubles.
const WAIT: Duration = Duration::from_millis(500);

/// How long the process waits for what is left to be sent when it ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the queue holds.
enum Job {
    Finished(Box<Finished>),
    /// Send what there is, and say so.
    Close(oneshot::Sender<()>),
}

/// The way to the collector.
pub struct Exporter {
    jobs: mpsc::Sender<Job>,
    closing: mpsc::Sender<Job>,
    lost: metrics::Signal,
    /// Ends with the process: nothing else runs on it.
    rest: Mutex<Option<(Runtime, Option<SdkMeterProvider>)>>,
}

/// Starts to record, where the settings have a collector.
///
/// # Errors
/// When the client of the collector cannot be made.
pub fn start(settings: &Otel, metrics: &Metrics) -> anyhow::Result<Option<Tracer>> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(None);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otel")
        .enable_all()
        .build()?;
    let resource = resource(settings);
    let client = Client::new(runtime.handle().clone(), settings.timeout)?;
    let lost = metrics.signal("traces");
    let exporter = settings
        .traces
        .then(|| spans_to(endpoint, settings, &client, &resource))
        .transpose()?;
    let provider = settings.metrics.then(|| {
        let count = metrics.signal("metrics");
        let exporter = metrics_to(endpoint, settings, &client)?;
        let exporter = measure::Counted { exporter, count };
        anyhow::Ok(measure::provider(
            exporter,
            settings.metrics_interval,
            resource,
        ))
    });
    let provider = provider.transpose()?;
    let measures = provider.as_ref().map(Measures::new);
    let (jobs, queue) = mpsc::channel(settings.queue);
    let (closing, ends) = mpsc::channel(1);
    let worker = Worker {
        exporter,
        measures,
        count: lost.clone(),
        spans: Vec::new(),
        away: false,
    };
    runtime.spawn(worker.run(queue, ends));
    let sampler = settings.sampler;
    tracing::info!(
        endpoint,
        traces = settings.traces,
        metrics = settings.metrics,
        "telemetry is sent"
    );
    Ok(Some(Tracer {
        sampler,
        sink: Arc::new(Exporter {
            jobs,
            closing,
            lost,
            rest: Mutex::new(Some((runtime, provider))),
        }),
    }))
}

impl Sink for Exporter {
    fn finished(&self, facts: Box<Finished>) {
        let spans = spans::count(&facts);
        if self.jobs.try_send(Job::Finished(facts)).is_err() {
            self.lost.lost(spans);
        }
    }

    fn close(&self) {
        let rest = self
            .rest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((runtime, provider)) = rest else {
            return;
        };
        let (done, waits) = oneshot::channel();
        if self.closing.try_send(Job::Close(done)).is_ok() {
            // A thread of its own: whoever calls may be in the middle of another runtime.
            let patience = std::thread::spawn(move || {
                let waited =
                    runtime.block_on(async { tokio::time::timeout(PATIENCE, waits).await });
                if let (Ok(_), Some(provider)) = (waited, provider) {
                    let _ = provider.shutdown_with_timeout(PATIENCE);
                }
                runtime.shutdown_background();
            });
            let _ = patience.join();
        }
    }
}

/// Sends what the queue holds.
struct Worker {
    exporter: Option<SpanExporter>,
    measures: Option<Measures>,
    count: metrics::Signal,
    spans: Vec<SpanData>,
    /// Whether the last message was lost.
    away: bool,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>, mut ends: mpsc::Receiver<Job>) {
        loop {
            let job = tokio::select! {
                biased;
                job = ends.recv() => job,
                job = queue.recv() => job,
            };
            match job {
                Some(Job::Finished(facts)) => {
                    self.take(&facts);
                    if let Some(Job::Close(done)) = self.gather(&mut queue, &mut ends).await {
                        return self.finish(queue, done).await;
                    }
                    self.send(TRIES).await;
                }
                Some(Job::Close(done)) => return self.finish(queue, done).await,
                None => return,
            }
        }
    }

    /// Takes more until there is enough for one message, or enough time has passed.
    async fn gather(
        &mut self,
        queue: &mut mpsc::Receiver<Job>,
        ends: &mut mpsc::Receiver<Job>,
    ) -> Option<Job> {
        let end = tokio::time::sleep(GATHER);
        tokio::pin!(end);
        while self.spans.len() < BATCH {
            let job = tokio::select! {
                () = &mut end => return None,
                job = ends.recv() => return job,
                job = queue.recv() => job?,
            };
            if let Job::Finished(facts) = job {
                self.take(&facts);
            }
        }
        None
    }

    fn take(&mut self, facts: &Finished) {
        if let Some(measures) = &self.measures {
            measures.finished(facts);
        }
        if self.exporter.is_some() && facts.span.sampled {
            spans::of(facts, &mut self.spans);
        }
    }

    /// What is left in the queue, sent once.
    async fn finish(mut self, mut queue: mpsc::Receiver<Job>, done: oneshot::Sender<()>) {
        queue.close();
        loop {
            match queue.try_recv() {
                Ok(Job::Finished(facts)) => self.take(&facts),
                Ok(Job::Close(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.send(1).await;
        // Whoever waited may have lost patience.
        let _ = done.send(());
    }

    async fn send(&mut self, tries: u32) {
        let Some(exporter) = &self.exporter else {
            return;
        };
        for batch in std::mem::take(&mut self.spans).chunks(BATCH) {
            let mut wait = WAIT;
            let mut failed = None;
            for number in 1..=tries {
                match exporter.export(batch.to_vec()).await {
                    Ok(()) => {
                        failed = None;
                        break;
                    }
                    Err(error) => failed = Some(error),
                }
                if number < tries {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
            }
            let before = std::mem::replace(&mut self.away, failed.is_some());
            match failed {
                None => self.count.sent(batch.len()),
                Some(error) => {
                    self.count.lost(batch.len());
                    if !before {
                        tracing::warn!(%error, "the collector takes no spans; they are lost");
                    }
                }
            }
            if before && !self.away {
                tracing::info!("the collector takes spans again");
            }
        }
    }
}

fn resource(settings: &Otel) -> Resource {
    let stated = pairs(&settings.resource);
    let stated = stated.map(|(name, value)| KeyValue::new(name, value));
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{:016x}", fastrand::u64(..))),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .with_attributes(stated)
        .with_attribute(KeyValue::new("service.name", settings.service_name.clone()))
        .build()
}

fn spans_to(
    endpoint: &str,
    settings: &Otel,
    client: &Client,
    resource: &Resource,
) -> anyhow::Result<SpanExporter> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_headers(headers(settings))
        // A try of its own would block the thread.
        .with_retry_policy(RetryPolicy::disabled())
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(settings.timeout)
        .build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}

fn metrics_to(endpoint: &str, settings: &Otel, client: &Client) -> anyhow::Result<MetricExporter> {
    Ok(MetricExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_headers(headers(settings))
        .with_retry_policy(RetryPolicy::disabled())
        .with_endpoint(format!("{endpoint}/v1/metrics"))
        .with_timeout(settings.timeout)
        .build()?)
}

fn headers(settings: &Otel) -> HashMap<String, String> {
    let text = settings.headers.as_ref().map_or("", |text| text.expose());
    pairs(text).collect()
}

/// The members of a list such as `name=value,name=value`, whose values may be percent-encoded.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())))
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.filter(|two| *first == b'%' && !two.starts_with('+'));
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_variables_have_them() {
        let found: Vec<_> = pairs("a=b, api-key = x%20y=%2C ,,bad,c=100%").collect();
        let wanted = [("a", "b"), ("api-key", "x y=,"), ("c", "100%")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, wanted);
    }
}
