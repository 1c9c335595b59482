//! Answers that can be checked: both schemes, whole answers and streams, our own verifier and others'.

mod edges;
mod saved;

use crate::support::client::events;
use crate::support::gateway::Setup;
use crate::support::speaker::{Speaker, TEXT};
use crate::support::{Agent, Gateway, Peer, Provider, Scripted, bounded};
use saved::{Ask, OTHER, SECRET};
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
