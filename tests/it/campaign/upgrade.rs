//! One process after another under load: no request fails, no stream is cut, no bill is missing or
//! written twice, and a budget that both spend from at once is never passed.

use super::wire::{self, Wire};
use super::{HUNG, chance, knob, must_not_have_panicked, seed, verified};
use crate::support::{Agent, Gateway, Provider, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use weir::mock::Options;
use weir::money::Nanos;

/// Clients that share the rate.
const CLIENTS: u64 = 24;

/// Clients that are silent for longer than any connection is kept for them.
const SLEEPERS: u64 = 6;

/// Streams at any time.
const STREAMS: u64 = 20;

/// What an ordinary request costs, and a stream.
const SMALL: i64 = 1_000;
const LONG: i64 = 2_000;

/// Requests that the budget of a race carries; as many clients again have nothing.
const RACERS: i64 = 40;

/// What the load came to.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    streams: AtomicU64,
    /// The longest that an ordinary request took, in milliseconds.
    slowest: AtomicU64,
    /// The shortest that a stream took, in milliseconds.
    shortest: AtomicU64,
}

/// What a client has in hand.
struct Client {
    to: SocketAddr,
    wire: Option<Wire>,
}

impl Client {
    /// One request, which must be answered whole. A connection that the server has closed meanwhile is
    /// not used again, as any client would do.
    async fn ask(&mut self, request: &[u8], what: &str) -> wire::Answer {
        let exchange = async {
            let kept = self.wire.take().filter(|wire| !wire.is_closed());
            let mut wire = match kept {
                Some(wire) => wire,
                None => Wire::connect(self.to).await?,
            };
            wire.send(request).await?;
            let answer = wire.answer().await?;
            if answer.as_ref().is_some_and(|answer| answer.reusable) {
                self.wire = Some(wire);
            }
            Ok::<_, std::io::Error>(answer)
        };
        match tokio::time::timeout(HUNG * 3, exchange).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(failed) => panic!("{what} failed: {failed:?}"),
            Err(_) => panic!("{what} hung"),
        }
    }
}

/// At most `most` tokens, so that an answer can be held for and is not cut short by the provider.
fn request(agent: &str, directives: &str, stream: bool, most: u64) -> Vec<u8> {
    let prompt = format!("[[{directives}]]");
    let messages = json!([{"role": "user", "content": prompt}]);
    let body = json!({"messages": messages, "stream": stream, "max_tokens": most});
    wire::chat(agent, "", body.to_string().as_bytes())
}

/// Asks every `pause` until told to stop.
async fn client(
    to: SocketAddr,
    mut chance: fastrand::Rng,
    pause: Duration,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
) {
    let mut client = Client { to, wire: None };
    let directives = format!("chunks=3 cost={}", Nanos(SMALL));
    while !stop.load(Ordering::Relaxed) {
        // Neither in step with each other nor with the upgrades.
        tokio::time::sleep(pause.mul_f64(0.5 + chance.f64())).await;
        let request = request("busy", &directives, chance.u8(0..4) == 0, 100);
        let start = Instant::now();
        let answer = client.ask(&request, "a request").await;
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tally.slowest.fetch_max(took, Ordering::Relaxed);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.has_its_end(), "cut: {}", answer.text());
        tally.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// One stream after another, each `seconds` long, in step with no other.
async fn streamer(
    to: SocketAddr,
    mut chance: fastrand::Rng,
    seconds: u64,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
) {
    let mut client = Client { to, wire: None };
    let chunks = seconds * 10;
    tokio::time::sleep(Duration::from_secs(seconds).mul_f64(chance.f64() / 2.0)).await;
    let directives = format!("chunks={chunks} delay_ms=100 cost={}", Nanos(LONG));
    while !stop.load(Ordering::Relaxed) {
        let request = request("busy", &directives, true, chunks);
        let start = Instant::now();
        let answer = client.ask(&request, "a stream").await;
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tally.shortest.fetch_min(took, Ordering::Relaxed);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer.has_its_end(),
            "cut after {} bytes",
            answer.body.len()
        );
        let pieces = answer.text().matches("\"content\":").count() as u64;
        assert!(pieces >= chunks, "{pieces} pieces of {chunks}");
        tally.streams.fetch_add(1, Ordering::Relaxed);
    }
}

