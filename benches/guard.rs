//! What it costs to find the texts of a request and to judge them, when they are new and when they came before.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use std::hint::black_box;
use weir::guard::finding::Action;
use weir::guard::injection::{Options, Rules};
use weir::guard::screen::Setting;
use weir::guard::text::passages;
use weir::guard::{Passage, detect, input};
use weir::wire::Dialect;

const PROSE: &str = "You are a helpful assistant that works on a repository of code. Read the instructions before you \
    answer, keep to the style that is there, and say what you did not do. When a command fails, look at its output \
    first; do not guess. On 2026-11-21 the build took 42 seconds, and 3 of 128 tests were slow.\n";

const CODE: &str = "pub fn read_config(path: &Path) -> Result<Config, Error> {\n    let text = std::fs::read_to_string(path)?;\n    \
    let config: Config = serde_yaml::from_str(&text).map_err(|error| Error::Parse(error.to_string()))?;\n    \
    // See https://docs.rs/serde_yaml/0.9.34/serde_yaml/fn.from_str.html for what is accepted.\n    \
    if config.retries > 10 { return Err(Error::TooMany { field: \"retries\", most: 10 }); }\n    Ok(config)\n}\n\n";

const JSON: &str = "{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"tool_result\",\"lines\":[12,245,1024],\
    \"name\":\"src/guard/detect/scan.rs\",\"token_count\":512,\"ok\":true},\n";

fn cut(text: &str, length: usize) -> String {
    text.chars().cycle().take(length).collect()
}

/// An agent's turn of about 36 kB: its system prompt, two questions, three results of tools.
fn turn() -> String {
    let call = |id: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
            "function": {"name": "read", "arguments": "{\"path\":\"src/config.rs\"}"}}]})
    };
    json!({"model": "openai/gpt-4o", "messages": [
        {"role": "system", "content": cut(PROSE, 8_000)},
        {"role": "user", "content": "Please find out why the second test of the configuration fails."},
        call("call_1"),
        {"role": "tool", "tool_call_id": "call_1", "content": cut(CODE, 12_000)},
        call("call_2"),
        {"role": "tool", "tool_call_id": "call_2", "content": cut(JSON, 5_000)},
        call("call_3"),
        {"role": "tool", "tool_call_id": "call_3", "content": cut(PROSE, 6_000)},
        {"role": "user", "content": cut(PROSE, 2_000)},
    ]})
    .to_string()
}

/// The same texts, each with something at its end that nobody has seen before.
fn renewed<'t>(found: &'t [Passage<'t>], nonce: u64) -> Vec<Passage<'static>> {
    found
        .iter()
        .map(|passage| Passage::plain(passage.source, format!("{} {nonce}.", passage.text())))
        .collect()
}

fn judge(criterion: &mut Criterion) {
    let body = turn();
    let rules = Rules::bundled();
    let screen = detect::Rules::bundled();
    let options = input::Options {
        secrets: Setting::enforce(Action::Redact),
        pii: Setting::enforce(Action::Redact),
        contacts: false,
    };
    let found = passages(Dialect::Chat, &body);
    let mut nonce = 0_u64;
    let mut fresh = || {
        nonce += 1;
        renewed(&found, nonce)
    };
    let mut group = criterion.benchmark_group(format!("a turn of {} bytes", body.len()));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("find its texts", |bencher| {
        bencher.iter(|| passages(Dialect::Chat, black_box(&body)).len());
    });
    group.bench_function("judge texts that came before", |bencher| {
        bencher.iter(|| {
            let found = passages(Dialect::Chat, black_box(&body));
            rules.judge(&found, &Options::default()).attack
        });
    });
    group.bench_function("judge new texts", |bencher| {
        bencher.iter_batched(
            &mut fresh,
            |found| rules.judge(&found, &Options::default()).attack,
            BatchSize::LargeInput,
        );
    });
    group.bench_function("search texts that came before", |bencher| {
        bencher.iter(|| {
            let found = passages(Dialect::Chat, black_box(&body));
            input::redact(&body, &found, &screen, options).is_some()
        });
    });
    group.bench_function("search new texts", |bencher| {
        bencher.iter_batched(
            &mut fresh,
            |found| input::redact("", &found, &screen, options).is_some(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
