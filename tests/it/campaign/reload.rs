//! Reloads in quick succession under load, every tenth of them invalid: no request fails, no stream is
//! cut, every answer is billed once at what the provider announced, and revoked keys stop at once.

use super::book::{Book, End};
use super::wire::{self, Answer, Wire};
use super::{HUNG, aftermath, chance, knob, seed};
use crate::support::gateway::{MODEL, Setup};
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir::mock::Options;

/// Clients that ask again and again on connections they keep, and clients with long streams.
const CLIENTS: u64 = 12;
const STREAMS: u64 = 4;

/// One of so many reloads is invalid.
const INVALID: u64 = 10;

/// The dollars of the agent under load; a version adds less than a hundred.
const BUDGET: u64 = 1_000_000;

/// The key that every version has.
const LOAD: &str = "the-key-of-the-load-all-along";

/// The key that only version `version` has.
fn key_of(version: u64) -> String {
    format!("the-key-of-version-{version:08}")
}

/// A policy whose agents, keys, limits, models and tiers are that version's own.
fn version(provider: &Provider, version: u64) -> Setup {
    let model = format!("model-{version}");
    let tiers = [model.as_str(), MODEL];
    let tiers = &tiers[..1 + usize::from(version.is_multiple_of(3))];
    let budget = format!("{}", BUDGET + version % 100);
    Gateway::over(provider)
        .models(&models(version))
        .settings("log: {level: warn}\nreload: {watch: true, debounce: 10ms}")
        .agent(Agent::new("busy", &budget).tier("0.0", tiers))
        .agent(Agent::new(&format!("only-{version}"), "1"))
        .key("load", LOAD, "busy", "")
        .key("own", &key_of(version), "busy", "")
}

/// The model of that version and the one before, so that any two files written one after the other go
/// together.
fn models(version: u64) -> String {
    let mut text = "models:\n".to_owned();
    for version in [version.saturating_sub(1), version, version + 1] {
        let line = format!("  model-{version}: {{provider: openrouter, engine: {MODEL}}}\n");
        if !text.contains(&line) {
            text += &line;
        }
    }
    text
}

/// Puts a file in the place of another in one step, as a careful deployment does.
fn put(gateway: &Gateway, file: &str, text: &str) {
    let new = gateway.directory.join(format!("{file}.new"));
    std::fs::write(&new, text).expect("writable");
    std::fs::rename(new, gateway.directory.join(file)).expect("writable");
}

/// Puts a policy on the disk that is not valid in one of several ways.
fn put_invalid(gateway: &Gateway, setup: &Setup, chance: &mut fastrand::Rng) {
    let policy = setup.policy_text(&gateway.directory);
    let text = match chance.u8(0..5) {
        0 => policy.replace("budget_total", "budget_totl"),
        1 => policy.replace("agents:", "agents: ["),
        2 => policy.replace("agent: busy", "agent: nobody"),
        3 => {
            let itself = format!("base_url: \"http://{}/v1\" #", gateway.addr);
            policy.replace("base_url:", &itself)
        }
        _ => {
            put(gateway, "models.yaml", "models: {x: {provider: nobody}}");
            policy
        }
    };
    put(gateway, "policy.yaml", &text);
}

fn ask(key: &str, prompt: &str, stream: bool) -> Vec<u8> {
    let body = json!({"messages": [{"role": "user", "content": prompt}], "stream": stream});
    let key = format!("authorization: Bearer {key}\r\n");
    wire::chat("busy", &key, body.to_string().as_bytes())
}

