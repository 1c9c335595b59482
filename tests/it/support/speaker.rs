//! A provider that answers in the dialect of the path it is asked on: one text, or one call of a tool,
//! always of the same eleven input and seven output tokens.

use super::faults::{Peer, Scripted};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// What every answer says.
pub(crate) const TEXT: &str = "Grüße from the provider";

/// The arguments of the call.
pub(crate) const ARGUMENTS: &str = r#"{"city":"Köln"}"#;

/// A running provider of every dialect.
pub(crate) struct Speaker {
    script: Scripted,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Speaker {
    /// Starts one. What it does is said in the prompt: `DO-error` for an error, `DO-cut` for a
    /// stream that breaks off; a request with tools gets a call.
    pub(crate) async fn start() -> Self {
        let asked = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let seen = Arc::clone(&asked);
        let script = Scripted::start(move |_, peer| serve(peer, Arc::clone(&seen))).await;
        Self { script, asked }
    }

    /// `http://` and its address.
    pub(crate) fn origin(&self) -> String {
        self.script.base_url().trim_end_matches("/v1").to_owned()
    }

    /// The last request: its path and body.
    pub(crate) fn last(&self) -> (String, Value) {
        let asked = self.asked.lock().unwrap();
        asked.last().cloned().expect("a request")
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn serve(mut peer: Peer, asked: Arc<Mutex<Vec<(String, Value)>>>) {
    while let Some(request) = peer.request().await {
        let path = request
            .head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        asked.lock().unwrap().push((path.clone(), body.clone()));
        let text = String::from_utf8_lossy(&request.body);
        let said = Said {
            tools: body.get("tools").is_some(),
            stream: body["stream"] == json!(true) || path.contains("stream"),
            cut: text.contains("DO-cut"),
        };
        let json = ["Content-Type: application/json"];
        if text.contains("DO-error") {
            let error = error(&path).to_string();
            peer.answer("400 Bad Request", &json, &error).await;
            continue;
        }
        if !said.stream {
            peer.answer("200 OK", &json, &whole(&path, &said).to_string())
                .await;
            continue;
        }
        peer.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
        )
        .await;
        let events = events(&path, &said);
        let most = if said.cut {
            events.len() / 2
        } else {
            events.len()
        };
        for event in &events[..most] {
            peer.write(event).await;
        }
        if said.cut {
            peer.reset();
        }
        return;
    }
}

/// What an answer is about.
struct Said {
    tools: bool,
    stream: bool,
    cut: bool,
}

fn error(path: &str) -> Value {
    let message = "The provider refuses this";
    if path.contains("/messages") {
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
    } else if path.contains(":") {
        json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
    } else {
        json!({"error": {"message": message, "type": "invalid_request_error", "code": "bad_thing", "param": null}})
    }
}

fn whole(path: &str, said: &Said) -> Value {
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    if path.contains("embeddings") {
        return json!({"object": "list", "model": "engine", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": 11, "total_tokens": 11}});
    }
    if path.contains("/responses") {
        let item = if said.tools {
            json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": ARGUMENTS, "status": "completed"})
        } else {
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": TEXT, "annotations": []}]})
        };
        return json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "engine",
            "output": [item], "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}});
    }
    if path.contains("/messages") {
        let block = if said.tools {
            json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": serde_json::from_str::<Value>(ARGUMENTS).unwrap()})
        } else {
            json!({"type": "text", "text": TEXT})
        };
        return json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "engine", "content": [block],
            "stop_reason": if said.tools { "tool_use" } else { "end_turn" }, "stop_sequence": null,
            "usage": {"input_tokens": 11, "output_tokens": 7}});
    }
    if path.contains(":") {
        return gemini(said, 0, 1);
    }
    if path.contains("/chat/") {
        let message = if said.tools {
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "weather", "arguments": ARGUMENTS}}]})
        } else {
            json!({"role": "assistant", "content": TEXT})
        };
        let finish = if said.tools { "tool_calls" } else { "stop" };
        return json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "engine",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage});
    }
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "engine",
        "choices": [{"index": 0, "text": TEXT, "logprobs": null, "finish_reason": "stop"}], "usage": usage})
}

