//! `kill -9` at random moments of a mixed load: nothing the provider did is free, nothing is charged
//! twice, and budgets pushed or reset through the admin API stay so.

use super::book::{Attempt, Book, End};
use super::wire::{self, Wire};
use super::{HUNG, aftermath, chance, knob, nanos, seed};
use crate::support::{Agent, Gateway, Provider};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir::mock::{Options, Record};
use weir::money::Nanos;

/// Clients at once.
const CLIENTS: u64 = 24;

/// The cap of the agent under load: far enough for a round, reset or pushed every now and then.
const CAP: i64 = 5_000_000_000;

/// Where the gateway is; nothing while it is down. The load ends when nobody can tell any more.
type Whereabouts = watch::Receiver<Option<SocketAddr>>;

async fn whereabouts(gateway: &mut Whereabouts) -> Option<SocketAddr> {
    gateway
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|to| *to)
}

/// What one request asks of the provider and of its client.
struct Script {
    directives: String,
    stream: bool,
    /// Leaves after about so many bytes of the answer, rudely or not.
    leaves: Option<(usize, bool)>,
}

impl Script {
    fn new(chance: &mut fastrand::Rng) -> Self {
        let chunks = chance.u64(1..80);
        let at = chance.u64(0..=chunks);
        let slow = chance.u64(2..12);
        let plain = |directives: String, stream| Self {
            directives,
            stream,
            leaves: None,
        };
        match chance.u8(0..12) {
            0 | 1 => plain(format!("chunks={chunks} lat_ms={slow}"), false),
            2 | 3 => plain(format!("chunks={chunks}"), true),
            4 | 5 => plain(format!("chunks={chunks} delay_ms={slow}"), true),
            6 => Self {
                directives: format!("chunks={chunks} delay_ms={slow}"),
                stream: true,
                leaves: Some((chance.usize(1..8000), chance.bool())),
            },
            7 => Self {
                directives: format!("chunks={chunks} lat_ms={}", slow * 10),
                stream: chance.bool(),
                leaves: Some((0, chance.bool())),
            },
            8 => plain(
                format!("chunks={chunks} cut_at={at} cut=fin delay_ms=1"),
                true,
            ),
            9 => plain(
                format!("chunks={chunks} cut_at={at} cut=rst delay_ms=1"),
                chance.bool(),
            ),
            10 if chance.bool() => plain(format!("chunks={chunks} error_at={at}"), true),
            10 => plain(
                format!("chunks={chunks} error_at={at} error_cost=0.000001"),
                true,
            ),
            _ if chance.bool() => plain("cut=accept".into(), chance.bool()),
            _ => plain("status=500".into(), chance.bool()),
        }
    }
}

/// What a client saw of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Seen {
    /// The whole answer, without an error in it.
    Whole,
    /// A status that is no success.
    Refused,
    /// Something less: cut off, left early, never answered.
    Less,
}

