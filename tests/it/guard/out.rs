//! Answers on their way out, and what is taken out of requests and put back.

use super::{KEY, OTHER, asked, findings, guarded, keeping, says};
use crate::support::{Gateway, Provider, Reply};
use serde_json::{Value, json};

/// Looks like a key and is none.
const SECRET: &str = "sk-ant-a1B2c3D4e5F6g7H8i9J0k1L2m3N4";
const REDACTED: &str = "[REDACTED_API_KEY_ANTHROPIC_KEY_1]";

/// A prompt that makes the mock say this, in pieces of so many characters.
pub(super) fn saying(text: &str, piece: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters
        .chunks(piece)
        .map(|part| part.iter().collect())
        .collect();
    format!("[[text={}]]", pieces.join("|").replace(' ', "~"))
}

pub(super) async fn streamed(gateway: &Gateway, prompt: &str) -> Reply {
    gateway.chat(prompt).key(KEY).stream().send().await
}

/// What a chat stream says.
pub(super) fn said(reply: &Reply) -> String {
    let events = reply.events();
    let texts = events.iter().filter_map(|event| {
        event["choices"][0]["delta"]["content"]
            .as_str()
            .map(str::to_owned)
    });
    texts.collect()
}

/// A request of another surface.
async fn on(gateway: &Gateway, path: &str, mut body: Value, stream: bool) -> Reply {
    body["stream"] = json!(stream);
    gateway.admin(KEY, path, Some(&body.to_string())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_never_leaves_however_the_answer_is_cut() {
    let provider = keeping();
    let gateway = guarded(&provider, "{secrets: enforce}").start().await;
    let text = format!("your key is {SECRET}, keep it");
    let clean = format!("your key is {REDACTED}, keep it");
    for piece in [1, 2, 3, 7, 16, 64] {
        let prompt = saying(&text, piece);
        let reply = streamed(&gateway, &prompt).await;
        assert_eq!(said(&reply), clean, "{piece}");
        assert!(
            reply.done() && !reply.text().contains(&SECRET[8..]),
            "{}",
            reply.text()
        );
        let whole = says(&gateway, KEY, &prompt).await;
        assert_eq!(
            whole.json()["choices"][0]["message"]["content"],
            clean.as_str()
        );
        for stream in [false, true] {
            let body = json!({"model": "m", "max_tokens": 400, "messages": [{"role": "user", "content": prompt}]});
            let reply = on(&gateway, "/v1/messages", body, stream).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(!reply.text().contains(&SECRET[8..]), "{}", reply.text());
            let reply = on(
                &gateway,
                "/v1/responses",
                json!({"model": "m", "input": prompt}),
                stream,
            )
            .await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(!reply.text().contains(&SECRET[8..]), "{}", reply.text());
        }
    }
    let found = findings(&gateway, 6).await;
    assert!(
        found
            .iter()
            .all(|one| one["control"] == "secret" && one["action"] == "redacted")
    );
    assert!(
        found
            .iter()
            .all(|one| !one.to_string().contains(&SECRET[8..]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_finding_is_the_same_bytes() {
    let recorded = weir::mock::Options {
        recorded: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded").into()),
        ..weir::mock::Options::default()
    };
    let provider = Provider::with(recorded);
    let all = "{secrets: enforce, pii: enforce, leak: observe, canary: observe}";
    let gateway = |guard| guarded(&provider, guard).routing("metadata: false").start();
    let (screened, plain) = (gateway(all).await, gateway("{}").await);
    let mut names: Vec<String> = std::fs::read_dir("tests/recorded")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("openrouter__") && name.ends_with(".sse"))
        .collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        let prompt = format!("[[replay={name}]]");
        let one = streamed(&screened, &prompt).await;
        let other = streamed(&plain, &prompt).await;
        assert_eq!(one.text(), other.text(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_refused_is_an_error_and_billed_all_the_same() {
    let provider = keeping();
    let guard = "{secrets: {mode: enforce, action: refuse}}";
    let gateway = guarded(&provider, guard).start().await;
    let prompt = saying(&format!("so: {SECRET} and more"), 4);
    let whole = says(&gateway, KEY, &prompt).await;
    assert_eq!(
        (whole.status, whole.code().as_str()),
        (403, "answer_blocked")
    );
    assert!(!whole.text().contains("sk-ant"), "{}", whole.text());
    let stream = streamed(&gateway, &prompt).await;
    assert_eq!(stream.status, 200);
    let events = stream.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "answer_blocked");
    assert!(
        !stream.text().contains("sk-ant") && !stream.done(),
        "{}",
        stream.text()
    );
    gateway.quiet().await;
    let bills = gateway.bills("default");
    assert_eq!(bills.len(), 2);
    let records = provider.records();
    assert!(records.iter().all(|record| record.completed));
    // Nobody blames the caller for what a model says.
    assert_eq!(says(&gateway, KEY, "hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_out_of_a_request_is_put_back_into_its_answer() {
    let provider = keeping();
    let gateway = guarded(&provider, "{input: {secrets: enforce, pii: enforce}}")
        .start()
        .await;
    let card = "4111 1111 1111 1111";
    for piece in [1, 5, 40] {
        let answer = saying("card [REDACTED_CREDIT_CARD_1] it is", piece);
        let prompt = format!("my card is {card} {answer}");
        let reply = streamed(&gateway, &prompt).await;
        assert_eq!(said(&reply), format!("card {card} it is"));
        let seen = asked(&provider).to_string();
        assert!(
            !seen.contains("4111") && seen.contains("[REDACTED_CREDIT_CARD_1]"),
            "{seen}"
        );
        let whole = says(&gateway, KEY, &prompt).await;
        let content = &whole.json()["choices"][0]["message"]["content"];
        assert_eq!(*content, format!("card {card} it is"));
    }
    let guard = "{input: {pii: {mode: enforce, action: refuse}}}";
    let gateway = guarded(&provider, guard).start().await;
    let refused = says(&gateway, KEY, &format!("my card is {card}")).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "prompt_blocked")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_told_is_blocked_and_held_against_the_caller() {
    let provider = keeping();
    let gateway = guarded(&provider, "{canary: enforce}").start().await;
    let in_session = |prompt: &str| gateway.chat(prompt).key(KEY).header("x-session-id", "s1");
    assert_eq!(in_session("hello").send().await.status, 200);
    let system = asked(&provider)["messages"][0].clone();
    assert_eq!(system["role"], "system");
    let system = system["content"].as_str().unwrap().to_owned();
    let token = system
        .split_whitespace()
        .find(|word| word.starts_with("CANARY_TOKEN_"));
    let token = token.expect("a token in the prompt").to_owned();
    let spaced: String = token.chars().flat_map(|letter| [letter, ' ']).collect();
    for (nth, text) in [token.clone(), spaced, token.to_uppercase()]
        .iter()
        .enumerate()
    {
        let prompt = saying(&format!("it is {text}"), 3);
        let blocked = if nth == 1 {
            let stream = in_session(&prompt).stream().send().await;
            assert_eq!(
                stream.events().last().unwrap()["error"]["code"],
                "answer_blocked"
            );
            stream
        } else {
            let whole = in_session(&prompt).send().await;
            assert_eq!(
                (whole.status, whole.code().as_str()),
                (403, "answer_blocked")
            );
            whole
        };
        assert!(!blocked.text().contains(&token[20..]), "{}", blocked.text());
    }
    let found = findings(&gateway, 3).await;
    assert!(
        found
            .iter()
            .all(|one| one["control"] == "canary" && one["severity"] == "CRITICAL")
    );
    // The third was a strike too many.
    let kept_out = says(&gateway, KEY, "hello").await;
    assert_eq!(
        (kept_out.status, kept_out.code().as_str()),
        (429, "api_key_quarantined")
    );
    assert_eq!(says(&gateway, OTHER, "hello").await.status, 200);
}
