//! Answers as providers stream them, in the words of three APIs, and what a client reads in them.
//!
//! The library's own tests use this file, too.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The API of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Messages,
    Responses,
}

pub(crate) const APIS: [Api; 3] = [Api::Chat, Api::Messages, Api::Responses];

/// The ways a text is put into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Cut where it is asked for.
    Plain,
    /// Every character is an event.
    PerCharacter,
    /// Every character is written as `\u....`.
    Escaped,
    /// Lines end with CR LF.
    CrLf,
    /// Between the pieces of a second text and of the arguments of two calls.
    Interleaved,
}

pub(crate) const ENCODINGS: [Encoding; 5] = [
    Encoding::Plain,
    Encoding::PerCharacter,
    Encoding::Escaped,
    Encoding::CrLf,
    Encoding::Interleaved,
];

/// A piece of one of the texts of an answer. 0 and 1 are texts, 2 and 3 arguments of calls.
type Piece = (usize, String);

/// A stream that says `text`, cut at these bytes.
pub(crate) fn stream(api: Api, text: &str, cuts: &[usize], encoding: Encoding) -> String {
    let pieces = pieces(text, cuts, encoding);
    let events = match api {
        Api::Chat => chat(&pieces),
        Api::Messages => messages(&pieces),
        Api::Responses => responses(&pieces),
    };
    let mut all = String::new();
    for event in &events {
        if api != Api::Chat {
            all += &format!("event: {}\n", event["type"].as_str().unwrap());
        }
        all += &format!("data: {}\n\n", unveiled(&event.to_string()));
    }
    if api == Api::Chat {
        all += "data: [DONE]\n\n";
    }
    match encoding {
        Encoding::CrLf => all.replace('\n', "\r\n"),
        _ => all,
    }
}

fn pieces(text: &str, cuts: &[usize], encoding: Encoding) -> Vec<Piece> {
    let mut parts: Vec<String> = match encoding {
        Encoding::PerCharacter => text.chars().map(String::from).collect(),
        _ => {
            let ends = cuts.iter().copied().chain([text.len()]);
            let mut from = 0;
            ends.map(|to| text[std::mem::replace(&mut from, to)..to].to_owned())
                .collect()
        }
    };
    if encoding == Encoding::Escaped {
        parts = parts.iter().map(|part| veiled(part)).collect();
    }
    if encoding != Encoding::Interleaved {
        return parts.into_iter().map(|part| (0, part)).collect();
    }
    let mut all = vec![(2, "{\"said\":\"".to_owned()), (3, "{\"n\":[0".to_owned())];
    for part in parts {
        let quoted = json!(part).to_string();
        all.push((2, quoted[1..quoted.len() - 1].to_owned()));
        all.push((0, part.clone()));
        all.push((1, part));
        all.push((3, ",1".to_owned()));
    }
    all.extend([(2, "\"}".to_owned()), (3, "]}".to_owned())]);
    all
}

/// Where characters are put that are to be escaped: a plane that no text uses.
const VEIL: u32 = 0xF_0000;

fn veiled(text: &str) -> String {
    let veil = |letter: char| match u32::from(letter) {
        code @ ..0x1_0000 => char::from_u32(VEIL + code).unwrap(),
        _ => letter,
    };
    text.chars().map(veil).collect()
}

fn unveiled(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        match u32::from(letter).checked_sub(VEIL) {
            Some(code) => out += &format!("\\u{code:04x}"),
            None => out.push(letter),
        }
    }
    out
}

/// What one of the texts says in all.
fn whole(pieces: &[Piece], of: usize) -> String {
    let own = pieces.iter().filter(|(lane, _)| *lane == of);
    own.map(|(_, piece)| piece.as_str()).collect()
}

/// The texts that there are, in order.
fn lanes(pieces: &[Piece]) -> Vec<usize> {
    let has = |lane: &usize| pieces.iter().any(|(own, _)| own == lane);
    (0..4).filter(has).collect()
}

