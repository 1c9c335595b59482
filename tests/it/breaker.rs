//! The cost circuit breaker: levels act, are told once, and are not forgotten.

mod agents;
mod alerts;
mod fleet;
mod kept;
mod receiver;
mod routes;

use crate::support::gateway::Setup;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Reply, Seen, client, eventually};
use serde_json::{Value, json};
use std::time::Instant;

const OPUS: &str = "anthropic/claude-opus-4";
const SONNET: &str = "anthropic/claude-sonnet-4";
const HAIKU: &str = "anthropic/claude-haiku-4.5";
const EMBEDDING: &str = "openai/text-embedding-3-small";

/// Four levels, a dollar apart; `more` are further settings.
fn levels(more: &str) -> String {
    format!(
        "breaker: {{mode: enforce, warning: 1, soft: 2, hard: 3, emergency: 4, downgrade: {{to: {SONNET}}}, \
         economy: {{to: {HAIKU}}}{more}}}"
    )
}

/// A gateway whose one agent may ask for any model.
fn guarded(provider: &Provider, breaker: &str) -> Setup {
    Gateway::over(provider)
        .routing(breaker)
        .agent(Agent::new("default", "1000").untiered())
        .settings("events: {file: {path: events.txt}}")
}

/// Spends so many dollars.
async fn spend(gateway: &Gateway, usd: &str) {
    let reply = gateway
        .chat(&format!("[[cost={usd}]]"))
        .field("model", HAIKU)
        .max_tokens(5)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Looks again and again until `wanted` says so.
async fn until(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let state = gateway.get("/state").await;
        assert_eq!(state.status, 200, "{}", state.text());
        let state = state.json();
        if wanted(&state) {
            return state;
        }
        assert!(start.elapsed() < PATIENCE, "it never was so: {state}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for a level.
async fn level(gateway: &Gateway, level: &str) -> Value {
    until(gateway, |state| state["level"] == level).await
}

/// Waits until so much is counted, in dollars.
async fn total(gateway: &Gateway, usd: f64) -> Value {
    until(gateway, |state| {
        let total = state["total"].as_f64().unwrap();
        (total - usd).abs() < 1e-9
    })
    .await
}

async fn put(gateway: &Gateway, path: &str, body: &str) -> Reply {
    let request = client::http().put(gateway.url(path)).body(body.to_owned());
    let request = request.header("content-type", "application/json");
    Reply::read(request.send().await.unwrap()).await
}

/// The events with this in their line, once there are so many.
async fn events(gateway: &Gateway, part: &str, count: usize) -> Vec<Value> {
    let path = gateway.directory.join("events.txt");
    eventually(part, || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains(part));
        let all: Vec<Value> = lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (all.len() >= count).then_some(all)
    })
    .await
}

/// Waits until so much was told in the log, and nothing else.
async fn tells(gateway: &Gateway, expected: &[&str]) {
    eventually(&format!("{expected:?}"), || {
        (told(gateway).len() >= expected.len()).then_some(())
    })
    .await;
    assert_eq!(told(gateway), expected);
}

/// What was told in the log, as `before>level`.
fn told(gateway: &Gateway) -> Vec<String> {
    let output = gateway.output();
    let lines = output
        .lines()
        .filter(|line| line.contains("the cost breaker is at a"));
    let word = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split(' ').next().unwrap().trim_matches('"').to_owned()
    };
    lines
        .map(|line| {
            let (before, level) = (word(line, "breaker.before="), word(line, "breaker.level="));
            format!("{before}>{level}")
        })
        .collect()
}

