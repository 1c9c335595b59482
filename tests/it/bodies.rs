//! Large bodies, slow ones, and many on one connection.

use crate::support::client::{builder, chat_body, request};
use crate::support::{Gateway, Peer, Provider, Scripted};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// A request whose message is `size` bytes long, and what the mock says about its messages.
fn large(size: usize) -> (String, String) {
    let text = "All work and no play makes \\\"Jack\\\" a dull boy. \\u00e9\\n";
    let text = text.repeat(size / text.len());
    let messages = format!(r#"[{{"role":"user","content":"[[body_sha=messages]] {text}"}}]"#);
    let digest: String = Sha256::digest(messages.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let said = format!("sha256={digest} bytes={}", messages.len());
    (
        format!(r#"{{"temperature":0.5,"messages":{messages},"max_tokens":10}}"#),
        said,
    )
}

fn content(reply: &Value) -> &str {
    let content = &reply["choices"][0]["message"]["content"];
    content
        .as_str()
        .unwrap_or_else(|| panic!("no content: {reply}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_prompts_arrive_whole_however_they_are_sent() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    // 64 KiB is where Pingora's own replay ends.
    for size in [60_000, 70_000, 4 << 20, 30 << 20] {
        let (body, said) = large(size);
        let reply = gateway.chat("").raw(body.clone()).send().await;
        assert_eq!(
            content(&reply.json()),
            said,
            "{size} bytes with their length"
        );
        let pieces: Vec<std::io::Result<Vec<u8>>> = body
            .as_bytes()
            .chunks(100_000)
            .map(|piece| Ok(piece.to_vec()))
            .collect();
        let chunked = builder()
            .build()
            .unwrap()
            .post(gateway.url("/v1/chat/completions"))
            .header("content-type", "application/json")
            .body(reqwest::Body::wrap_stream(Pieces(pieces.into_iter())))
            .send()
            .await
            .unwrap();
        let reply: Value = chunked.json().await.unwrap();
        assert_eq!(content(&reply), said, "{size} bytes in chunks");
    }
    assert!(
        provider
            .records()
            .iter()
            .all(|record| record.refused.is_none())
    );
}

/// A stream over what an iterator gives.
struct Pieces<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_prompt_arrives_whole_on_the_second_try() {
    const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":0.001}}"#;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    // The first connection answers once, takes a second request and closes without a word.
    let upstream = Scripted::start(move |number, mut peer: Peer| {
        let tell = tell.clone();
        async move {
            let mut answered = 0;
            while let Some(request) = peer.request().await {
                if number == 0 && answered == 1 {
                    return;
                }
                answered += 1;
                let _ = tell.send(request.body);
                let json = &["Content-Type: application/json"];
                peer.answer("200 OK", json, ANSWER).await;
            }
        }
    })
    .await;
    let gateway = Gateway::at(&upstream.base_url()).start().await;
    assert_eq!(gateway.chat("first").send().await.status, 200);
    told.recv().await.unwrap();
    let (body, _) = large(4 << 20);
    let reply = gateway.chat("").raw(body.clone()).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received: Value = serde_json::from_slice(&told.recv().await.unwrap()).unwrap();
    let sent: Value = serde_json::from_str(&body).unwrap();
    assert!(
        received["messages"] == sent["messages"],
        "the prompt is not what was sent"
    );
    assert_eq!(upstream.connections(), 2);
    assert!(gateway.metric("weir_retries_total").await >= 1.0);
    // One answer, one bill.
    assert_eq!(gateway.billed("default", 2).await.len(), 2);
    assert_eq!(gateway.spend("default").0, 2_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused_so_that_the_client_sees_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("limits: {body_bytes: 1MiB}")
        .start()
        .await;
    let (body, _) = large(8 << 20);
    let known = gateway.chat("").raw(body.clone()).send().await;
    assert_eq!(
        (known.status, known.code()),
        (413, "request_too_large".into())
    );
    let mut raw = gateway.raw().await;
    raw.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in body.as_bytes().chunks(1 << 16) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        if !raw.send(chunk).await {
            break;
        }
    }
    raw.send("0\r\n\r\n").await;
    let chunked = raw.reply().await;
    assert_eq!(
        (chunked.status, chunked.code()),
        (413, "request_too_large".into())
    );
    // A client that waits for leave is refused before it sends anything.
    let mut raw = gateway.raw().await;
    raw.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        .await;
    assert_eq!(raw.reply().await.status, 413);
    assert!(provider.records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_for_leave_gets_it_and_keeps_its_connection() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let mut raw = gateway.raw().await;
    let body = chat_body("[[chunks=2]]", false);
    for _ in 0..3 {
        let length = format!("Content-Length: {}", body.len());
        let json = "Content-Type: application/json";
        raw.send(request(&[json, "Expect: 100-continue", &length], ""))
            .await;
        assert_eq!(raw.reply().await.status, 100);
        raw.send(&body).await;
        let reply = raw.reply().await;
        assert_eq!(reply.status, 200);
        assert!(!reply.closes());
    }
    assert_eq!(provider.records().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_each_once() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let mut raw = gateway.raw().await;
    let all: Vec<u8> = (1..=5)
        .flat_map(|count| {
            let prompt = format!("[[chunks={count} lat_ms=20]]");
            request(&[], &chat_body(&prompt, count % 2 == 0))
        })
        .collect();
    raw.send(all).await;
    for count in 1..=5_u64 {
        let reply = raw.reply().await;
        assert_eq!(reply.status, 200);
        if count % 2 == 0 {
            let text = String::from_utf8(reply.body).unwrap();
            assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        } else {
            assert_eq!(reply.json()["usage"]["completion_tokens"], count);
        }
    }
    assert_eq!(gateway.billed("default", 5).await.len(), 5);
    assert_eq!(provider.records().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_on_one_connection_are_each_billed_once() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let mut raw = gateway.raw().await;
    for number in 0..1000 {
        let prompt = format!("[[chunks=2]] {}", "x".repeat(number * 7 % 5000));
        raw.send(request(&[], &chat_body(&prompt, number % 3 == 0)))
            .await;
        let reply = raw.reply().await;
        assert_eq!(
            (reply.status, reply.closes()),
            (200, false),
            "request {number}"
        );
    }
    let bills = gateway.billed("default", 1000).await;
    assert_eq!(bills.len(), 1000);
    let produced: i64 = provider
        .records()
        .iter()
        .map(|record| record.produced_cost_nanos)
        .sum();
    assert_eq!(gateway.spend("default").0, produced);
    assert_eq!(gateway.metric("weir_reservations_open").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_is_given_up_at_its_deadline() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("timeouts: {body: 500ms}")
        .start()
        .await;
    let mut raw = gateway.raw().await;
    let json = "Content-Type: application/json";
    raw.send(request(&[json, "Content-Length: 100000"], ""))
        .await;
    // Each byte is in time; the whole never is.
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let reply = loop {
        tokio::select! {
            reply = raw.reply() => break reply,
            _ = pace.tick() => {}
        }
        raw.send(b" ").await;
    };
    assert_eq!(
        (reply.status, reply.code()),
        (408, "request_timeout".into())
    );
    assert!(provider.records().is_empty());
    assert_eq!(gateway.account("default").await["budget_held"], json!(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_drips_is_given_up_at_its_deadline() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("timeouts: {header: 500ms}")
        .start()
        .await;
    let mut raw = gateway.raw().await;
    raw.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        .await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            closed = raw.is_closed() => if closed { break },
            _ = pace.tick() => {}
        }
        if !raw.send(b"x").await {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_wants_the_connection_closed_gets_that() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for stream in [false, true] {
        let mut raw = gateway.raw().await;
        let body = chat_body("[[chunks=2]]", stream);
        let length = format!("Content-Length: {}", body.len());
        let json = "Content-Type: application/json";
        raw.send(request(&["Connection: close", json, &length], &body))
            .await;
        let reply = raw.reply().await;
        assert_eq!((reply.status, reply.closes()), (200, true));
        assert!(raw.is_closed().await);
    }
}
