//! Teams: one budget and one limit over several agents, users and keys.

mod seen;

use crate::support::client::{chat_body, http, request};
use crate::support::{Agent, Gateway, Provider, Reply};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ADA: &str = "adas-client-key-0123456789";
const BOB: &str = "bobs-client-key-0123456789";

/// Agents `a` and `b` in the team `x`, `c` in none, each with ten dollars.
fn three(provider: &Provider, team: &str) -> crate::support::Setup {
    Gateway::over(provider)
        .routing(&format!("teams:\n  x: {{{team}, agents: [a, b]}}"))
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("b", "10"))
        .agent(Agent::new("c", "10"))
}

async fn status(gateway: &Gateway, agent: &str, cost: &str) -> u16 {
    let call = gateway.chat(&format!("[[cost={cost}]]")).agent(agent);
    call.send().await.status
}

fn exhausted(reply: &Reply, account: &str) {
    assert_eq!(reply.status, 402, "{}", reply.text());
    assert_eq!(reply.code(), "budget_exhausted");
    let detail = &reply.json()["detail"];
    assert_eq!(detail["account"], account, "{detail}");
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains(account), "{message}");
}

/// `GET /api/budget/{name}`.
async fn budget(gateway: &Gateway, name: &str) -> Value {
    let reply = gateway.get(&format!("/api/budget/{name}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teams_cap_stops_all_of_the_team_and_nobody_else() {
    let provider = Provider::start().await;
    let gateway = three(&provider, "budget_total: 1").start().await;
    assert_eq!(status(&gateway, "a", "0.75").await, 200);
    assert_eq!(status(&gateway, "b", "0.25").await, 200);
    for agent in ["a", "b"] {
        let reply = gateway.chat("x").agent(agent).send().await;
        exhausted(&reply, "team:x");
        assert_eq!(
            reply.json()["detail"],
            json!({
                "error": "budget_exhausted", "agent_id": agent, "account": "team:x",
                "budget_total": 1.0, "budget_spent": 1.0, "budget_remaining": 0.0, "budget_held": 0.0,
                "budget_percentage": 0.0, "current_tier": 0, "models_allowed": ["openai/gpt-4o-mini"],
                "hard_cap": true, "exhausted": true,
            })
        );
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert_eq!(status(&gateway, "c", "1").await, 200);
    assert_eq!(gateway.account("a").await["budget_spent"], 0.75);
    assert_eq!(gateway.account("b").await["budget_spent"], 0.25);
    let team = budget(&gateway, "team:x").await;
    assert_eq!(
        (&team["budget_spent"], &team["budget_remaining"]),
        (&json!(1.0), &json!(0.0))
    );
    // What a team has spent is in the log, as everything is.
    let kept = gateway.restart().await;
    assert_eq!(
        budget(&kept, "team:x").await["budget_spent_nano_usd"],
        1_000_000_000
    );
    exhausted(&kept.chat("x").agent("a").send().await, "team:x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_surface_says_whose_budget_is_spent() {
    let provider = Provider::start().await;
    let gateway = three(&provider, "budget_total: 1, budget_spent: 1")
        .start()
        .await;
    let body = r#"{"model": "openai/gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "x"}]}"#;
    let ask = async |path: &str, body: &str| {
        let request = http().post(gateway.url(path)).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        let request = request.header("x-agent-id", "a");
        Reply::read(request.send().await.unwrap()).await
    };
    let messages = ask("/v1/messages", body).await;
    assert_eq!(messages.status, 402, "{}", messages.text());
    let error = &messages.json()["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("billing_error"), &json!("budget_exhausted"))
    );
    assert!(error["message"].to_string().contains("team:x"), "{error}");
    let input = r#"{"model": "openai/gpt-4o-mini", "input": "x"}"#;
    exhausted(&ask("/v1/responses", input).await, "team:x");
    exhausted(&ask("/v1/embeddings", input).await, "team:x");
    assert!(provider.records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_keys_bring_their_teams_along() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing(
            "teams:\n  x: {budget_total: 5, agents: [a]}\n  staff: {budget_total: 1, users: [bob]}\n  \
             project: {budget_total: 1}\nusers: {ann: {budget_total: 9, team: staff}}",
        )
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("other", "10"))
        .key("one", ADA, "other", "users: [ann, bob]")
        .key("two", BOB, "a", "team: project")
        .start()
        .await;
    let ask = async |key: &str, user: Option<&str>, cost: &str| {
        let call = gateway.chat(&format!("[[cost={cost}]]")).key(key);
        match user {
            Some(user) => call.header("x-user-id", user).send().await,
            None => call.send().await,
        }
    };
    // One user by its budget, the other without one; the field of the body chooses as well.
    assert_eq!(ask(ADA, Some("ann"), "0.5").await.status, 200);
    let field = gateway
        .chat("[[cost=0.5]]")
        .key(ADA)
        .field("user", "bob")
        .send()
        .await;
    assert_eq!(field.status, 200, "{}", field.text());
    exhausted(&ask(ADA, Some("ann"), "0").await, "team:staff");
    exhausted(&ask(ADA, Some("bob"), "0").await, "team:staff");
    assert_eq!(ask(ADA, None, "0.25").await.status, 200, "nobody's user");

    assert_eq!(ask(BOB, None, "1").await.status, 200);
    exhausted(&ask(BOB, None, "0").await, "team:project");
    for (name, spent) in [
        ("team:staff", 1.0),
        ("user:ann", 0.5),
        ("team:project", 1.0),
        ("team:x", 1.0),
        ("other", 1.25),
    ] {
        assert_eq!(
            budget(&gateway, name).await["budget_spent"],
            spent,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_inside_another_is_stopped_by_either_and_charged_to_both() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing(
            "teams:\n  all: {budget_total: 2}\n  dev: {budget_total: 1, team: all, agents: [a]}\n  \
             ops: {budget_total: 5, team: all}\ngateway: {budget_total: 100}",
        )
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("b", "10").line("team: ops"))
        .start()
        .await;
    assert_eq!(status(&gateway, "a", "1").await, 200);
    exhausted(&gateway.chat("x").agent("a").send().await, "team:dev");
    assert_eq!(status(&gateway, "b", "1").await, 200);
    exhausted(&gateway.chat("x").agent("b").send().await, "team:all");
    assert_eq!(budget(&gateway, "team:ops").await["budget_spent"], 1.0);
    assert_eq!(budget(&gateway, "team:all").await["budget_spent"], 2.0);
    assert_eq!(budget(&gateway, "gateway").await["budget_spent"], 2.0);
    // One hold on all of them, in the log as well.
    let intents = gateway.events("intent");
    let names = |intent: &Value| -> Vec<String> {
        let accounts = intent["accounts"].as_array().unwrap().iter();
        accounts
            .map(|account| account[0].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&intents[0]),
        ["agent:a", "team:dev", "team:all", "gateway"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_two_agents_never_passes_the_cap_of_their_team() {
    const CAP: i64 = 10_000_000;
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .routing("teams:\n  x: {budget_total: 0.01, agents: [a, b]}")
        .agent(Agent::new("a", "10").unit())
        .agent(Agent::new("b", "10").unit())
        .start()
        .await;
    let mut racers = JoinSet::new();
    for number in 0..200 {
        let agent = if number % 2 == 0 { "a" } else { "b" };
        let call = gateway.chat("[[chunks=100 lat_ms=5]]").agent(agent);
        racers.spawn(call.max_tokens(100).field("stream", number % 3 == 0).send());
    }
    let (mut served, mut refused) = (0, 0);
    while !racers.is_empty() {
        let team = budget(&gateway, "team:x").await;
        let of = |field: &str| team[field].as_i64().unwrap();
        let used = of("budget_spent_nano_usd") + of("budget_held_nano_usd");
        assert!(used <= CAP, "{team}");
        while let Some(racer) = racers.try_join_next() {
            let reply = racer.unwrap();
            match reply.status {
                200 => served += 1,
                402 | 429 => {
                    assert_eq!(reply.json()["detail"]["account"], "team:x");
                    refused += 1;
                }
                other => panic!("{other}: {}", reply.text()),
            }
        }
    }
    gateway.quiet().await;
    assert_eq!(served + refused, 200);
    assert!(served > 0 && refused > 0, "{served} of 200 were served");
    let spent = gateway.spend("a").0 + gateway.spend("b").0;
    let team = budget(&gateway, "team:x").await;
    assert_eq!(team["budget_spent_nano_usd"], spent);
    assert!(spent <= CAP, "{spent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_team_hold_for_all_of_it_together() {
    let provider = Provider::start().await;
    let gateway = three(
        &provider,
        "budget_total: 9, limits: {requests_per_minute: 2, request_bytes: 2KiB}",
    )
    .start()
    .await;
    let large = gateway.chat(&"x".repeat(3000)).agent("a").send().await;
    assert_eq!(large.code(), "request_too_large");
    let first = gateway.chat("x").agent("a").send().await;
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(gateway.chat("x").agent("b").send().await.status, 200);
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (429, "rate_limit_exceeded".into())
    );
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains("team"), "{message}");
    assert_eq!(gateway.chat("x").agent("c").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_any_account_acts_at_once() {
    let provider = Provider::start().await;
    let gateway = three(&provider, "budget_total: 1, budget_spent: 1")
        .routing("users: {ann: {budget_total: 1}}\ngateway: {budget_total: 50}")
        .agent(Agent::new("\"team:odd\"", "3"))
        .start()
        .await;
    exhausted(&gateway.chat("x").agent("a").send().await, "team:x");
    let push = gateway.push("team:x", r#"{"budget_total": 1.5}"#).await;
    assert_eq!(
        push.json(),
        json!({"status": "updated", "account": "team:x", "budget_total": 1.5, "budget_spent": 1.0})
    );
    assert_eq!(status(&gateway, "a", "0.5").await, 200);
    exhausted(&gateway.chat("x").agent("b").send().await, "team:x");
    assert_eq!(budget(&gateway, "team:x").await["budget_source"], "console");
    let reset = gateway.post("/api/reset/team:x", "").await;
    assert_eq!(
        reset.json(),
        json!({"status": "reset", "account": "team:x", "budget_spent": 0.0})
    );
    assert_eq!(status(&gateway, "b", "0").await, 200);
    assert_eq!(
        gateway.account("a").await["budget_spent"],
        0.5,
        "the agents' stay"
    );

    for (name, body) in [
        ("user:ann", r#"{"budget_spent": 1}"#),
        ("gateway", r#"{"budget_total": 0.25}"#),
    ] {
        assert_eq!(gateway.push(name, body).await.status, 200, "{name}");
    }
    exhausted(&gateway.chat("x").agent("c").send().await, "gateway");
    gateway.push("gateway", r#"{"budget_total": 50}"#).await;
    let ann = gateway.chat("x").agent("c").header("x-user-id", "ann");
    exhausted(&ann.send().await, "user:ann");

    // An agent's own name comes first, whatever it looks like.
    let odd = gateway.push("team:odd", r#"{"budget_total": 4}"#).await;
    assert_eq!(odd.json()["agent_id"], "team:odd");
    for name in ["team:y", "user:bob", "agent:nobody"] {
        let reply = gateway.push(name, r#"{"budget_total": 4}"#).await;
        assert_eq!(
            (reply.status, reply.code()),
            (404, "account_not_found".into())
        );
        assert_eq!(
            reply.json()["detail"],
            json!({"error": "account_not_found", "account": name})
        );
        assert_eq!(
            gateway.post(&format!("/api/reset/{name}"), "").await.status,
            404
        );
        assert_eq!(
            gateway.get(&format!("/api/budget/{name}")).await.status,
            404
        );
    }
    let pushes = gateway.events("budget");
    assert_eq!(pushes[0]["account"], "team:x");
    assert!(pushes[0].get("agent_id").is_none(), "{}", pushes[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_moves_takes_nothing_along() {
    let provider = Provider::start().await;
    let setup = |a: &str| {
        Gateway::over(&provider)
            .settings("drain: {time: 300ms}")
            .routing(
                "teams:\n  x: {budget_total: 5, agents: [b]}\n  y: {budget_total: 5, agents: [c]}",
            )
            .agent(Agent::new("a", "10").line(&format!("team: {a}")))
            .agent(Agent::new("b", "10"))
            .agent(Agent::new("c", "10"))
    };
    let gateway = setup("x").start().await;
    assert_eq!(status(&gateway, "a", "0.5").await, 200);
    let mut open = gateway.raw().await;
    let body = chat_body("[[hang=headers tag=held]]", false);
    let length = format!("Content-Length: {}", body.len());
    let headers = ["X-Agent-ID: a", "Content-Type: application/json", &length];
    open.send(request(&headers, &body)).await;
    provider.arrived("held").await;
    let held = budget(&gateway, "team:x").await["budget_held_nano_usd"].clone();
    assert!(held.as_i64() > Some(0), "{held}");

    gateway.write_policy(&setup("y"));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    assert_eq!(status(&gateway, "a", "0.25").await, 200);
    let (x, y) = (
        budget(&gateway, "team:x").await,
        budget(&gateway, "team:y").await,
    );
    assert_eq!(
        (&x["budget_spent"], &x["budget_held_nano_usd"]),
        (&json!(0.5), &held)
    );
    assert_eq!(
        (&y["budget_spent"], &y["budget_held"]),
        (&json!(0.25), &json!(0.0))
    );
    assert_eq!(x["members"]["agents"], json!(["b"]));
    assert_eq!(y["members"]["agents"], json!(["a", "c"]));

    // What was admitted before is charged where it was.
    open.reset();
    gateway.quiet().await;
    let bills = gateway.bills("a");
    let lost = bills.last().unwrap()["nano_usd"].as_i64().unwrap();
    assert!(lost > 0 && bills.len() == 3, "{bills:?}");
    let x = budget(&gateway, "team:x").await;
    assert_eq!(x["budget_spent_nano_usd"], 500_000_000 + lost);
    assert_eq!(x["budget_held"], 0.0);
    assert_eq!(budget(&gateway, "team:y").await["budget_spent"], 0.25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_refuses_a_policy_in_which_somebody_is_in_two_teams() {
    let provider = Provider::start().await;
    let gateway = three(&provider, "budget_total: 1").start().await;
    let two = Gateway::over(&provider)
        .routing("teams: {x: {budget_total: 1, agents: [b]}, y: {budget_total: 1, agents: [a]}}")
        .agent(Agent::new("a", "10").line("team: x"))
        .agent(Agent::new("b", "10"));
    gateway.write_policy(&two);
    let reply = gateway.post("/api/reload", "").await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_config".into()));
    let problems = reply.json()["detail"]["problems"].to_string();
    for part in [
        "teams.y.agents[0]",
        "belongs to the team `x` already",
        "agents.a.team",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    let members = budget(&gateway, "team:x").await["members"]["agents"].clone();
    assert_eq!(members, json!(["a", "b"]));
    assert_eq!(status(&gateway, "a", "0").await, 200);
}
