//! Redis goes away and comes back, with its data or without, under load at three gateways.

use super::{TENANT, aftermath};
use crate::campaign::wire::{self, Wire};
use crate::campaign::{HUNG, chance, knob, seed};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, Provider, Purse, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir::mock::Options;
use weir::money::Nanos;

/// Clients at once.
const CLIENTS: u64 = 120;

/// The caps that are used up while Redis goes and comes.
const FRESH: i64 = 20_000_000;

const KEY: &str = "the-right-key-of-some-length";

/// What is done to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outage {
    Durable,
    Empty,
    Flushed,
    Paused,
}

const ALL: [Outage; 4] = [
    Outage::Durable,
    Outage::Empty,
    Outage::Flushed,
    Outage::Paused,
];

/// What all clients go by and what they found.
struct Load {
    gateways: Vec<SocketAddr>,
    /// The agent with a fresh cap.
    fresh: watch::Receiver<String>,
    stop: watch::Receiver<bool>,
    /// How often each answer came, by agent's kind.
    answers: Mutex<BTreeMap<(&'static str, String), u64>>,
    wrong: Mutex<Vec<String>>,
    back: Mutex<Back>,
}

/// When Redis was back, and how long it took until each gateway served a hard budget.
#[derive(Default)]
struct Back {
    since: Option<Instant>,
    first: Vec<Option<Duration>>,
}

impl Load {
    /// Until told to stop, one request after another, `every` so often.
    async fn client(self: Arc<Self>, mut chance: fastrand::Rng, every: Duration) {
        let mut open: BTreeMap<usize, Wire> = BTreeMap::new();
        let mut next = Instant::now() + every.mul_f32(chance.f32());
        while !*self.stop.borrow() {
            tokio::time::sleep_until(next.into()).await;
            next = (next + every).max(Instant::now());
            let at = chance.usize(0..self.gateways.len());
            let kind = ["fresh", "fresh", "steady", "steady", "soft", "stranger"];
            let kind = kind[chance.usize(0..kind.len())];
            let (request, agent) = self.request(kind, &mut chance);
            let sent = Instant::now();
            let wire = open.remove(&at);
            let exchange = async {
                let mut wire = match wire {
                    Some(wire) => wire,
                    None => Wire::connect(self.gateways[at]).await?,
                };
                wire.send(&request).await?;
                let answer = wire.answer().await?;
                Ok::<_, std::io::Error>((answer, wire))
            };
            match tokio::time::timeout(HUNG, exchange).await {
                Ok(Ok((Some(answer), wire))) => {
                    self.judge(kind, &agent, at, sent, &answer);
                    if answer.reusable {
                        open.insert(at, wire);
                    }
                }
                // A connection that was kept may have been closed for its age.
                Ok(_) => self.count("lost", "no answer".into()),
                Err(_) => self.wrong(format!("{agent} hung")),
            }
        }
    }

