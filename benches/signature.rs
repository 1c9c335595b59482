//! What it costs to sign an answer while it passes: per chunk of a stream, and per whole answer.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use weir::signature::v1::{Asked, Form, Seal};
use weir::signature::{Key, Signer};

const CHUNKS: u64 = 1000;

fn signer(key: &Arc<Key>, form: Form, titan: bool, v1: bool) -> Signer {
    let seal = v1.then(|| Seal::new(Arc::clone(key), Arc::<Asked>::default(), form, 200));
    Signer::new(form, titan.then(|| Arc::clone(key)), seal, false)
}

fn sign(criterion: &mut Criterion) {
    let key = Key::new("bench", b"0123456789abcdef0123456789abcdef");
    let key = Arc::new(key.expect("a key"));
    let words = [
        "Once", " upon", " a", " time,", " there", " was", "\\n", " budget",
    ];
    let chunks: Vec<Bytes> = (0..CHUNKS)
        .zip(words.iter().cycle())
        .map(|(_, word)| {
            Bytes::from(format!(
                "data: {{\"id\":\"gen-1765880036-644f11dd4d\",\"provider\":\"OpenAI\",\"model\":\"openai/gpt-4o\",\
                 \"object\":\"chat.completion.chunk\",\"created\":1765880036,\"choices\":[{{\"index\":0,\"delta\":\
                 {{\"role\":\"assistant\",\"content\":\"{word}\"}},\"finish_reason\":null,\"native_finish_reason\":\
                 null,\"logprobs\":null}}]}}\n\n"
            ))
        })
        .collect();
    let mut group = criterion.benchmark_group("a signed stream of 1000 chunks");
    group.throughput(Throughput::Elements(CHUNKS));
    for (name, titan, v1) in [
        ("titan", true, false),
        ("v1", false, true),
        ("both", true, true),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || signer(&key, Form::Stream, titan, v1),
                |mut signer| {
                    for chunk in &chunks {
                        black_box(signer.push(chunk.clone()));
                    }
                    signer.finish(1)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    let text = "some words of an answer ".repeat(80);
    let answer = Bytes::from(format!(
        "{{\"id\":\"a\",\"choices\":[{{\"message\":{{\"content\":\"{text}\"}}}}],\"usage\":{{}}}}"
    ));
    let mut group = criterion.benchmark_group("a signed answer of 2 KB");
    for (name, titan, v1) in [
        ("titan", true, false),
        ("v1", false, true),
        ("both", true, true),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || signer(&key, Form::Whole, titan, v1),
                |mut signer| {
                    black_box(signer.push(answer.clone()));
                    signer.finish(1)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sign);
criterion_main!(benches);