/// A request of every surface for a model.
async fn ask(gateway: &Gateway, surface: &str, model: &str, tag: &str) -> Reply {
    let text = format!("[[tag={tag}]] hello");
    let said = json!([{"role": "user", "content": text}]);
    let (path, body) = match surface {
        "chat" => (
            "/v1/chat/completions".into(),
            json!({"model": model, "messages": said, "max_tokens": 5}),
        ),
        "completions" => (
            "/v1/completions".into(),
            json!({"model": model, "prompt": text, "max_tokens": 5}),
        ),
        "responses" => (
            "/v1/responses".into(),
            json!({"model": model, "input": text, "max_output_tokens": 16}),
        ),
        "messages" => (
            "/v1/messages".into(),
            json!({"model": model, "messages": said, "max_tokens": 5}),
        ),
        "titan" => (
            format!("/proxy/{model}"),
            json!({"messages": said, "max_tokens": 5}),
        ),
        "count_tokens" => (
            "/v1/messages/count_tokens".into(),
            json!({"model": model, "messages": said}),
        ),
        _ => (
            "/v1/embeddings".to_owned(),
            json!({"model": model, "input": text}),
        ),
    };
    gateway.post(&path, &body.to_string()).await
}

const SURFACES: [&str; 5] = ["chat", "completions", "responses", "messages", "titan"];

