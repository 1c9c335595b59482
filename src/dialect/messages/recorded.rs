//! Every recorded exchange with Anthropic: answers read and written again, in one piece and byte by
//! byte, against a simple reader of its own; requests said again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::dialect::form::{Answering, FailureKind, Inexpressible, Writing};
use crate::dialect::{Translator, failure, request};
use crate::json::{Limits, object};
use crate::stream::AnswerKind;
use crate::wire::Dialect;

fn files(ending: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages");
    let ends = |name: &str| match ending {
        ".json" => {
            name.ends_with(".json") && !name.ends_with(".req.json") && !name.ends_with(".err.json")
        }
        _ => name.ends_with(ending),
    };
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| ends(path.to_str().unwrap()))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{ending}");
    found
}

/// What Anthropic's SDKs make of an answer, blocks of other kinds left out.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    id: Value,
    model: Value,
    /// Texts without a block between them are one.
    blocks: Vec<Value>,
    stop: (Value, Value),
    usage: BTreeMap<String, u64>,
}

impl Heard {
    fn block(&mut self, block: &Value) {
        match block["type"].as_str().unwrap() {
            "text" => {
                let more = block["text"].as_str().unwrap();
                match self.blocks.last_mut() {
                    Some(last) if last["type"] == "text" => {
                        let whole = last["text"].as_str().unwrap().to_owned() + more;
                        last["text"] = json!(whole);
                    }
                    _ if more.is_empty() => {}
                    _ => self.blocks.push(json!({"type": "text", "text": more})),
                }
            }
            "tool_use" => self.blocks.push(json!({
                "type": "tool_use", "id": block["id"], "name": block["name"], "input": block["input"],
            })),
            "thinking" | "redacted_thinking" => self.blocks.push(block.clone()),
            _ => {}
        }
    }

    fn counts(&mut self, usage: &Value) {
        let mut set = |name: &str, value: &Value| {
            if let Some(count) = value.as_u64() {
                self.usage.insert(name.to_owned(), count);
            }
        };
        for name in [
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
        ] {
            set(name, &usage[name]);
        }
        for name in ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"] {
            set(name, &usage["cache_creation"][name]);
        }
        let thinking = &usage["output_tokens_details"]["thinking_tokens"];
        if thinking != &json!(0) {
            set("thinking_tokens", thinking);
        }
    }

    fn of_message(text: &str) -> Self {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message["type"], "message");
        assert_eq!(message["role"], "assistant");
        let mut heard = Self {
            id: message["id"].clone(),
            model: message["model"].clone(),
            stop: (
                message["stop_reason"].clone(),
                message["stop_sequence"].clone(),
            ),
            ..Self::default()
        };
        for block in message["content"].as_array().unwrap() {
            heard.block(block);
        }
        heard.counts(&message["usage"]);
        heard
    }

    /// As the SDKs do it; `strict` holds the stream to the order that Anthropic keeps.
    fn of_stream(text: &str, strict: bool) -> Self {
        let mut heard = Self::default();
        let mut blocks: Vec<(Value, String)> = Vec::new();
        let (mut open, mut begun, mut ended) = (None, false, false);
        for event in text.split("\n\n").filter(|event| !event.trim().is_empty()) {
            let mut lines = event.trim().lines();
            let name = lines.next().unwrap().strip_prefix("event: ").unwrap();
            let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!((name, None), (data["type"].as_str().unwrap(), lines.next()));
            assert!(!ended, "{name} after the end");
            assert!(begun || ["message_start", "ping"].contains(&name), "{name}");
            let index = data["index"].as_u64();
            match name {
                "message_start" => {
                    begun = true;
                    let message = &data["message"];
                    heard.id = message["id"].clone();
                    heard.model = message["model"].clone();
                    heard.counts(&message["usage"]);
                }
                "content_block_start" => {
                    assert_eq!(open, None);
                    assert_eq!(index, Some(blocks.len() as u64));
                    open = index;
                    blocks.push((data["content_block"].clone(), String::new()));
                }
                "content_block_delta" => {
                    assert_eq!(open, index);
                    let (block, input) = blocks.last_mut().unwrap();
                    let delta = &data["delta"];
                    let (key, more) = match delta["type"].as_str().unwrap() {
                        "text_delta" => ("text", &delta["text"]),
                        "thinking_delta" => ("thinking", &delta["thinking"]),
                        "signature_delta" => ("signature", &delta["signature"]),
                        "input_json_delta" => {
                            input.push_str(delta["partial_json"].as_str().unwrap());
                            continue;
                        }
                        "citations_delta" if !strict => continue,
                        other => panic!("{other}"),
                    };
                    let whole = block[key].as_str().unwrap().to_owned() + more.as_str().unwrap();
                    block[key] = json!(whole);
                }
                "content_block_stop" => {
                    assert_eq!(open, index);
                    open = None;
                    let (block, input) = blocks.last_mut().unwrap();
                    if !input.is_empty() {
                        block["input"] = serde_json::from_str(input).unwrap();
                    }
                }
                "message_delta" => {
                    assert_eq!(open, None);
                    let delta = &data["delta"];
                    heard.stop = (delta["stop_reason"].clone(), delta["stop_sequence"].clone());
                    heard.counts(&data["usage"]);
                }
                "message_stop" => ended = true,
                "ping" => {}
                other => panic!("{other}"),
            }
        }
        assert!(ended && open.is_none());
        for (block, _) in &blocks {
            heard.block(block);
        }
        heard
    }
}

