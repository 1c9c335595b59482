//! Answers that can be checked: both schemes, whole answers and streams, our own verifier and others'.

mod saved;

use crate::support::client::{self, events};
use crate::support::gateway::{Setup, new_directory};
use crate::support::speaker::{Speaker, TEXT};
use crate::support::{Agent, Gateway, Peer, Provider, Reply, Scripted, bounded};
use bytes::Bytes;
use saved::{Ask, OTHER, SECRET, Saved};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A gateway with the Model Gateway's secret, and this inside of `signatures`.
fn signing(base_url: &str, signatures: &str) -> Setup {
    Gateway::at(base_url)
        .env("HMAC_SECRET", SECRET)
        .routing(&format!("signatures: {{{signatures}}}"))
}

/// With models of their own names at a provider of that kind.
fn at(kind: &str, origin: &str, tail: &str, signatures: &str) -> Setup {
    signing("http://127.0.0.1:9/v1", signatures)
        .models(&format!(
            "providers:\n  p: {{kind: {kind}, base_url: \"{origin}{tail}\", api_key: sk-test-0123456789}}\nmodels:\n  m: \
             {{provider: p, engine: e, input_cost: 0.000001, output_cost: 0.000002, max_tokens: 100}}\n"
        ))
        .agent(Agent::new("default", "10").untiered())
}

fn chat(stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50, "stream": stream})
}