/// One client that goes on until the load ends; what it saw, by the tag of its requests.
async fn client(number: u64, seed: u64, mut gateway: Whereabouts) -> Vec<(String, Seen)> {
    let mut chance = chance(seed, number);
    let mut seen = Vec::new();
    let mut open: Option<(SocketAddr, Wire)> = None;
    for count in 0_u64.. {
        let Some(to) = whereabouts(&mut gateway).await else {
            break;
        };
        let script = Script::new(&mut chance);
        let tag = format!("c{number}-{count}");
        let filler: String = (0..chance.usize(0..300))
            .map(|_| chance.alphanumeric())
            .collect();
        let prompt = format!("[[tag={tag} {}]] {filler}", script.directives);
        let mut body =
            json!({"messages": [{"role": "user", "content": prompt}], "stream": script.stream});
        if chance.u8(0..3) > 0 {
            body["max_tokens"] = chance.u64(1..200).into();
        }
        let request = wire::chat("busy", "", body.to_string().as_bytes());
        let exchange = async {
            let mut wire = match open.take().filter(|(known, _)| *known == to) {
                Some((_, wire)) => wire,
                None => Wire::connect(to).await?,
            };
            wire.send(&request).await?;
            let answer = match script.leaves {
                Some((0, rudely)) => {
                    tokio::task::yield_now().await;
                    wire.leave(rudely);
                    return Ok(None);
                }
                Some((bytes, rudely)) => {
                    let answer = wire.answer_up_to(bytes).await?;
                    if answer.as_ref().is_some_and(|answer| !answer.reusable) {
                        wire.leave(rudely);
                    }
                    return Ok(answer);
                }
                None => wire.answer().await?,
            };
            if answer.as_ref().is_some_and(|answer| answer.reusable) {
                open = Some((to, wire));
            }
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(HUNG, exchange).await;
        let answer = answer.unwrap_or_else(|_| panic!("{tag} hung: {}", script.directives));
        let outcome = match answer {
            Ok(Some(answer)) if answer.status != 200 => Seen::Refused,
            Ok(Some(answer)) if answer.has_its_end() && !answer.text().contains("\"error\":{") => {
                Seen::Whole
            }
            _ => Seen::Less,
        };
        seen.push((tag, outcome));
        if outcome != Seen::Whole {
            tokio::time::sleep(Duration::from_millis(chance.u64(1..10))).await;
        }
    }
    seen
}

/// A budget as the admin API says it: limit and spend, in nano-dollars.
type Budget = (i64, i64);

async fn budget(wire: &mut Wire, agent: &str) -> std::io::Result<Option<Budget>> {
    let request = format!("GET /api/spend/{agent} HTTP/1.1\r\nhost: weir.test\r\n\r\n");
    wire.send(request.as_bytes()).await?;
    let Some(answer) = wire.answer().await?.filter(|answer| answer.whole) else {
        return Ok(None);
    };
    let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
    Ok(Some((
        nanos(&body["budget_total"]),
        nanos(&body["budget_spent"]),
    )))
}

async fn change(wire: &mut Wire, path: &str, body: &str) -> std::io::Result<bool> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: weir.test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    wire.send(request.as_bytes()).await?;
    let answer = wire.answer().await?;
    Ok(answer.is_some_and(|answer| answer.whole && answer.status == 200))
}

