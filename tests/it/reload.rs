//! Another configuration while requests run: the whole of it or nothing, and what runs stays as it was.

mod running;
mod watch;

use crate::support::gateway::Setup;
use crate::support::{Agent, Gateway, PATIENCE, Provider, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const KEY: &str = "a-client-key-of-some-length";
const OTHER: &str = "another-key-of-some-length";

const MODELS: &str =
    "models:\n  small: {provider: openrouter, input_cost: 0.000001, output_cost: 0.000002}\n";

/// Reloads that came to this, so far.
async fn count(gateway: &Gateway, result: &str) -> u64 {
    let text = gateway.get("/metrics").await.text();
    let series = format!("weir_config_reloads_total{{result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("the series is there").parse().unwrap()
}

/// Waits for the reload after which so many came to this.
async fn counted(gateway: &Gateway, result: &str, least: u64) {
    let start = Instant::now();
    while count(gateway, result).await < least {
        assert!(
            start.elapsed() < PATIENCE,
            "reload {least} was never {result}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn reload(gateway: &Gateway) -> Value {
    let reply = gateway.post("/api/reload", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = reply.json();
    assert_eq!(reply["status"], "reloaded");
    reply
}

/// The problems of a refused reload.
async fn refused(gateway: &Gateway) -> Vec<String> {
    let reply = gateway.post("/api/reload", "").await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_config".into()));
    let problems = reply.json()["detail"]["problems"].clone();
    serde_json::from_value(problems).unwrap()
}

fn write(gateway: &Gateway, file: &str, text: &str) {
    std::fs::write(gateway.directory.join(file), text).unwrap();
}

/// Waits until the log has a line with all of these.
async fn said(gateway: &Gateway, parts: &[&str]) -> String {
    eventually(&format!("a line of the log with {parts:?}"), || {
        let output = gateway.output();
        let mut lines = output.lines();
        let found = lines.find(|line| parts.iter().all(|part| line.contains(part)));
        found.map(str::to_owned)
    })
    .await
}

fn two_agents(provider: &Provider) -> Setup {
    Gateway::over(provider)
        .models(MODELS)
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("b", "1"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_says_what_has_changed_and_reading_the_same_again_changes_nothing() {
    let provider = Provider::start().await;
    let old = two_agents(&provider)
        .key("laptop", KEY, "a", "")
        .key("phone", OTHER, "b", "");
    let gateway = old.start().await;
    let same = reload(&gateway).await;
    assert_eq!(
        (&same["result"], &same["changes"]),
        (&json!("unchanged"), &json!([]))
    );
    let new = Gateway::over(&provider)
        .models(MODELS)
        .agent(Agent::new("a", "5").line("limits: {concurrent_requests: 3}"))
        .agent(Agent::new("c", "1"))
        .key("laptop", KEY, "a", "agents: [c]");
    gateway.write_policy(&new);
    let reply = reload(&gateway).await;
    assert_eq!(reply["result"], "applied");
    assert_eq!(reply["agents"], json!(["a", "c"]));
    assert_eq!(reply["needs_restart"], json!([]));
    assert_eq!(
        reply["changes"],
        json!([
            "agent `b` removed",
            "agent `c` added",
            "key `laptop` changed: agents",
            "key `phone` revoked",
            "cost_routing.agents.a.budget_total is $5.00, was $10.00",
            "cost_routing.agents.a.limits.concurrent_requests is 3, was not set",
        ])
    );
    said(
        &gateway,
        &[
            "INFO",
            "configuration reloaded",
            "key `phone` revoked",
            "admin 127.0.0.1",
        ],
    )
    .await;
    assert_eq!(reload(&gateway).await["result"], "unchanged");
    assert_eq!(count(&gateway, "applied").await, 1);
    assert_eq!(count(&gateway, "unchanged").await, 2);
    assert_eq!(count(&gateway, "refused").await, 0);
    let at = gateway
        .metric("weir_config_last_reload_success_timestamp_seconds")
        .await;
    assert!(at > 1_700_000_000.0, "{at}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_changed_files_nothing_takes_effect_when_one_is_bad() {
    let provider = Provider::start().await;
    let good = two_agents(&provider);
    let gateway = good.clone().start().await;
    let better = good.clone().agent(Agent::new("new", "1"));
    let more_models = format!("{MODELS}  big: {{provider: openrouter}}\n");
    let bad_models = format!("{MODELS}  big: {{provder: x}}\n  bad: {{provider: nobody}}\n");

    gateway.write_policy(&better);
    write(&gateway, "models.yaml", &bad_models);
    let problems = refused(&gateway).await;
    for part in [
        "models.yaml:3:",
        "provder",
        "models.yaml:4:",
        "no provider of this name",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(part)),
            "{part}: {problems:#?}"
        );
    }
    // Each of them is in the log by itself, where it stands.
    said(&gateway, &["ERROR", "models.yaml:3:", "provder"]).await;
    said(
        &gateway,
        &["ERROR", "models.yaml:4:", "no provider of this name"],
    )
    .await;
    said(&gateway, &["ERROR", "reload refused", "admin 127.0.0.1"]).await;

    // The other way round, and the settings count, too.
    write(&gateway, "models.yaml", &more_models);
    gateway.write_policy(
        &good
            .clone()
            .routing("retrys: 3")
            .agent(Agent::new("new", "-1")),
    );
    write(&gateway, "weir.yaml", "limits: {headrs: 5}");
    let problems = refused(&gateway).await;
    for part in [
        "did you mean `retries`?",
        "budget_total",
        "weir.yaml:1:",
        "headrs",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(part)),
            "{part}: {problems:#?}"
        );
    }
    assert_eq!(gateway.get("/api/spend/new").await.status, 404);
    let models = gateway.get("/models").await.text();
    assert!(
        models.contains("small") && !models.contains("big"),
        "{models}"
    );
    assert_eq!(gateway.chat("x").agent("b").send().await.status, 200);
    assert_eq!(count(&gateway, "refused").await, 2);
    assert_eq!(
        gateway.metric("weir_config_reload_failures_total").await,
        2.0
    );
    assert_eq!(
        gateway.metric("weir_config_last_reload_successful").await,
        0.0
    );

    write(&gateway, "weir.yaml", "");
    gateway.write_policy(&better);
    assert_eq!(
        reload(&gateway).await["changes"],
        json!(["agent `new` added", "model `big` added"])
    );
    assert_eq!(
        gateway.metric("weir_config_last_reload_successful").await,
        1.0
    );
    assert_eq!(gateway.chat("x").agent("new").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_would_refuse_as_unsafe_a_reload_refuses_as_well() {
    let provider = Provider::start().await;
    let gateway = two_agents(&provider).start().await;
    let itself = format!("http://{}/v1", gateway.addr);
    gateway.write_policy(&Gateway::at(&itself).agent(Agent::new("a", "1")));
    let problems = refused(&gateway).await;
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("policy.yaml:")
                && problem.contains("this gateway itself")),
        "{problems:#?}"
    );
    assert_eq!(gateway.chat("x").agent("b").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signal_hup_reloads_and_a_bad_file_does_not_end_the_process() {
    let provider = Provider::start().await;
    let good = two_agents(&provider);
    let gateway = good.clone().start().await;
    gateway.write_policy(&good.clone().agent(Agent::new("new", "1")));
    gateway.signal("HUP");
    counted(&gateway, "applied", 1).await;
    said(&gateway, &["INFO", "SIGHUP", "agent `new` added"]).await;
    assert_eq!(gateway.chat("x").agent("new").send().await.status, 200);
    write(
        &gateway,
        "policy.yaml",
        "cost_routing: {agents: {a: {budget_total: x}}}",
    );
    gateway.signal("HUP");
    counted(&gateway, "refused", 1).await;
    said(&gateway, &["ERROR", "policy.yaml:1:", "budget_total"]).await;
    assert_eq!(gateway.chat("x").agent("new").send().await.status, 200);
    assert_eq!(gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_at_the_same_time_take_turns_and_one_of_them_applies() {
    let provider = Provider::start().await;
    let gateway = Arc::new(two_agents(&provider).start().await);
    gateway.write_policy(&two_agents(&provider).agent(Agent::new("new", "1")));
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let gateway = Arc::clone(&gateway);
        all.spawn(async move { reload(&gateway).await["result"].to_string() });
    }
    let mut results = all.join_all().await;
    results.sort();
    assert_eq!(results[0], "\"applied\"");
    assert!(
        results[1..].iter().all(|result| result == "\"unchanged\""),
        "{results:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_restart_changes_is_named_and_stays_as_it_was() {
    let provider = Provider::start().await;
    let directory = crate::support::gateway::new_directory();
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, "").unwrap();
    let setup = two_agents(&provider).settings("upstream: {ca_file: ca.pem}");
    let gateway = setup.start_in(directory).await;
    let settings = "upstream: {ca_file: ca.pem}\nlisten: {http: \"127.0.0.1:1\"}\nlimits: {headers: 50}\n\
                    admin: {token: \"${TOKEN_OF_ADMIN}\"}\n";
    write(&gateway, "weir.yaml", settings);
    write(&gateway, ".env", "TOKEN_OF_ADMIN=sesame-sesame-sesame\n");
    write(&gateway, "ca.pem", "# another one\n");
    let policy = gateway.setup().policy_text(&gateway.directory);
    let moved = policy.replace("spend.jsonl", "elsewhere.jsonl");
    write(&gateway, "policy.yaml", &moved);
    let reply = reload(&gateway).await;
    // The address comes from variables here, which win over the file.
    let named = json!([
        "admin.token",
        "limits.headers",
        "cost_routing.spend_log",
        "upstream.ca_file (the content of ca.pem has changed)",
    ]);
    assert_eq!(reply["needs_restart"], named);
    assert_eq!(
        reply["changes"],
        json!([]),
        "nothing of it has changed here"
    );
    let line = said(
        &gateway,
        &["WARN", "needs a restart: admin.token, limits.headers"],
    )
    .await;
    assert!(line.contains("cost_routing.spend_log"), "{line}");
    assert!(!gateway.output().contains("sesame") && !reply.to_string().contains("sesame"));
    assert_eq!(
        gateway.chat("x").agent("a").send().await.status,
        200,
        "no token is asked for"
    );
    gateway.bill("a").await;
    assert!(!gateway.directory.join("elsewhere.jsonl").exists());
    // It is said as long as it is so.
    assert_eq!(reload(&gateway).await["needs_restart"], named);
    write(&gateway, "weir.yaml", "upstream: {ca_file: ca.pem}");
    write(&gateway, "policy.yaml", &policy);
    write(&gateway, "ca.pem", "");
    assert_eq!(reload(&gateway).await["needs_restart"], json!([]));
}
