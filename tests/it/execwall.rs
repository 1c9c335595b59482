//! What the Execwall OR Gate did, in the order of its README, and what it did wrong.

use crate::support::gateway::{UNIT, new_directory};
use crate::support::{Agent, Gateway, Provider, Seen, eventually};
use serde_json::{Value, json};
use weir::mock::Options;
use weir::money::Nanos;

/// The policy that came with the Execwall OR Gate, with the mock's address in it.
fn original_policy(provider: &Provider) -> String {
    include_str!("../data/execwall-or-gate/policy.yaml")
        .replace("https://openrouter.ai/api/v1", &provider.base_url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_session_goes_as_its_readme_says() {
    let directory = new_directory();
    let log = directory.join("openrouter_requests.log");
    let provider = Provider::with(Options {
        log: Some(log.clone()),
        ..Options::default()
    });
    let gateway = Gateway::over(&provider)
        .policy(&original_policy(&provider))
        .env("OPENROUTER_API_KEY", "test-key")
        .start_in(directory)
        .await;

    let hello = || gateway.chat("Hello").agent("agent-1").send();
    let first = hello().await;
    assert_eq!(first.status, 200, "{}", first.text());
    let premium = json!(["anthropic/claude-3.5-sonnet", "openai/gpt-4o"]);
    assert_eq!(first.metadata().unwrap()["models_allowed"], premium);

    let account = gateway.account("agent-1").await;
    assert_eq!(account["budget_total"], 50.0);
    assert!(account["budget_spent"].as_f64().unwrap() > 0.0);

    let pushed = gateway.push("agent-1", r#"{"budget_spent": 40.00}"#).await;
    assert_eq!(
        pushed.json(),
        json!({"status": "updated", "agent_id": "agent-1", "budget_total": 50.0, "budget_spent": 40.0})
    );
    assert_eq!(gateway.account("agent-1").await["budget_source"], "console");

    // 20 % are left, which the README calls mid-tier; its own rule says economy.
    let reduced = gateway.chat("What tier?").agent("agent-1").send().await;
    assert_eq!(reduced.status, 200);
    assert_eq!(
        reduced.metadata().unwrap()["models_allowed"],
        json!(["mistralai/mistral-7b-instruct"])
    );

    gateway.push("agent-1", r#"{"budget_spent": 50.00}"#).await;
    let exhausted = hello().await;
    assert_eq!(exhausted.status, 402);
    assert_eq!(exhausted.json()["detail"]["error"], "budget_exhausted");

    let reset = gateway.post("/api/reset/agent-1", "").await;
    assert_eq!(
        reset.json(),
        json!({"status": "reset", "agent_id": "agent-1", "budget_spent": 0.0})
    );
    assert_eq!(hello().await.status, 200);

    let text = std::fs::read_to_string(log).unwrap();
    let line = format!("{}\n", "=".repeat(60));
    let entries: Vec<Value> = text
        .split(&line)
        .filter(|entry| !entry.is_empty())
        .map(|entry| serde_json::from_str(entry).unwrap())
        .collect();
    assert_eq!(entries.len(), 3, "the refused request was not sent");
    for entry in &entries {
        assert_eq!(entry["model"], "openrouter/auto");
        assert_eq!(entry["route"], "fallback");
    }
    assert_eq!(entries[0]["models"], premium);
    assert_eq!(
        entries[1]["models"],
        json!(["mistralai/mistral-7b-instruct"])
    );
    assert_eq!(
        entries[2]["messages"],
        json!([{"role": "user", "content": "Hello"}])
    );
    let record = &provider.records()[0];
    assert_eq!(record.path, "/v1/chat/completions");
    assert_eq!(
        record.header("authorization").as_deref(),
        Some("Bearer test-key")
    );
    assert!(record.header("x-title").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_true_is_answered_with_a_stream_and_billed() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let reply = gateway.chat("[[chunks=5]]").stream().send().await;
    assert_eq!(reply.status, 200);
    assert!(reply.done() && reply.complete);
    let events = reply.events();
    let last = events.last().unwrap();
    assert_eq!(last["object"], "chat.completion.chunk");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["id"], events[0]["id"]);
    let record = provider.only_record().await;
    assert_eq!(gateway.spend("default"), Nanos(record.produced_cost_nanos));
    let cost = last["_execwall"]["cost"].as_f64().unwrap();
    assert!((cost - Nanos(record.produced_cost_nanos).as_usd_f64()).abs() < 1e-6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cost_is_subtracted_from_the_remaining_budget_once() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("agent-1", "50"))
        .start()
        .await;
    for stream in [false, true] {
        gateway.post("/api/reset/agent-1", "").await;
        let call = gateway.chat("[[cost=0.0015]]").agent("agent-1");
        let reply = call.field("stream", stream).send().await;
        let metadata = reply.metadata().unwrap();
        assert_eq!(metadata["cost"], 0.0015);
        assert_eq!(metadata["budget_remaining"], 49.9985);
        assert_eq!(metadata["agent_id"], "agent-1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_concurrent_requests_never_spend_more_than_the_cap() {
    let provider = Provider::start().await;
    // Each answer costs at most 0.0023 dollars; there is money for a handful.
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(Agent::new("racer", "0.01").unit())
        .start()
        .await;
    let calls: Vec<_> = (0..30)
        .map(|number| {
            let prompt = format!("[[chunks=1000 lat_ms=50 tag=race]] {number}");
            let call = gateway.chat(&prompt).agent("racer").max_tokens(1000);
            tokio::spawn(call.field("stream", number % 2 == 0).send())
        })
        .collect();
    let mut served = 0;
    for call in calls {
        match call.await.unwrap() {
            reply if reply.status == 200 => served += 1,
            reply if reply.status == 402 || reply.status == 429 => {}
            reply => panic!("{}: {}", reply.status, reply.text()),
        }
    }
    let spent = gateway.spend("racer");
    assert!(served >= 4, "{served} were served");
    assert!(spent <= Nanos(10_000_000), "{spent} of 0.01 dollars");
    let produced: i64 = provider
        .tagged("race")
        .iter()
        .map(|record| record.produced_cost_nanos)
        .sum();
    assert_eq!(spent, Nanos(produced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_and_pushed_budgets_are_not_lost_on_restart() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(
            Agent::new("a", "10")
                .tier("0.5", &["openai/gpt-4o"])
                .tier("0", &["openai/gpt-4o-mini"]),
        )
        .agent(Agent::new("b", "10"))
        .agent(Agent::new("c", "10"))
        .start()
        .await;
    for agent in ["a", "b", "c"] {
        gateway.chat("[[cost=2]]").agent(agent).send().await;
    }
    gateway.post("/api/reset/b", "").await;
    gateway.chat("[[cost=0.25]]").agent("b").send().await;
    gateway
        .push("a", r#"{"budget_total": 8, "budget_spent": 5}"#)
        .await;
    let before = gateway.get("/api/spend").await.json();
    let gateway = gateway.restart().await;
    assert_eq!(gateway.get("/api/spend").await.json(), before);
    assert_eq!(before["a"]["budget_total"], 8.0);
    assert_eq!(before["b"]["budget_spent"], 0.25);
    assert_eq!(before["c"]["budget_spent"], 2.0);
    // Three of eight dollars are left: the second tier.
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(reply.header("x-weir-tier"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yesterdays_spend_does_not_count_against_a_daily_budget() {
    let provider = Provider::start().await;
    let setup = ["none", "hourly", "daily", "weekly", "monthly"]
        .into_iter()
        .fold(Gateway::over(&provider), |setup, period| {
            setup.agent(Agent::new(period, "10").line(&format!("period: {period}")))
        })
        .agent(Agent::new("tokyo", "10").line("period: daily\n      timezone: Asia/Tokyo"));
    let directory = new_directory();
    // Rows as the Execwall OR Gate wrote them, all of a long gone year.
    let rows: String = ["none", "hourly", "daily", "weekly", "monthly", "tokyo"]
        .iter()
        .map(|agent| {
            let row = json!({"timestamp": "2024-02-03T04:05:06.789012", "agent_id": agent, "cost": 11.5,
                "model": "openai/gpt-4o", "tokens": 10, "request_id": "gen-1"});
            format!("{row}\n")
        })
        .collect();
    std::fs::write(directory.join("spend.jsonl"), rows).unwrap();
    let gateway = setup.start_in(directory).await;
    for period in ["hourly", "daily", "weekly", "monthly", "tokyo"] {
        let account = gateway.account(period).await;
        assert_eq!(account["budget_spent"], 0.0, "{period}");
        assert!(account["period_reset"].is_string(), "{account}");
        assert_eq!(gateway.chat("x").agent(period).send().await.status, 200);
    }
    let account = gateway.account("none").await;
    assert_eq!(account["budget_spent"], 11.5);
    assert_eq!(account["period_reset"], Value::Null);
    assert_eq!(gateway.chat("x").agent("none").send().await.status, 402);
    let tokyo = gateway.account("tokyo").await["period_reset"].clone();
    assert!(tokyo.as_str().unwrap().contains("T15:00:00"), "{tokyo}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_is_closed_to_other_machines_while_no_token_is_set() {
    // A packet is not sent by this: it only asks which address would be used.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let Some(ip) = address
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback())
    else {
        // A machine without a network has no other machines.
        return;
    };
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .env("ADAPTER_HOST", "0.0.0.0")
        .start()
        .await;
    let client = crate::support::client::http();
    let base = format!("http://{ip}:{}", gateway.addr.port());
    let get = |path: &str| client.get(format!("{base}{path}")).send();
    assert_eq!(get("/api/spend").await.unwrap().status(), 403);
    let push = client
        .post(format!("{base}/api/budget/default"))
        .body(r#"{"budget_total": 5}"#);
    assert_eq!(push.send().await.unwrap().status(), 403);
    let health: Value = get("/api/health").await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["agents"], json!([]), "names are for operators");
    assert_eq!(gateway.account("default").await["budget_total"], 1000.0);
    // Nor may another machine spend without a key.
    let call = crate::support::client::Call::new(&client, &base, "x");
    let reply = call.send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (401, "missing_api_key".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_negative_or_no_number_is_refused_and_changes_nothing() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    gateway.push("default", r#"{"budget_total": 70}"#).await;
    let before = gateway.account("default").await;
    for body in [
        r#"{"budget_total": -1}"#,
        r#"{"budget_spent": -0.01}"#,
        r#"{"budget_total": -0}"#,
        r#"{"budget_total": NaN}"#,
        r#"{"budget_total": "NaN"}"#,
        r#"{"budget_total": 1e400}"#,
        r#"{"budget_total": 1e30}"#,
        r#"{"budget_total": Infinity}"#,
        r#"{"budget_total": true}"#,
        r#"{"budget_total": [1]}"#,
        r#"{"budget_total": 1, "budget_spent": -1}"#,
        r#"{"budget": 1}"#,
        r"{}",
        r"[]",
        "",
        "budget_total=1",
    ] {
        let reply = gateway.push("default", body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.json()["error"]["message"].is_string());
    }
    assert_eq!(gateway.account("default").await, before);
    assert_eq!(gateway.events("budget").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn null_usage_and_html_errors_do_not_crash_and_free_models_are_free() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing("prices:\n  test/free: {input_usd_per_million: 0, output_usd_per_million: 0}")
        .agent(Agent::new("default", "10"))
        .agent(Agent::new("free", "10").tier("0", &["test/free"]))
        .start()
        .await;
    let null = gateway.chat("[[usage=null chunks=20]]").send().await;
    assert_eq!(null.status, 200);
    let bill = gateway.bill("default").await;
    assert_eq!(bill["source"], "estimated");
    assert!(bill["nano_usd"].as_i64().unwrap() > 0);

    let html = gateway.chat("[[html=1 status=503]]").send().await;
    assert_eq!(html.status, 503);
    assert!(html.text().contains("<h1>503"));
    assert_eq!(gateway.bills("default").len(), 1);

    for prompt in ["[[cost=0]]", "[[cost=off]]", "[[dialect=openai]]"] {
        let reply = gateway.chat(prompt).agent("free").send().await;
        assert_eq!(reply.metadata().unwrap()["cost"], 0.0, "{prompt}");
    }
    assert_eq!(gateway.account("free").await["budget_spent"], 0.0);
    assert_eq!(gateway.bills("free").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_can_be_read_by_sdks_and_by_scripts_for_the_execwall_or_gate() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("agent-1", "1").line("budget_spent: 1"))
        .start()
        .await;
    let spent = gateway.chat("x").agent("agent-1").send().await;
    // Not 429: some SDKs would try again and again.
    assert_eq!(spent.status, 402);
    assert_eq!(spent.header("x-should-retry"), Some("false"));
    let body = spent.json();
    assert_eq!(body["error"]["type"], "insufficient_quota");
    assert_eq!(body["error"]["code"], "budget_exhausted");
    assert!(body["error"]["message"].is_string());
    assert_eq!(body["error"]["param"], Value::Null);
    let detail = &body["detail"];
    for (field, value) in [
        ("error", json!("budget_exhausted")),
        ("agent_id", json!("agent-1")),
        ("budget_total", json!(1.0)),
        ("budget_spent", json!(1.0)),
        ("budget_remaining", json!(0.0)),
        ("budget_percentage", json!(0.0)),
        ("models_allowed", json!(["openai/gpt-4o-mini"])),
        ("hard_cap", json!(true)),
        ("exhausted", json!(true)),
        ("current_tier", json!(0)),
    ] {
        assert_eq!(detail[field], value, "{field}");
    }
    let unknown = gateway.chat("x").agent("nobody").send().await;
    assert_eq!(unknown.status, 400);
    assert_eq!(
        unknown.json()["detail"],
        json!({"error": "unknown_agent", "agent_id": "nobody", "available_agents": ["agent-1"]})
    );
    let missing = gateway.get("/api/spend/nobody").await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.json()["detail"],
        json!({"error": "agent_not_found", "agent_id": "nobody"})
    );
    assert!(provider.records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_costs_nothing_by_mistake_of_a_router_is_still_held_for() {
    // `openrouter/auto` is free in the price table and dear in the bill.
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(Agent::new("default", "1").unit())
        .start()
        .await;
    gateway.chat("hold").max_tokens(500).send().await;
    let intent = eventually("the hold", || gateway.events("intent").into_iter().next()).await;
    assert_eq!(intent["models"], json!([UNIT]));
    assert!(intent["held"].as_i64().unwrap() >= 1_000_000);
}