/// Part `index` of `of` of Google's answer.
fn gemini(said: &Said, index: usize, of: usize) -> Value {
    let part = if said.tools {
        json!({"functionCall": {"name": "weather", "args": serde_json::from_str::<Value>(ARGUMENTS).unwrap()}})
    } else {
        json!({"text": pieces(TEXT, of)[index]})
    };
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    if index + 1 == of {
        candidate["finishReason"] = json!("STOP");
    }
    json!({"responseId": "resp1", "modelVersion": "engine", "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}})
}

/// `text` in `count` pieces.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    let size = all.len().div_ceil(count);
    all.chunks(size)
        .map(|piece| piece.iter().collect())
        .collect()
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn named(value: &Value) -> String {
    format!(
        "event: {}\ndata: {value}\n\n",
        value["type"].as_str().unwrap()
    )
}

fn events(path: &str, said: &Said) -> Vec<String> {
    if path.contains("/responses") {
        return responses(said);
    }
    if path.contains("/messages") {
        return messages(said);
    }
    if path.contains(":") {
        let parts = if said.tools { 1 } else { 3 };
        return (0..parts)
            .map(|at| data(&gemini(said, at, parts)))
            .collect();
    }
    let chat = path.contains("/chat/");
    let chunk = |choices: Value| {
        let object = if chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        json!({"id": "x-1", "object": object, "created": 1, "model": "engine", "choices": choices})
    };
    let mut all = Vec::new();
    if chat && said.tools {
        for (at, piece) in pieces(ARGUMENTS, 3).iter().enumerate() {
            let call = if at == 0 {
                json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": piece}})
            } else {
                json!({"index": 0, "function": {"arguments": piece}})
            };
            all.push(data(&chunk(
                json!([{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]),
            )));
        }
        all.push(data(&chunk(
            json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
        )));
    } else {
        for piece in pieces(TEXT, 3) {
            let choice = if chat {
                json!([{"index": 0, "delta": {"content": piece}, "finish_reason": null}])
            } else {
                json!([{"index": 0, "text": piece, "logprobs": null, "finish_reason": null}])
            };
            all.push(data(&chunk(choice)));
        }
        let last = if chat {
            json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        } else {
            json!([{"index": 0, "text": "", "logprobs": null, "finish_reason": "stop"}])
        };
        all.push(data(&chunk(last)));
    }
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    all.push(data(&usage));
    all.push("data: [DONE]\n\n".to_owned());
    all
}

fn messages(said: &Said) -> Vec<String> {
    let mut all = vec![named(
        &json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
        "role": "assistant", "model": "engine", "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 11, "output_tokens": 1}}}),
    )];
    let (block, kind, field, text) = if said.tools {
        let block = json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}});
        (block, "input_json_delta", "partial_json", ARGUMENTS)
    } else {
        (
            json!({"type": "text", "text": ""}),
            "text_delta",
            "text",
            TEXT,
        )
    };
    all.push(named(
        &json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ));
    all.push(named(&json!({"type": "ping"})));
    for piece in pieces(text, 3) {
        let delta = json!({"type": kind, field: piece});
        all.push(named(
            &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
    }
    all.push(named(&json!({"type": "content_block_stop", "index": 0})));
    let stop = if said.tools { "tool_use" } else { "end_turn" };
    all.push(named(
        &json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null},
        "usage": {"output_tokens": 7}}),
    ));
    all.push(named(&json!({"type": "message_stop"})));
    all
}

fn responses(said: &Said) -> Vec<String> {
    let done = whole("/responses", said);
    let mut begun = done.clone();
    begun["output"] = json!([]);
    begun["status"] = json!("in_progress");
    begun["usage"] = json!(null);
    let mut all = vec![json!({"type": "response.created", "response": begun})];
    let item = &done["output"][0];
    let mut empty = item.clone();
    empty["status"] = json!("in_progress");
    if said.tools {
        empty["arguments"] = json!("");
        all.push(json!({"type": "response.output_item.added", "output_index": 0, "item": empty}));
        for piece in pieces(ARGUMENTS, 3) {
            all.push(json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 0, "delta": piece}));
        }
        all.push(json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0, "arguments": ARGUMENTS}));
    } else {
        empty["content"] = json!([]);
        all.push(json!({"type": "response.output_item.added", "output_index": 0, "item": empty}));
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        all.push(json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part}));
        for piece in pieces(TEXT, 3) {
            all.push(json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": piece}));
        }
        all.push(json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": TEXT}));
    }
    all.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
    all.push(json!({"type": "response.completed", "response": done}));
    let number = |(at, mut event): (usize, Value)| {
        event["sequence_number"] = json!(at);
        named(&event)
    };
    all.into_iter().enumerate().map(number).collect()
}
