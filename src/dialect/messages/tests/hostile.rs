//! Whatever anybody may send.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::writing;
use crate::dialect::form::{
    Answering, Event, EventReader, EventWriter, Failure, Part, Reply, Stop,
};
use crate::dialect::messages::{
    Events, Stream, read_failure, read_reply, read_request, write_reply, write_request,
};
use crate::json::{Limits, object};

const WORDS: &[&str] = &[
    "type",
    "text",
    "role",
    "user",
    "assistant",
    "system",
    "content",
    "messages",
    "source",
    "thinking",
    "signature",
    "tool_use",
    "tool_result",
    "id",
    "name",
    "input",
    "document",
    "image",
    "base64",
    "url",
    "data",
    "media_type",
    "max_tokens",
    "tools",
    "usage",
    "input_tokens",
    "index",
    "message_start",
    "message_delta",
    "content_block_start",
    "content_block_delta",
    "content_block",
    "delta",
    "text_delta",
    "input_json_delta",
    "partial_json",
    "stop_reason",
    "error",
    "message",
];

/// JSON in which the words of the dialect stand where they do not belong.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(WORDS), inner, 0..6).prop_map(|map| {
                let members = map.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(members.collect())
            }),
        ]
    })
}

fn ask(text: &str) {
    let Ok(object) = object(text.as_bytes(), Limits::default()) else {
        return;
    };
    if let Ok(conversation) = read_request(&object)
        && let Ok(out) = write_request(&conversation, &writing("claude-opus-4-7"))
    {
        let _: Value = serde_json::from_slice(&out).unwrap();
    }
}

/// Reads an event twice and writes what it says, which must be JSON whatever it was.
fn hear(data: &str) {
    let mut reader = Events::default();
    let mut writer = Stream::new(Answering::default());
    let mut out = Vec::new();
    for _ in 0..2 {
        reader.read(data, &mut |event| writer.write(&event, &mut out));
    }
    writer.finish(&mut out, &mut Vec::new());
    let out = String::from_utf8(out).unwrap();
    for data in out.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let _: Value = serde_json::from_str(data).unwrap();
    }
}

/// Something that a stream may say, in any order.
fn any_event() -> impl Strategy<Value = Event<'static>> {
    let text = prop_oneof![
        Just("{}".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        ".{0,6}"
    ];
    (0..8_u8, 0..3_u32, text, any::<bool>()).prop_map(|(kind, call, text, flag)| match kind {
        0 => Event::Text(text.into()),
        1 => Event::Reasoning {
            signature: flag.then(|| text.clone().into()),
            text: text.into(),
            redacted: flag && call == 0,
        },
        2 => Event::Call {
            call,
            id: text.clone().into(),
            name: text.into(),
            signature: None,
        },
        3 | 4 => Event::Arguments {
            call,
            text: text.into(),
        },
        5 => Event::Stop(Stop::ToolCalls),
        6 if flag && call == 2 => Event::Failed(Failure::default()),
        _ => Event::Ping,
    })
}

proptest! {
    #[test]
    fn no_request_panics(system in odd_json(), content in odd_json(), other in odd_json()) {
        ask(&other.to_string());
        for role in ["user", "assistant", "system"] {
            for content in [&content, &json!([content])] {
                let message = json!({"role": role, "content": content});
                ask(&json!({"system": system, "messages": [message]}).to_string());
            }
        }
        for field in ["tools", "tool_choice", "thinking", "output_config", "context_management"] {
            ask(&json!({field: other, "messages": [{"role": "user", "content": "x"}]}).to_string());
        }
    }

    #[test]
    fn no_answer_panics(value in odd_json(), cut in 0..400_usize, noise in ".{0,60}") {
        let message = json!({"content": [value], "usage": value, "stop_reason": value}).to_string();
        let cut = message.floor_char_boundary(cut);
        for text in [&*message, &message[..cut], &noise] {
            if let Some(reply) = read_reply(text) {
                let out = write_reply(&reply, &Answering::default());
                let _: Value = serde_json::from_slice(&out).unwrap();
            }
            let _ = read_failure(500, text.as_bytes());
            hear(text);
        }
        for kind in ["message_start", "content_block_start", "content_block_delta", "message_delta"] {
            let event = json!({"type": kind, "index": 0, "message": value, "content_block": value,
                "delta": value, "usage": value}).to_string();
            hear(&event);
        }
    }

    #[test]
    fn every_stream_that_is_written_is_whole(events in prop::collection::vec(any_event(), 0..30)) {
        let mut stream = Stream::new(Answering::default());
        let mut out = Vec::new();
        for event in &events {
            stream.write(event, &mut out);
        }
        stream.finish(&mut out, &mut Vec::new());
        let out = String::from_utf8(out).unwrap();
        let failed = events.iter().any(|event| matches!(event, Event::Failed(_)));
        let (mut open, mut next) = (false, 0);
        let mut last = String::new();
        for event in out.split_terminator("\n\n") {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            last = name.strip_prefix("event: ").unwrap().to_owned();
            match &*last {
                "content_block_start" => {
                    prop_assert!(!open && data["index"] == json!(next));
                    open = true;
                }
                "content_block_delta" => prop_assert!(open && data["index"] == json!(next)),
                "content_block_stop" => {
                    prop_assert!(open && data["index"] == json!(next));
                    open = false;
                    next += 1;
                }
                _ => {}
            }
        }
        prop_assert_eq!(last, if failed { "error" } else { "message_stop" });
        prop_assert!(failed || !open);
        let said = |event: &Event<'_>| match event {
            Event::Text(text) => text.len(),
            _ => 0,
        };
        let texts: usize = events.iter().map(said).sum();
        let heard: usize = out
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|data| data["delta"]["text"].as_str().map(str::len))
            .sum();
        prop_assert!(failed || texts == heard);
    }

    #[test]
    fn an_answer_survives_being_written_and_read(
        texts in prop::collection::vec("[^\u{0}]{1,20}", 1..4),
        signature in prop::option::of("[a-z]{1,8}"),
        counts in prop::array::uniform5(0..1_u64 << 40),
    ) {
        let [fresh, cache_read, cache_write, cache_write_1h, output] = counts;
        let mut parts: Vec<Part<'_>> = texts.iter().map(|text| super::text(text)).collect();
        parts.push(Part::Reasoning {
            text: "t".into(),
            signature: signature.map(Into::into),
            redacted: false,
        });
        let reply = Reply {
            id: Some("i".into()),
            model: Some("m".into()),
            parts,
            stop: Stop::Length,
            usage: Some(crate::usage::Usage {
                input: fresh + cache_read + cache_write + cache_write_1h,
                cache_read,
                cache_write,
                cache_write_1h,
                output,
                ..Default::default()
            }),
        };
        let out = String::from_utf8(write_reply(&reply, &Answering::default())).unwrap();
        prop_assert_eq!(read_reply(&out), Some(reply));
    }
}