async fn exchange(wire: &mut Option<Wire>, to: SocketAddr, request: &[u8]) -> Answer {
    let answer = async {
        let mut open = match wire.take() {
            Some(open) => open,
            None => Wire::connect(to).await?,
        };
        open.send(request).await?;
        let answer = open.answer().await?;
        if answer.as_ref().is_some_and(|answer| answer.reusable) {
            *wire = Some(open);
        }
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(HUNG, answer).await;
    let answer = answer.expect("an answer in time");
    answer.expect("a connection that holds").expect("an answer")
}

/// The id of an answer that is whole.
fn served(answer: &Answer) -> String {
    assert!(
        answer.status == 200 && answer.has_its_end() && !answer.text().contains("\"error\":{"),
        "a request failed: {} {}",
        answer.status,
        answer.text().chars().take(400).collect::<String>()
    );
    let id = answer.header("x-weir-request-id");
    id.expect("the gateway names its requests").to_owned()
}

/// One client that goes on until it is told to stop; the requests that it was served, and how many
/// connections it needed.
async fn client(
    number: u64,
    seed: u64,
    to: SocketAddr,
    stop: watch::Receiver<bool>,
) -> (Vec<String>, u64) {
    let mut chance = chance(seed, number);
    let (mut ids, mut connections, mut wire) = (Vec::new(), 0, None);
    while !*stop.borrow() {
        let (stream, directives) = if number >= CLIENTS {
            (true, format!("chunks={} delay_ms=10", chance.u64(80..200)))
        } else {
            let (chunks, slow) = (chance.u64(1..20), chance.u64(0..10));
            (chance.bool(), format!("chunks={chunks} lat_ms={slow}"))
        };
        connections += u64::from(wire.is_none());
        let request = ask(LOAD, &format!("[[{directives}]]"), stream);
        ids.push(served(&exchange(&mut wire, to, &request).await));
    }
    (ids, connections)
}

/// What the reloads came to.
#[derive(Default)]
struct Figures {
    asked: BTreeMap<&'static str, u64>,
    revoked: u64,
    slowest: Duration,
    /// Requests that were served to the keys of versions.
    ids: Vec<String>,
}

/// Waits until a key is served, and says by which request.
async fn in_force(key: &str, to: SocketAddr) -> String {
    let start = Instant::now();
    loop {
        let answer = exchange(&mut None, to, &ask(key, "[[chunks=1]]", false)).await;
        if answer.status == 200 {
            return served(&answer);
        }
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(start.elapsed() < PATIENCE, "{key} never came into force");
        tokio::time::sleep(LOOK).await;
    }
}

/// Changes the files so many times and has them read, by all three ways.
async fn reloads(gateway: &Gateway, provider: &Provider, count: u64, seed: u64) -> Figures {
    let mut chance = chance(seed, u64::MAX);
    let mut figures = Figures::default();
    let mut current = 0;
    for number in 1..=count {
        let next = version(provider, current + 1);
        if number % INVALID == 0 {
            put_invalid(gateway, &next, &mut chance);
            let reply = gateway.post("/api/reload", "").await;
            assert_eq!(reply.code(), "invalid_config", "{}", reply.text());
            *figures.asked.entry("invalid").or_default() += 1;
            // One after the other: what is on the disk is never sound and new.
            let policy = version(provider, current).policy_text(&gateway.directory);
            put(gateway, "policy.yaml", &policy);
            put(gateway, "models.yaml", &models(current));
            figures
                .ids
                .push(in_force(&key_of(current), gateway.addr).await);
            continue;
        }
        current += 1;
        put(gateway, "models.yaml", &models(current));
        let policy = next.policy_text(&gateway.directory);
        put(gateway, "policy.yaml", &policy);
        let way = match chance.u8(0..4) {
            0 => "SIGHUP",
            1 => "watch",
            _ => "API",
        };
        *figures.asked.entry(way).or_default() += 1;
        match way {
            "SIGHUP" => gateway.signal("HUP"),
            "watch" => {}
            _ => {
                let start = Instant::now();
                let reply = gateway.post("/api/reload", "").await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                figures.slowest = figures.slowest.max(start.elapsed());
            }
        }
        figures
            .ids
            .push(in_force(&key_of(current), gateway.addr).await);
        let old = ask(&key_of(current - 1), "x", false);
        let answer = exchange(&mut None, gateway.addr, &old).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (401, Some("invalid_api_key")),
            "a revoked key was served"
        );
        figures.revoked += 1;
        tokio::time::sleep(Duration::from_millis(chance.u64(0..20))).await;
    }
    figures
}

/// Every answer was announced once and charged once, at the same amount, and nothing else was charged.
/// The sum.
fn compare(book: &Book, provider: &Provider, ids: &[String]) -> i64 {
    let mut announced = BTreeMap::new();
    for record in provider.records() {
        let cost = record.announced.and_then(|says| says.cost_nanos);
        let id = record.request_id.clone().expect("requests have names");
        let again = announced.insert(id, cost.expect("every answer was whole"));
        assert!(again.is_none(), "a request was sent twice: {record:?}");
    }
    for id in ids {
        let charged = End::Charged(announced[id], "provider".into());
        assert_eq!(book.attempts[id].ends, [charged], "{id}");
    }
    assert_eq!(
        ids.len(),
        announced.len(),
        "served, and asked of the provider"
    );
    let charges = book.attempts.values().filter(|a| a.source() != "void");
    assert_eq!(charges.count(), ids.len(), "charged, and served");
    announced.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request_and_lose_no_bill() {
    let (count, seed) = (knob("RELOADS", 40, 1000), seed());
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let first = version(&provider, 0);
    let gateway = first.clone().start().await;
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS + STREAMS {
        clients.spawn(client(number, seed, gateway.addr, stopped.clone()));
    }
    let begin = Instant::now();
    let mut figures = reloads(&gateway, &provider, count, seed).await;
    // A start finds what the first one did. Meanwhile the models are those of both versions: any two files
    // may be read together.
    let last = models(count - count / INVALID);
    let both = models(0) + last.trim_start_matches("models:\n");
    put(&gateway, "models.yaml", &both);
    let policy = first.policy_text(&gateway.directory);
    put(&gateway, "policy.yaml", &policy);
    figures.ids.push(in_force(&key_of(0), gateway.addr).await);
    put(&gateway, "models.yaml", &(models(0) + "\n"));
    let seconds = begin.elapsed().as_secs_f64();
    stop.send_replace(true);
    let (mut requests, mut connections) = (0, 0);
    for (ids, opened) in clients.join_all().await {
        requests += ids.len();
        connections += opened;
        figures.ids.extend(ids);
    }
    let successful = gateway.metric("weir_config_last_reload_successful").await;
    assert_eq!(successful, 1.0);
    let text = gateway.get("/metrics").await.text();
    let results: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("weir_config_reloads_total"))
        .collect();
    let most = i64::try_from(BUDGET + 100).unwrap_or(i64::MAX) * 1_000_000_000;
    let (gateway, book) = aftermath(gateway, &[("agent:busy", most)]).await;
    drop(gateway);
    let charged = compare(&book, &provider, &figures.ids);
    let Figures {
        asked,
        revoked,
        slowest,
        ..
    } = figures;
    println!(
        "reload (seed {seed}): {count} reloads in {seconds:.1} s by {asked:?}, {}; {requests} requests \
         of the load over {connections} connections, {revoked} keys revoked, slowest answer to a \
         reload {} ms; charged ${}",
        results.join(", "),
        slowest.as_millis(),
        weir::money::Nanos(charged),
    );
    assert_eq!(connections, CLIENTS + STREAMS, "a connection was closed");
    assert!(revoked > 0 && charged > 0);
}