/// A race for the budget of one agent: as many clients as it carries have a connection to the process
/// that serves now, and as many again connect to the one that takes over.
struct Race {
    agent: String,
    request: Vec<u8>,
    kept: Vec<Client>,
}

impl Race {
    /// The agents, one for each upgrade. What a request holds is what it costs, so that one granted
    /// too many shows.
    fn agents(count: u64, hold: i64) -> Vec<Agent> {
        let cap = Nanos(hold * RACERS + hold / 2).to_string();
        let agent = |number| Agent::new(&format!("race-{number}"), &cap).unit();
        (0..count).map(agent).collect()
    }

    fn request(agent: &str, hold: i64) -> Vec<u8> {
        request(
            agent,
            &format!("chunks=3 lat_ms=300 cost={}", Nanos(hold)),
            false,
            100,
        )
    }

    /// Opens the connections, and uses each once so that it is kept.
    async fn prepare(number: u64, to: SocketAddr, hold: i64) -> Self {
        let agent = format!("race-{number}");
        let request = Self::request(&agent, hold);
        let mut kept = Vec::new();
        for _ in 0..RACERS {
            let mut client = Client { to, wire: None };
            let health = b"GET /health HTTP/1.1\r\nhost: weir.test\r\n\r\n";
            let answer = client.ask(health, "health").await;
            assert_eq!((answer.status, client.wire.is_some()), (200, true));
            kept.push(client);
        }
        Self {
            agent,
            request,
            kept,
        }
    }