/// Says an answer of Anthropic's again, in pieces of `size` bytes.
fn again(text: &str, kind: AnswerKind, size: usize) -> String {
    let mut translator = Translator::new(
        Dialect::Messages,
        Dialect::Messages,
        kind,
        Answering::default(),
    )
    .unwrap();
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(size) {
        out.extend_from_slice(&translator.push(piece));
    }
    assert_eq!(translator.at_end(), kind == AnswerKind::EventStream);
    let finish = translator.finish(true).unwrap();
    out.extend_from_slice(&finish.before);
    out.extend_from_slice(&finish.after);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_recorded_stream_says_the_same_again() {
    let files = files(".sse");
    assert!(files.len() >= 15);
    for (name, text) in files {
        let whole = again(&text, AnswerKind::EventStream, text.len());
        assert_eq!(
            Heard::of_stream(&whole, true),
            Heard::of_stream(&text, false),
            "{name}"
        );
        let crlf = text.replace('\n', "\r\n");
        for pieces in [
            again(&text, AnswerKind::EventStream, 1),
            again(&text, AnswerKind::EventStream, 7),
            again(&crlf, AnswerKind::EventStream, 1),
        ] {
            assert_eq!(pieces, whole, "{name}");
        }
    }
}

#[test]
fn every_recorded_message_says_the_same_again() {
    let files = files(".json");
    assert!(files.len() >= 10);
    for (name, text) in files {
        let whole = again(&text, AnswerKind::Json, text.len());
        assert_eq!(
            Heard::of_message(&whole),
            Heard::of_message(&text),
            "{name}"
        );
        assert_eq!(again(&text, AnswerKind::Json, 1), whole, "{name}");
    }
}

#[test]
fn recorded_errors_are_read() {
    for (name, text) in files(".err.json") {
        let error: Value = serde_json::from_str(&text).unwrap();
        let error = &error["error"];
        let found = failure(Dialect::Messages, 400, text.as_bytes());
        assert_eq!(found.message, error["message"].as_str().unwrap(), "{name}");
        let kind = match error["type"].as_str().unwrap() {
            "not_found_error" => FailureKind::NotFound,
            "invalid_request_error" => FailureKind::Invalid,
            other => panic!("{other}"),
        };
        assert_eq!(found.kind, kind, "{name}");
    }
}

/// A request in the one of its forms that both sides of a comparison are brought to.
fn normal(mut request: Value) -> Value {
    let thinks = !request["thinking"].is_null();
    let fields = request.as_object_mut().unwrap();
    fields.retain(|key, value| match key.as_str() {
        "stream" => value != &json!(false),
        "temperature" => !thinks,
        _ => !value.is_null(),
    });
    for message in fields["messages"].as_array_mut().unwrap() {
        blocks(&mut message["content"]);
        for block in message["content"].as_array_mut().unwrap() {
            if block["type"] == "tool_result" {
                blocks(&mut block["content"]);
            }
        }
    }
    request
}

/// Content as blocks, without those that show nothing.
fn blocks(content: &mut Value) {
    if content.is_string() {
        *content = json!([{"type": "text", "text": content}]);
    }
    if let Some(blocks) = content.as_array_mut() {
        blocks.retain(|block| block["text"].as_str().is_none_or(|text| text != " "));
    }
}

/// Whether a path such as `tools[0].type` leads to something.
fn leads_somewhere(request: &Value, path: &str) -> bool {
    let pointer = format!(
        "/{}",
        path.replace('[', "/").replace(']', "").replace('.', "/")
    );
    request.pointer(&pointer).is_some()
}

#[test]
fn every_recorded_request_is_said_again_or_refused_by_name() {
    let (mut said, mut refused) = (0, 0);
    for (name, text) in files(".req.json") {
        let object = object(text.as_bytes(), Limits::default()).unwrap();
        let mut asked: Value = serde_json::from_str(&text).unwrap();
        let model = asked["model"].as_str().unwrap().to_owned();
        let writing = Writing {
            model: &model,
            fallbacks: &[],
            max_tokens: None,
            default_max_tokens: 777,
            max_tokens_field: "max_tokens",
        };
        match request(Dialect::Messages, Dialect::Messages, &object, &writing) {
            Ok(out) => {
                said += 1;
                if asked["max_tokens"].is_null() {
                    asked["max_tokens"] = json!(777);
                }
                // An effort is said as thinking with that effort, and one word stands for two.
                if let Some(effort) = asked["output_config"]["effort"].as_str() {
                    let effort = effort.replace("xhigh", "max");
                    asked["output_config"]["effort"] = json!(effort);
                    asked["thinking"] = json!({"type": "adaptive"});
                }
                // This model shows its thoughts without being asked.
                if model.contains("haiku-4-5") && !asked["thinking"]["display"].is_null() {
                    asked["thinking"].as_object_mut().unwrap().remove("display");
                }
                let out: Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(normal(out), normal(asked), "{name}");
            }
            Err(Inexpressible::Field(field, why)) => {
                refused += 1;
                assert!(leads_somewhere(&asked, &field), "{name}: {field} {why}");
                assert!(!field.ends_with(".text"), "{name}: {field} {why}");
            }
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!((said, refused), (19, 13));
}
