//! What it costs to read a request and to write the one that is sent.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use weir::json::{Limits, object};
use weir::provider::openrouter::OpenRouter;
use weir::provider::{Provider as _, Rewrite};
use weir::surface::chat::parse;

const PROSE: &str = "The quick brown fox jumps over the lazy dog, and then it does so once more. ";
const CODE: &str = "\tfn add(left: &str) -> String {\n\t\tformat!(\"{left}\\n\")\n\t}\n";

/// A request of about `size` bytes whose only message repeats `text`.
fn request(text: &str, size: usize) -> Vec<u8> {
    let content = text.repeat(size / Value::from(text).to_string().len());
    let request = json!({
        "model": "openai/gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        "stream": true,
        "max_tokens": 1000,
        "temperature": 0.5,
    });
    request.to_string().into_bytes()
}

/// What an agent sends: many tools and a conversation of many short messages.
fn agent() -> Vec<u8> {
    let tool = |number: usize| {
        let parameter = |name: &str| json!({"type": "string", "description": name.repeat(9)});
        json!({"type": "function", "function": {
            "name": format!("tool_{number}"),
            "description": PROSE.repeat(8),
            "parameters": {"type": "object", "required": ["path"], "properties": {
                "path": parameter("the path"), "text": parameter("the text"), "mode": parameter("the mode"),
            }},
        }})
    };
    let message = |number: usize| json!({"role": "user", "content": [{"type": "text", "text": CODE.repeat(number % 5)}]});
    let request = json!({
        "model": "openai/gpt-4o",
        "messages": (0..120).map(message).collect::<Vec<_>>(),
        "tools": (0..12).map(tool).collect::<Vec<_>>(),
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_completion_tokens": 4096,
    });
    request.to_string().into_bytes()
}

fn admit(criterion: &mut Criterion) {
    let models = [
        "anthropic/claude-sonnet-4".to_owned(),
        "openai/gpt-4o".to_owned(),
    ];
    let rewrite = Rewrite {
        fallbacks: &models,
        max_tokens: Some(("max_tokens", 800)),
        ..Rewrite::default()
    };
    for (name, request) in [
        ("prose 1 KB", request(PROSE, 1_000)),
        ("prose 100 KB", request(PROSE, 100_000)),
        ("code 100 KB", request(CODE, 100_000)),
        ("agent 36 KB", agent()),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function("json", |bench| {
            bench.iter(|| object(black_box(&request), Limits::default()));
        });
        group.bench_function("chat", |bench| {
            bench.iter(|| parse(black_box(&request), Limits::default()));
        });
        let parsed = parse(&request, Limits::default()).expect("a valid request");
        group.bench_function("body", |bench| {
            bench.iter(|| OpenRouter.body(black_box(&parsed), &rewrite))
        });
        group.bench_function("serde_json to a tree", |bench| {
            bench.iter(|| serde_json::from_slice::<Value>(black_box(&request)));
        });
        group.finish();
    }
}

criterion_group!(benches, admit);
criterion_main!(benches);
