//! Every recorded answer of Google, in one piece and in many, against a simple reader of its own.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Events, OURS, read_failure, read_reply};
use crate::dialect::form::{Event, EventReader, FailureKind, Part, Stop};
use crate::stream::sse::{Ended, Reader};
use crate::usage::Usage;

/// What an answer says, in words that two readers can be compared by.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    id: String,
    model: String,
    text: String,
    thoughts: String,
    calls: Vec<(String, String, Value, Option<String>)>,
    stop: String,
    usage: Option<Usage>,
}

fn files(ending: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gemini");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_str().unwrap();
            name.ends_with(ending) && (ending != ".json" || !name.ends_with(".err.json"))
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// The answers that a file consists of.
fn answers(text: &str) -> Vec<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Array(all)) => all,
        Ok(one) => vec![one],
        Err(_) => text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect(),
    }
}

/// The simple reader.
fn expected(answers: &[Value]) -> Heard {
    let mut heard = Heard::default();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for answer in answers {
        heard.id = string(&answer["responseId"]);
        heard.model = string(&answer["modelVersion"]);
        let candidate = &answer["candidates"][0];
        for part in candidate["content"]["parts"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = string(&part["text"]);
            if part["thought"] == json!(true) {
                heard.thoughts += &text;
            } else {
                heard.text += &text;
            }
            if let Some(call) = part.get("functionCall") {
                let made_up = format!("call_{}_{}", heard.id, heard.calls.len());
                let id = call["id"].as_str().map_or(made_up, str::to_owned);
                let signature = part["thoughtSignature"].as_str().map(str::to_owned);
                heard
                    .calls
                    .push((id, string(&call["name"]), call["args"].clone(), signature));
            }
        }
        heard.stop = match candidate["finishReason"].as_str() {
            None => heard.stop,
            Some("STOP") if heard.calls.is_empty() => "End".to_owned(),
            Some("STOP") => "ToolCalls".to_owned(),
            Some(other) => panic!("{other}"),
        };
        let usage = &answer["usageMetadata"];
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        if usage.get("promptTokenCount").is_some() {
            heard.usage = Some(Usage {
                input: count("promptTokenCount") + count("toolUsePromptTokenCount"),
                cache_read: count("cachedContentTokenCount"),
                output: count("candidatesTokenCount") + count("thoughtsTokenCount"),
                reasoning: count("thoughtsTokenCount"),
                ..Usage::default()
            });
            let total = heard.usage.unwrap().total();
            assert_eq!(total, count("totalTokenCount"));
        }
    }
    heard
}

fn stop(stop: &Stop<'_>) -> String {
    format!("{stop:?}")
}

fn whole(text: &str) -> Heard {
    let reply = read_reply(text).unwrap();
    let mut heard = Heard {
        id: reply.id.unwrap().into_owned(),
        model: reply.model.unwrap().into_owned(),
        stop: stop(&reply.stop),
        usage: reply.usage,
        ..Heard::default()
    };
    for part in reply.parts {
        match part {
            Part::Text { text, .. } => heard.text += &text,
            Part::Reasoning { text, .. } => heard.thoughts += &text,
            Part::ToolCall {
                id,
                name,
                arguments,
                signature,
            } => heard.calls.push((
                id.into_owned(),
                name.into_owned(),
                serde_json::from_str(&arguments).unwrap(),
                signature.map(std::borrow::Cow::into_owned),
            )),
            other => panic!("{other:?}"),
        }
    }
    heard
}