fn chat(pieces: &[Piece]) -> Vec<Value> {
    let chunk = |choices: Value| json!({"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "engine", "choices": choices});
    let mut all = Vec::new();
    let mut called = [false; 4];
    for (lane, piece) in pieces {
        let (choice, delta) = match lane {
            0 | 1 => (*lane, json!({"content": piece})),
            _ => {
                let mut call = json!({"index": lane - 2, "function": {"arguments": piece}});
                if !std::mem::replace(&mut called[*lane], true) {
                    call["id"] = json!(format!("call_{lane}"));
                    call["type"] = json!("function");
                    call["function"]["name"] = json!("tell");
                }
                (0, json!({"tool_calls": [call]}))
            }
        };
        all.push(chunk(
            json!([{"index": choice, "delta": delta, "finish_reason": null}]),
        ));
    }
    for choice in lanes(pieces).into_iter().filter(|lane| *lane < 2) {
        all.push(chunk(
            json!([{"index": choice, "delta": {}, "finish_reason": "stop"}]),
        ));
    }
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    all.push(usage);
    all
}

fn messages(pieces: &[Piece]) -> Vec<Value> {
    let lanes = lanes(pieces);
    let mut all = vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "engine",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 11, "output_tokens": 1}}}),
    ];
    for lane in &lanes {
        let block = match lane {
            0 | 1 => json!({"type": "text", "text": ""}),
            _ => {
                json!({"type": "tool_use", "id": format!("toolu_{lane}"), "name": "tell", "input": {}})
            }
        };
        all.push(json!({"type": "content_block_start", "index": lane, "content_block": block}));
    }
    all.push(json!({"type": "ping"}));
    for (lane, piece) in pieces {
        let delta = match lane {
            0 | 1 => json!({"type": "text_delta", "text": piece}),
            _ => json!({"type": "input_json_delta", "partial_json": piece}),
        };
        all.push(json!({"type": "content_block_delta", "index": lane, "delta": delta}));
    }
    for lane in &lanes {
        all.push(json!({"type": "content_block_stop", "index": lane}));
    }
    all.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 7}}));
    all.push(json!({"type": "message_stop"}));
    all
}

