//! Every refusal with its status and code, and a provider's errors as they are.

use crate::support::client::{chat_body, request};
use crate::support::{Agent, Gateway, Peer, Provider, Reply, Scripted, Seen};
use serde_json::{Value, json};

fn openai_shape(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    let error = &reply.json()["error"];
    assert_eq!(error["code"], code);
    for field in ["message", "type"] {
        assert!(error[field].is_string(), "{code}: {error}");
    }
    assert!(error.get("param").is_some(), "{code}: {error}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.header("x-weir-request-id").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_status_and_its_code() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .upstream("timeout_seconds: 300ms")
        .settings("limits: {body_bytes: 64KiB}\ntimeouts: {body: 300ms}")
        .agent(Agent::new("default", "10"))
        .agent(Agent::new("spent", "1").line("budget_spent: 1"))
        .start()
        .await;
    openai_shape(&gateway.chat("").raw("{").send().await, 400, "invalid_json");
    let field = gateway.chat("x").field("messages", json!([])).send().await;
    openai_shape(&field, 400, "invalid_field");
    assert_eq!(field.json()["error"]["param"], "messages");
    openai_shape(
        &gateway.chat("x").agent("spent").send().await,
        402,
        "budget_exhausted",
    );
    openai_shape(&gateway.get("/v1/nothing").await, 404, "not_found");
    openai_shape(&gateway.get("/").await, 404, "not_found");
    openai_shape(&gateway.get("/api/nothing").await, 404, "not_found");
    let method = gateway.get("/v1/chat/completions").await;
    openai_shape(&method, 405, "method_not_allowed");
    assert_eq!(method.header("allow"), Some("POST"));
    let large = gateway.chat(&"x".repeat(70_000)).send().await;
    openai_shape(&large, 413, "request_too_large");
    let media = gateway
        .chat("x")
        .header("content-type", "text/plain")
        .send()
        .await;
    openai_shape(&media, 415, "unsupported_media_type");
    let slow = gateway.chat("[[hang=headers]]").send().await;
    openai_shape(&slow, 504, "upstream_timeout");

    let mut raw = gateway.raw().await;
    raw.send(request(
        &["Content-Type: application/json", "Content-Length: 100"],
        r#"{"messages""#,
    ))
    .await;
    let reply = raw.reply().await;
    assert_eq!(
        (reply.status, reply.code()),
        (408, "request_timeout".into())
    );
    assert!(
        raw.is_closed().await,
        "its other bytes would be read as a request"
    );
    // Nothing but the timeout was billed: the provider had read the request.
    gateway.quiet().await;
    let bills = gateway.bills("default");
    assert_eq!(bills.len(), 1);
    assert_eq!(bills[0]["status"], "estimated");
    assert!(bills[0]["nano_usd"].as_i64().unwrap() > 0);
    let text = gateway.get("/metrics").await.text();
    for code in [
        "invalid_json",
        "budget_exhausted",
        "request_too_large",
        "upstream_timeout",
    ] {
        let series = format!("weir_refusals_total{{code=\"{code}\"}} 1");
        assert!(text.contains(&series), "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_be_reached_is_502_and_costs_nothing() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let gateway = Gateway::at(&format!("http://{closed}/v1")).start().await;
    for stream in [false, true] {
        let reply = gateway.chat("x").field("stream", stream).send().await;
        openai_shape(&reply, 502, "upstream_unreachable");
    }
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 0);
    assert_eq!(gateway.events("void").len(), 2);
    let account = gateway.account("default").await;
    assert_eq!(
        (&account["budget_spent"], &account["budget_held"]),
        (&json!(0.0), &json!(0.0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_error_passes_through_and_is_not_billed() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for status in [
        400_u16, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529,
    ] {
        for stream in [false, true] {
            let prompt = format!("[[status={status} retry_after=7 dialect=openai]]");
            let reply = gateway.chat(&prompt).field("stream", stream).send().await;
            assert_eq!(reply.status, status);
            assert_eq!(reply.header("retry-after"), Some("7"));
            let body = reply.json();
            assert!(body["error"]["message"].is_string());
            assert_eq!(
                body.get("_execwall"),
                None,
                "an error is not ours to change"
            );
        }
    }
    let source = "openrouter_in_flight_budget";
    let reply = gateway
        .chat(&format!("[[status=402 limit_source={source}]]"))
        .send()
        .await;
    assert_eq!(reply.json()["error"]["metadata"]["limit_source"], source);
    let page = gateway.chat("[[html=1]]").send().await;
    assert_eq!(page.status, 502);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().starts_with("<!DOCTYPE html>"));
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 0);
    assert_eq!(gateway.account("default").await["budget_spent"], 0.0);
}

const SECRET: &str = "sk-or-v1-0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_echoes_our_key_does_not_reach_the_client_with_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .upstream(&format!("api_key: {SECRET}"))
        .start()
        .await;
    for behaviour in ["", "split=1", "split=10", "split=61"] {
        for stream in [false, true] {
            let prompt = format!("[[echo=auth {behaviour}]]");
            let reply = gateway.chat(&prompt).field("stream", stream).send().await;
            assert_eq!(reply.status, 401);
            assert!(!reply.text().contains("0123456789"), "{}", reply.text());
            assert!(reply.text().contains("Bearer *****"), "{}", reply.text());
        }
    }
    let header = provider.records()[0].header("authorization").unwrap();
    assert!(header.contains(SECRET), "the provider did get it");
    assert!(!gateway.output().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_reason_phrases_that_echo_our_key_are_redacted() {
    let upstream = Scripted::start(|_, mut peer: Peer| async move {
        while peer.request().await.is_some() {
            let echo = format!("X-Echo: Bearer {SECRET}");
            let auth = format!("WWW-Authenticate: Bearer realm=\"{SECRET}\"");
            peer.answer(&format!("401 {SECRET}"), &[&echo, &auth, &echo], SECRET)
                .await;
        }
    })
    .await;
    let gateway = Gateway::at(&upstream.base_url())
        .env("OPENROUTER_API_KEY", SECRET)
        .start()
        .await;
    let mut raw = gateway.raw().await;
    raw.send(request(
        &[
            "Connection: close",
            "Content-Type: application/json",
            &format!("Content-Length: {}", chat_body("x", false).len()),
        ],
        &chat_body("x", false),
    ))
    .await;
    let bytes = raw.rest().await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed_and_not_passed_on() {
    let provider = Provider::start().await;
    let target = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .upstream(&format!("api_key: {SECRET}"))
        .start()
        .await;
    for status in [301, 302, 303, 307, 308] {
        let place = target.base_url();
        let prompt = format!("[[redirect={place}/chat/completions status={status}]]");
        let reply = gateway.chat(&prompt).send().await;
        openai_shape(&reply, 502, "upstream_invalid");
        assert_eq!(reply.header("location"), None);
    }
    assert!(target.records().is_empty());
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_read_is_refused_and_not_free() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for stream in [false, true] {
        let reply = gateway
            .chat("[[gzip=1]]")
            .field("stream", stream)
            .send()
            .await;
        openai_shape(&reply, 502, "upstream_invalid");
    }
    let asked = provider.records()[0].header("accept-encoding");
    assert_eq!(asked.as_deref(), Some("identity"));
    let bills = gateway.billed("default", 2).await;
    assert!(bills.iter().all(|bill| bill["status"] == "estimated"));
    assert!(bills.iter().all(|bill| bill["nano_usd"].as_i64() > Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_instead_of_an_answer_is_an_error_and_not_a_crash() {
    let upstream = Scripted::start(|number, mut peer: Peer| async move {
        peer.request().await;
        let nonsense = match number {
            0 => "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            1 => "HTTP/1.1 abc Nope\r\n\r\n",
            2 => "HTTP/1.1 200 OK\r\nBroken\r\n\r\n",
            3 => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            _ => "",
        };
        peer.write(nonsense).await;
    })
    .await;
    let gateway = Gateway::at(&upstream.base_url())
        .upstream("timeout_seconds: 2")
        .start()
        .await;
    for _ in 0..5 {
        let reply = gateway.chat("x").try_open().await.unwrap();
        let reply = Reply::read(reply).await;
        assert!(
            reply.status == 502 || reply.status == 504 || (reply.status == 200 && !reply.complete),
            "{reply:?}"
        );
    }
    assert_eq!(gateway.get("/api/health").await.status, 200);
    gateway.quiet().await;
    // Each was dispatched; what the provider made of it is not known.
    let bills: Vec<Value> = gateway.bills("default");
    assert!(
        bills.iter().all(|bill| bill["status"] == "estimated"),
        "{bills:?}"
    );
}
