//! Streams, event by event.

use serde_json::{Value, json};

use crate::dialect::form::{
    Answering, Event, EventReader, EventWriter, Failure, FailureKind, Stop,
};
use crate::dialect::messages::{Events, Stream};
use crate::usage::Usage;

fn events(data: &[Value]) -> Vec<String> {
    let mut reader = Events::default();
    let mut found = Vec::new();
    for data in data {
        reader.read(&data.to_string(), &mut |event| {
            found.push(format!("{event:?}"))
        });
    }
    found
}

fn expected(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        ..Usage::default()
    }
}

fn arguments(call: u32, text: &str) -> Event<'_> {
    Event::Arguments {
        call,
        text: text.into(),
    }
}

fn call(call: u32) -> Event<'static> {
    Event::Call {
        call,
        id: format!("c{call}").into(),
        name: "f".into(),
        signature: None,
    }
}

fn thought(text: &'static str, signature: Option<&'static str>, redacted: bool) -> Event<'static> {
    Event::Reasoning {
        text: text.into(),
        signature: signature.map(Into::into),
        redacted,
    }
}

#[test]
fn usage_is_assigned_and_never_added() {
    let found = events(&[
        json!({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 12, "cache_read_input_tokens": null, "output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]);
    let with = |input, output| Usage {
        cache_read: 5,
        ..usage(input, output)
    };
    assert_eq!(
        found,
        expected(&[
            Event::Start {
                id: Some("i".into()),
                model: Some("m".into()),
                usage: Some(with(15, 1))
            },
            Event::Usage(with(15, 7)),
            Event::Stop(Stop::End),
            Event::Usage(with(17, 9)),
            Event::End,
        ])
    );
}

#[test]
fn tools_of_the_provider_are_not_heard() {
    let block = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let more = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let json_of = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
    let found = events(&[
        json!({"type": "message_start", "message": {}}),
        block(
            0,
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        more(0, json_of("{\"q\":1}")),
        json!({"type": "content_block_stop", "index": 0}),
        block(1, json!({"type": "web_search_tool_result", "content": []})),
        json!({"type": "content_block_stop", "index": 1}),
        block(2, json!({"type": "text", "text": "a", "citations": []})),
        more(
            2,
            json!({"type": "citations_delta", "citation": {"cited_text": "x"}}),
        ),
        more(2, json!({"type": "text_delta", "text": "b"})),
        json!({"type": "content_block_stop", "index": 2}),
        block(
            3,
            json!({"type": "tool_use", "id": "c0", "name": "f", "input": {}}),
        ),
        more(3, json_of("")),
        json!({"type": "content_block_stop", "index": 3}),
        block(
            4,
            json!({"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}),
        ),
        json!({"type": "content_block_stop", "index": 4}),
        block(
            5,
            json!({"type": "tool_use", "id": "c2", "name": "f", "input": {}}),
        ),
        more(5, json_of("{\"y\":")),
        more(5, json_of("\"\u{e9}\"}")),
        json!({"type": "content_block_stop", "index": 5}),
        block(6, json!({"type": "redacted_thinking", "data": "d"})),
        json!({"type": "unheard_of", "index": 6}),
    ]);
    assert_eq!(
        found,
        expected(&[
            Event::Start {
                id: None,
                model: None,
                usage: None
            },
            Event::Text("a".into()),
            Event::Text("b".into()),
            call(0),
            arguments(0, "{}"),
            call(1),
            arguments(1, "{\"x\":1}"),
            call(2),
            arguments(2, "{\"y\":"),
            arguments(2, "\"\u{e9}\"}"),
            thought("", Some("d"), true),
        ])
    );
}

#[test]
fn errors_and_pings_may_come_at_any_time() {
    let found = events(&[
        json!({"type": "ping"}),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
    ]);
    let failure = Failure {
        message: "Overloaded".to_owned(),
        kind: FailureKind::Overloaded,
        code: None,
    };
    assert_eq!(
        found,
        expected(&[
            Event::Ping,
            Event::Failed(failure),
            Event::Start {
                id: None,
                model: None,
                usage: None
            },
            Event::Text("x".into()),
        ])
    );
}

/// What the writer makes of some events, with the end.
fn written(events: &[Event<'_>]) -> Vec<Value> {
    let mut stream = Stream::new(Answering {
        id: "weir-1".to_owned(),
        model: "asked".to_owned(),
        ..Answering::default()
    });
    let (mut out, mut after) = (Vec::new(), Vec::new());
    for event in events {
        stream.write(event, &mut out);
    }
    stream.finish(&mut out, &mut after);
    assert!(after.is_empty());
    let out = String::from_utf8(out).unwrap();
    assert!(out.is_empty() || out.ends_with("\n\n"));
    out.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect()
}

/// The blocks, checked for their order: type, and what was said in them.
fn blocks(events: &[Value]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!open);
                assert_eq!(event["index"], json!(found.len()));
                open = true;
                let block = &event["content_block"];
                let kind = block["type"].as_str().unwrap();
                let said = block["data"].as_str().unwrap_or_default();
                found.push((kind.to_owned(), said.to_owned()));
            }
            "content_block_delta" => {
                assert!(open && event["index"] == json!(found.len() - 1));
                let delta = &event["delta"];
                let said = &mut found.last_mut().unwrap().1;
                for key in ["text", "thinking", "partial_json"] {
                    said.push_str(delta[key].as_str().unwrap_or_default());
                }
                if let Some(signature) = delta["signature"].as_str() {
                    said.push_str(&format!("|{signature}"));
                }
            }
            "content_block_stop" => {
                assert!(open && event["index"] == json!(found.len() - 1));
                open = false;
            }
            _ => {}
        }
    }
    assert!(!open);
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(kind, said): &(&str, &str)| ((*kind).to_owned(), (*said).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn an_empty_answer_is_an_answer() {
    let zeros = json!({"input_tokens": 0, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0, "cache_creation": {
            "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 0});
    assert_eq!(
        written(&[]),
        [
            json!({"type": "message_start", "message": {"id": "weir-1", "type": "message",
                "role": "assistant", "model": "asked", "content": [], "stop_reason": null,
                "stop_sequence": null, "usage": zeros}}),
            json!({"type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": zeros}),
            json!({"type": "message_stop"}),
        ]
    );
}

#[test]
fn every_part_has_its_block() {
    let out = written(&[
        Event::Start {
            id: Some("i".into()),
            model: Some("m".into()),
            usage: Some(usage(9, 0)),
        },
        thought("h", None, false),
        thought("m", None, false),
        thought("", Some("sig"), false),
        thought("next", Some("sig2"), false),
        thought("", Some("hidden"), true),
        thought("", Some("only"), false),
        Event::Text("a".into()),
        Event::Ping,
        Event::Text("\n\"b\"".into()),
        Event::Refusal("no".into()),
        call(0),
        Event::Stop(Stop::Sequence(Some("###".into()))),
        Event::Usage(Usage {
            cache_read: 4,
            reasoning: 3,
            ..usage(9, 5)
        }),
        Event::End,
    ]);
    assert_eq!(
        blocks(&out),
        pairs(&[
            ("thinking", "hm|sig"),
            ("thinking", "next|sig2"),
            ("redacted_thinking", "hidden"),
            ("thinking", "|only"),
            ("text", "a\n\"b\"no"),
            ("tool_use", ""),
        ])
    );
    assert_eq!(out[0]["message"]["id"], "i");
    assert_eq!(out[0]["message"]["usage"]["input_tokens"], 9);
    let end = &out[out.len() - 2];
    assert_eq!(
        end["delta"],
        json!({"stop_reason": "stop_sequence", "stop_sequence": "###"})
    );
    assert_eq!(end["usage"]["input_tokens"], 5);
    assert_eq!(end["usage"]["cache_read_input_tokens"], 4);
    assert_eq!(end["usage"]["output_tokens"], 5);
    assert_eq!(end["usage"]["output_tokens_details"]["thinking_tokens"], 3);
}

#[test]
fn mixed_calls_are_shown_one_after_the_other() {
    let out = written(&[
        call(0),
        call(1),
        arguments(1, "{\"b\":"),
        arguments(0, "{\"a\":"),
        Event::Text("between".into()),
        arguments(0, "1}"),
        arguments(1, "2}"),
        call(2),
        arguments(2, "{}"),
        Event::Text("after".into()),
    ]);
    assert_eq!(
        blocks(&out),
        pairs(&[
            ("tool_use", "{\"a\":1}"),
            ("tool_use", "{\"b\":2}"),
            ("text", "between"),
            ("tool_use", "{}"),
            ("text", "after"),
        ])
    );
    assert_eq!(out[out.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn a_call_is_shown_as_soon_as_the_one_before_is_whole() {
    let mut stream = Stream::new(Answering::default());
    let mut out = Vec::new();
    for event in [call(0), arguments(0, "{\"a\":\"}\"}"), call(1)] {
        stream.write(&event, &mut out);
    }
    let so_far = String::from_utf8(out).unwrap();
    assert!(so_far.contains("\"id\":\"c1\""), "{so_far}");
}

#[test]
fn calls_without_arguments_wait_for_the_end_and_are_shown() {
    let out = written(&[call(0), call(1), arguments(1, "{}"), arguments(7, "lost")]);
    assert_eq!(blocks(&out), pairs(&[("tool_use", ""), ("tool_use", "{}")]));
}

#[test]
fn nothing_follows_an_error() {
    let failure = Failure {
        message: "slow".to_owned(),
        kind: FailureKind::RateLimit,
        code: None,
    };
    let out = written(&[
        Event::Text("a".into()),
        Event::Failed(failure),
        Event::Text("b".into()),
    ]);
    let last = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}});
    assert_eq!(out.last(), Some(&last));
    assert_eq!(out.len(), 4);
}

#[test]
fn what_cannot_be_put_in_order_is_given_up_before_it_fills_the_memory() {
    let mut stream = Stream::new(Answering::default());
    let mut out = Vec::new();
    stream.write(&call(0), &mut out);
    stream.write(&call(1), &mut out);
    let piece = "x".repeat(1 << 20);
    for _ in 0..20 {
        stream.write(&arguments(1, &piece), &mut out);
    }
    stream.finish(&mut out, &mut Vec::new());
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.matches("event: error").count(), 1);
    assert!(out.len() < 4096 && !out.contains("message_stop"));
}