    fn request(&self, kind: &'static str, chance: &mut fastrand::Rng) -> (Vec<u8>, String) {
        let agent = match kind {
            "fresh" => self.fresh.borrow().clone(),
            "stranger" => "steady".to_owned(),
            kind => kind.to_owned(),
        };
        let tokens = chance.u64(20..60);
        let latency = chance.u64(0..250);
        let prompt = format!("[[chunks={tokens} lat_ms={latency} coalesce=1]]");
        let body = json!({"messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens, "stream": chance.bool()});
        let key = if kind == "stranger" {
            "some-other-key-of-some-length"
        } else {
            KEY
        };
        let extra = format!("authorization: Bearer {key}\r\n");
        let body = body.to_string();
        (wire::chat(&agent, &extra, body.as_bytes()), agent)
    }

    fn judge(
        &self,
        kind: &'static str,
        agent: &str,
        at: usize,
        sent: Instant,
        answer: &wire::Answer,
    ) {
        let code = answer.code().unwrap_or_default();
        let fine = match (kind, answer.status, code.as_str()) {
            ("stranger", 401, _) => true,
            ("fresh" | "steady" | "soft", 200, _) => answer.has_its_end(),
            ("fresh" | "steady", 503, "ledger_unavailable") => {
                answer.header("retry-after") == Some("1")
            }
            ("fresh", 402, "budget_exhausted") | ("fresh", 429, "budget_in_flight") => true,
            _ => false,
        };
        if !fine {
            let text: String = answer.text().chars().take(200).collect();
            self.wrong(format!("{agent} ({kind}) got {}: {text}", answer.status));
        }
        if answer.status == 200 && kind != "soft" {
            let mut back = self.back.lock().expect("whole");
            if let Some(since) = back.since.filter(|since| sent >= *since) {
                let took = since.elapsed();
                back.first[at].get_or_insert(took);
            }
        }
        let what = match answer.status {
            200 => "served".to_owned(),
            status => format!("{status} {code}"),
        };
        self.count(kind, what);
    }

    fn count(&self, kind: &'static str, what: String) {
        let mut answers = self.answers.lock().expect("whole");
        *answers.entry((kind, what)).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("whole").push(what);
    }

    /// From now on it is watched when each gateway serves again.
    fn is_back(&self) {
        *self.back.lock().expect("whole") = Back {
            since: Some(Instant::now()),
            first: vec![None; self.gateways.len()],
        };
    }

    /// How long each gateway took, once all have served.
    async fn all_served(&self) -> Vec<Duration> {
        let start = Instant::now();
        loop {
            let first = self.back.lock().expect("whole").first.clone();
            if let Some(all) = first.into_iter().collect::<Option<Vec<_>>>() {
                return all;
            }
            assert!(start.elapsed() < HUNG, "somebody never served again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Requests that stay open at the provider all the time.
async fn crowd(count: u64, gateways: &[Gateway], provider: &Provider) -> Vec<Wire> {
    let body =
        json!({"messages": [{"role": "user", "content": "[[hang=headers]]"}], "max_tokens": 9});
    let extra = format!("authorization: Bearer {KEY}\r\n");
    let request = wire::chat("steady", &extra, body.to_string().as_bytes());
    let mut crowd = Vec::new();
    for (number, gateway) in (0..count).zip(gateways.iter().cycle()) {
        let mut wire = Wire::connect(gateway.addr).await.expect("it listens");
        wire.send(&request).await.expect("it reads");
        crowd.push(wire);
        // Not all at once, so that none is refused for a slow Redis.
        if number % 100 == 99 {
            arrived(provider, crowd.len()).await;
        }
    }
    arrived(provider, crowd.len()).await;
    crowd
}

async fn arrived(provider: &Provider, count: usize) {
    eventually("the arrival of everybody", || {
        (provider.records().len() >= count).then_some(())
    })
    .await;
}

async fn disturb(server: &mut RedisServer, outage: Outage, away: Duration) {
    match outage {
        Outage::Durable => {
            server.kill();
            tokio::time::sleep(away).await;
            server.again();
        }
        Outage::Empty => {
            server.kill();
            tokio::time::sleep(away).await;
            server.restart_empty();
        }
        Outage::Flushed => server.flush_all(),
        Outage::Paused => {
            server.pause();
            tokio::time::sleep(away).await;
            server.resume();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_of_redis_overspends_nothing_and_shuts_nobody_out() {
    let (outages, seed) = (knob("OUTAGES", 4, 20), seed());
    let rate = knob("RATE", 300, 300);
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let mut server = RedisServer::durable();
    let names: Vec<String> = (0..outages)
        .map(|number| format!("fresh-{number}"))
        .collect();
    let cap = Nanos(FRESH).to_string();
    let unit = |agent: Agent| agent.tier("0.0", &["anthropic/claude-3.5-sonnet"]);
    let mut setup = Gateway::over(&provider)
        .upstream("timeout_seconds: 600")
        .settings("log:\n  level: warn\ndrain: {time: 50ms}")
        .redis(&format!("url: \"{}\", tenant: {TENANT}", server.url()))
        .agent(unit(Agent::new("steady", "1000")))
        .agent(unit(Agent::new("soft", "0.01").soft()));
    for name in &names {
        setup = setup.agent(unit(Agent::new(name, &cap)));
    }
    let list = format!("agents: [soft, {}]", names.join(", "));
    let setup = setup.key("all", KEY, "steady", &list);
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(setup.clone().start().await);
    }
    let (freshen, fresh) = watch::channel("steady".to_owned());
    let (end, stop) = watch::channel(false);
    let load = Arc::new(Load {
        gateways: gateways.iter().map(|gateway| gateway.addr).collect(),
        fresh,
        stop,
        answers: Mutex::default(),
        wrong: Mutex::default(),
        back: Mutex::default(),
    });
    let open = knob("CROWD", 150, 3_000);
    let crowd = crowd(open, &gateways, &provider).await;
    let every = Duration::from_secs(1).mul_f64(
        f64::from(u32::try_from(CLIENTS).unwrap_or(1))
            / f64::from(u32::try_from(rate).unwrap_or(1)),
    );
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).client(chance(seed, number), every));
    }

    let begin = Instant::now();
    let mut chance = chance(seed, u64::MAX / 5);
    let mut times: BTreeMap<Outage, Vec<Duration>> = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(chance.u64(200..1000))).await;
        freshen.send_replace(name.clone());
        tokio::time::sleep(Duration::from_millis(chance.u64(50..300))).await;
        let outage = ALL[number % ALL.len()];
        disturb(
            &mut server,
            outage,
            Duration::from_millis(chance.u64(200..2000)),
        )
        .await;
        load.is_back();
        times
            .entry(outage)
            .or_default()
            .extend(load.all_served().await);
        let held = Purse::of(&server, TENANT).holds();
        assert!(held >= crowd.len(), "{held} holds of {open} and more");
        // The rest of the cap is asked for after it.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    end.send_replace(true);
    clients.join_all().await;
    for wire in crowd {
        wire.leave(true);
    }
    let seconds = begin.elapsed().as_secs_f64();

    let all: Vec<&Gateway> = gateways.iter().collect();
    let accounts: Vec<String> = names.iter().map(|name| format!("agent:{name}")).collect();
    let limits: Vec<(&str, i64)> = accounts.iter().map(|name| (name.as_str(), FRESH)).collect();
    let book = aftermath(&all, &server, &limits).await;
    let mut losses = 0.0;
    for gateway in &gateways {
        losses += gateway.metric("weir_redis_recoveries").await;
    }
    let wrong = load.wrong.lock().expect("whole");
    let shown = &wrong[..wrong.len().min(10)];
    assert!(wrong.is_empty(), "{} went wrong: {shown:#?}", wrong.len());
    let answers = load.answers.lock().expect("whole");
    let total: u64 = answers.values().sum();
    let answers: Vec<String> = answers
        .iter()
        .map(|((kind, what), count)| format!("{kind}: {count} {what}"))
        .collect();
    let millis = |times: &[Duration]| {
        let longest = times.iter().max().copied().unwrap_or_default().as_millis();
        let sum: Duration = times.iter().sum();
        let mean = sum.as_millis() / u128::try_from(times.len().max(1)).unwrap_or(1);
        format!("{mean} ms, at most {longest}")
    };
    let times: Vec<String> = times
        .iter()
        .map(|(outage, times)| format!("{outage:?} {}", millis(times)))
        .collect();
    println!(
        "fleet outage (seed {seed}): {outages} outages in {seconds:.1} s, {total} requests at three \
         gateways, beside {open} open all the time: {}; the state was put together {losses} times; from Redis answering to the first hard \
         request served at each gateway: {}; {} records",
        answers.join(", "),
        times.join("; "),
        book.records,
    );
    for (account, limit) in &limits {
        let posted = book.of(account).posted;
        assert!(
            posted > limit / 2,
            "{account} was not used up: {posted} of {limit}"
        );
    }
}
