//! The cost circuit breaker: levels act, are told once, and are not forgotten.

mod fleet;
mod receiver;
mod routes;

use crate::support::gateway::Setup;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Reply, Seen, client, eventually};
use receiver::Receiver;
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
async fn every_change_of_level_is_told_once_to_everybody() {
    let (provider, receiver) = (Provider::start().await, Receiver::start().await);
    let secret = "0123456789abcdef0123456789abcdef";
    let webhook = format!(
        ", webhook: {{url: '{}', secret: '${{HOOK_SECRET}}'}}",
        receiver.url()
    );
    let gateway = guarded(&provider, &levels(&webhook))
        .env("HOOK_SECRET", secret)
        .start()
        .await;
    // The first try is not taken, and neither is a redirect followed.
    receiver.answers(&[500, 307]);
    spend(&gateway, "1").await;
    level(&gateway, "WARNING").await;
    receiver.taken(1).await;
    spend(&gateway, "0.5").await;
    spend(&gateway, "1.6").await;
    level(&gateway, "HARD").await;
    receiver.taken(2).await;
    let reset = gateway.post("/admin/costs/reset", "").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    let messages = receiver.taken(3).await;
    tells(&gateway, &["OK>WARNING", "WARNING>HARD", "HARD>OK"]).await;
    let bodies: Vec<Value> = messages.iter().map(receiver::Message::json).collect();
    let changes: Vec<_> = bodies
        .iter()
        .map(|body| format!("{}>{}", body["before"], body["level"]).replace('"', ""))
        .collect();
    assert_eq!(changes, ["OK>WARNING", "WARNING>HARD", "HARD>OK"]);
    assert_eq!(bodies[1]["type"], "breaker.level");
    assert_eq!(
        (&bodies[1]["total"], &bodies[1]["threshold"]),
        (&json!(3.1), &json!(3.0))
    );
    for message in &messages {
        assert!(message.is_signed_with(secret), "{message:?}");
    }
    let tries = receiver.all();
    let first = |at: usize| tries[at].header("x-weir-delivery");
    assert_eq!(
        (first(0), first(1)),
        (first(2), first(2)),
        "one message, three tries"
    );
    assert_ne!(first(2), first(3));
    let events = events(&gateway, r#""type":"breaker.level""#, 3).await;
    assert_eq!((events.len(), &events[1]["level"]), (3, &json!("HARD")));
    assert_eq!(gateway.metric("weir_breaker_changes_total").await, 3.0);
    assert!(!gateway.output().contains(secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_gone_holds_nothing_up() {
    let provider = Provider::start().await;
    let gone = crate::support::gateway::free_port();
    let webhook = format!(", webhook: {{url: 'http://127.0.0.1:{gone}/', timeout: 200ms}}");
    let gateway = guarded(&provider, &levels(&webhook)).start().await;
    spend(&gateway, "1").await;
    level(&gateway, "WARNING").await;
    let start = Instant::now();
    while gateway.metric("weir_breaker_webhook_total").await < 1.0 {
        assert!(start.elapsed() < PATIENCE, "it never gave up");
        tokio::time::sleep(LOOK).await;
    }
    let text = gateway.get("/metrics").await.text();
    assert!(text.contains(r#"weir_breaker_webhook_total{result="failed"} 1"#));
    spend(&gateway, "0.1").await;
    assert_eq!(gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spent_leaves_a_window_that_slides() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels(", window: 2s")).start().await;
    spend(&gateway, "5").await;
    level(&gateway, "EMERGENCY").await;
    let start = Instant::now();
    let refused = ask(&gateway, "chat", HAIKU, "refused").await;
    assert!(refused.status == 402 || start.elapsed().as_secs() >= 2);
    // Nobody asks it to look: the window moves on by itself.
    while gateway.metric("weir_breaker_level").await > 0.0 {
        assert!(start.elapsed() < PATIENCE, "it never became less");
        tokio::time::sleep(LOOK).await;
    }
    let reply = ask(&gateway, "chat", OPUS, "again").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    tells(&gateway, &["OK>EMERGENCY", "EMERGENCY>OK"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_forgets_nothing_and_tells_nothing_again() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    spend(&gateway, "2.25").await;
    let track = json!({"model": HAIKU, "inputTokens": 500_000, "outputTokens": 0}).to_string();
    let tracked = gateway.post("/track", &track).await;
    assert_eq!(tracked.status, 200, "{}", tracked.text());
    let sum = tracked.json()["total"].as_f64().unwrap();
    let limits = put(&gateway, "/admin/costs/limits", r#"{"HARD": 3.5}"#).await;
    assert_eq!(limits.status, 200, "{}", limits.text());
    level(&gateway, "SOFT").await;
    tells(&gateway, &["OK>SOFT"]).await;
    let before = level(&gateway, "SOFT").await;

    // What it kept for a quick start is of a moment ago, of long ago, or gone.
    let mut gateway = gateway.restart().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    gateway.kill9();
    std::fs::remove_file(gateway.directory.join("spend.jsonl.window")).unwrap();
    let mut gateway = gateway.again().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    gateway.kill9();
    std::fs::write(gateway.directory.join("spend.jsonl.window"), "{\"versi").unwrap();
    let gateway = gateway.again().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    // From its first request on.
    let reply = ask(&gateway, "chat", OPUS, "after").await;
    assert_eq!(asked(&provider, "after").await, SONNET, "{}", reply.text());
    assert!(told(&gateway).is_empty());

    // A crash in the middle of an answer charges what was held, and that counts.
    let call = gateway.chat("[[hang=headers]]").field("model", HAIKU);
    let open = tokio::spawn(call.stream().try_open());
    eventually("a hold", || {
        let intents = gateway.events("intent");
        intents
            .last()
            .filter(|intent| intent["held"].as_i64() > Some(0))?;
        (gateway.bills("default").len() + 1 == intents.len()).then_some(())
    })
    .await;
    let gateway = gateway.restart().await;
    open.abort();
    let spent = gateway.spend("default").0 as f64 / 1e9;
    assert!(spent > 2.25);
    total(&gateway, spent + sum - 2.25).await;

    let reset = gateway.post("/admin/costs/reset", "").await;
    assert_eq!(reset.json()["total"], 0.0);
    let gateway = gateway.restart().await;
    let state = level(&gateway, "OK").await;
    assert_eq!(state["total"], 0.0);
    assert_eq!(state["thresholds"]["HARD"], 3.5);
    spend(&gateway, "0.5").await;
    total(&gateway, 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_new_thresholds_and_keeps_what_was_spent() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    spend(&gateway, "1.5").await;
    level(&gateway, "WARNING").await;
    let lower = levels("").replace("soft: 2", "soft: 1.25");
    gateway.write_policy(&guarded(&provider, &lower));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let state = level(&gateway, "SOFT").await;
    assert_eq!(
        (&state["total"], &state["threshold"]),
        (&json!(1.5), &json!(1.25))
    );
    // Another window is put together from the log.
    let monthly = levels(", window: monthly");
    gateway.write_policy(&guarded(&provider, &monthly));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let state = level(&gateway, "WARNING").await;
    assert_eq!(state["total"], 1.5);
    let costs = gateway.get("/admin/costs").await.json();
    assert_eq!(costs["costs"]["window"], "monthly");
    let wrong = levels("").replace("soft: 2", "soft: 0.5");
    gateway.write_policy(&guarded(&provider, &wrong));
    let refused = gateway.post("/api/reload", "").await;
    assert!(
        refused.text().contains("must be more than WARNING"),
        "{}",
        refused.text()
    );
    assert_eq!(level(&gateway, "WARNING").await["total"], 1.5);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_loop_is_stopped_and_others_are_not() {
    let provider = Provider::start().await;
    let repeats = ", repeats: {action: refuse, times: 3, within: 10m, cool_down: 5m}";
    let gateway = guarded(&provider, &levels(repeats))
        .agent(Agent::new("other", "1000").untiered())
        .start()
        .await;
    let same = |agent: &str| {
        let call = gateway.chat("the same").agent(agent);
        call.field("model", HAIKU).max_tokens(5)
    };
    for _ in 0..2 {
        assert_eq!(same("default").send().await.status, 200);
    }
    for _ in 0..2 {
        let refused = same("default").send().await;
        assert_eq!(
            (refused.status, refused.code()),
            (429, "repeated_request".into())
        );
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=300).contains(&wait), "{wait}");
    }
    assert_eq!(same("other").send().await.status, 200);
    spend(&gateway, "0.1").await;
    assert_eq!(gateway.metric("weir_breaker_found_total").await, 1.0);
    let all = events(&gateway, r#""type":"guard.finding""#, 1).await;
    let found = &all[0];
    assert_eq!(
        (&found["control"], &found["rule"], &found["action"]),
        (&json!("breaker"), &json!("repeat"), &json!("refused"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_spends_far_more_than_ever_is_stopped_for_a_while() {
    let provider = Provider::start().await;
    let spikes = ", spikes: {action: refuse, dollars_per_minute: 0.1, cool_down: 10m}";
    let breaker = levels(spikes).replace("emergency: 4", "emergency: 400");
    let mut gateway = guarded(&provider, &breaker).start().await;
    spend(&gateway, "0.01").await;
    total(&gateway, 0.01).await;
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().await, Some(0));
    // An hour of work, a cent a minute.
    let path = gateway.directory.join("spend.jsonl.window");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let last = kept["latest"].as_i64().unwrap() / 60_000 * 60_000;
    let past: Vec<Value> = (5..60)
        .rev()
        .map(|minute| json!({"at": last - minute * 60_000, "cost": 10_000_000, "tokens": 10}))
        .collect();
    kept["tracker"]["spikes"]["agents"]["default"]["minutes"] = json!(past);
    std::fs::write(&path, kept.to_string()).unwrap();

    let gateway = gateway.again().await;
    spend(&gateway, "0.09").await;
    total(&gateway, 0.1).await;
    spend(&gateway, "0.02").await;
    total(&gateway, 0.12).await;
    let refused = gateway.chat("hello").field("model", HAIKU).send().await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "spend_spike".into())
    );
    assert!(refused.header("retry-after").is_some());
    let text = gateway.get("/metrics").await.text();
    assert!(
        text.contains(r#"weir_breaker_found_total{action="refuse",rule="spike.dollars"} 1"#),
        "{text}"
    );
}