/// The model that the provider was asked for.
async fn asked(provider: &Provider, tag: &str) -> String {
    let record = provider.ended(tag).await;
    record.body()["model"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_level_acts_on_every_surface() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    for surface in SURFACES {
        let tag = format!("ok-{surface}");
        let reply = ask(&gateway, surface, OPUS, &tag).await;
        assert_eq!(reply.status, 200, "{surface}: {}", reply.text());
        assert_eq!(asked(&provider, &tag).await, OPUS, "{surface}");
        assert_eq!(reply.header("x-weir-breaker"), None);
    }
    spend(&gateway, "2").await;
    level(&gateway, "SOFT").await;
    for surface in SURFACES {
        let tag = format!("soft-{surface}");
        let reply = ask(&gateway, surface, OPUS, &tag).await;
        assert_eq!(reply.status, 200, "{surface}: {}", reply.text());
        assert_eq!(asked(&provider, &tag).await, SONNET, "{surface}");
        assert_eq!(reply.header("x-weir-breaker"), Some("SOFT"), "{surface}");
        assert_eq!(reply.header("x-weir-downgraded-from"), Some(OPUS));
        assert_eq!(reply.header("x-weir-model"), Some(SONNET));
    }
    let same = ask(&gateway, "chat", "openai/gpt-4o-mini", "soft-other").await;
    assert_eq!(same.header("x-weir-downgraded-from"), None);
    assert_eq!(asked(&provider, "soft-other").await, "openai/gpt-4o-mini");
    let vector = ask(&gateway, "embeddings", EMBEDDING, "soft-vector").await;
    assert_eq!(vector.status, 200, "{}", vector.text());

    spend(&gateway, "1").await;
    level(&gateway, "HARD").await;
    for surface in SURFACES {
        let tag = format!("hard-{surface}");
        let reply = ask(&gateway, surface, "openai/gpt-4o", &tag).await;
        assert_eq!(reply.status, 200, "{surface}: {}", reply.text());
        assert_eq!(asked(&provider, &tag).await, HAIKU, "{surface}");
        assert_eq!(reply.header("x-weir-breaker"), Some("HARD"), "{surface}");
    }
    let vector = ask(&gateway, "embeddings", EMBEDDING, "hard-vector").await;
    assert_eq!(
        (vector.status, vector.code()),
        (402, "cost_limit_exceeded".into())
    );

    spend(&gateway, "1").await;
    let state = level(&gateway, "EMERGENCY").await;
    for surface in SURFACES.into_iter().chain(["embeddings", "count_tokens"]) {
        let reply = ask(&gateway, surface, HAIKU, "emergency").await;
        assert_eq!(reply.status, 402, "{surface}: {}", reply.text());
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        let body = reply.json();
        let message = match surface {
            "titan" => &body["detail"],
            _ => &body["error"]["message"],
        };
        let message = message.as_str().unwrap();
        assert!(
            message.starts_with("Cost limit exceeded: level EMERGENCY"),
            "{surface}: {body}"
        );
        match surface {
            "titan" => {}
            "messages" | "count_tokens" => {
                assert_eq!(body["error"]["type"], "billing_error");
                assert_eq!(body["error"]["code"], "cost_limit_exceeded");
            }
            _ => {
                assert_eq!(body["error"]["code"], "cost_limit_exceeded");
                assert_eq!(body["detail"]["level"], "EMERGENCY");
                assert_eq!(body["detail"]["total"], state["total"]);
                assert_eq!(body["detail"]["threshold"], 4.0);
            }
        }
    }
    assert!(provider.tagged("emergency").is_empty());
    let text = gateway.get("/metrics").await.text();
    for line in [
        "weir_breaker_level 4",
        r#"weir_breaker_requests_total{action="downgraded"} 10"#,
        r#"weir_breaker_requests_total{action="refused"} 8"#,
        r#"weir_breaker_threshold_usd{level="SOFT"} 2"#,
        r#"weir_refusals_total{code="cost_limit_exceeded"} 8"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_model_is_billed_as_what_it_is_in_tiers_and_among_fallbacks() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing(&levels(""))
        .agent(Agent::new("tiered", "1000").tier("0.0", &[OPUS, "openai/gpt-4o-mini"]))
        .agent(Agent::new("default", "1000").untiered())
        .start()
        .await;
    spend(&gateway, "2.5").await;
    level(&gateway, "SOFT").await;
    let reply = gateway.chat("[[tag=tiers]]").agent("tiered").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = provider.ended("tiers").await.body();
    assert_eq!(sent["models"], json!([SONNET, "openai/gpt-4o-mini"]));
    assert_eq!(
        reply.header("x-weir-models"),
        Some(format!("{SONNET},openai/gpt-4o-mini").as_str())
    );
    assert_eq!(gateway.bill("tiered").await["model"], SONNET);
    let intents = gateway.events("intent");
    assert_eq!(
        intents.last().unwrap()["models"],
        json!([SONNET, "openai/gpt-4o-mini"])
    );

    // A client cannot bring a dear model in through its own list.
    let reply = gateway
        .chat("[[tag=listed]]")
        .field("model", "openai/gpt-4o-mini")
        .field("models", json!(["openai/gpt-4o-mini", OPUS]))
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = provider.ended("listed").await.body();
    assert!(!sent.to_string().contains("opus"), "{sent}");
    assert!(sent.to_string().contains(SONNET), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_observed_changes_nothing_and_is_counted() {
    let provider = Provider::start().await;
    let breaker = levels("").replace("enforce", "observe");
    let gateway = guarded(&provider, &breaker).start().await;
    spend(&gateway, "2").await;
    level(&gateway, "SOFT").await;
    let reply = ask(&gateway, "chat", OPUS, "opus").await;
    assert_eq!(reply.status, 200);
    assert_eq!(asked(&provider, "opus").await, OPUS);
    spend(&gateway, "3").await;
    level(&gateway, "EMERGENCY").await;
    spend(&gateway, "1").await;
    let text = gateway.get("/metrics").await.text();
    for line in [
        r#"weir_breaker_requests_total{action="would_downgrade"} 1"#,
        r#"weir_breaker_requests_total{action="would_refuse"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_are_enough_to_make_levels_act() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, "breaker: {}")
        .env("CIRCUIT_BREAKER_WARNING", "0.5")
        .env("CIRCUIT_BREAKER_SOFT", "0.6")
        .env("CIRCUIT_BREAKER_HARD", "0.7")
        .env("CIRCUIT_BREAKER_EMERGENCY", "0.8")
        .start()
        .await;
    spend(&gateway, "0.7").await;
    level(&gateway, "HARD").await;
    let refused = ask(&gateway, "chat", "openai/gpt-4o-mini", "refused").await;
    assert_eq!(
        (refused.status, refused.code()),
        (402, "cost_limit_exceeded".into()),
        "no economy model is named"
    );
    spend(&gateway, "0.1").await;
    level(&gateway, "EMERGENCY").await;
}