fn responses(pieces: &[Piece]) -> Vec<Value> {
    let lanes = lanes(pieces);
    let item = |lane: usize, done: bool| {
        let status = if done { "completed" } else { "in_progress" };
        let said = whole(pieces, lane);
        if lane > 1 {
            let arguments = if done { said } else { String::new() };
            return json!({"type": "function_call", "id": format!("fc_{lane}"), "call_id": format!("call_{lane}"), "name": "tell",
                "arguments": arguments, "status": status});
        }
        let content = if done {
            json!([{"type": "output_text", "text": said, "annotations": []}])
        } else {
            json!([])
        };
        json!({"type": "message", "id": format!("msg_{lane}"), "role": "assistant", "status": status, "content": content})
    };
    let response = |status: &str, output: Vec<Value>, usage: Value| json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "engine", "output": output, "usage": usage});
    let mut all = vec![
        json!({"type": "response.created", "response": response("in_progress", Vec::new(), Value::Null)}),
    ];
    for &lane in &lanes {
        all.push(json!({"type": "response.output_item.added", "output_index": lane, "item": item(lane, false)}));
        if lane < 2 {
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            all.push(json!({"type": "response.content_part.added", "item_id": format!("msg_{lane}"), "output_index": lane, "content_index": 0, "part": part}));
        }
    }
    for (lane, piece) in pieces {
        all.push(match lane {
            0 | 1 => json!({"type": "response.output_text.delta", "item_id": format!("msg_{lane}"), "output_index": lane, "content_index": 0, "delta": piece}),
            _ => json!({"type": "response.function_call_arguments.delta", "item_id": format!("fc_{lane}"), "output_index": lane, "delta": piece}),
        });
    }
    for &lane in &lanes {
        let said = whole(pieces, lane);
        all.push(match lane {
            0 | 1 => json!({"type": "response.output_text.done", "item_id": format!("msg_{lane}"), "output_index": lane, "content_index": 0, "text": said}),
            _ => json!({"type": "response.function_call_arguments.done", "item_id": format!("fc_{lane}"), "output_index": lane, "arguments": said}),
        });
        all.push(json!({"type": "response.output_item.done", "output_index": lane, "item": item(lane, true)}));
    }
    let usage = json!({"input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}});
    let output = lanes.iter().map(|&lane| item(lane, true)).collect();
    all.push(
        json!({"type": "response.completed", "response": response("completed", output, usage)}),
    );
    for (number, event) in all.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    all
}

/// The texts that a client puts together from a stream, by what they are. A text that is told again at the
/// end is there again.
pub(crate) fn heard(stream: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::<String, String>::new();
    let mut add = |name: String, text: &Value| {
        if let Some(text) = text.as_str() {
            *texts.entry(name).or_default() += text;
        }
    };
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    for data in data.filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).expect("every event is JSON");
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = &choice["index"];
            add(format!("content {index}"), &choice["delta"]["content"]);
            for call in choice["delta"]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let name = format!("arguments {index} {}", call["index"]);
                add(name, &call["function"]["arguments"]);
            }
        }
        let (block, item) = (&event["index"], &event["output_index"]);
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                add(format!("content {block}"), &event["content_block"]["text"]);
            }
            "content_block_delta" => {
                add(format!("content {block}"), &event["delta"]["text"]);
                add(
                    format!("arguments {block}"),
                    &event["delta"]["partial_json"],
                );
            }
            "response.output_text.delta" => add(format!("content {item}"), &event["delta"]),
            "response.output_text.done" => add(format!("content {item} again"), &event["text"]),
            "response.function_call_arguments.delta" => {
                add(format!("arguments {item}"), &event["delta"]);
            }
            "response.function_call_arguments.done" => {
                add(format!("arguments {item} again"), &event["arguments"]);
            }
            "response.completed" => {
                let items = event["response"]["output"].as_array();
                for (index, item) in items.into_iter().flatten().enumerate() {
                    let content = &item["content"][0]["text"];
                    add(format!("content {index} at the end"), content);
                    add(format!("arguments {index} at the end"), &item["arguments"]);
                }
            }
            _ => {}
        }
    }
    texts
}

/// A text without its JSON escapes, whatever else it is.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        let code = rest.strip_prefix('u').and_then(|rest| rest.get(..4));
        let letter = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        if let Some(letter) = letter {
            out.push(letter);
            rest = &rest[5..];
        }
    }
    out + rest
}

/// Every way to read a stream: as it is, as its texts, and both without their escapes.
pub(crate) fn readings(stream: &str) -> Vec<String> {
    let mut all = vec![stream.to_owned()];
    all.extend(heard(stream).into_values());
    let more: Vec<String> = all.iter().map(|text| unescaped(text)).collect();
    all.extend(more);
    all
}

/// Fails unless the value cannot be read in what left of a stream, and what stood before and behind it can,
/// in each of the texts that had it. `how` is told then.
pub(crate) fn must_be_without(value: &str, text: &str, left: &str, how: &impl Debug) {
    for reading in readings(left) {
        assert!(!reading.contains(value), "{value} left, {how:?}: {left}");
    }
    let (before, after) = text.split_once(value).expect("the text has the value");
    // A first word of nothing but letters could be any word, and need not wait.
    let letters = value.bytes().take_while(u8::is_ascii_alphabetic).count();
    let is_redacted = |inner: &str| {
        inner.find("[REDACTED_").is_some_and(|at| {
            at <= letters && value.starts_with(&inner[..at]) && inner.ends_with(']')
        })
    };
    let heard = heard(left);
    let contents = heard.iter().filter(|(name, _)| name.starts_with("content"));
    let mut count = 0;
    for (name, said) in contents {
        let inner = said
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        assert!(
            inner.is_some_and(is_redacted),
            "{value}, {how:?}: {name} is {said:?}"
        );
        count += 1;
    }
    assert!(count > 0, "{value}, {how:?}: nothing was said: {left}");
}
