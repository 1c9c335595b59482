//! Every surface against every provider: what works, what it costs, and what is a documented 400.
//!
//! It prints the whole table; `docs/providers.md` says the same in short.

use crate::support::client;
use crate::support::speaker::{ARGUMENTS, Speaker, TEXT};
use crate::support::{Agent, Gateway, Reply, bounded};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The surfaces and the paths they are at.
const SURFACES: [(&str, &str); 6] = [
    ("chat", "/v1/chat/completions"),
    ("completions", "/v1/completions"),
    ("responses", "/v1/responses"),
    ("messages", "/v1/messages"),
    ("embeddings", "/v1/embeddings"),
    ("titan", "/proxy/NAME"),
];

/// The kinds of providers, and what follows the address in their base URL.
const PROVIDERS: [(&str, &str); 7] = [
    ("openai", "/v1"),
    ("openai-compatible", "/v1"),
    ("openrouter", "/api/v1"),
    ("azure", ""),
    ("anthropic", ""),
    ("google", ""),
    ("openclaw", ""),
];

const FEATURES: [&str; 7] = [
    "plain",
    "stream",
    "tools",
    "tools streamed",
    "image",
    "error",
    "disconnect",
];

/// Eleven tokens at one dollar and seven at two dollars per million, in nano-dollars.
const COST: i64 = 11 * 1000 + 7 * 2000;

/// What a surface's own API has no word for, so that nobody can ask for it.
fn has_no_word(surface: &str, feature: &str) -> bool {
    match surface {
        "completions" => matches!(feature, "tools" | "tools streamed" | "image"),
        "embeddings" => !matches!(feature, "plain" | "error"),
        _ => false,
    }
}

/// What is a 400 by design, with the field that it names.
fn documented(surface: &str, provider: &str) -> Option<&'static str> {
    let without = ["anthropic", "openclaw"];
    (surface == "embeddings" && without.contains(&provider)).then_some("model")
}

