//! The admin API: shapes, the token, changes of the policy, metrics.

use crate::support::client::keys;
use crate::support::{Agent, Gateway, Provider};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_has_the_shape_that_consoles_read() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("a", "50").line("period: daily"))
        .agent(Agent::new("b", "10").soft())
        .start()
        .await;
    let health = gateway.get("/api/health").await.json();
    assert_eq!(health["status"], "ok");
    assert!(health["service"].is_string());
    assert_eq!(health["agents"], json!(["a", "b"]));
    assert_eq!(health["openrouter_url"], provider.base_url());

    let account = gateway.account("a").await;
    for field in [
        "agent_id",
        "budget_total",
        "budget_spent",
        "budget_remaining",
        "budget_source",
        "period",
        "period_reset",
        "hard_cap",
    ] {
        assert!(account.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(account["budget_source"], "local");
    assert_eq!(account["period"], "daily");
    let all = gateway.get("/api/spend").await.json();
    assert_eq!(keys(&all), ["a", "b"]);
    assert_eq!(all["a"], account);
    assert_eq!(all["b"]["hard_cap"], false);
    assert_eq!(all["b"]["period_reset"], Value::Null);

    for (path, body) in [
        ("/api/spend/nobody", None),
        ("/api/budget/nobody", Some(r#"{"budget_total": 1}"#)),
        ("/api/reset/nobody", Some("")),
    ] {
        let reply = match body {
            None => gateway.get(path).await,
            Some(body) => gateway.post(path, body).await,
        };
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(
            reply.json()["detail"],
            json!({"error": "agent_not_found", "agent_id": "nobody"})
        );
    }
    for path in ["/api/reset/a", "/api/reload"] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status, reply.code()),
            (405, "method_not_allowed".into())
        );
    }
    let none = gateway.push("a", "{}").await;
    assert_eq!(none.status, 400);
    let both = gateway
        .push("a", r#"{"budget_total": 12.5, "budget_spent": 0.000001}"#)
        .await;
    assert_eq!(
        both.json(),
        json!({"status": "updated", "agent_id": "a", "budget_total": 12.5, "budget_spent": 0.000001})
    );
    let reload = gateway.post("/api/reload", "").await.json();
    assert_eq!(
        (&reload["status"], &reload["agents"]),
        (&json!("reloaded"), &json!(["a", "b"]))
    );
    // A pushed budget is not undone by reading the same files again.
    assert_eq!(gateway.account("a").await["budget_total"], 12.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_set_nothing_is_shown_or_changed_without_it() {
    const TOKEN: &str = "admin-token-0123456789abcdef0123456789abcdef";
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    for (path, body) in [
        ("/api/spend", None),
        ("/api/spend/default", None),
        ("/api/budget", None),
        ("/api/budget/default", None),
        ("/api/budget/default", Some(r#"{"budget_total": 1}"#)),
        ("/api/reset/default", Some("")),
        ("/api/reload", Some("")),
    ] {
        let reply = match body {
            None => gateway.get(path).await,
            Some(body) => gateway.post(path, body).await,
        };
        assert_eq!(reply.status, 401, "{path}: {}", reply.text());
        assert_eq!(gateway.admin(TOKEN, path, body).await.status, 200, "{path}");
    }
    let health = gateway.get("/api/health").await.json();
    assert_eq!(
        (&health["status"], &health["agents"]),
        (&json!("ok"), &json!([]))
    );
    let trusted = gateway.admin(TOKEN, "/api/health", None).await.json();
    assert_eq!(trusted["agents"], json!(["default"]));
    for _ in 0..5 {
        let wrong = gateway.admin(&TOKEN[1..], "/api/spend", None).await;
        assert_eq!(wrong.status, 401);
    }
    for token in [&TOKEN[1..], TOKEN] {
        let reply = gateway.admin(token, "/api/spend", None).await;
        assert_eq!(
            (reply.status, reply.code()),
            (429, "too_many_attempts".into())
        );
    }
    assert!(!gateway.output().contains(TOKEN));
    assert_eq!(
        gateway.get("/api/health").await.status,
        200,
        "that it lives is no secret"
    );
    assert_eq!(
        gateway.chat("x").send().await.status,
        200,
        "nor are clients shut out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_applies_a_good_policy_and_keeps_the_old_one_instead_of_a_bad_one() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider).agent(Agent::new("a", "10"));
    let gateway = setup.clone().start().await;
    gateway.chat("[[cost=4]]").agent("a").send().await;

    let better = Gateway::over(&provider)
        .agent(
            Agent::new("a", "5")
                .tier("0.5", &["openai/gpt-4o"])
                .tier("0", &["openai/gpt-4o-mini"]),
        )
        .agent(Agent::new("new", "1"));
    gateway.write_policy(&better);
    let reply = gateway.post("/api/reload", "").await;
    assert_eq!(
        reply.json()["agents"],
        json!(["a", "new"]),
        "{}",
        reply.text()
    );
    let account = gateway.account("a").await;
    assert_eq!(
        (&account["budget_total"], &account["budget_spent"]),
        (&json!(5.0), &json!(4.0))
    );
    assert_eq!(gateway.chat("x").agent("new").send().await.status, 200);
    let cheap = gateway.chat("x").agent("a").send().await;
    assert_eq!(cheap.header("x-weir-tier"), Some("1"));

    let policy = gateway.directory.join("policy.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let broken = text
        .replace("budget_total: 5", "budget_total: -5")
        .replace("threshold: 0.5", "treshold: 0.5");
    std::fs::write(&policy, &broken).unwrap();
    let refused = gateway.post("/api/reload", "").await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "invalid_config".into())
    );
    let problems = refused.json()["detail"]["problems"].to_string();
    for named in ["budget_total", "treshold", "threshold", "policy.yaml:"] {
        assert!(problems.contains(named), "{named}: {problems}");
    }
    assert_eq!(gateway.account("a").await["budget_total"], 5.0);
    assert_eq!(gateway.chat("x").agent("new").send().await.status, 200);
    assert_eq!(
        gateway.metric("weir_config_reload_failures_total").await,
        1.0
    );
    std::fs::write(&policy, "cost_routing: [").unwrap();
    assert_eq!(gateway.post("/api/reload", "").await.status, 400);
    std::fs::remove_file(&policy).unwrap();
    assert_eq!(gateway.post("/api/reload", "").await.status, 400);
    assert_eq!(gateway.chat("x").agent("a").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_the_middle_of_a_stream_does_not_disturb_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("a", "10"))
        .start()
        .await;
    let call = gateway.chat("[[chunks=60 delay_ms=5 tag=open]]").agent("a");
    let mut open = call.stream().open().await;
    assert!(open.chunk().await.unwrap().is_some());
    gateway.write_policy(&Gateway::at("http://127.0.0.1:1/v1").agent(Agent::new("other", "1")));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let reply = crate::support::Reply::read(open).await;
    assert!(reply.complete && reply.done());
    let record = provider.ended("open").await;
    assert_eq!(
        gateway.bill("a").await["nano_usd"],
        record.produced_cost_nanos
    );
    assert_eq!(gateway.get("/api/spend/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_their_families_and_no_label_that_a_client_chose() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let odd = "zz-client-chosen-zz";
    gateway
        .chat("[[chunks=3]]")
        .agent(odd)
        .field("model", odd)
        .field("user", odd)
        .send()
        .await;
    gateway.chat("x").header("content-type", odd).send().await;
    gateway.get(&format!("/{odd}")).await;
    gateway.get(&format!("/api/spend/{odd}")).await;
    gateway.chat(&format!("[[model={odd}]]")).send().await;
    let reply = gateway.get("/metrics").await;
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let text = reply.text();
    assert!(!text.contains(odd), "{text}");
    for family in [
        "weir_requests_total",
        "weir_refusals_total",
        "weir_request_duration_seconds",
        "weir_time_to_first_byte_seconds",
        "weir_tokens_total",
        "weir_cost_usd_total",
        "weir_bills_total",
        "weir_over_bound_total",
        "weir_client_disconnects_total",
        "weir_retries_total",
        "weir_reservations_open",
        "weir_requests_in_flight",
        "weir_spend_log_lost_records",
        "weir_spend_log_segment_bytes",
        "weir_spend_log_failed",
        "weir_config_reload_failures_total",
        "weir_config_reloads_total",
        "weir_config_last_reload_successful",
        "weir_config_last_reload_success_timestamp_seconds",
    ] {
        assert!(text.contains(&format!("# HELP {family} ")), "{family}");
        assert!(text.contains(&format!("# TYPE {family} ")), "{family}");
    }
    assert!(text.contains(r#"weir_cost_usd_total{agent="default",source="provider"}"#));
    assert_eq!(gateway.metric("weir_spend_log_failed").await, 0.0);
}
