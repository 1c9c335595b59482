//! What it costs to search texts for secrets and personal data, and to screen a stream.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir::guard::detect::{Rules, Wanted};
use weir::guard::finding::Action;
use weir::guard::screen::{Options, Screen, Setting};
use weir::stream::{AnswerKind, Meter, MeterOptions};
use weir::wire::Dialect;

const CHUNKS: usize = 1000;

/// The size of an agent's turn, in bytes.
const TURN: usize = 36_000;

const PROSE: &str = "You are a helpful assistant that works on a repository of code. Read the instructions before you \
    answer, keep to the style that is there, and say what you did not do. When a command fails, look at its output \
    first; do not guess. On 2026-11-21 the build took 42 seconds, and 3 of 128 tests were slow.\n";

const CODE: &str = "pub fn read_config(path: &Path) -> Result<Config, Error> {\n    let text = std::fs::read_to_string(path)?;\n    \
    let config: Config = serde_yaml::from_str(&text).map_err(|error| Error::Parse(error.to_string()))?;\n    \
    // See https://docs.rs/serde_yaml/0.9.34/serde_yaml/fn.from_str.html for what is accepted.\n    \
    if config.retries > 10 { return Err(Error::TooMany { field: \"retries\", most: 10 }); }\n    Ok(config)\n}\n\n";

const JSON: &str = "{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"tool_result\",\"tool_use_id\":\"toolu_01A09q90qw90lq917835lq9\",\
    \"lines\":[12,245,1024],\"name\":\"src/guard/detect/scan.rs\",\"token_count\":512,\"ok\":true},\n";

fn repeated(text: &str, length: usize) -> String {
    text.chars().cycle().take(length).collect()
}

fn find(criterion: &mut Criterion) {
    let rules = Rules::bundled();
    let mut group = criterion.benchmark_group("find in 36 kB");
    for (name, text) in [("prose", PROSE), ("code", CODE), ("json", JSON)] {
        let text = repeated(text, TURN);
        // Patterns are compiled when they are needed first.
        rules.find(&text, Wanted::ALL);
        group.throughput(Throughput::Bytes(TURN as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| rules.find(black_box(&text), Wanted::ALL))
        });
    }
    group.finish();
}

fn chunk(text: &str) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"gen-1765880036-644f11dd4d\",\"provider\":\"OpenAI\",\"model\":\"openai/gpt-4o\",\
         \"object\":\"chat.completion.chunk\",\"created\":1765880036,\"choices\":[{{\"index\":0,\"delta\":\
         {{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":null,\"native_finish_reason\":null,\"logprobs\":null}}]}}\n\n"
    ))
}

fn enforced() -> Options {
    Options {
        secrets: Setting::enforce(Action::Redact),
        pii: Setting::enforce(Action::Redact),
        leak: Setting::enforce(Action::Refuse),
        ..Options::default()
    }
}

fn stream(criterion: &mut Criterion) {
    let rules = Rules::bundled();
    let prose: Vec<&str> = PROSE.trim_end().split_inclusive(' ').collect();
    let pieces: Vec<Bytes> = prose
        .iter()
        .cycle()
        .take(CHUNKS)
        .map(|word| chunk(word))
        .collect();
    let mut group = criterion.benchmark_group("stream of 1000 chunks");
    group.throughput(Throughput::Elements(CHUNKS as u64));
    for (name, options) in [
        ("meter alone", None),
        ("meter and screen", Some(enforced())),
        (
            "meter and a screen that observes",
            Some(Options {
                secrets: Setting::observe(),
                pii: Setting::observe(),
                leak: Setting::observe(),
                ..Options::default()
            }),
        ),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || pieces.clone(),
                |pieces| {
                    let mut meter = Meter::new(AnswerKind::EventStream, MeterOptions::default());
                    let mut screen = options.clone().map(|options| {
                        Screen::new(
                            Dialect::Chat,
                            AnswerKind::EventStream,
                            rules.clone(),
                            options,
                        )
                    });
                    for piece in pieces {
                        let passed = meter.push(piece);
                        black_box(match &mut screen {
                            Some(screen) => screen.push(passed),
                            None => passed,
                        });
                    }
                    meter.finish();
                    screen.map(|mut screen| screen.finish())
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn load(criterion: &mut Criterion) {
    criterion.bench_function("load the rules", |bench| {
        bench.iter(|| Rules::parse(&[]).map(|rules| rules.len()))
    });
}

criterion_group!(benches, find, stream, load);
criterion_main!(benches);
