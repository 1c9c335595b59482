//! Somebody is told before a budget is used up: once, and not again after a crash.

use crate::support::gateway::Setup;
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, eventually};
use serde_json::Value;
use std::time::Instant;

/// A gateway that writes its events to a file.
fn telling(provider: &Provider) -> Setup {
    Gateway::over(provider)
        .unit_prices()
        .settings("events: {file: {path: events.txt}}")
}

/// What was told of an account, as the log has it: the levels.
fn levels(gateway: &Gateway, account: &str) -> Vec<String> {
    let output = gateway.output();
    let lines = output.lines().filter(|line| {
        line.contains("has passed a warning level")
            && line.contains(&format!("account.id={account} "))
    });
    let level = |line: &str| {
        let (_, rest) = line.split_once("warning.level=").expect("a level");
        rest.split(' ').next().expect("a number").to_owned()
    };
    lines.map(level).collect()
}

/// Waits until so much was told, and nothing else: of several gateways from the lowest to the highest.
async fn told(gateways: &[&Gateway], account: &str, expected: &[&str]) {
    let all = || -> Vec<String> {
        let each = gateways.iter();
        let mut all: Vec<_> = each.flat_map(|gateway| levels(gateway, account)).collect();
        if gateways.len() > 1 {
            all.sort();
        }
        all
    };
    eventually(&format!("{expected:?} of {account}"), || {
        (all().len() >= expected.len()).then_some(())
    })
    .await;
    assert_eq!(all(), expected, "{account}");
}

/// Every event of one type.
async fn events(gateway: &Gateway, kind: &str, count: usize) -> Vec<Value> {
    let path = gateway.directory.join("events.txt");
    let read = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let all = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        all.filter(|event: &Value| event["type"] == kind).collect()
    };
    eventually(&format!("{count} times {kind}"), || {
        Some(read()).filter(|events| events.len() >= count)
    })
    .await
}

