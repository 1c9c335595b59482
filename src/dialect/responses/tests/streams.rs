//! Streams as nobody recorded them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::replies::near;
use super::*;
use crate::dialect::form::{Failure, FailureKind};

fn start() -> Event<'static> {
    Event::Start {
        id: Some("resp_7".into()),
        model: Some("m".into()),
        usage: None,
    }
}

fn begin_call(call: u32) -> Event<'static> {
    Event::Call {
        call,
        id: format!("c{call}").into(),
        name: format!("f{call}").into(),
        signature: None,
    }
}

fn arguments(call: u32, text: &str) -> Event<'_> {
    let text = text.into();
    Event::Arguments { call, text }
}

fn think<'a>(text: &'a str, signature: Option<&'a str>) -> Event<'a> {
    Event::Reasoning {
        text: text.into(),
        signature: signature.map(Text::Borrowed),
        redacted: false,
    }
}

fn sse(data: &[Value]) -> String {
    data.iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect()
}

#[test]
fn items_come_one_after_the_other_in_the_order_that_clients_expect() {
    let stream = written(&[
        start(),
        Event::Ping,
        think("a", None),
        think("b", None),
        think("", Some("sig")),
        Event::Text("Hello ".into()),
        Event::Text("".into()),
        Event::Text("\"you\"\n".into()),
        begin_call(0),
        arguments(0, "{\"a\""),
        arguments(0, ":1}"),
        Event::Stop(Stop::ToolCalls),
        Event::Usage(Usage {
            input: 5,
            output: 6,
            ..Usage::default()
        }),
        Event::End,
    ]);
    check_stream(&stream);
    assert_eq!(
        kinds(&stream),
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert!(stream.contains("\n\n: ping\n\n"));
    let last = data(&stream).pop().unwrap();
    let response = &last["response"];
    assert_eq!(response["id"], "resp_7");
    assert_eq!(response["usage"]["total_tokens"], 11);
    assert_eq!(response["output"][0]["encrypted_content"], "sig");
    assert_eq!(response["output"][0]["summary"][0]["text"], "ab");
    assert_eq!(
        response["output"][1]["content"][0]["text"],
        "Hello \"you\"\n"
    );
    assert_eq!(response["output"][2]["id"], "fc_7_2");
    assert_eq!(response["output"][2]["arguments"], "{\"a\":1}");
}

#[test]
fn calls_that_come_together_are_told_one_by_one() {
    let stream = written(&[
        start(),
        begin_call(0),
        begin_call(1),
        arguments(1, "{\"b\":"),
        arguments(0, "{}"),
        begin_call(2),
        arguments(1, "2}"),
        Event::Stop(Stop::ToolCalls),
    ]);
    check_stream(&stream);
    assert_eq!(
        heard(&stream, 3).calls,
        [
            ("c0", "f0", "{}"),
            ("c1", "f1", "{\"b\":2}"),
            ("c2", "f2", "{}")
        ]
        .map(|(id, name, text)| (id.to_owned(), name.to_owned(), text.to_owned()))
    );
}

#[test]
fn arguments_that_come_too_late_leave_an_answer_incomplete() {
    let stream = written(&[
        start(),
        begin_call(0),
        arguments(0, "{"),
        Event::Text("x".into()),
        arguments(0, "}"),
    ]);
    check_stream(&stream);
    let last = data(&stream).pop().unwrap();
    assert_eq!(last["type"], "response.incomplete");
}

#[test]
fn an_answer_that_is_too_long_to_keep_is_told_but_ends_incomplete() {
    let mut writer = Stream::new(answering()).keeping(100);
    let mut out = Vec::new();
    for _ in 0..5 {
        writer.write(&Event::Text("0123456789012345678901234".into()), &mut out);
    }
    writer.finish(&mut out, &mut Vec::new());
    let all = data(std::str::from_utf8(&out).unwrap());
    let told: String = all
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(told.len(), 125);
    let last = all.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    let item = &last["response"]["output"][0];
    assert_eq!(item["status"], "incomplete");
    assert_eq!(item["content"][0]["text"].as_str().unwrap().len(), 100);
}

#[test]
fn a_refusal_is_a_part_of_its_own_and_nothing_is_an_answer_too() {
    let stream = written(&[
        Event::Text("Well".into()),
        Event::Refusal("I".into()),
        Event::Refusal(" won't".into()),
        Event::Stop(Stop::Filter),
    ]);
    check_stream(&stream);
    let last = data(&stream).pop().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    let response = &last["response"];
    assert_eq!(response["incomplete_details"]["reason"], "content_filter");
    assert_eq!(response["id"], "req_1");
    let content = &response["output"][0]["content"];
    assert_eq!(
        (&content[0]["text"], &content[1]["refusal"]),
        (&json!("Well"), &json!("I won't"))
    );
    let read = heard(&stream, 9);
    assert_eq!(
        (read.text.as_str(), read.refusal.as_str()),
        ("Well", "I won't")
    );

    let nothing = written(&[]);
    check_stream(&nothing);
    assert_eq!(kinds(&nothing), ["created", "in_progress", "completed"]);
}

#[test]
fn a_failure_is_the_last_that_is_said() {
    let failure = Failure {
        message: "too much".to_owned(),
        kind: FailureKind::RateLimit,
        code: None,
    };
    let stream = written(&[
        start(),
        Event::Text("a".into()),
        Event::Failed(failure),
        Event::Text("b".into()),
        Event::Stop(Stop::End),
    ]);
    let last = data(&stream).pop().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["status"], "failed");
    let error = json!({"code": "rate_limit_exceeded", "message": "too much"});
    assert_eq!(last["response"]["error"], error);
    let read = heard(&stream, 50);
    assert_eq!(read.failed.as_deref(), Some("too much"));
    assert_eq!(
        (read.text.as_str(), read.stop, read.ended),
        ("a", None, true)
    );
}

