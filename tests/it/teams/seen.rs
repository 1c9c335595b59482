//! What operators see of accounts, and callers of their own.

use super::{ADA, BOB, budget, status};
use crate::support::client::http;
use crate::support::{Agent, Gateway, Provider, Reply};
use serde_json::{Value, json};

/// `GET /v1/budget` with these headers.
async fn own(gateway: &Gateway, headers: &[(&str, &str)]) -> Reply {
    let mut request = http().get(gateway.url("/v1/budget"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::read(request.send().await.unwrap()).await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// The ids of the accounts that a caller is shown.
fn accounts(body: &Value) -> Vec<&str> {
    let accounts = body["accounts"].as_array().unwrap().iter();
    accounts
        .map(|account| account["account"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_every_account_and_who_is_in_which_team() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing(
            "teams:\n  all: {budget_total: 20, period: daily}\n  x: {budget_total: 5, team: all, agents: [a], users: [ann, bob], hard_cap: false}\n\
             users: {ann: {budget_total: 2}}\ngateway: {budget_total: 90}",
        )
        .agent(Agent::new("a", "10"))
        .key("one", ADA, "a", "users: [ann, bob], team: all")
        .start()
        .await;
    let served = gateway.chat("[[cost=0.125]]").key(ADA).send().await;
    assert_eq!(served.status, 200);
    gateway.quiet().await;
    let all = gateway.get("/api/budget").await.json();
    assert_eq!(
        accounts(&all),
        ["agent:a", "user:ann", "team:all", "team:x", "gateway"]
    );
    let of = |index: usize| all["accounts"][index].clone();
    assert_eq!(
        of(3),
        json!({
            "account": "team:x", "kind": "team", "id": "x", "parent": "team:all",
            "budget_total": 5.0, "budget_total_nano_usd": 5_000_000_000_u64,
            "budget_spent": 0.125, "budget_spent_nano_usd": 125_000_000,
            "budget_remaining": 4.875, "budget_remaining_nano_usd": 4_875_000_000_u64,
            "budget_held": 0.0, "budget_held_nano_usd": 0,
            "period": "none", "period_start": null, "period_reset": null,
            "hard_cap": false, "budget_source": "local",
            "members": {"agents": ["a"], "users": ["ann", "bob"], "keys": [], "teams": []},
        })
    );
    assert_eq!(
        of(2)["members"],
        json!({"agents": [], "users": [], "keys": ["one"], "teams": ["x"]})
    );
    assert_eq!(of(2)["period"], "daily");
    for field in ["period_start", "period_reset"] {
        let moment = of(2)[field].as_str().unwrap().to_owned();
        assert!(moment.ends_with("T00:00:00Z"), "{moment}");
    }
    for (index, kind, id, parent) in [
        (0, "agent", "a", json!("team:x")),
        (1, "user", "ann", json!("team:x")),
        (4, "gateway", "gateway", Value::Null),
    ] {
        let shown = of(index);
        assert_eq!(
            (&shown["kind"], &shown["id"], &shown["parent"]),
            (&json!(kind), &json!(id), &parent)
        );
        assert!(shown.get("members").is_none());
    }
    // The figures of an agent are those that consoles have.
    let spend = gateway.account("a").await;
    for (field, value) in spend.as_object().unwrap() {
        let field = if field == "agent_id" { "id" } else { field };
        assert_eq!(&of(0)[field], value, "{field}");
    }
    for (query, index) in [
        ("team:x", 3),
        ("agent:a", 0),
        ("a", 0),
        ("team%3Ax", 3),
        ("gateway", 4),
    ] {
        let one = gateway.get(&format!("/api/budget?account={query}")).await;
        assert_eq!(one.json(), json!({"accounts": [of(index)]}), "{query}");
    }
    assert_eq!(gateway.get("/api/budget?account=team:y").await.status, 404);
    assert_eq!(gateway.get("/api/budget?acount=team:x").await.status, 400);
    assert_eq!(budget(&gateway, "team:x").await, of(3));
    assert_eq!(budget(&gateway, "a").await, of(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_sees_what_it_may_still_spend() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .routing("teams:\n  x: {budget_total: 3, agents: [a, b], limits: {requests_per_minute: 5}}")
        .agent(
            Agent::new("a", "10")
                .line("period: daily")
                .line("limits: {concurrent_requests: 4, tokens_per_minute: 100000}")
                .tier("0.9", &["test/unit", "openai/gpt-4o"])
                .tier("0.25", &["openai/gpt-4o-mini"]),
        )
        .agent(
            Agent::new("b", "10")
                .untiered()
                .line("allowed_models: [openai/gpt-4o]"),
        )
        .agent(Agent::new("default", "10").untiered().soft())
        .start()
        .await;
    let a = own(&gateway, &[("x-agent-id", "a")]).await;
    assert_eq!(a.status, 200, "{}", a.text());
    let a = a.json();
    assert_eq!(
        (
            &a["object"],
            &a["agent_id"],
            &a["user"],
            &a["team"],
            &a["teams"]
        ),
        (
            &json!("budget"),
            &json!("a"),
            &Value::Null,
            &json!("x"),
            &json!(["x"])
        )
    );
    assert_eq!(a["tier"], json!({"number": 0, "threshold": 0.9}));
    assert_eq!(a["models_allowed"], json!(["test/unit", "openai/gpt-4o"]));
    assert_eq!(
        (&a["budget_total"], &a["hard_cap"]),
        (&json!(10.0), &json!(true))
    );
    assert_eq!(a["period"], "daily");
    assert!(a["period_start"].is_string() && a["period_end"].is_string());
    assert_eq!(accounts(&a), ["agent:a", "team:x"]);
    assert_eq!(
        (&a["spendable"], &a["spendable_nano_usd"]),
        (&json!(3.0), &json!(3_000_000_000_u64))
    );
    let bytes = 32 << 20;
    assert_eq!(
        a["limits"],
        json!({
            "requests_per_minute": 5, "requests_remaining": 5, "requests_reset_seconds": 0,
            "tokens_per_minute": 100_000, "tokens_remaining": 100_000, "tokens_reset_seconds": 0,
            "concurrent_requests": 4, "concurrent_remaining": 4, "request_bytes": bytes,
        })
    );

    assert_eq!(status(&gateway, "a", "2.000000001").await, 200);
    let held = gateway.chat("[[hang=headers tag=held]]").agent("a");
    let held = tokio::spawn(held.max_tokens(100).try_open());
    provider.arrived("held").await;
    let a = own(&gateway, &[("x-agent-id", "a")]).await.json();
    assert_eq!(a["tier"], json!({"number": 1, "threshold": 0.25}));
    assert_eq!(a["models_allowed"], json!(["openai/gpt-4o-mini"]));
    assert_eq!(a["budget_spent_nano_usd"], 2_000_000_001_u64);
    assert_eq!(a["budget_remaining_nano_usd"], 7_999_999_999_u64);
    let pending = a["budget_held_nano_usd"].as_i64().unwrap();
    assert!(pending > 0);
    assert_eq!(a["spendable_nano_usd"], 999_999_999 - pending);
    assert_eq!(a["accounts"][1]["budget_held_nano_usd"], pending);
    assert_eq!(a["limits"]["requests_remaining"], 3);
    assert_eq!(a["limits"]["concurrent_remaining"], 3);
    held.abort();

    // Looking costs nothing, and the others of the team see their own.
    let b = own(&gateway, &[("x-agent-id", "b")]).await.json();
    assert_eq!((&b["agent_id"], &b["tier"]), (&json!("b"), &Value::Null));
    assert_eq!(b["models_allowed"], json!(["openai/gpt-4o"]));
    assert_eq!(accounts(&b), ["agent:b", "team:x"]);
    assert_eq!(b["limits"]["requests_remaining"], 3);
    let nobody = own(&gateway, &[("x-agent-id", "somebody")]).await.json();
    assert_eq!(nobody["agent_id"], "default");
    assert_eq!(
        (
            &nobody["spendable"],
            &nobody["models_allowed"],
            &nobody["team"]
        ),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let page = own(&gateway, &[("origin", "http://localhost:3000")]).await;
    assert_eq!((page.status, page.code()), (401, "missing_api_key".into()));
    assert_eq!(gateway.post("/v1/budget", "{}").await.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sees_its_own_budget_and_no_other() {
    const TOKEN: &str = "admin-token-0123456789abcdef0123456789abcdef";
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .env("ADMIN_TOKEN", TOKEN)
        .routing(
            "users: {ann: {budget_total: 2}}\n\
             teams:\n  x: {budget_total: 3, agents: [a]}\n  secret: {budget_total: 7, agents: [b]}\n  staff: {budget_total: 4, users: [ann]}",
        )
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("a2", "10"))
        .agent(Agent::new("b", "10"))
        .key("ada", ADA, "a", "agents: [a2], users: [ann]")
        .key("bob", BOB, "b", "")
        .start()
        .await;
    let (ada, bob) = (bearer(ADA), bearer(BOB));
    let ask = async |headers: &[(&str, &str)]| own(&gateway, headers).await;
    let plain = ask(&[("authorization", &ada)]).await;
    assert_eq!(
        plain.status,
        200,
        "a client's key is enough: {}",
        plain.text()
    );
    assert_eq!(accounts(&plain.json()), ["agent:a", "team:x"]);
    let header = ask(&[("x-api-key", ADA)]).await;
    assert_eq!(header.json(), plain.json());
    let ann = ask(&[("authorization", &ada), ("x-user-id", "ann")])
        .await
        .json();
    assert_eq!(
        accounts(&ann),
        ["agent:a", "user:ann", "team:x", "team:staff"]
    );
    assert_eq!(
        (&ann["user"], &ann["spendable"]),
        (&json!("ann"), &json!(2.0))
    );
    let side = ask(&[("authorization", &ada), ("x-agent-id", "a2")])
        .await
        .json();
    assert_eq!(accounts(&side), ["agent:a2"]);
    let other = ask(&[("authorization", &bob)]).await;
    assert_eq!(accounts(&other.json()), ["agent:b", "team:secret"]);
    for text in [plain.text(), ann.to_string(), side.to_string()] {
        assert!(!text.contains("secret"), "{text}");
    }

    for (headers, status, code) in [
        (vec![], 401, "missing_api_key"),
        (
            vec![("x-api-key", "wrong-key-0123456789")],
            401,
            "invalid_api_key",
        ),
        (vec![("x-agent-id", "a")], 401, "missing_api_key"),
        // The operator's token is no client key.
        (vec![("x-api-key", TOKEN)], 401, "invalid_api_key"),
        (
            vec![("x-api-key", ADA), ("x-agent-id", "b")],
            403,
            "agent_not_allowed",
        ),
        (
            vec![("x-api-key", BOB), ("x-user-id", "ann")],
            403,
            "user_not_allowed",
        ),
    ] {
        let reply = ask(&headers).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{headers:?}"
        );
        assert!(!reply.text().contains("budget_total"), "{}", reply.text());
    }
    // And a client's key is no operator's token.
    for path in [
        "/api/budget",
        "/api/budget/team:secret",
        "/api/budget?account=a",
    ] {
        assert_eq!(gateway.admin(ADA, path, None).await.status, 401, "{path}");
    }
    assert!(provider.records().is_empty());
    assert!(gateway.events("intent").is_empty());
}
