//! Whole answers as nobody recorded them.

use serde_json::{Value, json};

use super::*;
use crate::dialect::form::{Media, Reply};
use crate::dialect::responses::{read_reply, read_request, write_reply};
use crate::json::{Limits, object};
use proptest::prelude::*;

fn response(fields: &str) -> String {
    format!(r#"{{"id":"resp_1","object":"response","model":"m",{fields}}}"#)
}

fn stop(fields: &str) -> Stop<'static> {
    let text = response(&format!(
        r#""output":[{{"type":"message","content":[{{"type":"output_text","text":"a"}}]}}],{fields}"#
    ));
    heard_stop(&read_reply(&text).unwrap())
}

fn heard_stop(reply: &Reply<'_>) -> Stop<'static> {
    let mut heard = Heard::default();
    heard.hear(&Event::Stop(reply.stop.clone()));
    heard.stop.unwrap()
}

#[test]
fn every_end_is_one_that_clients_know() {
    for (fields, expected) in [
        (r#""status":"completed""#, Stop::End),
        (
            r#""status":"completed","incomplete_details":null"#,
            Stop::End,
        ),
        (
            r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#,
            Stop::Length,
        ),
        (
            r#""status":"incomplete","incomplete_details":{"reason":"content_filter"}"#,
            Stop::Filter,
        ),
        (r#""status":"incomplete""#, Stop::Length),
        (r#""status":"failed","error":{"message":"m"}"#, Stop::Length),
    ] {
        assert_eq!(stop(fields), expected, "{fields}");
    }
    let called = response(
        r#""status":"completed","output":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]"#,
    );
    assert_eq!(read_reply(&called).unwrap().stop, Stop::ToolCalls);
}

#[test]
fn what_failed_or_is_no_response_is_no_answer() {
    for text in [
        "",
        "[]",
        "null",
        "{}",
        "{\"output\":[]} x",
        "{\"output\":[",
        r#"{"error":{"message":"m"}}"#,
        r#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#,
        r#"{"status":"failed","output":[]}"#,
    ] {
        assert_eq!(read_reply(text), None, "{text}");
    }
}

#[test]
fn thoughts_count_before_their_summary_and_refusals_are_kept() {
    let text = response(
        r#""output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],"content":[{"type":"reasoning_text","text":"t"}],"encrypted_content":"gAAAAAx"},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]},
            {"type":"reasoning","summary":[]},
            {"type":"web_search_call","id":"ws"},
            {"type":"message","content":[{"type":"output_text","text":"x"},{"type":"refusal","refusal":"no"}]},
            {"type":"function_call","id":"fc_1","name":"f","arguments":{"a": 1}}]"#,
    );
    let reply = read_reply(&text).unwrap();
    assert_eq!(
        reply.parts,
        [
            thought("t", Some("openai:gAAAAAx")),
            thought("a\n\nb", None),
            text_part("x"),
            Part::Refusal("no".into()),
            call("fc_1", "f", r#"{"a": 1}"#),
        ]
    );
}

fn text_part(words: &str) -> Part<'_> {
    super::text(words)
}

#[test]
fn an_answer_has_all_that_clients_insist_on() {
    let reply = Reply {
        id: Some("chatcmpl-1".into()),
        model: None,
        parts: vec![
            thought("hm\n", Some("sig")),
            Part::Reasoning {
                text: "".into(),
                signature: Some("hidden".into()),
                redacted: true,
            },
            text_part("a\"b"),
            Part::Refusal("no".into()),
            Part::Image(Media::Inline {
                mime: "image/jpeg".into(),
                data: "QUJD".into(),
            }),
            call("c1", "f", ""),
        ],
        stop: Stop::Length,
        usage: Some(Usage {
            input: 10,
            cache_read: 4,
            cache_write: 1,
            cache_write_1h: 2,
            output: 7,
            reasoning: 3,
            ..Usage::default()
        }),
    };
    let value: Value = serde_json::from_slice(&write_reply(&reply, &answering())).unwrap();
    assert_eq!(value["id"], "chatcmpl-1");
    assert_eq!(value["model"], "asked");
    assert_eq!(value["created_at"], 1_700_000_000);
    assert_eq!(value["status"], "incomplete");
    assert_eq!(
        value["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(value["error"], Value::Null);
    assert_eq!(
        value["output"],
        json!([
            {"id": "rs_chatcmpl-1_0", "type": "reasoning", "encrypted_content": "sig",
                "summary": [{"type": "summary_text", "text": "hm\n"}]},
            {"id": "rs_chatcmpl-1_1", "type": "reasoning", "encrypted_content": "redacted:hidden",
                "summary": []},
            {"id": "msg_chatcmpl-1_2", "type": "message", "status": "completed", "role": "assistant",
                "content": [
                    {"type": "output_text", "annotations": [], "logprobs": [], "text": "a\"b"},
                    {"type": "refusal", "refusal": "no"}]},
            {"id": "ig_chatcmpl-1_3", "type": "image_generation_call", "status": "completed",
                "output_format": "jpeg", "result": "QUJD"},
            {"id": "fc_chatcmpl-1_4", "type": "function_call", "status": "incomplete",
                "arguments": "{}", "call_id": "c1", "name": "f"},
        ])
    );
    assert_eq!(
        value["usage"],
        json!({
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 17,
        })
    );
    // The client sends it all back.
    let sent = json!({"input": value["output"]}).to_string();
    let sent = object(sent.as_bytes(), Limits::default()).unwrap();
    let turns = read_request(&sent).unwrap().turns;
    let mut expected = reply.parts;
    expected[5] = call("c1", "f", "{}");
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0].parts, expected);

    let nothing = Reply::default();
    let value: Value = serde_json::from_slice(&write_reply(&nothing, &answering())).unwrap();
    assert_eq!(value["output"], json!([]));
    assert_eq!(
        (&value["id"], &value["usage"]),
        (&json!("req_1"), &Value::Null)
    );
}

/// Text near to what a provider says.
pub(super) fn near() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        Just(r#"{"type":"response.completed","response":{"output":["#.to_owned()),
        Just(
            r#"{"type":"response.output_text.delta","delta":"a\u00e9","output_index":"#.to_owned()
        ),
        Just(r#"{"type":"response.function_call_arguments.done","arguments":"{}""#.to_owned()),
        Just(r#"{"type":"response.output_item.done","item":"#.to_owned()),
        Just(r#"{"type":"function_call","call_id":"c","name":"f","arguments":{"#.to_owned()),
        Just(r#"{"type":"message","content":[{"type":"output_text","text":"t"}]"#.to_owned()),
        Just(r#""error":{"code":400}"#.to_owned()),
        Just(r#"{"output":["#.to_owned()),
        Just("]}]".to_owned()),
        Just("}".to_owned()),
        Just(",".to_owned()),
        Just("1".to_owned()),
        Just("\\".to_owned()),
        "\\PC{0,4}",
    ];
    proptest::collection::vec(words, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_answer_panics(text in prop_oneof![near(), "\\PC*"]) {
        let _ = read_reply(&text);
        let mut events = Events::default();
        let mut stream = Stream::new(answering());
        let mut out = Vec::new();
        for _ in 0..2 {
            events.read(&text, &mut |event| stream.write(&event, &mut out));
        }
    }

    #[test]
    fn a_written_answer_says_the_same(
        texts in proptest::collection::vec("\\PC{1,8}|[\0-\u{7f}]{1,8}", 1..4),
        arguments in "\\PC{1,8}",
        usage in any::<bool>(),
    ) {
        let mut parts = vec![thought("why", Some("openai:s"))];
        parts.extend(texts.iter().map(|text| super::text(text)));
        parts.push(call("c", "f", &arguments));
        let reply = Reply {
            id: Some("i".into()),
            model: Some("m".into()),
            parts,
            stop: Stop::ToolCalls,
            usage: usage.then_some(Usage { input: 3, output: 2, ..Usage::default() }),
        };
        let out = write_reply(&reply, &answering());
        let mut again = read_reply(std::str::from_utf8(&out).unwrap()).unwrap();
        // Marked a second time.
        again.parts[0] = thought("why", Some("openai:s"));
        prop_assert_eq!(again, reply);
    }
}
