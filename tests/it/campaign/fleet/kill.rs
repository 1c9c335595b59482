//! Gateways are killed and started again, one or all at once, while many requests race for a dollar that
//! they share; now and then Redis loses everything at the same moment.

use super::{TENANT, aftermath};
use crate::campaign::kill::{Seen, compare};
use crate::campaign::race::{CAP, Racer};
use crate::campaign::wire::{self, Wire};
use crate::campaign::{HUNG, chance, knob, seed};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, Provider, Purse};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir::mock::Options;
use weir::money::Nanos;

/// Requests that race in one round.
const RACERS: u64 = 300;

/// Where each gateway is; nothing while it is down.
type Whereabouts = watch::Receiver<Vec<Option<SocketAddr>>>;

/// One request, which goes to gateways at random until it is answered or its answer is lost.
async fn racer(
    tag: String,
    agent: String,
    body: Vec<u8>,
    mut chance: fastrand::Rng,
    gateways: Whereabouts,
) -> (String, Result<Seen, String>, BTreeMap<String, u64>) {
    let mut refused = BTreeMap::new();
    let request = wire::chat(&agent, "", &body);
    loop {
        tokio::time::sleep(Duration::from_millis(chance.u64(0..400))).await;
        let places = gateways.borrow().clone();
        let Some(to) = places[chance.usize(0..places.len())] else {
            continue;
        };
        let Ok(mut wire) = Wire::connect(to).await else {
            continue;
        };
        let exchange = async {
            wire.send(&request).await?;
            wire.answer().await
        };
        let Ok(answer) = tokio::time::timeout(HUNG, exchange).await else {
            return (tag, Err("hung".into()), refused);
        };
        let Ok(Some(answer)) = answer else {
            // Whether it was served nobody here can know.
            return (tag, Ok(Seen::Less), refused);
        };
        let code = answer.code().unwrap_or_default();
        match (answer.status, code.as_str()) {
            (200, _) if answer.has_its_end() => return (tag, Ok(Seen::Whole), refused),
            (200, _) => return (tag, Ok(Seen::Less), refused),
            (402, "budget_exhausted") => {
                *refused.entry(code).or_default() += 1;
                return (tag, Ok(Seen::Refused), refused);
            }
            (429, "budget_in_flight") | (503, "ledger_unavailable") => {
                *refused.entry(code).or_default() += 1;
            }
            (_, _) if !answer.whole => return (tag, Ok(Seen::Less), refused),
            (status, _) => return (tag, Err(format!("{status}: {}", answer.text())), refused),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_are_killed_overspend_nothing_and_charge_nothing_twice() {
    let (rounds, seed) = (knob("FLEET_KILLS", 3, 50), seed());
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let mut server = RedisServer::start();
    let place = format!("url: \"{}\", tenant: {TENANT}, timeout: 2s", server.url());
    let names: Vec<String> = (0..rounds).map(|round| format!("round-{round}")).collect();
    let mut setup = Gateway::over(&provider)
        .settings("log:\n  level: warn")
        .redis(&place);
    for name in &names {
        let agent = Agent::new(name, "1.0");
        setup = setup.agent(agent.tier("0.0", &["anthropic/claude-3.5-sonnet"]));
    }
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Some(setup.clone().start().await));
    }
    let addresses = |gateways: &[Option<Gateway>]| -> Vec<Option<SocketAddr>> {
        let addresses = gateways.iter().map(|gateway| Some(gateway.as_ref()?.addr));
        addresses.collect()
    };
    let (tell, told) = watch::channel(addresses(&gateways));

    let mut chance = chance(seed, u64::MAX / 3);
    let begin = Instant::now();
    let (kills, slowest, peak) = (AtomicU64::new(0), AtomicU64::new(0), AtomicI64::new(0));
    let mut losses = 0;
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut refused = BTreeMap::<String, u64>::new();
    for name in &names {
        let mut running = JoinSet::new();
        for number in 0..RACERS {
            let body = Racer::new(number, RACERS, chance.u64(..), &["solo"]).body;
            let tag = format!("{name}-{number}");
            let body = String::from_utf8(body).expect("JSON");
            let body = body
                .replacen("[[", &format!("[[tag={tag} "), 1)
                .into_bytes();
            running.spawn(racer(tag, name.clone(), body, chance.fork(), told.clone()));
        }
        for _ in 0..chance.u8(1..=3) {
            tokio::time::sleep(Duration::from_millis(chance.u64(20..500))).await;
            let mut victims = vec![0, 1, 2];
            chance.shuffle(&mut victims);
            victims.truncate([1, 1, 1, 1, 2, 3][chance.usize(0..6)]);
            let mut dead = Vec::new();
            for victim in victims {
                let mut gateway = gateways[victim].take().expect("it runs");
                gateway.kill9();
                kills.fetch_add(1, Ordering::Relaxed);
                dead.push((victim, gateway));
            }
            // Now and then Redis forgets everything at the same moment.
            let loss = chance.u8(0..6);
            match loss {
                0 => server.flush_all(),
                1 => server.restart_empty(),
                _ => {}
            }
            losses += u64::from(loss < 2);
            tell.send_replace(addresses(&gateways));
            let start = Instant::now();
            let mut starting = JoinSet::new();
            for (victim, gateway) in dead {
                starting.spawn(async move { (victim, gateway.again().await) });
            }
            for (victim, gateway) in starting.join_all().await {
                gateways[victim] = Some(gateway);
            }
            let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            slowest.fetch_max(took, Ordering::Relaxed);
            tell.send_replace(addresses(&gateways));
            let account = Purse::of(&server, TENANT).account(&format!("agent:{name}"));
            let posted = account.map_or(0, |account| account.posted);
            peak.fetch_max(posted, Ordering::Relaxed);
        }
        for (tag, outcome, codes) in running.join_all().await {
            let outcome = outcome.unwrap_or_else(|wrong| panic!("{tag}: {wrong}"));
            seen.insert(tag, outcome);
            for (code, count) in codes {
                *refused.entry(code).or_default() += count;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();

    let gateways: Vec<Gateway> = gateways.into_iter().flatten().collect();
    let all: Vec<&Gateway> = gateways.iter().collect();
    let accounts: Vec<String> = names.iter().map(|name| format!("agent:{name}")).collect();
    let limits: Vec<(&str, i64)> = accounts.iter().map(|name| (name.as_str(), CAP)).collect();
    let book = aftermath(&all, &server, &limits).await;
    let tally = compare(&book, &provider.records(), &seen);
    let spent = accounts.iter().map(|account| book.of(account).posted);
    let charges = tally.charges.iter();
    let charges: Vec<String> = charges
        .map(|((seen, source), count)| format!("{count} {seen:?}/{source}"))
        .collect();
    println!(
        "fleet kill (seed {seed}): {rounds} rounds of {RACERS} requests at three gateways, {} kills, \
         {losses} times everything in Redis with them, in {seconds:.1} s, slowest start {} ms; {}; refused {refused:?}; produced ${}, charged ${}, at most \
         ${} of $1 in a round; {} records",
        kills.load(Ordering::Relaxed),
        slowest.load(Ordering::Relaxed),
        charges.join(", "),
        Nanos(tally.produced),
        Nanos(tally.charged),
        Nanos(spent.clone().max().unwrap_or(0)),
        book.records,
    );
    let shown = &tally.wrong[..tally.wrong.len().min(24)];
    assert!(
        shown.is_empty(),
        "{} are wrong: {shown:#?}",
        tally.wrong.len()
    );
    assert!(peak.load(Ordering::Relaxed) <= CAP);
    assert!(
        spent.min().unwrap_or(0) > CAP / 2,
        "the dollars were not used up"
    );
}
