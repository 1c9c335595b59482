//! OpenTelemetry: what a collector is sent, and that nobody waits for it.

use crate::support::collector::{Collector, attributes, hex};
use crate::support::gateway::{Setup, free_port};
use crate::support::{Agent, Gateway, Provider, Seen, eventually};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn watched(provider: &Provider, collector: &Collector) -> Setup {
    Gateway::over(provider)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_METRIC_EXPORT_INTERVAL", "50")
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    let wanted = |span: &&Span| span.kind == kind as i32;
    spans.iter().filter(wanted).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_below_its_callers_and_the_provider_is_told_of_the_attempts() {
    let provider = Provider::that("tokens_in=11 tokens_out=7 cost=0.000025");
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector)
        .env("OTEL_SERVICE_NAME", "edge-1")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collectors-own-key")
        .env("OPENROUTER_API_KEY", "sk-or-the-providers-key")
        .key("k", "sk-weir-the-clients-key", "default", "")
        .start()
        .await;
    let reply = gateway
        .chat("the-secret-of-the-prompt")
        .key("sk-weir-the-clients-key")
        .field("temperature", 0.5)
        .max_tokens(50)
        .header("traceparent", &parent("01"))
        .header("tracestate", "vendor=value")
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let spans = collector.spans(2).await;
    let [server] = of_kind(&spans, SpanKind::Server)[..] else {
        panic!("{spans:#?}");
    };
    let [client] = of_kind(&spans, SpanKind::Client)[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(
        (hex(&server.trace_id), hex(&client.trace_id)),
        (TRACE.into(), TRACE.into())
    );
    assert_eq!(hex(&server.parent_span_id), CALLER);
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(server.trace_state, "vendor=value");
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);

    let said = attributes(&server.attributes);
    let model = reply.json()["model"].as_str().unwrap().to_owned();
    let id = reply.header("x-weir-request-id").unwrap();
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openrouter"),
        ("gen_ai.response.model", &model),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.output_tokens", "7"),
        ("gen_ai.request.max_tokens", "50"),
        ("gen_ai.request.temperature", "0.5"),
        ("http.response.status_code", "200"),
        ("http.route", "/v1/chat/completions"),
        ("weir.agent.id", "default"),
        ("weir.cost.nano_usd", "25000"),
        ("weir.request.id", id),
    ] {
        assert_eq!(
            said.get(name).map(String::as_str),
            Some(value),
            "{name}: {said:#?}"
        );
    }
    assert!(!said.contains_key("error.type"));
    let said = attributes(&client.attributes);
    assert_eq!(
        client.name,
        format!("chat {}", said["gen_ai.request.model"])
    );
    assert_eq!(said["server.address"], "127.0.0.1");
    assert_eq!(said["gen_ai.usage.output_tokens"], "7");

    let seen = provider.only_record().await;
    let told = format!("00-{TRACE}-{}-01", hex(&client.span_id));
    assert_eq!(seen.header("traceparent").as_deref(), Some(told.as_str()));
    assert_eq!(seen.header("tracestate").as_deref(), Some("vendor=value"));

    let resources = collector.resources();
    assert_eq!(resources[0]["service.name"], "edge-1");
    assert_eq!(resources[0]["deployment.environment.name"], "test");
    for headers in collector.headers() {
        assert_eq!(headers["api-key"], "collectors-own-key");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
    let answer = reply.json()["choices"][0]["message"]["content"].to_string();
    for secret in [
        "the-secret-of-the-prompt",
        answer.trim_matches('"'),
        "the-clients-key",
        "the-providers-key",
        "collectors-own-key",
    ] {
        assert!(!collector.saw(secret), "{secret}");
        if secret.ends_with("key") {
            assert!(!gateway.output().contains(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_has_a_span_and_a_failed_one_says_why() {
    let (bad, good) = (
        Provider::that("status=503"),
        Provider::that("dialect=openai"),
    );
    let collector = Collector::start().await;
    let models = format!(
        "providers:\n  one: {{base_url: \"{}\"}}\n  two: {{base_url: \"{}\"}}\nmodels:\n  \
         first: {{provider: one, engine: engine-1, input_cost: 0.000001, output_cost: 0.000002}}\n  \
         second: {{provider: two, engine: engine-2, input_cost: 0.000001, output_cost: 0.000002}}\n",
        bad.base_url(),
        good.base_url(),
    );
    let gateway = watched(&bad, &collector)
        .models(&models)
        .agent(Agent::new("default", "10").tier("0.0", &["first", "second"]))
        .start()
        .await;
    assert_eq!(gateway.chat("hello").send().await.status, 200);
    let spans = collector.spans(3).await;
    let clients = of_kind(&spans, SpanKind::Client);
    let server = of_kind(&spans, SpanKind::Server)[0];
    assert!(server.parent_span_id.is_empty(), "nobody called");
    let said: Vec<_> = clients
        .iter()
        .map(|span| attributes(&span.attributes))
        .collect();
    assert_eq!(
        (
            said[0]["weir.provider"].as_str(),
            said[1]["weir.provider"].as_str()
        ),
        ("one", "two")
    );
    assert_eq!(said[0]["error.type"], "503");
    assert_eq!(
        clients[0].status.as_ref().unwrap().code,
        StatusCode::Error as i32
    );
    assert_eq!(said[1]["http.response.status_code"], "200");
    assert_eq!(attributes(&server.attributes)["weir.attempts"], "2");
    for (record, span) in [(bad.only_record().await, 0), (good.only_record().await, 1)] {
        let told = record.header("traceparent").unwrap();
        assert!(told.contains(&hex(&clients[span].span_id)), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_is_not_valid_is_none() {
    let provider = Provider::start().await;
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector).start().await;
    for bad in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "garbage",
        &"0".repeat(5000),
        &parent("01").to_uppercase(),
    ] {
        let reply = gateway
            .chat("x")
            .header("traceparent", bad)
            .header("tracestate", "vendor=value")
            .send()
            .await;
        assert_eq!(reply.status, 200);
    }
    let spans = collector.spans(8).await;
    for server in of_kind(&spans, SpanKind::Server) {
        assert!(server.parent_span_id.is_empty() && server.trace_state.is_empty());
        assert_ne!(hex(&server.trace_id), TRACE);
    }
    for record in provider.records() {
        let told = record.header("traceparent").unwrap();
        assert_eq!(told.len(), 55, "{told}");
        assert_eq!(record.header("tracestate"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_four_instruments_arrive_though_no_trace_is_recorded() {
    let provider = Provider::that("tokens_in=11 tokens_out=7");
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector)
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .start()
        .await;
    assert!(gateway.chat("hello").stream().send().await.done());
    for (name, unit) in [
        ("gen_ai.client.operation.duration", "s"),
        ("gen_ai.server.time_to_first_token", "s"),
        ("gen_ai.server.time_per_output_token", "s"),
        ("gen_ai.client.token.usage", "{token}"),
    ] {
        let (metric, points) = collector.histogram(name).await;
        assert_eq!(metric.unit, unit, "{name}");
        let said = attributes(&points[0].attributes);
        assert_eq!(said["gen_ai.operation.name"], "chat");
        assert_eq!(said["gen_ai.provider.name"], "openrouter");
        assert_eq!(said["gen_ai.request.model"], "openai/gpt-4o-mini");
        if name.ends_with("usage") {
            let mut all: Vec<_> = points
                .iter()
                .map(|point| {
                    let kind = attributes(&point.attributes)["gen_ai.token.type"].clone();
                    (kind, point.sum)
                })
                .collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(
                all,
                [("input".into(), Some(11.0)), ("output".into(), Some(7.0))]
            );
        } else {
            assert_eq!(points[0].count, 1, "{name}");
        }
    }
    let told = provider.only_record().await.header("traceparent").unwrap();
    assert!(told.ends_with("-00"), "{told}");
    assert_eq!(collector.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_nobody_anything_and_losses_are_counted() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings(&format!(
            "otel: {{endpoint: \"http://127.0.0.1:{}\", metrics_interval: 50ms, queue: 1}}",
            free_port()
        ))
        .start()
        .await;
    for _ in 0..20 {
        assert_eq!(gateway.chat("hello").send().await.status, 200);
    }
    let lost = |text: &str, signal: &str| {
        let series = format!("weir_otel_lost_total{{signal=\"{signal}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series))?;
        line.parse::<f64>().ok()
    };
    let mut all = 0.0;
    let begun = std::time::Instant::now();
    while all < 40.0 || lost(&gateway.get("/metrics").await.text(), "metrics") < Some(1.0) {
        assert!(begun.elapsed() < crate::support::PATIENCE, "lost: {all}");
        tokio::time::sleep(crate::support::LOOK).await;
        all = lost(&gateway.get("/metrics").await.text(), "traces").unwrap();
    }
    assert!((all - 40.0).abs() < 0.5, "two spans each: {all}");
    assert_eq!(gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_for_a_moment_loses_nothing() {
    let provider = Provider::start().await;
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector)
        .env("OTEL_METRICS_EXPORTER", "none")
        .start()
        .await;
    collector.refuse(1);
    assert_eq!(gateway.chat("hello").send().await.status, 200);
    assert_eq!(collector.spans(2).await.len(), 2);
    assert!(gateway.metric("weir_otel_lost_total").await.abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_sent_when_the_process_leaves() {
    let provider = Provider::start().await;
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector).start().await;
    for _ in 0..5 {
        assert_eq!(gateway.chat("hello").send().await.status, 200);
    }
    assert_eq!(gateway.terminate().await, Some(0));
    assert_eq!(collector.count(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_a_span_with_its_reason() {
    let provider = Provider::start().await;
    let collector = Collector::start().await;
    let gateway = watched(&provider, &collector)
        .agent(Agent::new("default", "0.000001"))
        .start()
        .await;
    let reply = gateway
        .chat("hello")
        .header("traceparent", &parent("01"))
        .send()
        .await;
    assert_eq!(reply.status, 402);
    let spans = collector.spans(1).await;
    let said = attributes(&spans[0].attributes);
    assert_eq!(said["error.type"], "budget_exhausted");
    assert_eq!(said["http.response.status_code"], "402");
    assert_eq!(hex(&spans[0].parent_span_id), CALLER);
    gateway.get("/health").await;
    gateway.get("/nowhere").await;
    assert_eq!(gateway.terminate().await, Some(0));
    assert_eq!(
        collector.count(),
        1,
        "what is no request for a model is no span"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_a_callers_trace_passes_through_where_it_may() {
    let provider = Provider::start().await;
    for (propagate, passes) in [("own", true), ("all", true), ("none", false)] {
        provider.forget();
        let gateway = Gateway::over(&provider)
            .settings(&format!(
                "otel: {{propagate: {propagate}}}\nlog: {{format: json}}"
            ))
            .start()
            .await;
        let reply = gateway
            .chat("x")
            .header("traceparent", &parent("01"))
            .send()
            .await;
        assert_eq!(reply.status, 200);
        let told = provider.only_record().await.header("traceparent");
        assert_eq!(told, passes.then(|| parent("01")), "{propagate}");
        let line = format!("\"trace_id\":\"{TRACE}\"");
        eventually("the line", || {
            gateway.output().contains(&line).then_some(())
        })
        .await;
    }
}
