//! Who is kept out, for how long, and by whom they are let in again.

use super::{ATTACK, TOKEN, infer, request, setup, validate};
use crate::support::{Agent, Gateway, Provider};
use serde_json::json;

async fn lift(gateway: &Gateway, which: &str, name: &str) -> serde_json::Value {
    let body = json!({"apiKey": name}).to_string();
    let path = format!("/admin/unquarantine-{which}");
    let reply = gateway.admin(TOKEN, &path, Some(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_outlives_a_crash_and_an_operator_lifts_it() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).env("ADMIN_TOKEN", TOKEN).start().await;
    for _ in 0..3 {
        validate(&gateway, ATTACK, "Bearer a").await;
    }
    let gateway = gateway.restart().await;
    let reply = validate(&gateway, "hello", "a").await;
    assert_eq!(
        (reply.status, &reply.json()["type"]),
        (429, &json!("temporary"))
    );
    let body = json!({"apiKey": "a"}).to_string();
    for path in ["/admin/unquarantine-temp", "/admin/unquarantine-permanent"] {
        assert_eq!(gateway.post(path, &body).await.status, 401, "{path}");
    }
    assert_eq!(
        gateway
            .admin(TOKEN, "/admin/unquarantine-temp", Some("{}"))
            .await
            .status,
        400
    );
    assert_eq!(lift(&gateway, "temp", "a").await["lifted"], true);
    assert_eq!(validate(&gateway, "hello", "a").await.status, 200);
    assert_eq!(lift(&gateway, "temp", "a").await["lifted"], false);
    let gateway = gateway.restart().await;
    assert_eq!(validate(&gateway, "hello", "a").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tenth_strike_is_for_good_until_that_one_is_lifted() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).env("ADMIN_TOKEN", TOKEN).start().await;
    for round in 0..3 {
        for _ in 0..3 {
            validate(&gateway, ATTACK, "a").await;
        }
        assert_eq!(
            lift(&gateway, "temp", "a").await["lifted"],
            true,
            "round {round}"
        );
    }
    let tenth = validate(&gateway, ATTACK, "a").await;
    assert_eq!(
        (tenth.status, &tenth.json()["status"]),
        (429, &json!("permanently_blocked"))
    );
    let reply = validate(&gateway, "hello", "a").await;
    let body = reply.json();
    assert_eq!((reply.status, &body["type"]), (429, &json!("permanent")));
    assert!(body.get("remaining").is_none() && body.get("remainingMinutes").is_none());
    assert!(reply.header("retry-after").is_none());
    let said = lift(&gateway, "temp", "a").await;
    assert_eq!(
        (&said["lifted"], &said["quarantined"]),
        (&json!(false), &json!(true))
    );
    let gateway = gateway.restart().await;
    assert_eq!(validate(&gateway, "hello", "a").await.status, 429);
    assert_eq!(lift(&gateway, "permanent", "a").await["lifted"], true);
    assert_eq!(validate(&gateway, "hello", "a").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_key_of_the_gateway_the_name_in_the_body_means_nothing() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .key("k1", "weir-key-1", "default", "")
        .key("k2", "weir-key-2", "default", "")
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    for victim in ["weir-key-2", "k2", "somebody"] {
        let mut body = request(ATTACK);
        body["apiKey"] = victim.into();
        gateway
            .admin("weir-key-1", "/infer", Some(&body.to_string()))
            .await;
    }
    let hello = request("Hello").to_string();
    let other = gateway.admin("weir-key-2", "/infer", Some(&hello)).await;
    assert_eq!(other.status, 200, "{}", other.text());
    let own = gateway.admin("weir-key-1", "/infer", Some(&hello)).await;
    assert_eq!(own.status, 429);
    // On every route, not only on these.
    let chat = gateway.chat("Hello").key("weir-key-1").send().await;
    let body = chat.json();
    assert_eq!(
        (chat.status, &body["error"]["code"]),
        (429, &json!("api_key_quarantined")),
        "{body}"
    );
    assert_eq!(chat.header("x-should-retry"), Some("false"));
    assert!(chat.header("retry-after").is_some());
    assert_eq!(
        gateway.chat("Hello").key("weir-key-2").send().await.status,
        200
    );
    // By the key's public id, or by the key.
    assert_eq!(lift(&gateway, "temp", "k1").await["lifted"], true);
    assert_eq!(
        gateway.chat("Hello").key("weir-key-1").send().await.status,
        200
    );
    // The admin token is no caller: its body says who is.
    for _ in 0..3 {
        let body = request(ATTACK).to_string();
        gateway.admin(TOKEN, "/infer", Some(&body)).await;
    }
    assert_eq!(
        gateway.admin(TOKEN, "/infer", Some(&hello)).await.status,
        429
    );
    let mut another = request("Hello");
    another["apiKey"] = "another".into();
    let reply = gateway
        .admin(TOKEN, "/infer", Some(&another.to_string()))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_pages_and_strangers_are_refused() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).start().await;
    let http = crate::support::client::http();
    for path in [
        "/infer",
        "/validate-input",
        "/prepare-system-prompt",
        "/filter-output",
        "/api/messages",
    ] {
        let request = http
            .post(gateway.url(path))
            .header("origin", "https://evil.example")
            .body(request("Hello").to_string());
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(infer(&gateway, &request("Hello")).await.status, 200);
    assert_eq!(provider.records().len(), 1);
}
