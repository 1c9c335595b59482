//! Whole answers and errors.

use serde_json::{Value, json};

use super::text;
use crate::dialect::form::{Answering, Failure, FailureKind, Part, Reply, Stop};
use crate::dialect::messages::{read_failure, read_reply, write_failure, write_reply};
use crate::usage::Usage;

fn answering() -> Answering {
    Answering {
        id: "weir-1".to_owned(),
        model: "asked".to_owned(),
        ..Answering::default()
    }
}

fn written(reply: &Reply<'_>) -> Value {
    serde_json::from_slice(&write_reply(reply, &answering())).unwrap()
}

#[test]
fn cached_tokens_are_inside_the_input_here_and_outside_there() {
    let message = json!({"type": "message", "content": [], "usage": {
        "input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 200,
        "cache_creation": {"ephemeral_5m_input_tokens": 18, "ephemeral_1h_input_tokens": 12},
        "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}}})
    .to_string();
    let reply = read_reply(&message).unwrap();
    let expected = Usage {
        input: 240,
        cache_read: 200,
        cache_write: 18,
        cache_write_1h: 12,
        output: 50,
        reasoning: 40,
        ..Usage::default()
    };
    assert_eq!(reply.usage, Some(expected));
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(written(&reply)["usage"], message["usage"]);
}

#[test]
fn absurd_counts_say_nothing_that_is_believed() {
    let usage = |usage: Value| {
        let message = json!({"content": [], "usage": usage}).to_string();
        read_reply(&message).unwrap().usage
    };
    assert_eq!(usage(json!({})), None);
    assert_eq!(usage(Value::Null), None);
    assert_eq!(
        usage(json!({"input_tokens": -5, "output_tokens": 1.5})),
        None
    );
    let huge = usage(json!({"input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX}));
    assert_eq!(huge.unwrap().input, u64::MAX);
    let split =
        json!({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}});
    let split = usage(split).unwrap();
    assert_eq!(
        (split.input, split.cache_write, split.cache_write_1h),
        (7, 3, 4)
    );
    let more = json!({"cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 9}});
    let more = usage(more).unwrap();
    assert_eq!(
        (more.input, more.cache_write, more.cache_write_1h),
        (2, 0, 2)
    );
}

#[test]
fn ends_have_their_words() {
    let sequence = |text: &'static str| Stop::Sequence(Some(text.into()));
    for (reason, stop, back) in [
        ("end_turn", Stop::End, "end_turn"),
        ("pause_turn", Stop::End, "end_turn"),
        ("max_tokens", Stop::Length, "max_tokens"),
        ("model_context_window_exceeded", Stop::Length, "max_tokens"),
        ("tool_use", Stop::ToolCalls, "tool_use"),
        ("stop_sequence", sequence("###"), "stop_sequence"),
        ("refusal", Stop::Filter, "refusal"),
    ] {
        let sequence = (reason == "stop_sequence").then_some("###");
        let message = json!({"content": [], "stop_reason": reason, "stop_sequence": sequence});
        let message = message.to_string();
        let reply = read_reply(&message).unwrap();
        assert_eq!(reply.stop, stop, "{reason}");
        let out = written(&reply);
        assert_eq!(out["stop_reason"], back);
        assert_eq!(out["stop_sequence"], json!(sequence));
    }
}

#[test]
fn an_answer_of_another_provider_is_a_message() {
    let reply = Reply {
        parts: vec![
            Part::Reasoning {
                text: "hm".into(),
                signature: None,
                redacted: false,
            },
            text(""),
            Part::Refusal("I won't".into()),
            Part::ToolCall {
                id: "c".into(),
                name: "f".into(),
                arguments: "{\"a\":".into(),
                signature: None,
            },
        ],
        ..Reply::default()
    };
    let out = write_reply(&reply, &answering());
    assert_eq!(out.last(), Some(&b'}'));
    assert_eq!(
        written(&reply),
        json!({
            "id": "weir-1", "type": "message", "role": "assistant", "model": "asked",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "I won't"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"arguments": "{\"a\":"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 0, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "cache_creation": {
                    "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 0},
        })
    );
}

#[test]
fn what_is_no_message_is_no_answer() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "<html>",
        r#"{"type":"error","error":{}}"#,
        r#"{"content":"x"}"#,
    ] {
        assert_eq!(read_reply(text), None, "{text}");
    }
}

#[test]
fn errors_have_the_same_word_on_both_sides() {
    use FailureKind as Kind;
    for (word, kind) in [
        ("invalid_request_error", Kind::Invalid),
        ("authentication_error", Kind::Authentication),
        ("billing_error", Kind::Payment),
        ("permission_error", Kind::Permission),
        ("not_found_error", Kind::NotFound),
        ("request_too_large", Kind::TooLarge),
        ("rate_limit_error", Kind::RateLimit),
        ("api_error", Kind::Server),
        ("timeout_error", Kind::Timeout),
        ("overloaded_error", Kind::Overloaded),
    ] {
        let body =
            json!({"type": "error", "error": {"type": word, "message": "why"}, "request_id": "r"});
        let failure = read_failure(418, body.to_string().as_bytes());
        let expected = Failure {
            message: "why".to_owned(),
            kind,
            code: None,
        };
        assert_eq!(failure, expected);
        let out = write_failure(&failure, Some("r"));
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), body);
    }
}

#[test]
fn errors_in_other_shapes_are_told_by_their_status() {
    let failure = read_failure(
        429,
        br#"{"error":{"message":"slow","type":"odd","code":"c"}}"#,
    );
    assert_eq!(failure.kind, FailureKind::RateLimit);
    assert_eq!(
        (&*failure.message, failure.code.as_deref()),
        ("slow", Some("c"))
    );
    for body in [
        &b"<html>key</html>"[..],
        b"",
        b"\xff",
        br#"{"error":{"message":""}}"#,
    ] {
        let failure = read_failure(529, body);
        assert_eq!(failure.kind, FailureKind::Overloaded);
        assert_eq!(
            failure.message,
            "The upstream provider answered with status 529"
        );
    }
    let long = json!({"error": "\u{e9}".repeat(1000)}).to_string();
    assert_eq!(read_failure(500, long.as_bytes()).message.len(), 300);
}
