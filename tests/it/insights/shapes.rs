//! What the admin API answers, word for word as the Model Gateway did.

use super::{agrees, spend, watched};
use crate::support::{Gateway, Provider};
use serde_json::{Value, json};

async fn told(gateway: &Gateway, path: &str) -> Value {
    let reply = gateway.admin("adm1n", path, None).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_have_the_model_gateways_shapes_and_are_those_of_the_log() {
    let provider = Provider::start().await;
    let gateway = watched(&provider).env("ADMIN_TOKEN", "adm1n").start().await;
    spend(&gateway, 30).await;
    let bad = gateway.chat("[[status=400]]").agent("one").send().await;
    assert_eq!(bad.status, 400);
    agrees(&gateway, &[&gateway]).await;
    let cost: i64 = super::logged(&gateway).values().sum();
    let tokens: u64 = ["one", "two"]
        .into_iter()
        .flat_map(|agent| gateway.bills(agent))
        .map(|bill| bill["tokens"].as_u64().unwrap())
        .sum();

    let stats = told(&gateway, "/insights/stats?hours=24").await;
    let unit = &stats["test/unit"];
    assert_eq!(unit["total_requests"], 31);
    assert_eq!(unit["success_rate"], 96.7741);
    assert_eq!(unit["total_tokens"], tokens);
    let exact = weir::money::Nanos(cost).to_string();
    assert_eq!(unit["total_cost"].as_f64(), exact.parse().ok());
    assert!(unit["avg_latency_ms"].is_number() && unit["tokens_per_request"].is_number());
    assert_eq!(unit.as_object().unwrap().len(), 6);

    let trends = told(&gateway, "/insights/trends?days=7").await;
    let today = &trends["trends"][0];
    let names: Vec<_> = today.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "avg_cost_per_request",
            "avg_tokens_per_request",
            "cost",
            "date",
            "model",
            "requests",
            "tokens"
        ]
    );
    assert_eq!(
        (&today["model"], &today["requests"], &today["tokens"]),
        (&json!("test/unit"), &json!(31), &json!(tokens))
    );
    assert_eq!(today["cost"].as_f64(), exact.parse().ok());

    let groups = told(&gateway, "/insights/stats?group_by=agent").await;
    assert_eq!(
        (
            &groups["one"]["total_requests"],
            &groups["two"]["total_requests"]
        ),
        (&json!(21), &json!(10))
    );
    let users = told(&gateway, "/insights/trends?group_by=user&days=1").await;
    assert_eq!(users["trends"][0]["user"], "");
    let providers = told(&gateway, "/insights/stats?group_by=provider&hours=1").await;
    assert_eq!(providers["openrouter"]["total_requests"], 31);

    let page = gateway
        .admin(
            "adm1n",
            "/insights/stats?group_by=agent&limit=1&format=csv",
            None,
        )
        .await;
    assert_eq!(page.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(page.header("x-next-offset"), Some("1"));
    let text = page.text();
    assert!(
        text.starts_with("agent,total_requests,success_rate,"),
        "{text}"
    );
    assert!(text.contains("\r\none,21,"), "{text}");
    let last = gateway
        .admin(
            "adm1n",
            "/insights/stats?group_by=agent&limit=1&offset=1",
            None,
        )
        .await;
    assert_eq!(last.header("x-next-offset"), None);
    assert_eq!(last.json().as_object().unwrap().len(), 1);

    let made = gateway
        .admin("adm1n", "/insights/aggregate", Some(""))
        .await;
    assert_eq!(
        (made.status, &made.json()["message"]),
        (200, &json!("Insights aggregated successfully"))
    );
    agrees(&gateway, &[&gateway]).await;
    assert_eq!(told(&gateway, "/insights/stats?hours=24").await, stats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_ask_and_what_is_wrong_is_said_as_the_model_gateway_said_it() {
    let provider = Provider::start().await;
    let gateway = watched(&provider).env("ADMIN_TOKEN", "adm1n").start().await;
    let bare = gateway.get("/insights/stats").await;
    assert_eq!(
        (bare.status, bare.json()),
        (401, json!({"detail": "Missing authorization header"}))
    );
    let wrong = gateway.admin("other", "/insights/trends", None).await;
    assert_eq!(
        (wrong.status, wrong.json()),
        (401, json!({"detail": "Invalid token"}))
    );
    for (path, named) in [
        ("/insights/stats?hours=x", "`hours`"),
        ("/insights/stats?days=1", "`days`"),
        ("/insights/trends?days=0", "`days`"),
        ("/insights/trends?group_by=tier", "`group_by`"),
        ("/insights/stats?limit=0", "`limit`"),
    ] {
        let reply = gateway.admin("adm1n", path, None).await;
        let detail = reply.json()["detail"].to_string();
        assert_eq!(reply.status, 400, "{path}: {detail}");
        assert!(detail.contains(named), "{path}: {detail}");
    }
    let reply = gateway.admin("adm1n", "/insights/nothing", None).await;
    assert_eq!(reply.status, 404);
}