#[test]
fn what_never_came_in_pieces_is_taken_from_where_it_is_said_next() {
    let message =
        json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": "hi"}]});
    let reasoning = json!({"type": "reasoning", "id": "r", "summary": [{"text": "why"}], "encrypted_content": "e"});
    let call =
        json!({"type": "function_call", "id": "f", "call_id": "c", "name": "g", "arguments": "{}"});
    let begun =
        json!({"type": "function_call", "id": "f", "call_id": "c", "name": "g", "arguments": ""});
    let item = |kind: &str, at: u32, item: &Value| json!({"type": format!("response.output_item.{kind}"), "output_index": at, "item": item});
    let completed = json!({"type": "response.completed", "response": {"id": "i", "model": "m", "status": "completed",
        "output": [reasoning, message, call], "usage": {"input_tokens": 1, "output_tokens": 2}}});
    let part = |kind: &str, at: u32, field: &str, text: &str| json!({"type": format!("response.{kind}"), "output_index": at, "content_index": 0, field: text});
    let streams = [
        vec![],
        vec![
            item("done", 0, &reasoning),
            item("done", 1, &message),
            item("done", 2, &call),
        ],
        vec![
            part("reasoning_summary_text.done", 0, "text", "why"),
            item("done", 0, &reasoning),
            part("output_text.done", 1, "text", "hi"),
            part("content_part.done", 1, "part", "x"),
            item("done", 1, &message),
            item("added", 2, &call),
            part("function_call_arguments.done", 2, "arguments", "{}"),
            item("done", 2, &call),
            item("done", 2, &call),
        ],
        vec![
            part("reasoning_summary_text.delta", 0, "delta", "wh"),
            part("reasoning_text.delta", 0, "delta", "other"),
            part("reasoning_summary_text.delta", 0, "delta", "y"),
            item("done", 0, &reasoning),
            part("output_text.delta", 1, "delta", "h"),
            part("output_text.delta", 1, "delta", "i"),
            part("output_text.done", 1, "text", "hi"),
            item("added", 2, &begun),
            part("function_call_arguments.delta", 2, "delta", "{"),
            part("function_call_arguments.delta", 2, "delta", "}"),
            part("function_call_arguments.done", 2, "arguments", "{}"),
            item("done", 2, &call),
        ],
    ];
    for mut events in streams {
        events.push(completed.clone());
        let stream = sse(&events);
        let mut read = heard(&stream, usize::MAX);
        // Known only to the last event.
        (read.id, read.model) = (String::new(), String::new());
        let expected = Heard {
            text: "hi".to_owned(),
            thoughts: "why".to_owned(),
            signatures: vec!["openai:e".to_owned()],
            calls: vec![("c".to_owned(), "g".to_owned(), "{}".to_owned())],
            stop: Some(Stop::ToolCalls),
            usage: Some(Usage {
                input: 1,
                output: 2,
                ..Usage::default()
            }),
            ended: true,
            ..Heard::default()
        };
        assert_eq!(read, expected, "{stream}");
    }
}