/// A chunk of a stream as a provider writes it.
fn chunk(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"own\":[1,2.50,\"}}\"],\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"
    )
}

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_python_snippet_verifies_its_answers() {
    let speaker = Speaker::start().await;
    let gateway = at("openai", &speaker.origin(), "/v1", "").start().await;
    for (stream, provider_said) in [(false, TEXT), (true, TEXT)] {
        let saved = Ask::of("/proxy/m", &chat(stream)).send(&gateway).await;
        let said = saved.python(
            "import hmac, hashlib, json, sys\n\
             def verify_signature(data, signature, secret):\n\
             \x20   expected = hmac.new(secret.encode('utf-8'), data.encode('utf-8'), hashlib.sha256).hexdigest()\n\
             \x20   return hmac.compare_digest(expected, signature)\n\
             body, secret = open(sys.argv[1], encoding='utf-8').read(), sys.argv[2]\n\
             if body.startswith('{'):\n\
             \x20   answer = json.loads(body)\n\
             \x20   text = answer['choices'][0]['message']['content']\n\
             \x20   assert verify_signature(text, answer['signature'], secret)\n\
             else:\n\
             \x20   text, seq = '', 0\n\
             \x20   for line in body.splitlines():\n\
             \x20       if not line.startswith('data: {'): continue\n\
             \x20       chunk = json.loads(line[6:])\n\
             \x20       if chunk.get('done'): continue\n\
             \x20       content = chunk['choices'][0]['delta'].get('content') or '' if chunk['choices'] else ''\n\
             \x20       assert chunk['x_seq'] == seq\n\
             \x20       signed = json.dumps({'chunk': content, 'seq': seq}, separators=(',', ':'))\n\
             \x20       assert verify_signature(signed, chunk['x_signature'], secret), chunk\n\
             \x20       text, seq = text + content, seq + 1\n\
             \x20   assert seq > 1\n\
             sys.stdout.buffer.write(text.encode())\n",
        );
        assert_eq!(said, provider_said);
        assert_eq!(saved.check(&["--scheme", "titan"]), Ok(()));
        assert!(
            saved.reply.header("x-weir-signature").is_none(),
            "v1 was not asked for"
        );
        // What the amounts say is added as before.
        if stream {
            let last = saved.reply.events().pop().unwrap();
            assert_eq!(last["done"], true);
            assert!(last.get("x_signature").is_none() && saved.reply.done());
        } else {
            assert!(saved.reply.json()["cost"]["total_cost"].is_number());
        }
    }
    // Only there, unless a policy says more.
    let elsewhere = Ask::of("/v1/chat/completions", &chat(false))
        .send(&gateway)
        .await;
    assert!(elsewhere.reply.json().get("signature").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_translated_are_signed_as_they_leave() {
    let speaker = Speaker::start().await;
    for (kind, tail) in [("anthropic", ""), ("google", "")] {
        let gateway = at(kind, &speaker.origin(), tail, "v1: all").start().await;
        for path in [
            "/proxy/m",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/responses",
        ] {
            for stream in [false, true] {
                let mut body = chat(stream);
                if path == "/v1/responses" {
                    body = json!({"model": "m", "input": "Hello", "stream": stream});
                }
                let saved = Ask::of(path, &body).nonce("n-1").send(&gateway).await;
                assert_eq!(saved.reply.status, 200, "{}", saved.reply.text());
                let scheme = if path == "/proxy/m" { "both" } else { "v1" };
                let checked = saved.check(&["--scheme", scheme, "--nonce", "n-1"]);
                assert_eq!(
                    checked,
                    Ok(()),
                    "{kind} {path} {stream}: {}",
                    saved.reply.text()
                );
            }
        }
        gateway.quiet().await;
        assert_eq!(gateway.bills("default").len(), 8);
        if kind == "google" {
            // Counted here, and signed as what is refused here.
            let path = "/v1/messages/count_tokens";
            let counted = Ask::of(path, &chat(false))
                .nonce("n-2")
                .send(&gateway)
                .await;
            assert!(counted.reply.json()["input_tokens"].is_number());
            assert_eq!(counted.check(&["--scheme", "v1", "--nonce", "n-2"]), Ok(()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_keep_what_nobody_knows_and_are_signed_however_they_arrive() {
    let text = [
        chunk(r#"{"role":"assistant","content":""}"#),
        ": comment\n\n".to_owned(),
        chunk(r#"{"content":"na\u00efve \ud83d\ude42 中"}"#),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"a\":1}"}}]}"#),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n".to_owned(),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let crlf = text.replace('\n', "\r\n");
    for (text, size) in [
        (text.clone(), 1),
        (text.clone(), 7),
        (text, 100_000),
        (crlf.clone(), 1),
        (crlf, 64),
    ] {
        let sent = text.clone();
        let script = Scripted::start(move |_, mut peer: Peer| {
            let text = sent.clone();
            async move {
                peer.request().await;
                peer.write(HEAD).await;
                for piece in text.as_bytes().chunks(size) {
                    peer.write(piece).await;
                }
            }
        })
        .await;
        let gateway = at(
            "openai",
            script.base_url().trim_end_matches("/v1"),
            "/v1",
            "titan: all, v1: all",
        )
        .routing("metadata: false")
        .start()
        .await;
        let mut body = chat(true);
        body["stream_options"] = json!({"include_usage": true});
        let saved = Ask::of("/v1/chat/completions", &body).send(&gateway).await;
        assert_eq!(
            saved.check(&["--scheme", "both"]),
            Ok(()),
            "{}",
            saved.reply.text()
        );
        let mut left = saved.reply.text();
        let chunks = events(&left)
            .into_iter()
            .filter(|chunk| chunk["choices"].is_array());
        for (seq, chunk) in chunks.enumerate() {
            let signature = chunk["x_signature"].as_str().unwrap();
            left = left.replace(
                &format!(",\"x_signature\":\"{signature}\",\"x_seq\":{seq}}}"),
                "}",
            );
        }
        let comment = left.find(": weir-signature").unwrap();
        assert_eq!(
            left[..comment],
            text,
            "nothing else was changed, in pieces of {size}"
        );
        gateway.quiet().await;
        assert_eq!(gateway.bill("default").await["nano_usd"], 5_000 + 14_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_not_held_back_longer_than_an_event() {
    let (say, said) = tokio::sync::mpsc::channel::<()>(1);
    let said = Arc::new(Mutex::new(said));
    let script = Scripted::start(move |_, mut peer: Peer| {
        let said = Arc::clone(&said);
        async move {
            peer.request().await;
            peer.write(HEAD).await;
            for text in ["one", "two", "three"] {
                peer.write(chunk(&format!("{{\"content\":\"{text}\"}}")))
                    .await;
                // The next one waits until this one was seen.
                said.lock().await.recv().await;
            }
            peer.write("data: [DONE]\n\n").await;
        }
    })
    .await;
    let origin = script.base_url().trim_end_matches("/v1").to_owned();
    let gateway = at("openai", &origin, "/v1", "titan: all, v1: all")
        .start()
        .await;
    let mut open = Ask::of("/v1/chat/completions", &chat(true))
        .open(&gateway)
        .await;
    let mut seen = String::new();
    for text in ["one", "two", "three"] {
        while !seen.contains(text) {
            let piece = bounded("an event", open.chunk()).await.unwrap().unwrap();
            seen += &String::from_utf8_lossy(&piece);
        }
        say.send(()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_keeps_its_announced_length() {
    let answers = [
        (
            r#"{"id":"a","choices":[{"message":{"content":"Hi 🙂"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            true,
        ),
        (
            "{\"choices\":[{\"message\":{\"content\":null}}],\"signature\":\"forged\"}\n\n",
            true,
        ),
        (r#"{"choices":"none"}"#, false),
        ("no JSON at all", false),
    ];
    for (answer, has_content) in answers {
        let script = Scripted::start(move |_, mut peer: Peer| async move {
            while peer.request().await.is_some() {
                peer.answer(
                    "200 OK",
                    &[
                        "Content-Type: application/json",
                        "x-weir-signature: v1 forged",
                    ],
                    answer,
                )
                .await;
            }
        })
        .await;
        let origin = script.base_url().trim_end_matches("/v1").to_owned();
        let gateway = at("openai", &origin, "/v1", "titan: all, v1: all")
            .start()
            .await;
        for path in ["/proxy/m", "/v1/chat/completions"] {
            let saved = Ask::of(path, &chat(false)).send(&gateway).await;
            let length = saved
                .reply
                .header("content-length")
                .map(|n| n.parse().unwrap());
            assert_eq!(
                (length, saved.reply.complete),
                (Some(saved.reply.body.len()), true)
            );
            let scheme = if has_content { "both" } else { "v1" };
            assert_eq!(
                saved.check(&["--scheme", scheme]),
                Ok(()),
                "{}",
                saved.reply.text()
            );
            if !has_content {
                // The amounts may have been put in before the brace.
                let (text, own) = (saved.reply.text(), answer.trim_end_matches('}'));
                assert!(
                    text.starts_with(own) && !text.contains("\"signature\""),
                    "{text}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_bound_to_its_request_and_every_verifier_says_so() {
    let provider = Provider::start().await;
    let gateway = signing(&provider.base_url(), "titan: all").start().await;
    for stream in [false, true] {
        let saved = Ask::of("/v1/chat/completions?beta=true", &chat(stream))
            .nonce("c2FsdA==")
            .send(&gateway)
            .await;
        let right = [
            "--scheme",
            "both",
            "--nonce",
            "c2FsdA==",
            "--request",
            "request.json",
        ];
        assert_eq!(
            saved.check(&[&right[..], &["--max-age", "1h"]].concat()),
            Ok(())
        );
        assert_eq!(saved.with_python(&right), Ok(()));
        for (what, changed, args, why) in [
            (
                "a word",
                saved.replacing("the", "THE"),
                &right[..],
                "the body",
            ),
            (
                "the end",
                saved.cut(30),
                &right[..],
                if stream { "cut off" } else { "the body" },
            ),
            (
                "a status",
                saved.heading("HTTP/1.1 200", "HTTP/1.1 201"),
                &right[..],
                "signature is wrong",
            ),
            (
                "an id",
                saved.heading("x-weir-request-id: req_", "x-weir-request-id: req_0"),
                &right[..],
                "signature is wrong",
            ),
            (
                "a nonce",
                saved.same(),
                &["--nonce", "other"],
                "answers another request",
            ),
            (
                "a method",
                saved.same(),
                &["--method", "GET"],
                "signature is wrong",
            ),
            (
                "a path",
                saved.asking("/v1/completions"),
                &[],
                "signature is wrong",
            ),
            (
                "a request",
                saved.same(),
                &["--request", "answer.txt"],
                "the request's body",
            ),
            (
                "a secret",
                saved.secret(OTHER),
                &right[..],
                "secret is another one",
            ),
        ] {
            let said = changed.check(args).expect_err(what);
            assert!(said.contains(why), "{what}: {said}");
            let said = changed.with_python(args).expect_err(what);
            assert!(said.contains(why), "{what}, Python: {said}");
        }
        let said = saved.json(&right);
        assert_eq!(
            (&said["verified"], &said["stream"]),
            (&json!(true), &json!(stream))
        );
        assert_eq!(said["v1"]["nonce"], "c2FsdA==");
        let said = saved.cut(30).json(&right);
        assert_eq!(said["v1"]["verified"], false);
        assert!(said["v1"]["error"].is_string());
    }
}

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
