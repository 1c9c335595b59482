//! What it costs to read an answer while it passes, per chunk of a stream.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir::stream::{AnswerKind, Meter, MeterOptions};

const CHUNKS: u64 = 1000;

fn chunk(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"gen-1765880036-644f11dd4d\",\"provider\":\"OpenAI\",\"model\":\"openai/gpt-4o\",\
         \"object\":\"chat.completion.chunk\",\"created\":1765880036,\"choices\":[{{\"index\":0,\"delta\":{delta},\
         \"finish_reason\":null,\"native_finish_reason\":null,\"logprobs\":null}}]}}\n\n"
    )
}

fn meter(criterion: &mut Criterion) {
    let words = [
        "Once", " upon", " a", " time,", " there", " was", "\\n", " budget",
    ];
    let ordinary: Vec<_> = (0..CHUNKS)
        .zip(words.iter().cycle())
        .map(|(_, word)| {
            Bytes::from(chunk(&format!(
                "{{\"role\":\"assistant\",\"content\":\"{word}\"}}"
            )))
        })
        .collect();
    let tools: Vec<_> = (0..CHUNKS)
        .map(|_| {
            Bytes::from(chunk(
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":"}}]}"#,
            ))
        })
        .collect();
    let halves: Vec<_> = ordinary
        .iter()
        .flat_map(|piece| {
            [
                piece.slice(..piece.len() / 2),
                piece.slice(piece.len() / 2..),
            ]
        })
        .collect();
    let mut group = criterion.benchmark_group("stream of 1000 chunks");
    group.throughput(Throughput::Elements(CHUNKS));
    for (name, pieces, change) in [
        ("read only", &ordinary, false),
        ("strip and insert", &ordinary, true),
        ("tool calls, strip and insert", &tools, true),
        ("in halves, strip and insert", &halves, true),
    ] {
        let options = MeterOptions {
            strip_usage_chunk: change,
            insert_before_done: change,
            ..MeterOptions::default()
        };
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || pieces.clone(),
                |pieces| {
                    let mut meter = Meter::new(AnswerKind::EventStream, options);
                    for piece in pieces {
                        black_box(meter.push(piece));
                    }
                    meter.finish();
                    meter
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, meter);
criterion_main!(benches);
