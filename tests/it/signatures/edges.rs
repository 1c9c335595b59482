//! Signatures where something goes wrong or changes: refusals, broken streams, clients that leave, rotation.

use super::saved::{Ask, OTHER, SECRET};
use super::{HEAD, at, chat, chunk, signing};
use crate::support::client;
use crate::support::gateway::new_directory;
use crate::support::{Agent, Gateway, Peer, Provider, Reply, Scripted, bounded};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Mutex;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_and_what_fails_is_signed_too() {
    let provider = Provider::that("status=400");
    let gateway = signing(&provider.base_url(), "v1: all")
        .key("one", "a-client-key-of-some-length", "default", "")
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    let path = "/v1/chat/completions";
    let refused = Ask::of(path, &chat(false)).nonce("n").send(&gateway).await;
    assert_eq!(refused.reply.status, 401);
    assert_eq!(refused.check(&["--nonce", "n"]), Ok(()));
    let said = refused.check(&["--request", "request.json"]).unwrap_err();
    assert!(said.contains("not bound to the body"), "{said}");
    let key = |ask: Ask| ask.key("a-client-key-of-some-length");
    let failed = key(Ask::of(path, &chat(false))).send(&gateway).await;
    assert_eq!(failed.reply.status, 400);
    assert_eq!(
        failed.check(&["--scheme", "v1", "--request", "request.json"]),
        Ok(())
    );
    assert!(
        failed
            .heading("HTTP/1.1 400", "HTTP/1.1 200")
            .check(&[])
            .is_err()
    );
    let broken = key(Ask::of(path, &json!({"messages": 1})))
        .send(&gateway)
        .await;
    assert_eq!(
        broken.check(&["--scheme", "v1", "--request", "request.json"]),
        Ok(())
    );
    for nonce in ["a b", "-", ""] {
        let odd = key(Ask::of(path, &chat(false)))
            .nonce(nonce)
            .send(&gateway)
            .await;
        assert_eq!(
            (odd.reply.status, odd.reply.code()),
            (400, "bad_request".into()),
            "{nonce}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_provider_and_another_models_answer_are_signed_once() {
    let good = Provider::start().await;
    let script = Scripted::start(|_, mut peer: Peer| async move {
        while peer.request().await.is_some() {
            let body = json!({"error": {"message": "too long", "code": "context_length_exceeded"}});
            peer.answer(
                "400 Bad Request",
                &["Content-Type: application/json"],
                &body.to_string(),
            )
            .await;
        }
    })
    .await;
    let models = |first: &str, more: &str| {
        format!(
            "providers:\n  one: {{base_url: \"{first}\"}}\n  two: {{base_url: \"{}\"}}\nmodels:\n  m: {{provider: one, engine: a, \
             input_cost: 0.000001, output_cost: 0.000002, max_tokens: 100{more}}}\n  second: {{provider: two, engine: b, \
             input_cost: 0.000001, output_cost: 0.000002, max_tokens: 100}}\n",
            good.base_url()
        )
    };
    let nobody = "http://127.0.0.1:9/v1";
    for (first, more, status) in [
        (script.base_url(), ", on_context_overflow: second", 200),
        (nobody.to_owned(), ", fallbacks: [second]", 200),
        (nobody.to_owned(), "", 502),
    ] {
        let gateway = signing(nobody, "v1: all")
            .models(&models(&first, more))
            .agent(Agent::new("default", "10").untiered())
            .start()
            .await;
        for stream in [false, true] {
            let saved = Ask::of("/v1/chat/completions", &chat(stream))
                .send(&gateway)
                .await;
            assert_eq!(saved.reply.status, status, "{first}{more}");
            assert_eq!(saved.check(&["--scheme", "v1"]), Ok(()), "{first}{more}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_guard_makes_of_an_answer_is_what_is_signed() {
    let provider = Provider::that("text=card~4111~1111~1111~1111|~it~is");
    for (action, code, status) in [("refuse", "answer_blocked", 403), ("redact", "", 200)] {
        let gateway = signing(&provider.base_url(), "titan: all, v1: all")
            .agent(Agent::new("default", "10").line(&format!(
                "guard: {{pii: {{mode: enforce, action: {action}}}}}"
            )))
            .start()
            .await;
        for stream in [false, true] {
            let saved = Ask::of("/v1/chat/completions", &chat(stream))
                .send(&gateway)
                .await;
            let expected = if stream { 200 } else { status };
            assert_eq!(saved.reply.status, expected, "{action}");
            let text = saved.reply.text();
            assert!(!text.contains("4111") && text.contains(code), "{text}");
            assert_eq!(saved.check(&["--scheme", "v1"]), Ok(()), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_broke_off_ends_with_a_signed_error() {
    let provider = Provider::that("chunks=8 cut_at=3");
    let gateway = signing(&provider.base_url(), "titan: all, v1: all")
        .start()
        .await;
    let saved = Ask::of("/v1/chat/completions", &chat(true))
        .send(&gateway)
        .await;
    assert_eq!(
        saved.reply.events().pop().unwrap()["error"]["code"],
        "upstream_broken_off"
    );
    assert_eq!(
        saved.check(&["--scheme", "both"]),
        Ok(()),
        "{}",
        saved.reply.text()
    );
    gateway.quiet().await;
    assert_eq!(gateway.bill("default").await["source"], "estimated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_signed_answer_is_billed_for_it() {
    let answer = r#"{"id":"a","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;
    let (go, wait) = tokio::sync::mpsc::channel::<()>(1);
    let (begun, mut has_begun) = tokio::sync::mpsc::channel::<()>(1);
    let wait = Arc::new(Mutex::new(wait));
    let script = Scripted::start(move |_, mut peer: Peer| {
        let (wait, begun) = (Arc::clone(&wait), begun.clone());
        async move {
            peer.request().await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
            peer.write(format!("{head}Content-Length: {}\r\n\r\n", answer.len()))
                .await;
            let (first, rest) = answer.split_at(40);
            peer.write(first).await;
            begun.send(()).await.unwrap();
            wait.lock().await.recv().await;
            peer.write(rest).await;
            peer.closed().await;
        }
    })
    .await;
    let origin = script.base_url().trim_end_matches("/v1").to_owned();
    let gateway = at("openai", &origin, "/v1", "titan: all, v1: all")
        .start()
        .await;
    let mut raw = gateway.raw().await;
    assert!(
        raw.send(client::request(&[], &chat(false).to_string()))
            .await
    );
    bounded("the beginning of an answer", has_begun.recv()).await;
    raw.reset();
    go.send(()).await.unwrap();
    assert_eq!(gateway.bill("default").await["nano_usd"], 5_000 + 14_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_by_a_reload_and_the_old_one_goes_on_verifying() {
    let provider = Provider::start().await;
    let policy = |keys: &str| {
        Gateway::over(&provider)
            .env("OLD", SECRET)
            .env("NEW", OTHER)
            .routing(&format!(
                "signatures: {{titan: all, v1: all, keys: [{keys}]}}"
            ))
    };
    let (old, new) = ("{id: old, secret: '${OLD}'}", "{id: new, secret: '${NEW}'}");
    let gateway = policy(old).start().await;
    let ask =
        || Ask::of("/v1/chat/completions", &chat(false)).env(&[("OLD", SECRET), ("NEW", OTHER)]);
    let before = ask().send(&gateway).await;
    gateway.write_policy(&policy(&format!("{new}, {old}")));
    let reloaded = gateway.post("/api/reload", "").await.json();
    let changes = reloaded["changes"].to_string();
    assert!(
        changes.contains("answers are signed with key `new`"),
        "{changes}"
    );
    let after = ask().send(&gateway).await;
    let file = gateway.directory.join("policy.yaml");
    let with = ["--scheme", "both", "--policy", file.to_str().unwrap()];
    for (saved, id) in [(&before, "old"), (&after, "new")] {
        assert_eq!(saved.check(&with), Ok(()));
        assert_eq!(saved.json(&with)["v1"]["key"], id);
        assert_eq!(saved.json(&with)["titan"]["key"], id);
    }
    gateway.write_policy(&policy(new));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let said = before.check(&with).unwrap_err();
    assert!(said.contains("the key `old`, which is not known"), "{said}");
    let said = gateway.output() + &changes;
    assert!(!said.contains(SECRET) && !said.contains(OTHER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_too_short_is_refused_at_start() {
    let directory = new_directory();
    let said = Gateway::at("http://127.0.0.1:9/v1")
        .env("HMAC_SECRET", "change-me-in-production")
        .fails_in(&directory)
        .await;
    assert!(
        said.contains("HMAC_SECRET") && said.contains("at least 32 bytes"),
        "{said}"
    );
    assert!(!said.contains("change-me"), "{said}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_nothing_is_signed_and_nothing_is_late() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let saved = Ask::of("/v1/chat/completions", &chat(false))
        .nonce("n")
        .send(&gateway)
        .await;
    assert_eq!(saved.reply.status, 200);
    assert!(saved.reply.header("x-weir-signature").is_none());
    assert!(saved.check(&[]).unwrap_err().contains("not signed"));
    let reply = Reply::read(Ask::of("/proxy/m", &chat(true)).open(&gateway).await).await;
    assert!(!reply.text().contains("x_signature"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_answer_does_not_wait_for_a_connection_that_stays_open() {
    let (go, wait) = tokio::sync::mpsc::channel::<()>(1);
    let wait = Arc::new(Mutex::new(wait));
    let script = Scripted::start(move |_, mut peer: Peer| {
        let wait = Arc::clone(&wait);
        async move {
            peer.request().await;
            peer.write(HEAD).await;
            peer.write(chunk(r#"{"content":"Hi"}"#) + "data: [DONE]\n\n")
                .await;
            wait.lock().await.recv().await;
            // No part of the answer any more.
            peer.write(": late\n\n").await;
        }
    })
    .await;
    let origin = script.base_url().trim_end_matches("/v1").to_owned();
    let gateway = at("openai", &origin, "/v1", "v1: all")
        .routing("metadata: false")
        .start()
        .await;
    let ask = Ask::of("/v1/chat/completions", &chat(true));
    let mut open = ask.open(&gateway).await;
    let mut head = Reply {
        status: open.status().as_u16(),
        headers: open.headers().clone(),
        body: Bytes::new(),
        complete: true,
    };
    let mut seen = Vec::new();
    while memchr::memmem::find(&seen, b" mac=").is_none() {
        let piece = bounded("the signature", open.chunk()).await.unwrap();
        seen.extend_from_slice(&piece.expect("more"));
    }
    go.send(()).await.unwrap();
    let rest = Reply::read(open).await;
    head.body = [&seen[..], &rest.body].concat().into();
    let saved = ask.saved(head);
    assert!(!saved.reply.text().contains("late"));
    assert_eq!(
        saved.check(&["--scheme", "v1"]),
        Ok(()),
        "{}",
        saved.reply.text()
    );
}
