//! Metrics: what is counted for whom, and that nobody who only sends requests makes up series.

use crate::support::{Agent, Gateway, Provider};
use serde_json::{Value, json};

/// The value of the series with this name and exactly these labels; 0 when there is none.
async fn series(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> f64 {
    let text = gateway.get("/metrics").await.text();
    let wanted = |series: &str| {
        let (found, rest) = series.split_once('{').unwrap_or((series, "}"));
        let rest = rest.trim_end_matches('}');
        let pairs = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""));
        let count = rest.matches("=\"").count();
        found == name && count == labels.len() && pairs.into_iter().all(|pair| rest.contains(&pair))
    };
    let found = text
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .find(|(series, _)| wanted(series));
    found.map_or(0.0, |(_, value)| value.parse().unwrap())
}

/// A whole number as the exposition has it.
async fn count(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> i64 {
    let value = series(gateway, name, labels).await;
    assert!((value - value.round()).abs() < 1e-9, "{name}: {value}");
    serde_json::from_str(&format!("{value:.0}")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_four_families_after_a_conversation() {
    let provider = Provider::that("dialect=openai tokens_in=100 tokens_out=50");
    let setup = Gateway::at("http://127.0.0.1:9/v1")
        .models(&format!(
            "providers:\n  own: {{base_url: \"{}\"}}\nmodels:\n  m: {{provider: own, engine: e, input_cost: 0.00001, \
             output_cost: 0.00002, max_tokens: 1000}}\ndefaults: {{vitals: m}}\n",
            provider.base_url()
        ))
        .agent(Agent::new("default", "100").untiered())
        .agent(Agent::new("poor", "0.000001").untiered());
    let gateway = setup.start().await;
    let ask = |stream: bool, prompt: &str| {
        json!({"messages": [{"role": "user", "content": prompt}], "stream": stream}).to_string()
    };
    for (model, stream) in [("m", false), ("m", true), ("vitals", true)] {
        let path = format!("/proxy/{model}");
        let reply = gateway.post(&path, &ask(stream, "hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let failed = gateway
        .post("/proxy/m", &ask(false, "[[status=400]]"))
        .await;
    assert_eq!(failed.status, 400);
    // By another surface, and refused.
    let chat = gateway.chat("hello").field("model", "m");
    assert_eq!(chat.send().await.status, 200);
    let poor = gateway.chat("hello").field("model", "m").agent("poor");
    assert_eq!(poor.send().await.status, 402);
    gateway.quiet().await;

    let requests = "titan_model_requests_total";
    let model = ("model", "m");
    assert_eq!(
        count(&gateway, requests, &[model, ("status", "success")]).await,
        4
    );
    assert_eq!(
        count(&gateway, requests, &[model, ("status", "error")]).await,
        1
    );
    assert_eq!(
        count(&gateway, "titan_model_latency_seconds_count", &[model]).await,
        5
    );
    assert_eq!(count(&gateway, "titan_budget_exceeded_total", &[]).await, 1);
    let cost = series(&gateway, "titan_cost_usd_total", &[]).await;
    assert!((cost - 4.0 * 0.002).abs() < 1e-9, "{cost}");
    let text = gateway.get("/metrics").await.text();
    assert!(!text.contains("vitals"), "an alias is no model of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_families_can_be_left_out() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("metrics: {titan: false}")
        .start()
        .await;
    assert_eq!(gateway.chat("hello").send().await.status, 200);
    assert!(!gateway.get("/metrics").await.text().contains("titan_"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_and_providers_are_told_apart() {
    let provider = Provider::that("tokens_in=20 tokens_out=9 cached=5 reasoning=3 cost=0.0004");
    let gateway = Gateway::over(&provider).start().await;
    assert_eq!(gateway.chat("hello").send().await.status, 200);
    assert!(gateway.chat("hello").stream().send().await.done());
    let failed = gateway.chat("[[status=400]]").send().await;
    assert_eq!(failed.status, 400);
    gateway.quiet().await;
    let of = [("provider", "openrouter"), ("model", "openai/gpt-4o-mini")];
    let with = |label: (&'static str, &'static str)| [of[0], of[1], label];
    for (kind, tokens) in [
        ("input", 40),
        ("output", 18),
        ("cache_read", 10),
        ("reasoning", 6),
    ] {
        let labels = with(("kind", kind));
        assert_eq!(
            count(&gateway, "weir_tokens_total", &labels).await,
            tokens,
            "{kind}"
        );
    }
    let cost = series(&gateway, "weir_model_cost_usd_total", &of).await;
    assert!((cost - 0.0008).abs() < 1e-12, "{cost}");
    for (outcome, requests) in [("ok", 2), ("error", 1), ("client_gone", 0)] {
        let labels = with(("outcome", outcome));
        assert_eq!(
            count(&gateway, "weir_model_requests_total", &labels).await,
            requests
        );
    }
    for (family, times) in [
        ("weir_model_duration_seconds_count", 3),
        ("weir_time_to_first_token_seconds_count", 1),
        ("weir_time_per_output_token_seconds_count", 1),
    ] {
        assert_eq!(count(&gateway, family, &of).await, times, "{family}");
    }
    let attempts = count(&gateway, "weir_upstream_attempts_total", &of[..1]).await;
    assert_eq!(attempts, 3);
    let chat = [("route", "chat")];
    assert_eq!(
        count(&gateway, "weir_request_duration_seconds_count", &chat).await,
        3
    );
    assert_eq!(
        count(
            &gateway,
            "weir_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))]
        )
        .await,
        1
    );
    for family in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
    ] {
        assert!(series(&gateway, family, &[]).await > 0.0, "{family}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_is_not_the_first_byte() {
    // A role, a comment and an empty delta come first; then nothing for good.
    let provider = Provider::that("comment=1 hang_at=0");
    let gateway = Gateway::over(&provider)
        .upstream("timeout_seconds: 1")
        .start()
        .await;
    let reply = gateway.chat("hello").stream().send().await;
    assert!(!reply.done());
    gateway.quiet().await;
    assert_eq!(
        count(&gateway, "weir_time_to_first_byte_seconds_count", &[]).await,
        1
    );
    let none = gateway
        .metric("weir_time_to_first_token_seconds_count")
        .await;
    assert!(none.abs() < 0.5, "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_only_clients_and_providers_know_are_no_labels() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "100").soft().untiered())
        .start()
        .await;
    for number in 0..5 {
        let model = format!("evil/model-{number}");
        let reply = gateway
            .chat("hello")
            .agent(&format!("agent-made-up-{number}"))
            .field("model", model.as_str())
            .send()
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let known = gateway
        .chat("hello [[model=evil/answer]]")
        .field("model", "openai/gpt-4o");
    assert_eq!(known.send().await.status, 200);
    gateway.post("/made-up-path", "{}").await;
    gateway.quiet().await;
    let text = gateway.get("/metrics").await.text();
    for name in ["evil", "made-up"] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
    let of = |model| {
        [
            ("provider", "openrouter"),
            ("model", model),
            ("outcome", "ok"),
        ]
    };
    assert_eq!(
        count(&gateway, "weir_model_requests_total", &of("other")).await,
        5
    );
    assert_eq!(
        count(&gateway, "weir_model_requests_total", &of("openai/gpt-4o")).await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_one_line_whatever_becomes_of_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("log: {format: json}")
        .agent(Agent::new("default", "100"))
        .agent(Agent::new("poor", "0.000001"))
        .start()
        .await;
    let served = gateway
        .chat("the-prompt")
        .field("temperature", 1)
        .send()
        .await;
    let refused = gateway.chat("the-prompt").agent("poor").send().await;
    let broken = gateway.post("/v1/chat/completions", "{").await;
    let local = gateway.get("/api/spend").await;
    let nowhere = gateway.get("/nowhere").await;
    gateway.get("/health").await;
    let ids: Vec<String> = [&served, &refused, &broken, &local, &nowhere]
        .iter()
        .map(|reply| reply.header("x-weir-request-id").unwrap().to_owned())
        .collect();
    let lines = crate::support::eventually("five lines", || {
        let output = gateway.output();
        let lines = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["message"] == "request").collect();
        (lines.len() >= 5).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let found: Vec<_> = lines
        .iter()
        .map(|line| line["weir.request.id"].as_str().unwrap())
        .collect();
    assert_eq!(found, ids);
    let line = &lines[0];
    assert_eq!(line["weir.agent.id"], "default");
    assert_eq!(line["gen_ai.operation.name"], "chat");
    assert_eq!(line["gen_ai.provider.name"], "openrouter");
    assert_eq!(line["http.route"], "/v1/chat/completions");
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(
        line["gen_ai.usage.output_tokens"],
        served.json()["usage"]["completion_tokens"]
    );
    assert!(line["weir.cost.nano_usd"].as_i64().unwrap() > 0);
    assert_eq!(lines[1]["error.type"], "budget_exhausted");
    assert_eq!(lines[1]["http.response.status_code"], 402);
    assert_eq!(lines[2]["error.type"], "invalid_json");
    assert_eq!(lines[3]["weir.route"], "local");
    assert_eq!(lines[4]["error.type"], "not_found");
    assert!(!gateway.output().contains("the-prompt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_is_counted_whether_or_not_it_is_asked_again() {
    let provider = Provider::that("status=503");
    for retries in [0, 1] {
        let gateway = Gateway::over(&provider)
            .routing(&format!("retries: {retries}"))
            .start()
            .await;
        assert_eq!(gateway.chat("hello").send().await.status, 503);
        gateway.quiet().await;
        let labels = [("provider", "openrouter"), ("kind", "status")];
        let failed = count(&gateway, "weir_upstream_errors_total", &labels).await;
        assert_eq!(failed, 1 + retries);
        let attempts = count(&gateway, "weir_upstream_attempts_total", &labels[..1]).await;
        assert_eq!(attempts, 1 + retries);
    }
}