/// The events of a stream that arrives in pieces of `size` bytes.
fn streamed(text: &str, size: usize) -> Heard {
    let mut heard = Heard::default();
    let mut arguments: Vec<String> = Vec::new();
    let mut begun = 0;
    let mut split = Reader::default();
    let mut events = Events::default();
    let mut hear = |event: Event<'_>| match event {
        Event::Start { id, model, .. } => {
            begun += 1;
            heard.id = id.unwrap().into_owned();
            heard.model = model.unwrap().into_owned();
        }
        Event::Text(text) => heard.text += &text,
        Event::Reasoning { text, .. } => heard.thoughts += &text,
        Event::Call {
            call,
            id,
            name,
            signature,
        } => {
            assert_eq!(usize::try_from(call).unwrap(), heard.calls.len());
            arguments.push(String::new());
            heard.calls.push((
                id.into_owned(),
                name.into_owned(),
                Value::Null,
                signature.map(std::borrow::Cow::into_owned),
            ));
        }
        Event::Arguments { call, text } => {
            arguments[usize::try_from(call).unwrap()] += &text;
        }
        Event::Usage(usage) => heard.usage = Some(usage),
        Event::Stop(why) => {
            assert_eq!(heard.stop, "");
            heard.stop = stop(&why);
        }
        other => panic!("{other:?}"),
    };
    for piece in text.as_bytes().chunks(size) {
        let mut at = 0;
        while let Some(ended) = split.next(piece, &mut at) {
            if let Ended::Data(data) = ended {
                events.read(std::str::from_utf8(data).unwrap(), &mut hear);
            }
        }
    }
    assert_eq!(begun, 1);
    for (call, text) in heard.calls.iter_mut().zip(&arguments) {
        call.2 = serde_json::from_str(text).unwrap();
    }
    heard
}

#[test]
fn whole_answers_say_what_they_say() {
    let files = files(".json");
    assert_eq!(files.len(), 7);
    for (name, text) in files {
        let answers = answers(&text);
        assert_eq!(whole(&text), expected(&answers), "{name}");
        if let [one] = answers.as_slice() {
            // The same answer, had no stream been asked for.
            assert_eq!(whole(&one.to_string()), expected(&answers), "{name}");
        }
    }
}

#[test]
fn streams_say_what_they_say_however_they_arrive() {
    let files = files(".sse");
    assert_eq!(files.len(), 11);
    for (name, text) in files {
        let answers = answers(&text);
        let expected = expected(&answers);
        assert_ne!(expected.stop, "", "{name}");
        let line_feeds = text.replace("\r\n", "\n");
        for text in [&text, &line_feeds] {
            for size in [1, 7, usize::MAX] {
                assert_eq!(streamed(text, size), expected, "{name} by {size}");
            }
        }
        let array = Value::Array(answers).to_string();
        assert_eq!(whole(&array), expected, "{name} as an array");
    }
}

#[test]
fn a_call_keeps_its_signature_and_a_thought_gets_the_one_of_what_it_led_to() {
    let (_, text) = files("test_native_output_with_function_tools_stream__0.sse").remove(0);
    let heard = streamed(&text, usize::MAX);
    let (id, name, arguments, signature) = &heard.calls[0];
    assert_eq!(
        (id.as_str(), name.as_str()),
        ("96c1su3s", "get_user_country")
    );
    assert_eq!(*arguments, json!({}));
    assert!(signature.as_ref().unwrap().starts_with("EpIDCo8D"));

    let (_, text) = files("test_google_model_thinking_part_iter__0.sse").remove(0);
    let array = Value::Array(answers(&text)).to_string();
    let reply = read_reply(&array).unwrap();
    let [Part::Reasoning { signature, .. }, Part::Text { .. }] = reply.parts.as_slice() else {
        panic!("{:?}", reply.parts);
    };
    let signature = signature.as_ref().unwrap();
    assert!(
        signature
            .strip_prefix(OURS)
            .unwrap()
            .starts_with("CiIB0e2K")
    );
}

#[test]
fn errors_say_what_kind_they_are() {
    let files = files(".err.json");
    assert_eq!(files.len(), 3);
    for (name, text) in files {
        let error = &serde_json::from_str::<Value>(&text).unwrap()["error"];
        for body in [text.clone(), format!("[{text}]")] {
            let failure = read_failure(500, body.as_bytes());
            assert_eq!(failure.message, error["message"], "{name}");
            assert_eq!(failure.code.as_deref(), error["status"].as_str());
            let kind = match error["code"].as_u64().unwrap() {
                404 => FailureKind::NotFound,
                _ => FailureKind::Invalid,
            };
            assert_eq!(failure.kind, kind, "{name}");
        }
    }
}