/// Spends so many dollars.
async fn spend(gateway: &Gateway, agent: &str, usd: &str) {
    let reply = gateway
        .chat(&format!("[[cost={usd}]]"))
        .agent(agent)
        .max_tokens(5)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_level_is_told_once_also_for_streams_and_again_when_it_was_armed() {
    let provider = Provider::start().await;
    let gateway = telling(&provider)
        .agent(
            Agent::new("a", "1")
                .line("period: monthly")
                .line("warn_at: [50%, 0.8, 95%]"),
        )
        .start()
        .await;
    spend(&gateway, "a", "0.3").await;
    let stream = gateway.chat("[[cost=0.25]]").agent("a").max_tokens(5);
    assert!(stream.stream().send().await.done());
    told(&[&gateway], "agent:a", &["0.5"]).await;
    spend(&gateway, "a", "0.1").await;
    let [warning] = events(&gateway, "model.budget.warning", 1)
        .await
        .try_into()
        .unwrap();
    assert_eq!(warning["account"], "agent:a");
    assert_eq!(warning["daily_total"], 0.55);
    assert_eq!(warning["daily_limit"], 1.0);
    assert_eq!(warning["level_percent"], 50.0);
    assert!(warning["period_start"].as_i64().unwrap() > 0);

    spend(&gateway, "a", "0.32").await;
    told(&[&gateway], "agent:a", &["0.5", "0.95"]).await;

    // Below a level it is armed again, by a reset as by a push.
    assert_eq!(gateway.post("/api/reset/a", "").await.status, 200);
    spend(&gateway, "a", "0.6").await;
    told(&[&gateway], "agent:a", &["0.5", "0.95", "0.5"]).await;
    let pushed = gateway.push("a", r#"{"budget_spent": 0.1}"#).await;
    assert_eq!(pushed.status, 200);
    spend(&gateway, "a", "0.75").await;
    told(&[&gateway], "agent:a", &["0.5", "0.95", "0.5", "0.8"]).await;
    // So it is by a higher limit, and a lower one passes it.
    for total in ["2", "1"] {
        let pushed = gateway
            .push("a", &format!(r#"{{"budget_total": {total}}}"#))
            .await;
        assert_eq!(pushed.status, 200);
    }
    told(
        &[&gateway],
        "agent:a",
        &["0.5", "0.95", "0.5", "0.8", "0.8"],
    )
    .await;
    assert_eq!(gateway.metric("weir_budget_warnings_total").await, 5.0);
    let text = gateway.get("/metrics").await.text();
    assert!(
        text.contains(r#"weir_budget_warnings_total{kind="agent"} 5"#),
        "{text}"
    );
    assert!(
        text.contains(r#"weir_budget_used_ratio{agent="a"} 0.85"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_left_passes_a_level_like_any_other() {
    let provider = Provider::start().await;
    let gateway = telling(&provider)
        .settings("drain: {time: 50ms}")
        .agent(
            Agent::new("a", "0.001")
                .unit()
                .soft()
                .line("warn_at: [0.001]"),
        )
        .start()
        .await;
    let call = gateway
        .chat("[[chunks=1000 delay_ms=50]]")
        .agent("a")
        .stream();
    let mut open = call.open().await;
    assert!(open.chunk().await.unwrap().is_some());
    drop(open);
    told(&[&gateway], "agent:a", &["0.001"]).await;
    gateway.quiet().await;
    assert_eq!(levels(&gateway, "agent:a").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_again_after_a_crash_and_what_the_crash_cost_is_told() {
    let provider = Provider::start().await;
    let gateway = telling(&provider)
        .agent(Agent::new("a", "1"))
        .agent(Agent::new("b", "0.004").unit())
        .start()
        .await;
    spend(&gateway, "a", "0.85").await;
    told(&[&gateway], "agent:a", &["0.8"]).await;
    // Up to a thousand tokens are held, two millionths each, twice.
    let open = || {
        gateway
            .chat("[[hang=headers]]")
            .agent("b")
            .stream()
            .try_open()
    };
    let (first, second) = (open(), open());
    tokio::spawn(first);
    tokio::spawn(second);
    eventually("two holds", || {
        (gateway.events("intent").len() == 3).then_some(())
    })
    .await;
    assert!(levels(&gateway, "agent:b").is_empty());

    let gateway = gateway.restart().await;
    told(&[&gateway], "agent:b", &["0.8"]).await;
    spend(&gateway, "a", "0.05").await;
    let gateway = gateway.restart().await;
    spend(&gateway, "a", "0.01").await;
    for account in ["agent:a", "agent:b"] {
        assert!(
            levels(&gateway, account).is_empty(),
            "{account} was told before"
        );
    }
    // It still tells: by what it had told it knows what is news.
    assert_eq!(gateway.post("/api/reset/a", "").await.status, 200);
    spend(&gateway, "a", "0.9").await;
    told(&[&gateway], "agent:a", &["0.8"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn teams_users_and_soft_limits_are_told_of_and_nobody_where_that_is_not_wanted() {
    let provider = Provider::start().await;
    let gateway = telling(&provider)
        .agent(Agent::new("a", "0.5").soft())
        .agent(Agent::new("quiet", "0.5").soft().line("warn_at: []"))
        .routing("teams:\n  t: {budget_total: 2, warn_at: [20%], agents: [a]}")
        .start()
        .await;
    spend(&gateway, "a", "0.45").await;
    told(&[&gateway], "agent:a", &["0.8"]).await;
    told(&[&gateway], "team:t", &["0.2"]).await;
    // The limit itself is a level where nobody is held to it.
    spend(&gateway, "a", "0.1").await;
    told(&[&gateway], "agent:a", &["0.8", "1.0"]).await;
    spend(&gateway, "quiet", "5").await;
    gateway.quiet().await;
    assert!(levels(&gateway, "agent:quiet").is_empty());
    assert_eq!(levels(&gateway, "team:t").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_for_want_of_money_is_told_and_the_log_has_the_first() {
    let provider = Provider::start().await;
    let gateway = telling(&provider).agent(Agent::new("a", "1")).start().await;
    spend(&gateway, "a", "1").await;
    let refusals = || gateway.output().matches("its requests are refused").count();
    for _ in 0..3 {
        let refused = gateway
            .chat("hello")
            .agent("a")
            .field("model", "m/x")
            .send()
            .await;
        assert_eq!(
            (refused.status, refused.code()),
            (402, "budget_exhausted".into())
        );
    }
    let told = events(&gateway, "model.budget.exceeded", 3).await;
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["account"], "agent:a");
    assert_eq!(
        (&told[0]["daily_total"], &told[0]["daily_limit"]),
        (&1.0.into(), &1.0.into())
    );
    assert_eq!(told[0]["blocked_model"], "m/x");
    assert!(told[0]["trace_id"].as_str().unwrap().starts_with("req_"));
    assert_eq!(refusals(), 1);
    assert_eq!(gateway.metric("weir_budget_exceeded_total").await, 3.0);
}

/// Two gateways with one Redis.
async fn two(provider: &Provider, server: &RedisServer) -> [Gateway; 2] {
    let redis = format!(
        "redis: {{url: \"{}\", timeout: 2s, recovery_wait: 20s}}",
        server.url()
    );
    let setup = Gateway::over(provider)
        .settings(&format!("stores: {{{redis}}}"))
        .agent(
            Agent::new("a", "1")
                .line("period: daily")
                .line("warn_at: [0.5, 0.8]"),
        );
    [setup.clone().start().await, setup.start().await]
}

/// Waits until a gateway has heard that so much is spent, and had time to tell of it.
async fn heard(gateway: &Gateway, ratio: f64) {
    let start = Instant::now();
    while (gateway.metric("weir_budget_used_ratio").await - ratio).abs() > 0.001 {
        assert!(start.elapsed() < PATIENCE, "never heard of {ratio}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_gateways_tell_a_level_once() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&provider, &server).await;
    // Neither has spent half of it by itself.
    spend(&first, "a", "0.3").await;
    spend(&second, "a", "0.3").await;
    told(&[&first, &second], "agent:a", &["0.5"]).await;
    spend(&first, "a", "0.25").await;
    told(&[&first, &second], "agent:a", &["0.5", "0.8"]).await;
    for gateway in [&first, &second] {
        heard(gateway, 0.85).await;
    }

    // One that comes back has nothing to tell.
    let before = levels(&first, "agent:a").len();
    let first = first.restart().await;
    heard(&first, 0.85).await;
    spend(&first, "a", "0.01").await;
    heard(&second, 0.86).await;
    assert_eq!(before + levels(&second, "agent:a").len(), 2);

    // A reset at one arms it for both.
    let so_far = levels(&second, "agent:a");
    assert_eq!(first.post("/api/reset/a", "").await.status, 200);
    spend(&second, "a", "0.9").await;
    eventually("the level again", || {
        let all = levels(&first, "agent:a").len() + levels(&second, "agent:a").len();
        (all > so_far.len()).then_some(())
    })
    .await;
    for gateway in [&first, &second] {
        heard(gateway, 0.9).await;
    }
    spend(&first, "a", "0.01").await;
    for gateway in [&first, &second] {
        heard(gateway, 0.91).await;
    }
    let all = levels(&first, "agent:a").len() + levels(&second, "agent:a").len();
    assert_eq!(all, so_far.len() + 1);
    // One of the two has counted each.
    let warned = first.metric("weir_budget_warnings_total").await;
    assert_eq!(
        warned + second.metric("weir_budget_warnings_total").await,
        f64::from(u32::try_from(all).unwrap())
    );
}
