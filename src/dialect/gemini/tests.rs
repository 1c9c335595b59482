//! Answers as nobody recorded them.

use proptest::prelude::*;
use serde_json::json;

use super::{Events, read_failure, read_reply};
use crate::dialect::form::{Event, EventReader, Failure, FailureKind, Media, Part, Stop, Text};
use crate::usage::Usage;

pub(super) fn text(text: &str) -> Part<'_> {
    Part::Text {
        text: Text::Borrowed(text),
        cache: None,
    }
}

pub(super) fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        signature: None,
    }
}

pub(super) fn inline(mime: &'static str) -> Media<'static> {
    Media::Inline {
        mime: mime.into(),
        data: "QUJD".into(),
    }
}

/// Text near to what Google says.
pub(super) fn near() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        Just(r#"{"candidates":[{"content":{"parts":["#.to_owned()),
        Just(r#"{"text":"a\u00e9","thought":true,"thoughtSignature":"s"}"#.to_owned()),
        Just(r#"{"functionCall":{"name":"f","args":{"#.to_owned()),
        Just(r#""usageMetadata":{"promptTokenCount":5}"#.to_owned()),
        Just(r#""error":{"details":[{}]}"#.to_owned()),
        Just("]}]".to_owned()),
        Just("}".to_owned()),
        Just(",".to_owned()),
        Just("[".to_owned()),
        Just("\\".to_owned()),
        "\\PC{0,4}",
    ];
    proptest::collection::vec(words, 0..12).prop_map(|words| words.concat())
}

fn answer(fields: &str) -> String {
    format!(r#"{{"candidates":[{{{fields}}}],"responseId":"r"}}"#)
}

#[test]
fn every_end_is_one_that_clients_know() {
    for (reason, stop) in [
        ("STOP", Stop::End),
        ("MAX_TOKENS", Stop::Length),
        ("SAFETY", Stop::Filter),
        ("RECITATION", Stop::Filter),
        ("PROHIBITED_CONTENT", Stop::Filter),
        ("MALFORMED_FUNCTION_CALL", Stop::Filter),
        ("SOMETHING_NEW", Stop::Filter),
    ] {
        let text = answer(&format!(r#""finishReason":"{reason}""#));
        assert_eq!(read_reply(&text).unwrap().stop, stop, "{reason}");
    }
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"modelVersion":"m"}"#;
    let reply = read_reply(blocked).unwrap();
    assert_eq!((reply.stop, reply.parts), (Stop::Filter, vec![]));
    let mut events = Vec::new();
    Events::default().read(blocked, &mut |event| events.push(event));
    assert_eq!(
        events,
        [
            Event::Start {
                id: None,
                model: Some("m".into()),
                usage: None
            },
            Event::Stop(Stop::Filter)
        ]
    );
}

#[test]
fn calls_without_ids_get_ones_that_no_other_answer_has() {
    let text = answer(
        r#""content":{"parts":[{"functionCall":{"name":"f","args":{"a": 1}}},
            {"functionCall":{"name":"g","id":"own"}},{"functionCall":{"name":""}},
            {"functionCall":{"name":"h","args":null}}]},"finishReason":"STOP""#,
    );
    let reply = read_reply(&text).unwrap();
    assert_eq!(
        reply.parts,
        [
            call("call_r_0", "f", r#"{"a": 1}"#),
            call("own", "g", "{}"),
            call("call_r_2", "h", "{}")
        ]
    );
    assert_eq!(reply.stop, Stop::ToolCalls);
}

#[test]
fn pictures_and_sound_of_an_answer_are_kept() {
    let answer = answer(
        r#""content":{"parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QUJD"}},
            {"inlineData":{"mimeType":"audio/wav","data":"QUJD"}},{"text":"b"},{"text":"c\n"}]}"#,
    );
    assert_eq!(
        read_reply(&answer).unwrap().parts,
        [
            text("a"),
            Part::Image(inline("image/png")),
            Part::Audio(inline("audio/wav")),
            text("bc\n"),
        ]
    );
}

fn usage(metadata: &str) -> Option<Usage> {
    let text = format!(r#"{{"candidates":[],"usageMetadata":{metadata}}}"#);
    read_reply(&text).unwrap().usage
}

#[test]
fn thoughts_and_tools_come_on_top_and_cached_tokens_are_inside() {
    let all = r#"{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":10,
        "thoughtsTokenCount":30,"toolUsePromptTokenCount":5,"totalTokenCount":145,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":80},{"modality":"AUDIO","tokenCount":20}],
        "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":4}],"trafficType":"ON_DEMAND"}"#;
    let expected = Usage {
        input: 105,
        cache_read: 60,
        audio_input: 20,
        output: 40,
        reasoning: 30,
        audio_output: 4,
        ..Usage::default()
    };
    assert_eq!(usage(all), Some(expected));
    for nothing in [
        "null",
        "[]",
        "{}",
        r#"{"trafficType":"ON_DEMAND"}"#,
        r#"{"promptTokenCount":null}"#,
        r#"{"promptTokenCount":-1}"#,
        r#"{"promptTokenCount":1.5}"#,
        r#"{"promptTokenCount":1,"candidatesTokenCount":1e30}"#,
        r#"{"promptTokenCount":100000001}"#,
        r#"{"promptTokenCount":99999999999999999999}"#,
    ] {
        assert_eq!(usage(nothing), None, "{nothing}");
    }
    let zero = usage(r#"{"promptTokenCount":0}"#);
    assert_eq!(zero, Some(Usage::default()));
}

#[test]
fn what_is_no_answer_is_none() {
    for text in [
        "",
        "{}",
        "[]",
        "[{}]",
        "null",
        "7",
        "{\"candidates\":[",
        "{\"candidates\":[]} x",
        "<html>",
        r#"{"error":{"message":"m"},"candidates":[]}"#,
    ] {
        assert_eq!(read_reply(text), None, "{text}");
    }
}

#[test]
fn an_error_in_a_stream_is_told() {
    let mut events = Vec::new();
    let mut reader = Events::default();
    reader.read(
        r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#,
        &mut |event| events.push(event),
    );
    assert_eq!(
        events,
        [Event::Failed(Failure {
            message: "busy".to_owned(),
            kind: FailureKind::Overloaded,
            code: Some("UNAVAILABLE".to_owned()),
        })]
    );
}

#[test]
fn errors_say_what_they_can() {
    let kind = |status, body: &str| read_failure(status, body.as_bytes()).kind;
    let key = r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT",
        "details":[{"@type":"t","reason":"API_KEY_INVALID"}]}}]"#;
    assert_eq!(kind(400, key), FailureKind::Authentication);
    let quota = r#"{"error":{"code":429,"message":"q","status":"RESOURCE_EXHAUSTED"}}"#;
    assert_eq!(kind(429, quota), FailureKind::RateLimit);
    assert_eq!(
        kind(429, r#"{"error":{"message":"m"}}"#),
        FailureKind::RateLimit
    );
    let page = read_failure(502, b"<html>\xff</html>");
    assert_eq!(page.kind, FailureKind::Server);
    assert_eq!(
        page.message,
        "The upstream provider answered with status 502"
    );
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(5000));
    assert_eq!(read_failure(500, long.as_bytes()).message.len(), 2048);
}

proptest! {
    #[test]
    fn no_answer_panics(text in prop_oneof![near(), "\\PC*"]) {
        let _ = read_reply(&text);
        let _ = read_failure(400, text.as_bytes());
        Events::default().read(&text, &mut |_| {});
    }

    #[test]
    fn no_error_panics(body in proptest::collection::vec(any::<u8>(), 0..64), status: u16) {
        let _ = read_failure(status, &body);
    }

    #[test]
    fn a_reply_says_the_parts_it_has(
        texts in proptest::collection::vec("\\PC{0,8}", 1..5),
        input in 0_u64..1_000_000,
        output in 0_u64..1_000_000,
    ) {
        let parts: Vec<_> = texts.iter().map(|text| json!({"text": text})).collect();
        let answer = json!({
            "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": input, "candidatesTokenCount": output},
        })
        .to_string();
        let reply = read_reply(&answer).unwrap();
        let all = texts.concat();
        let expected: Vec<Part<'_>> = if all.is_empty() { vec![] } else { vec![text(&all)] };
        prop_assert_eq!(reply.parts, expected);
        prop_assert_eq!(reply.usage.unwrap().total(), input + output);
    }
}
