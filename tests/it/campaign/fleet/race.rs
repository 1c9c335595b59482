//! Many requests race at three gateways for one dollar that these share.

use super::{TENANT, aftermath};
use crate::campaign::book::End;
use crate::campaign::race::{CAP, Finish, Racer};
use crate::campaign::{connections, knob, seed};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, Provider, Purse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use weir::mock::Options;
use weir::money::Nanos;

/// Looks at the account again and again; the most that was posted and held together, and how often it
/// was looked at.
fn sample(server: &RedisServer, stop: &AtomicBool) -> (i64, u64) {
    let purse = Purse::of(server, TENANT);
    let (mut peak, mut samples) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Some(account) = purse.account("agent:solo") {
            peak = peak.max(account.posted + account.pending);
            samples += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (peak, samples)
}

/// Ends the sampler, also when a race goes wrong: nobody would get to know why while it goes on.
struct Sampled(Arc<AtomicBool>);

impl Drop for Sampled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one race came to.
struct Figures {
    finishes: Vec<Finish>,
    settled: i64,
    peak: i64,
    samples: u64,
    by_gateway: Vec<usize>,
    seconds: f64,
}

async fn race(racers: u64, seed: u64) -> Figures {
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let server = Arc::new(RedisServer::start());
    let place = format!("url: \"{}\", tenant: {TENANT}, timeout: 10s", server.url());
    let setup = Gateway::over(&provider)
        .settings("log:\n  level: warn")
        .redis(&place)
        .agent(Agent::new("solo", "1.0").tier("0.0", &["anthropic/claude-3.5-sonnet"]));
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(setup.clone().start().await);
    }

    let stop = Arc::new(AtomicBool::new(false));
    let sampled = Sampled(Arc::clone(&stop));
    let sampler = {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || sample(&server, &stop))
    };
    let begin = Instant::now();
    let slots = u64::try_from(connections()).unwrap_or(u64::MAX).min(racers);
    let mut finishes = Vec::new();
    let mut first = 0;
    while first < racers {
        let wave = slots.min(racers - first);
        let start = Arc::new(Barrier::new(usize::try_from(wave).expect("fits")));
        let mut running = JoinSet::new();
        for number in first..first + wave {
            let racer = Racer::new(number, racers, seed, &["solo"]);
            let gateway = &gateways[usize::try_from(number % 3).expect("fits")];
            running.spawn(racer.run(gateway.addr, Arc::clone(&start), seed));
        }
        finishes.extend(running.join_all().await);
        first += wave;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let wrong: Vec<_> = finishes.iter().filter_map(|f| f.wrong.as_ref()).collect();
    let shown = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} went wrong: {shown:#?}", wrong.len());

    let all: Vec<&Gateway> = gateways.iter().collect();
    let book = aftermath(&all, &server, &[("agent:solo", CAP)]).await;
    drop(sampled);
    let (peak, samples) = sampler.await.expect("the sampler ends");
    assert!(peak <= CAP, "{peak} of {CAP} were posted and held");

    // Served, announced and charged are the same, one by one.
    let mut announced = BTreeMap::new();
    for record in provider.records() {
        let cost = record.announced.and_then(|says| says.cost_nanos);
        let id = record.request_id.expect("the gateway names requests");
        let again = announced.insert(id, cost.expect("every answer was whole"));
        assert!(again.is_none(), "a request was sent twice");
    }
    let served: Vec<_> = finishes.iter().filter_map(|f| f.served.as_ref()).collect();
    for id in &served {
        let charged = announced.get(*id);
        let charged = charged.map(|cost| vec![End::Charged(*cost, "provider".into())]);
        assert_eq!(Some(&book.attempts[*id].ends), charged.as_ref(), "{id}");
    }
    let charges = book.attempts.values().filter(|a| a.source() != "void");
    assert_eq!(
        (served.len(), served.len()),
        (announced.len(), charges.count())
    );
    Figures {
        settled: announced.values().sum(),
        peak,
        samples,
        by_gateway: all
            .iter()
            .map(|gateway| gateway.bills("solo").len())
            .collect(),
        seconds,
        finishes,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dollar_that_three_gateways_share_is_never_overspent() {
    let racers = knob("FLEET_RACERS", 300, 10_000);
    let (races, seed) = (knob("FLEET_RACES", 1, 20), seed());
    for number in 0..races {
        let figures = race(racers, seed.wrapping_add(number)).await;
        let mut refused = BTreeMap::<&str, u64>::new();
        for (code, count) in figures.finishes.iter().flat_map(|finish| &finish.refused) {
            *refused.entry(code).or_default() += count;
        }
        println!(
            "fleet race {}/{races} (seed {seed}): {racers} requests at three gateways, {:?} served, \
             refused {refused:?}; settled ${}, at most ${} settled and held, {} samples; {:.1} s",
            number + 1,
            figures.by_gateway,
            Nanos(figures.settled),
            Nanos(figures.peak),
            figures.samples,
            figures.seconds,
        );
        assert!(figures.by_gateway.iter().all(|served| *served > 0));
        assert!(refused.contains_key("budget_exhausted"), "never exhausted");
    }
}
