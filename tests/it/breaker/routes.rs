//! The breaker's routes: shapes, who may, and what is refused.

use super::{HAIKU, events, guarded, level, levels, put, spend, total};
use crate::support::client::keys;
use crate::support::{Agent, Gateway, Provider, Reply, client};
use serde_json::{Value, json};

const TOKEN: &str = "admin-0123456789abcdef0123456789abcdef";
const KEY: &str = "a-key-of-some-length-for-ann";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orchestrators_routes_have_its_shapes() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, "breaker: {}").start().await;
    let state = gateway.get("/state").await;
    assert_eq!(
        state.text(),
        r#"{"level":"OK","total":0.0,"threshold":100.0,"thresholds":{"WARNING":100.0,"SOFT":250.0,"HARD":500.0,"EMERGENCY":1000.0}}"#
    );
    let track = |body: Value| {
        let gateway = &gateway;
        async move { gateway.post("/track", &body.to_string()).await }
    };
    // One and five dollars for a million tokens.
    let tracked = track(json!({
        "model": HAIKU, "inputTokens": 1_000_001, "outputTokens": 500_000,
        "user": "ann", "apiKey": "sk-sesame-0123456789",
    }))
    .await;
    assert_eq!(
        tracked.text(),
        r#"{"cost":3.500001,"total":3.500001,"state":"OK"}"#
    );
    let tracked = track(json!({"model": HAIKU, "inputTokens": 0, "outputTokens": 1})).await;
    assert_eq!(
        tracked.text(),
        r#"{"cost":0.000005,"total":3.500006,"state":"OK"}"#
    );
    spend(&gateway, "0.5").await;
    total(&gateway, 4.000_006).await;

    let costs = gateway.get("/admin/costs").await.json();
    assert_eq!(
        keys(&costs),
        [
            "breakdown",
            "costs",
            "level",
            "recentRequests",
            "threshold",
            "thresholds",
            "total"
        ]
    );
    assert_eq!(
        keys(&costs["breakdown"]),
        ["byAgent", "byKey", "byModel", "byUser"]
    );
    assert_eq!(
        costs["breakdown"]["byUser"],
        json!({"ann": 3.500_001, "unknown": 0.500_005})
    );
    assert_eq!(costs["breakdown"]["byAgent"], json!({"default": 0.5}));
    let by_key = costs["breakdown"]["byKey"].as_object().unwrap();
    assert!(
        by_key
            .keys()
            .any(|key| key.starts_with("sha256:") && key.len() == 19)
    );
    assert_eq!(by_key["default"], 0.500_005);
    assert_eq!(costs["costs"]["requests"], 3);
    let recent = costs["recentRequests"].as_array().unwrap();
    assert_eq!(recent.len(), 3);
    assert_eq!(
        (&recent[0]["cost"], &recent[0]["agent"]),
        (&json!(0.5), &json!("default"))
    );
    assert_eq!(
        (&recent[2]["user"], &recent[2]["inputTokens"]),
        (&json!("ann"), &json!(1_000_001))
    );
    let files = ["spend.jsonl.breaker", "events.txt"];
    for file in files.map(|file| std::fs::read_to_string(gateway.directory.join(file)).unwrap()) {
        assert!(!file.contains("sesame"), "{file}");
    }
    assert!(!gateway.output().contains("sesame"));

    for _ in 0..25 {
        assert_eq!(
            track(json!({"model": HAIKU, "inputTokens": 1, "outputTokens": 1}))
                .await
                .status,
            200
        );
    }
    let costs = gateway.get("/admin/costs").await.json();
    assert_eq!(costs["recentRequests"].as_array().unwrap().len(), 20);

    let limits = put(
        &gateway,
        "/admin/costs/limits",
        r#"{"SOFT":300, "warning": 0.5}"#,
    )
    .await;
    let body = limits.json();
    assert_eq!(body["thresholds"]["SOFT"], 300.0);
    assert_eq!(
        (&body["level"], &body["threshold"]),
        (&json!("WARNING"), &json!(0.5))
    );
    let reset = gateway.post("/admin/costs/reset", "").await.json();
    assert_eq!(
        (&reset["level"], &reset["total"]),
        (&json!("OK"), &json!(0.0))
    );
    level(&gateway, "OK").await;
    let costs = gateway.get("/admin/costs").await.json();
    assert_eq!(costs["recentRequests"], json!([]));
    assert_eq!(costs["costs"]["limitsSet"], json!(["WARNING", "SOFT"]));
    for action in ["breaker.limits", "breaker.reset"] {
        let told = format!(r#""action":"{action}""#);
        assert_eq!(events(&gateway, &told, 1).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    for (body, part) in [
        ("", "not what this route reads"),
        ("{}", "missing field `model`"),
        (
            r#"{"model":"","inputTokens":1,"outputTokens":1}"#,
            "'model'",
        ),
        (
            r#"{"model":"acme/none","inputTokens":1,"outputTokens":1}"#,
            "no known price",
        ),
        (
            r#"{"model":"m","inputTokens":-1,"outputTokens":1}"#,
            "invalid value",
        ),
        (
            r#"{"model":"m","inputTokens":1.5,"outputTokens":1}"#,
            "invalid type",
        ),
        (
            r#"{"model":"m","inputTokens":9999999999,"outputTokens":1}"#,
            "at most",
        ),
    ] {
        let refused = gateway.post("/track", body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(part), "{body}: {}", refused.text());
    }
    for (body, part) in [
        ("{}", "Name a level"),
        ("[]", "not what this route reads"),
        (r#"{"OK":1}"#, "Levels are"),
        (r#"{"SOFT":"300"}"#, "number of dollars"),
        (r#"{"SOFT":-1}"#, "number of dollars"),
        (r#"{"SOFT":0}"#, "number of dollars"),
        (r#"{"SOFT":1e99}"#, "number of dollars"),
        (r#"{"SOFT":3}"#, "HARD ($3.0) must be more than SOFT ($3.0)"),
    ] {
        let refused = put(&gateway, "/admin/costs/limits", body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(part), "{body}: {}", refused.text());
    }
    let state = level(&gateway, "OK").await;
    assert_eq!(state["total"], 0.0);
    assert_eq!(state["thresholds"]["SOFT"], 2.0);
    assert_eq!(gateway.get("/track").await.status, 405);
    assert_eq!(gateway.get("/admin/costs/nothing").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_charged_the_ceiling_that_is_stated() {
    let provider = Provider::start().await;
    let ceiling = "unpriced_ceiling: {input_usd_per_million: 10, output_usd_per_million: 20}";
    let gateway = guarded(&provider, &levels(""))
        .routing(ceiling)
        .start()
        .await;
    let body = r#"{"model":"acme/none","inputTokens":100000,"outputTokens":0}"#;
    let tracked = gateway.post("/track", body).await;
    assert_eq!(tracked.json()["cost"], 1.0, "{}", tracked.text());
    assert_eq!(tracked.json()["state"], "WARNING");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_tells_and_asks_and_the_token_does_the_rest() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "1000").untiered())
        .key("ann", KEY, "default", "user: ann")
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    let call = |method: &'static str, path: &'static str, token: Option<&'static str>| {
        let url = gateway.url(path);
        async move {
            let body = match path {
                "/track" => r#"{"model":"openai/gpt-4o-mini","inputTokens":10,"outputTokens":1}"#,
                "/admin/costs/limits" => r#"{"SOFT":300}"#,
                _ => "",
            };
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = client::http().request(method, url).body(body);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            Reply::read(request.send().await.unwrap()).await
        }
    };
    for (method, path) in [("POST", "/track"), ("GET", "/state")] {
        assert_eq!(call(method, path, Some(KEY)).await.status, 200, "{path}");
        assert_eq!(call(method, path, Some(TOKEN)).await.status, 200, "{path}");
        assert_eq!(call(method, path, None).await.status, 401, "{path}");
    }
    for (method, path) in [
        ("GET", "/admin/costs"),
        ("POST", "/admin/costs/reset"),
        ("PUT", "/admin/costs/limits"),
    ] {
        assert_eq!(call(method, path, Some(TOKEN)).await.status, 200, "{path}");
        for other in [Some(KEY), None] {
            let refused = call(method, path, other).await;
            assert_eq!(refused.status, 401, "{path}: {}", refused.text());
        }
    }
    assert_eq!(call("GET", "/state", Some("wrong")).await.status, 401);
    call("POST", "/track", Some(KEY)).await;
    let costs = call("GET", "/admin/costs", Some(TOKEN)).await.json();
    let latest = &costs["recentRequests"][0];
    assert_eq!(
        (&latest["apiKey"], &latest["user"]),
        (&json!("ann"), &json!("ann"))
    );
}