fn body(surface: &str, model: &str, feature: &str) -> Value {
    let prompt = match feature {
        "error" => "DO-error",
        "disconnect" => "DO-cut",
        _ => "hello",
    };
    let stream = matches!(feature, "stream" | "tools streamed" | "disconnect");
    let tools = feature.starts_with("tools");
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let url = format!("data:image/png;base64,{pixel}");
    let mut body = match surface {
        "embeddings" => return json!({"model": model, "input": prompt}),
        "completions" => json!({"model": model, "prompt": prompt, "max_tokens": 50}),
        "responses" => {
            let content = if feature == "image" {
                json!([{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": url}])
            } else {
                json!(prompt)
            };
            json!({"model": model, "input": [{"role": "user", "content": content}], "max_output_tokens": 50})
        }
        "messages" => {
            let content = if feature == "image" {
                let source = json!({"type": "base64", "media_type": "image/png", "data": pixel});
                json!([{"type": "text", "text": prompt}, {"type": "image", "source": source}])
            } else {
                json!(prompt)
            };
            json!({"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 50})
        }
        _ => {
            let content = if feature == "image" {
                json!([{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}])
            } else {
                json!(prompt)
            };
            json!({"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 50})
        }
    };
    if stream {
        body["stream"] = json!(true);
    }
    if tools {
        body["tools"] = match surface {
            "messages" => json!([{"name": "weather", "input_schema": schema}]),
            "responses" => json!([{"type": "function", "name": "weather", "parameters": schema}]),
            _ => {
                json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}])
            }
        };
    }
    body
}

/// What an answer said, however its surface says it.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    arguments: String,
    stop: String,
    usage: (u64, u64),
    ended: bool,
    error: bool,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn usage(value: &Value) -> Option<(u64, u64)> {
    let count = |a: &str, b: &str| value[a].as_u64().or(value[b].as_u64());
    let input = count("prompt_tokens", "input_tokens")?;
    Some((
        input,
        count("completion_tokens", "output_tokens").unwrap_or(0),
    ))
}

fn whole(surface: &str, reply: &Reply) -> Heard {
    let body = reply.json();
    let mut heard = Heard {
        usage: usage(&body["usage"]).unwrap_or_default(),
        ended: true,
        ..Heard::default()
    };
    match surface {
        "responses" => {
            for item in body["output"].as_array().unwrap() {
                heard.arguments += text(&item["arguments"]);
                for part in item["content"].as_array().into_iter().flatten() {
                    heard.text += text(&part["text"]);
                }
            }
            heard.stop = text(&body["status"]).to_owned();
        }
        "messages" => {
            for block in body["content"].as_array().unwrap() {
                heard.text += text(&block["text"]);
                if block["type"] == "tool_use" {
                    heard.arguments += &block["input"].to_string();
                }
            }
            heard.stop = text(&body["stop_reason"]).to_owned();
        }
        "embeddings" => heard.text = body["data"][0]["embedding"].to_string(),
        _ => {
            let choice = &body["choices"][0];
            heard.text = text(&choice["message"]["content"]).to_owned() + text(&choice["text"]);
            let call = &choice["message"]["tool_calls"][0]["function"];
            heard.arguments = text(&call["arguments"]).to_owned();
            heard.stop = text(&choice["finish_reason"]).to_owned();
        }
    }
    heard
}

fn streamed(surface: &str, reply: &Reply) -> Heard {
    let mut heard = Heard::default();
    for event in reply.events() {
        heard.error |= event.get("error").is_some_and(|error| !error.is_null())
            || event["type"] == "error"
            || event["type"] == "response.failed";
        heard.usage = usage(&event["usage"])
            .or(usage(&event["response"]["usage"]))
            .or(usage(&event["message"]["usage"]))
            .unwrap_or(heard.usage);
        if let Some(output) = event["usage"]["output_tokens"].as_u64() {
            heard.usage.1 = output;
        }
        match surface {
            "responses" => match text(&event["type"]) {
                "response.output_text.delta" => heard.text += text(&event["delta"]),
                "response.function_call_arguments.delta" => {
                    heard.arguments += text(&event["delta"])
                }
                "response.completed" => {
                    heard.ended = true;
                    heard.stop = text(&event["response"]["status"]).to_owned();
                }
                _ => {}
            },
            "messages" => {
                heard.text += text(&event["delta"]["text"]);
                heard.arguments += text(&event["delta"]["partial_json"]);
                heard.stop += text(&event["delta"]["stop_reason"]);
                heard.ended |= event["type"] == "message_stop";
            }
            _ => {
                for choice in event["choices"].as_array().into_iter().flatten() {
                    heard.text += text(&choice["delta"]["content"]);
                    heard.text += text(&choice["text"]);
                    let call = &choice["delta"]["tool_calls"][0]["function"];
                    heard.arguments += text(&call["arguments"]);
                    heard.stop += text(&choice["finish_reason"]);
                }
            }
        }
    }
    heard.ended |= reply.done();
    heard
}

/// How a surface says that an answer is complete, and that a tool is called.
fn stop(surface: &str, tools: bool) -> &'static str {
    match (surface, tools) {
        ("embeddings", _) => "",
        ("responses", _) => "completed",
        ("messages", true) => "tool_use",
        ("messages", false) => "end_turn",
        (_, true) => "tool_calls",
        (_, false) => "stop",
    }
}

struct Cell {
    surface: &'static str,
    provider: &'static str,
    feature: &'static str,
}

impl Cell {
    /// What is wrong with it; nothing when it works, or is refused as documented.
    fn check(&self, reply: &Reply, reached: bool) -> Result<&'static str, String> {
        let Self {
            surface,
            provider,
            feature,
        } = self;
        if let Some(field) = documented(surface, provider) {
            let told = reply.status == 400 && reply.text().contains(field) && !reached;
            return if told {
                Ok("400")
            } else {
                Err(format!("not refused: {} {}", reply.status, reply.text()))
            };
        }
        if *feature == "error" {
            let body = reply.json();
            let message = match *surface {
                "titan" if body["detail"].is_string() => &body["detail"],
                _ => &body["error"]["message"],
            };
            let anthropic = *surface != "messages" || body["type"] == "error";
            let right = reply.status == 400 && text(message).contains("refuses this") && anthropic;
            return if right {
                Ok("error")
            } else {
                Err(format!("{} {body}", reply.status))
            };
        }
        if reply.status != 200 {
            return Err(format!("{} {}", reply.status, reply.text()));
        }
        let tools = feature.starts_with("tools");
        let stream = matches!(*feature, "stream" | "tools streamed" | "disconnect");
        let heard = if stream {
            streamed(surface, reply)
        } else {
            whole(surface, reply)
        };
        if *feature == "disconnect" {
            let right = heard.error && !heard.ended && TEXT.starts_with(&heard.text);
            return if right {
                Ok("told")
            } else {
                Err(format!("{heard:?}\n{}", reply.text()))
            };
        }
        let arguments: Value = serde_json::from_str(&heard.arguments).unwrap_or(Value::Null);
        let expected: Value = serde_json::from_str(ARGUMENTS).unwrap();
        let said = match (*surface, tools) {
            ("embeddings", _) => heard.text == "[0.5]",
            (_, true) => arguments == expected,
            (_, false) => heard.text == TEXT,
        };
        // A chat client that does not ask for usage in a stream gets none.
        let asked = !(stream && matches!(*surface, "chat" | "completions" | "titan"));
        let output = if *surface == "embeddings" { 0 } else { 7 };
        let counted = !asked || heard.usage == (11, output);
        let right =
            said && counted && heard.ended && !heard.error && heard.stop == stop(surface, tools);
        if right {
            Ok("yes")
        } else {
            Err(format!("{heard:?}\n{}", reply.text()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_surface_reaches_every_provider() {
    let speaker = Speaker::start().await;
    let mut yaml = String::from("providers:\n");
    for (kind, tail) in PROVIDERS {
        let _ = writeln!(
            yaml,
            "  at-{kind}: {{kind: {kind}, base_url: \"{}{tail}\", api_key: sk-test-0123456789}}",
            speaker.origin()
        );
    }
    yaml += "models:\n";
    for (kind, _) in PROVIDERS {
        let _ = writeln!(
            yaml,
            "  on-{kind}: {{provider: at-{kind}, engine: engine, input_cost: 0.000001, output_cost: 0.000002, max_tokens: 100}}"
        );
    }
    let gateway = Gateway::at("http://127.0.0.1:9/v1")
        .models(&yaml)
        .routing("metadata: false")
        .agent(Agent::new("default", "10").untiered())
        .agent(Agent::new("cut", "10").untiered())
        .start()
        .await;
    let http = client::http();
    let mut table = String::from("| surface | provider |");
    for feature in FEATURES {
        let _ = write!(table, " {feature} |");
    }
    let mut wrong = Vec::new();
    let mut paid = 0;
    for (surface, path) in SURFACES {
        for (provider, _) in PROVIDERS {
            let _ = write!(table, "\n| {surface} | {provider} |");
            for feature in FEATURES {
                if has_no_word(surface, feature) {
                    table += " - |";
                    continue;
                }
                let model = format!("on-{provider}");
                let url = gateway.url(&path.replace("NAME", &model));
                let before = speaker.count();
                let agent = if feature == "disconnect" {
                    "cut"
                } else {
                    "default"
                };
                let request = http.post(url).json(&body(surface, &model, feature));
                let request = request.header("x-agent-id", agent);
                let cell = Cell {
                    surface,
                    provider,
                    feature,
                };
                let reply = match bounded("an answer", request.send()).await {
                    Ok(reply) => Reply::read(reply).await,
                    Err(error) => {
                        wrong.push(format!("{surface} x {provider} x {feature}: {error}"));
                        continue;
                    }
                };
                match cell.check(&reply, speaker.count() > before) {
                    Ok(word) => {
                        let _ = write!(table, " {word} |");
                        paid += match (word, surface) {
                            ("yes", "embeddings") => 11 * 1000,
                            ("yes", _) => COST,
                            _ => 0,
                        };
                    }
                    Err(why) => {
                        table += " WRONG |";
                        wrong.push(format!("{surface} x {provider} x {feature}: {why}"));
                    }
                }
            }
        }
    }
    println!("{table}");
    assert!(
        wrong.is_empty(),
        "{} cells:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    gateway.quiet().await;
    let nanos = |bill: &Value| bill["nano_usd"].as_i64().unwrap();
    let bills = gateway.bills("default");
    assert!(bills.iter().all(|bill| bill["source"] == "usage"));
    let exact: i64 = bills.iter().map(nanos).sum();
    assert_eq!(exact, paid, "every answer costs what its tokens cost");
    let cut = gateway.bills("cut");
    assert_eq!(
        cut.len(),
        5 * PROVIDERS.len(),
        "one bill for every stream that was cut"
    );
    assert!(cut.iter().all(|bill| nanos(bill) > 0));
}