    /// Lets them all go at once. Exactly as many are served as the budget carries.
    async fn run(self, to: SocketAddr) -> String {
        let fresh = (0..RACERS).map(|_| Client { to, wire: None });
        let all: Vec<Client> = self.kept.into_iter().chain(fresh).collect();
        let (start, request) = (Arc::new(Barrier::new(all.len())), Arc::new(self.request));
        let mut racers = JoinSet::new();
        for mut racer in all {
            let (start, request) = (Arc::clone(&start), Arc::clone(&request));
            racers.spawn(async move {
                start.wait().await;
                let answer = racer.ask(&request, "a racer").await;
                (answer.status, answer.code().unwrap_or_default())
            });
        }
        let outcomes = racers.join_all().await;
        let mut served = 0;
        for (status, code) in outcomes {
            match (status, code.as_str()) {
                (200, _) => served += 1,
                (402, "budget_exhausted") | (429, "budget_in_flight") => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(served, RACERS, "served of the budget of {}", self.agent);
        self.agent
    }
}

/// What a request of a race holds, by a gateway of its own.
async fn hold(provider: &Provider) -> i64 {
    let gateway = Gateway::over(provider)
        .unit_prices()
        .agent(Agent::new("race-0", "1000").unit())
        .start()
        .await;
    let mut guess = 100_000;
    // The amount is part of the request, whose length is part of the amount.
    for _ in 0..3 {
        let mut client = Client {
            to: gateway.addr,
            wire: None,
        };
        client.ask(&Race::request("race-0", guess), "a try").await;
        let records = gateway.events("intent");
        let held = records.last().expect("an intent")["held"].as_i64();
        guess = held.expect("an amount");
    }
    guess
}

/// Settlements of every attempt, by its id.
fn settlements(records: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut by_attempt: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for record in records {
        let id = record["id"].as_str().map(str::to_owned);
        let Some(id) = id else { continue };
        let ends = by_attempt.entry(id).or_default();
        if record.get("event").is_none() {
            ends.push(record);
        }
    }
    by_attempt
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_fail_no_request_and_bill_each_once() {
    let (upgrades, rate) = (knob("UPGRADES", 2, 20), knob("RATE", 60, 300));
    let (seconds, seed) = (knob("STREAM", 3, 60), seed());
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let hold = hold(&provider).await;
    provider.forget();
    let mut setup = Gateway::over(&provider)
        .unit_prices()
        .settings("log: {level: warn}")
        .agent(Agent::new("busy", "100000"));
    for agent in Race::agents(upgrades, hold) {
        setup = setup.agent(agent);
    }
    let mut gateway = setup.start().await;
    let (to, stop) = (gateway.addr, Arc::new(AtomicBool::new(false)));
    let tally = Arc::new(Tally {
        shortest: AtomicU64::new(u64::MAX),
        ..Tally::default()
    });
    let mut load = JoinSet::new();
    let pause = Duration::from_secs(CLIENTS).div_f64(rate as f64);
    for number in 0..CLIENTS {
        let chance = chance(seed, number);
        load.spawn(client(
            to,
            chance,
            pause,
            Arc::clone(&stop),
            Arc::clone(&tally),
        ));
    }
    for number in 0..SLEEPERS {
        let (chance, pause) = (
            chance(seed, CLIENTS + number),
            Duration::from_secs(2 + number),
        );
        load.spawn(client(
            to,
            chance,
            pause,
            Arc::clone(&stop),
            Arc::clone(&tally),
        ));
    }
    for number in 0..STREAMS {
        let chance = chance(seed, CLIENTS + SLEEPERS + number);
        let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
        load.spawn(streamer(to, chance, seconds, stop, tally));
    }
    let start = Instant::now();
    let mut left = Vec::new();
    let mut most = 0;
    for number in 0..upgrades {
        let waiting = gateway.successor().await;
        let race = Race::prepare(number, to, hold).await;
        let successor = gateway.hand_over(waiting).await;
        let agent = race.run(to).await;
        let spent = successor.spend(&agent);
        assert!(spent <= Nanos(hold * RACERS + hold / 2), "{agent}: {spent}");
        left.push(std::mem::replace(&mut gateway, successor));
        left.retain_mut(|old| !old.has_left());
        most = most.max(left.len() + 1);
        // So that streams begin in every process, and go on in several.
        tokio::time::sleep(Duration::from_millis(seconds * 50)).await;
        // A client that has failed ends all of it.
        while let Some(ended) = load.try_join_next() {
            ended.expect("the load goes on");
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("the load ends well");
    }
    for mut old in left {
        assert_eq!(old.wait_exit().await, Some(0));
    }
    gateway.quiet().await;

    must_not_have_panicked(&gateway.directory);
    let records = gateway.log();
    let by_attempt = settlements(&records);
    let wrong: Vec<_> = by_attempt
        .iter()
        .filter(|(_, ends)| ends.len() != 1 || ends[0]["status"] != "settled")
        .take(10)
        .collect();
    assert!(wrong.is_empty(), "not settled once: {wrong:#?}");
    let sent = provider.records();
    let mut by_request: HashMap<&str, u64> = HashMap::new();
    for record in &sent {
        let id = record
            .request_id
            .as_deref()
            .expect("the gateway names its requests");
        *by_request.entry(id).or_default() += 1;
    }
    assert_eq!(
        by_attempt.len(),
        by_request.len(),
        "an attempt for each request at the provider"
    );
    let (answered, streams) = (
        tally.answered.load(Ordering::Relaxed),
        tally.streams.load(Ordering::Relaxed),
    );
    let bills = gateway.bills("busy");
    assert_eq!(
        bills.len() as u64,
        answered + streams,
        "a bill for each answer"
    );
    let owed = SMALL * answered.cast_signed() + LONG * streams.cast_signed();
    assert_eq!(gateway.spend("busy"), Nanos(owed), "to the nano-dollar");
    let before = gateway.get("/api/spend").await.json();
    verified(&gateway.log_path());
    let gateway = gateway.restart().await;
    let after = gateway.get("/api/spend").await.json();
    assert_eq!(before, after, "another start, another spend");
    println!(
        "upgrade: seed {seed}, {upgrades} upgrades in {:.0} s under {rate}/s, {answered} requests and \
         {streams} streams of {:.1} s or more, 0 failed, 0 cut, {} bills for {}, slowest request {} ms, \
         {upgrades} races of {} for {RACERS}, at most {most} processes at once",
        start.elapsed().as_secs_f64(),
        tally.shortest.load(Ordering::Relaxed) as f64 / 1000.0,
        by_attempt.len(),
        Nanos(owed),
        tally.slowest.load(Ordering::Relaxed),
        2 * RACERS,
    );
    let directory = gateway.directory.clone();
    drop(gateway);
    eventually("that nothing is left", || {
        (!directory.exists()).then_some(())
    })
    .await;
}