/// Pushes and resets the budget of an agent that nobody else uses, and of the one under load. After
/// every change, and after every kill, the quiet agent's budget must be the last one that was
/// confirmed, or the one whose confirmation the kill swallowed. The number of confirmed changes.
async fn admin(seed: u64, mut gateway: Whereabouts) -> u64 {
    let mut chance = chance(seed, u64::MAX);
    let mut may_be: Vec<Budget> = vec![(1_000_000_000, 0)];
    let mut confirmed = 0;
    loop {
        let Some(to) = whereabouts(&mut gateway).await else {
            return confirmed;
        };
        let Ok(mut wire) = Wire::connect(to).await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        while let Ok(Some(now)) = budget(&mut wire, "quiet").await {
            assert!(may_be.contains(&now), "{now:?} was none of {may_be:?}");
            may_be = vec![now];
            if *gateway.borrow() != Some(to) {
                break;
            }
            let micros = |chance: &mut fastrand::Rng| chance.i64(0..9_000_000) * 1000;
            let (total, spent) = (micros(&mut chance), micros(&mut chance));
            let (path, body, then) = match chance.u8(0..4) {
                0 => ("/api/reset/quiet", String::new(), (now.0, 0)),
                1 => {
                    let body = format!(r#"{{"budget_total":{}}}"#, Nanos(total));
                    ("/api/budget/quiet", body, (total, now.1))
                }
                2 => {
                    let body = format!(r#"{{"budget_spent":{}}}"#, Nanos(spent));
                    ("/api/budget/quiet", body, (now.0, spent))
                }
                _ => {
                    let (total_text, spent_text) = (Nanos(total), Nanos(spent));
                    let body =
                        format!(r#"{{"budget_total":{total_text},"budget_spent":{spent_text}}}"#);
                    ("/api/budget/quiet", body, (total, spent))
                }
            };
            may_be.push(then);
            if !matches!(change(&mut wire, path, &body).await, Ok(true)) {
                break;
            }
            may_be = vec![then];
            confirmed += 1;
            if chance.u8(0..20) == 0 {
                // Whatever becomes of it, the record says.
                let (path, body) = match chance.u8(0..3) {
                    0 => (
                        "/api/budget/busy",
                        r#"{"budget_total":6,"budget_spent":0.5}"#,
                    ),
                    _ => ("/api/reset/busy", ""),
                };
                if !matches!(change(&mut wire, path, body).await, Ok(true)) {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(chance.u64(1..10))).await;
        }
    }
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Attempts by what the client saw and where their charge came from.
    pub(super) charges: BTreeMap<(Seen, String), u64>,
    pub(super) produced: i64,
    pub(super) charged: i64,
    /// Requests that reached the provider more than once, and how many of them after an answer to
    /// them had begun.
    again: (u64, u64),
    pub(super) wrong: Vec<String>,
}

/// Compares what the provider did, request by request, with what was charged for it.
pub(super) fn compare(book: &Book, records: &[Record], seen: &HashMap<String, Seen>) -> Tally {
    let mut tally = Tally::default();
    let mut by_request: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        assert!(
            record.refused.is_none(),
            "no gateway may send this: {record:?}"
        );
        let id = record.request_id.as_deref();
        let id = id.expect("the gateway names its requests");
        by_request.entry(id).or_default().push(record);
    }
    for (id, records) in &by_request {
        let Some(attempt) = book.attempts.get(*id) else {
            tally
                .wrong
                .push(format!("{id} was sent and never recorded"));
            continue;
        };
        let tag = records[0].tag.as_deref().unwrap_or_default();
        let saw = seen.get(tag).copied().unwrap_or(Seen::Less);
        let charge = (saw, attempt.source().to_owned());
        *tally.charges.entry(charge).or_default() += 1;
        tally.produced += records
            .iter()
            .map(|record| record.produced_cost_nanos)
            .sum::<i64>();
        tally.charged += attempt.charged();
        let earlier = &records[..records.len() - 1];
        let begun = earlier.iter().any(|record| record.status.is_some());
        tally.again.0 += u64::from(!earlier.is_empty());
        tally.again.1 += u64::from(begun);
        if let Some(fault) = fault(attempt, records, saw) {
            let did: Vec<_> = records.iter().map(|record| did(record)).collect();
            tally
                .wrong
                .push(format!("{id} {tag}: {fault}; {attempt:?}; {did:?}"));
        }
    }
    for (id, attempt) in &book.attempts {
        let charged = attempt.charged();
        if attempt.ends.len() != 1 {
            tally.wrong.push(format!("{id}: not one end, {attempt:?}"));
        }
        if charged > attempt.held || (attempt.source() == "unresolved" && charged != attempt.held) {
            tally
                .wrong
                .push(format!("{id}: charged otherwise than held, {attempt:?}"));
        }
    }
    tally
}

/// What the provider did, in a few words.
fn did(record: &Record) -> String {
    let Record {
        at_millis,
        status,
        produced,
        produced_cost_nanos,
        announced,
        completed,
        peer_left,
        ..
    } = record;
    format!(
        "at {at_millis}: status {status:?}, {produced} chunks for {produced_cost_nanos}, announced \
         {announced:?}, completed {completed}, peer left {peer_left}"
    )
}

/// What is wrong with the charge for a request that reached the provider.
fn fault(attempt: &Attempt, records: &[&Record], saw: Seen) -> Option<String> {
    let announced = records
        .iter()
        .filter_map(|record| record.announced?.cost_nanos);
    let announced: i64 = announced.sum();
    if saw == Seen::Whole {
        let exactly = End::Charged(announced, "provider".into());
        return (attempt.ends != [exactly])
            .then(|| format!("its client has an answer for {announced} nano-dollars"));
    }
    if attempt.ends.first() == Some(&End::Voided) {
        // The provider's own error, and nothing before it.
        let free = |record: &&Record| record.completed && record.produced == 0;
        return (!records.iter().all(free)).then(|| "void, although the provider worked".into());
    }
    // A reset throws away what the gateway had not read by then: it cannot know of it.
    let known = |record: &&Record| {
        let reset = !record.completed && !record.peer_left;
        let said = record.announced.and_then(|says| says.cost_nanos);
        if reset {
            0
        } else {
            said.unwrap_or(record.produced_cost_nanos)
        }
    };
    let produced: i64 = records.iter().map(known).sum();
    (attempt.charged() < produced).then(|| format!("{produced} nano-dollars were produced"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_moment_leave_nothing_free_and_nothing_charged_twice() {
    let (kills, seed) = (knob("KILLS", 3, 100), seed());
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let mut gateway = Gateway::over(&provider)
        .agent(Agent::new("busy", "5.0"))
        .agent(Agent::new("quiet", "1.0"))
        .settings("log:\n  level: warn\nspend_log:\n  segment_bytes: 64KiB")
        .start()
        .await;
    let (tell, told) = watch::channel(Some(gateway.addr));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(number, seed, told.clone()));
    }
    let changes = tokio::spawn(admin(seed, told));
    let begin = Instant::now();
    let mut chance = chance(seed, u64::MAX / 2);
    let longest = Arc::new(AtomicU64::new(0));
    for _ in 0..kills {
        // Long enough for some load to get under way; when exactly is what is left to chance.
        tokio::time::sleep(Duration::from_micros(chance.u64(50_000..600_000))).await;
        gateway.kill9();
        tell.send_replace(None);
        let start = Instant::now();
        gateway = gateway.again().await;
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        longest.fetch_max(took, Ordering::Relaxed);
        tell.send_replace(Some(gateway.addr));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    tell.send_replace(None);
    drop(tell);
    let seconds = begin.elapsed().as_secs_f64();
    let seen: HashMap<String, Seen> = clients.join_all().await.into_iter().flatten().collect();
    let changes = changes.await.expect("no pushed budget is lost");

    let limits = [("agent:busy", CAP), ("agent:quiet", 1_000_000_000)];
    let (gateway, book) = aftermath(gateway, &limits).await;
    drop(gateway);
    let records = provider.records();
    let tally = compare(&book, &records, &seen);
    let arrived: HashSet<_> = records.iter().filter_map(|r| r.tag.as_deref()).collect();
    let mut elsewhere = BTreeMap::<Seen, u64>::new();
    for (_, saw) in seen
        .iter()
        .filter(|(tag, _)| !arrived.contains(tag.as_str()))
    {
        *elsewhere.entry(*saw).or_default() += 1;
    }
    let charges = tally
        .charges
        .iter()
        .map(|((seen, source), count)| format!("{count} {seen:?}/{source}"));
    let charges = charges.collect::<Vec<_>>().join(", ");
    println!(
        "kill (seed {seed}): {kills} kills in {seconds:.1} s, slowest start {} ms, {} requests, of \
         which never at the provider {elsewhere:?}; {} at the provider, {} sent again ({} after an \
         answer had begun): {charges}; produced ${}, charged ${}; {changes} budget changes \
         confirmed; {} records in {} segments, {} resets, {} pushes",
        longest.load(Ordering::Relaxed),
        seen.len(),
        tally.charges.values().sum::<u64>(),
        tally.again.0,
        tally.again.1,
        Nanos(tally.produced),
        Nanos(tally.charged),
        book.records,
        book.segments,
        book.resets,
        book.pushes,
    );
    let shown = &tally.wrong[..tally.wrong.len().min(24)];
    assert!(
        shown.is_empty(),
        "{} are wrong: {shown:#?}",
        tally.wrong.len()
    );
    assert!(changes > 0 && tally.charged > 0);
}