#[test]
fn parts_of_a_summary_are_set_off() {
    let delta = |at: u32, part: u32, text: &str| {
        json!({"type": "response.reasoning_summary_text.delta", "output_index": at,
            "summary_index": part, "delta": text})
    };
    let stream = sse(&[
        delta(0, 0, "a"),
        delta(0, 0, "b"),
        delta(0, 1, "c"),
        delta(1, 0, "d"),
    ]);
    assert_eq!(heard(&stream, usize::MAX).thoughts, "ab\n\nc\n\nd");
}

#[test]
fn errors_say_what_they_can() {
    let kinds = [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m"}),
            FailureKind::RateLimit,
            "rate_limit_exceeded",
        ),
        (
            json!({"type": "error", "error": {"type": "invalid_request_error", "code": "context_length_exceeded", "message": "m"}}),
            FailureKind::Invalid,
            "context_length_exceeded",
        ),
        (
            json!({"error": {"code": 502, "message": "m"}}),
            FailureKind::Server,
            "502",
        ),
        (
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "m"}}}),
            FailureKind::Server,
            "server_error",
        ),
    ];
    for (event, kind, code) in kinds {
        let mut failures = Vec::new();
        read(
            &sse(&[
                event,
                json!({"type": "response.output_text.delta", "delta": "x"}),
            ]),
            usize::MAX,
            |event| match event {
                Event::Failed(failure) => failures.push(failure.clone()),
                Event::Text(_) => panic!("after the failure"),
                _ => {}
            },
        );
        let expected = Failure {
            message: "m".to_owned(),
            kind,
            code: Some(code.to_owned()),
        };
        assert_eq!(failures, [expected]);
    }
    let silent = heard(
        &sse(&[json!({"type": "response.failed", "response": {}})]),
        usize::MAX,
    );
    assert_eq!(
        silent.failed.as_deref(),
        Some("The upstream provider failed")
    );
    assert!(silent.ended);
    assert!(heard("data: [DONE]\n\n", usize::MAX).ended);
}

/// Something that a reader may say.
fn said() -> impl Strategy<Value = Event<'static>> {
    let words = "\\PC{0,6}|[\0-\u{7f}]{0,6}";
    prop_oneof![
        words.prop_map(|text| Event::Text(text.into())),
        words.prop_map(|text| Event::Refusal(text.into())),
        (words, any::<bool>(), any::<bool>()).prop_map(|(text, signed, redacted)| {
            Event::Reasoning {
                text: text.into(),
                signature: signed.then(|| "s".into()),
                redacted: signed && redacted,
            }
        }),
        (0_u32..4).prop_map(begin_call),
        (0_u32..4, words).prop_map(|(call, text)| Event::Arguments {
            call,
            text: text.into()
        }),
        Just(Event::Ping),
    ]
}

proptest! {
    #[test]
    fn whatever_is_said_the_stream_holds_together(events in proptest::collection::vec(said(), 0..20)) {
        check_stream(&written(&events));
    }

    #[test]
    fn what_is_written_is_what_is_read(
        texts in proptest::collection::vec("\\PC{0,6}", 1..5),
        arguments_of in proptest::collection::vec("\\PC{1,6}", 0..4),
        size in 1_usize..40,
    ) {
        let mut events = vec![start(), think("so", None)];
        events.extend(texts.iter().map(|text| Event::Text(text.as_str().into())));
        for (call, text) in (0..).zip(&arguments_of) {
            events.push(begin_call(call));
            events.push(arguments(call, text));
        }
        let stop = if arguments_of.is_empty() { Stop::End } else { Stop::ToolCalls };
        events.push(Event::Stop(stop));
        let mut expected = Heard::default();
        for event in &events {
            expected.hear(event);
        }
        expected.ended = true;
        prop_assert_eq!(heard(&written(&events), size), expected);
    }

    #[test]
    fn no_stream_panics(texts in proptest::collection::vec(near(), 0..8)) {
        let stream: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
        let mut writer = Stream::new(answering()).keeping(64);
        let mut out = Vec::new();
        read(&stream, usize::MAX, |event| writer.write(event, &mut out));
        writer.finish(&mut out, &mut Vec::new());
        data(std::str::from_utf8(&out).unwrap());
    }
}
