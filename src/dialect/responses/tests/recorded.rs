//! Every recorded answer and request, against a simple reader of its own.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::dialect::form::{Inexpressible, Writing};
use crate::dialect::responses::{OURS, read_reply, read_request, write_reply, write_request};
use crate::json::{Limits, object};

fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// The simple reader, of a whole response.
fn expected(response: &Value) -> Heard {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut heard = Heard {
        id: string(&response["id"]),
        model: string(&response["model"]),
        ..Heard::default()
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for item in list(&response["output"]) {
        match item["type"].as_str().unwrap() {
            "message" => {
                for part in list(&item["content"]) {
                    heard.text += &string(&part["text"]);
                }
            }
            "reasoning" => {
                for part in list(&item["content"]).iter().chain(&list(&item["summary"])) {
                    heard.thoughts += &string(&part["text"]);
                }
                if let Some(encrypted) = item["encrypted_content"].as_str() {
                    heard.signatures.push(encrypted.to_owned());
                }
            }
            "function_call" => heard.calls.push((
                string(&item["call_id"]),
                string(&item["name"]),
                string(&item["arguments"]),
            )),
            _ => {}
        }
    }
    assert_eq!(response["status"], "completed");
    heard.stop = Some(if heard.calls.is_empty() {
        Stop::End
    } else {
        Stop::ToolCalls
    });
    let usage = &response["usage"];
    heard.usage = Some(Usage {
        input: usage["input_tokens"].as_u64().unwrap(),
        cache_read: usage["input_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0),
        cache_write: usage["input_tokens_details"]["cache_write_tokens"]
            .as_u64()
            .unwrap_or(0),
        output: usage["output_tokens"].as_u64().unwrap(),
        reasoning: usage["output_tokens_details"]["reasoning_tokens"]
            .as_u64()
            .unwrap_or(0),
        ..Usage::default()
    });
    heard
}

/// As a reader of a provider's answer hears it: proofs are marked.
fn marked(mut heard: Heard) -> Heard {
    for one in &mut heard.signatures {
        one.insert_str(0, OURS);
    }
    heard
}

/// The response that a recorded or written stream ends with.
fn last(stream: &str) -> Value {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .next_back()
        .unwrap();
    serde_json::from_str::<Value>(&format!("{{{data}")).unwrap()["response"].take()
}

/// The encrypted contents, where they are said first.
fn proofs(stream: &str) -> Vec<String> {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    data.filter_map(|data| {
        let event: Value = serde_json::from_str(&format!("{{{data}")).unwrap();
        let done = event["type"] == "response.output_item.done";
        let proof = event["item"]["encrypted_content"].as_str().filter(|_| done);
        proof.map(str::to_owned)
    })
    .collect()
}

#[test]
fn streams_say_what_they_say_however_they_arrive_and_again_when_written() {
    let mut seen = 0;
    for (name, stream) in files("tests/recorded", ".sse") {
        if !stream.contains("\"response.completed\"") {
            continue;
        }
        seen += 1;
        let mut expected = expected(&last(&stream));
        // Encrypted anew in the repetition.
        expected.signatures = proofs(&stream);
        let mut ended = marked(expected.clone());
        ended.ended = true;
        let crlf = stream.replace('\n', "\r\n");
        for stream in [&stream, &crlf] {
            for size in [1, 7, usize::MAX] {
                assert_eq!(heard(stream, size), ended, "{name} by {size}");
            }
        }
        let mut writer = Stream::new(answering());
        let mut out = Vec::new();
        read(&stream, usize::MAX, |event| writer.write(event, &mut out));
        writer.finish(&mut out, &mut Vec::new());
        let again = String::from_utf8(out).unwrap();
        check_stream(&again);
        assert_eq!(
            super::recorded::expected(&last(&again)),
            marked(expected),
            "{name}"
        );
        // Read a second time they are marked a second time.
        assert_eq!(heard(&again, 5), marked(ended), "{name}");
    }
    assert_eq!(seen, 20);
}

#[test]
fn whole_answers_say_what_they_say_and_again_when_written() {
    let mut seen = 0;
    for (name, text) in files("tests/recorded", ".json") {
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        if value["object"] != "response" {
            continue;
        }
        seen += 1;
        let reply = read_reply(&text).unwrap();
        assert_eq!(hear(&reply), marked(expected(&value)), "{name}");
        let again = write_reply(&reply, &answering());
        let again: Value = serde_json::from_slice(&again).unwrap();
        assert_eq!(expected(&again), marked(expected(&value)), "{name}");
    }
    assert_eq!(seen, 10);
}

fn hear(reply: &crate::dialect::form::Reply<'_>) -> Heard {
    let mut heard = Heard {
        id: reply.id.as_deref().unwrap().to_owned(),
        model: reply.model.as_deref().unwrap().to_owned(),
        usage: reply.usage,
        ..Heard::default()
    };
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } => heard.text += text,
            Part::Reasoning {
                text, signature, ..
            } => {
                heard.thoughts += text;
                heard
                    .signatures
                    .extend(signature.iter().map(|one| one.clone().into_owned()));
            }
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => heard
                .calls
                .push((id.to_string(), name.to_string(), arguments.to_string())),
            other => panic!("{other:?}"),
        }
    }
    heard.hear(&Event::Stop(reply.stop.clone()));
    heard
}

#[test]
fn errors_are_no_answers() {
    for (name, text) in files("tests/recorded", ".err.json") {
        assert_eq!(read_reply(&text), None, "{name}");
    }
}

#[test]
fn every_request_is_understood_or_refused_by_name() {
    let writing = Writing {
        model: "m",
        fallbacks: &[],
        max_tokens: None,
        default_max_tokens: 1000,
        max_tokens_field: "max_output_tokens",
    };
    let mut refused = Vec::new();
    let files = files("tests/data/responses", ".req.json");
    assert_eq!(files.len(), 33);
    for (name, text) in files {
        let read_from = object(text.as_bytes(), Limits::default()).unwrap();
        match read_request(&read_from) {
            Ok(conversation) => {
                let body = write_request(&conversation, &writing).unwrap();
                let read_again = object(&body, Limits::default()).unwrap();
                let mut again = read_request(&read_again).unwrap();
                // Absent, null and what is said for it mean the same.
                for (tool, before) in again.tools.iter_mut().zip(&conversation.tools) {
                    tool.strict = before.strict;
                }
                let kept = |part: &Part<'_>| match part {
                    Part::Reasoning { signature, .. } => {
                        signature.as_ref().is_some_and(|one| one.starts_with(OURS))
                    }
                    _ => true,
                };
                let mut expected = conversation.clone();
                for turn in &mut expected.turns {
                    turn.parts.retain(kept);
                }
                assert_eq!(again, expected, "{name}");
            }
            Err(Inexpressible::Field(field, _)) => refused.push(field),
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    refused.sort();
    refused.dedup();
    assert_eq!(
        refused,
        [
            "background",
            "input[1].type",
            "moderation",
            "provider",
            "reasoning.context",
            "tools[0].type",
        ]
    );
}
