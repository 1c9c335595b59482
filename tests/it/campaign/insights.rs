//! PostgreSQL away under load: nobody notices, and afterwards nothing is missing or doubled.

use super::{aftermath, knob, must_not_have_panicked, seed};
use crate::insights::{Answers as _, SOON, agrees, rows};
use crate::support::postgres::Postgres;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Setup};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests of one gateway, at a rate of their own, until it is told to stop; how long each took.
async fn load(
    gateway: Arc<Gateway>,
    rate: u64,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
) -> Vec<(Instant, Duration)> {
    let mut open = JoinSet::new();
    let mut took = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / rate.max(1)));
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = made.fetch_add(1, Ordering::Relaxed);
        let prompt = format!("[[cost=0.00000{:04}]]", number % 10_000);
        let call = gateway.chat(&prompt).agent("load").max_tokens(50);
        let call = if number.is_multiple_of(3) {
            call.stream()
        } else {
            call
        };
        open.spawn(async move {
            let began = Instant::now();
            assert_eq!(call.send().await.status, 200, "a request failed");
            (began, began.elapsed())
        });
        while let Some(done) = open.try_join_next() {
            took.push(done.expect("a request that failed"));
        }
    }
    took.extend(open.join_all().await);
    took
}

/// The time that 99 of a hundred did not exceed, in milliseconds.
fn slowest(took: &[(Instant, Duration)], from: Instant, to: Instant) -> u128 {
    let within = took.iter().filter(|(began, _)| (from..to).contains(began));
    let mut times: Vec<Duration> = within.map(|(_, took)| *took).collect();
    times.sort();
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0, Duration::as_millis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_missed_by_nobody_and_catches_up() {
    let (seconds, rate) = (knob("AWAY", 3, 300), knob("RATE", 60, 300));
    let (provider, mut server) = (Provider::start().await, Postgres::start());
    let setup = |server: &Postgres| -> Setup {
        Gateway::over(&provider)
            .settings(SOON)
            .settings("log: {level: warn}\nspend_log: {segment_bytes: 1MiB}")
            .agent(Agent::new("load", "100000").unit())
            .unit_prices()
            .env("DATABASE_URL", &server.url())
    };
    let first = Arc::new(setup(&server).start().await);
    let second = Arc::new(setup(&server).start().await);
    let (stop, made) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let loads: Vec<_> = [&first, &second]
        .into_iter()
        .map(|gateway| {
            let (gateway, stop, made) = (Arc::clone(gateway), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(load(gateway, rate / 2, stop, made))
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds.min(30))).await;
    let left = Instant::now();
    server.stop();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let noticed = Instant::now();
    while first.metric("weir_insights_up").await > 0.0 {
        assert!(noticed.elapsed() < PATIENCE, "nobody noticed");
        tokio::time::sleep(LOOK).await;
    }
    let behind = first.metric("weir_insights_backlog_records").await;
    let back = Instant::now();
    server.again();
    tokio::time::sleep(Duration::from_secs(seconds.min(30))).await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for load in loads {
        took.extend(load.await.expect("a load that failed"));
    }
    let ended = Instant::now();
    let patience = PATIENCE + Duration::from_secs(seconds);
    loop {
        let (one, two) = (
            super::super::insights::logged(&first),
            super::super::insights::logged(&second),
        );
        if rows(&server).await.len() == one.len() + two.len() {
            break;
        }
        assert!(ended.elapsed() < patience, "it never caught up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let caught_up = ended.elapsed();
    agrees(&server, &[&first, &second]).await;
    let logs = server.answer("SELECT log_id FROM insight_logs").await;
    assert_eq!(logs.len(), 2);
    println!(
        "insights: {} requests at {rate} a second, PostgreSQL away for {seconds} s; p99 {} ms before, {} ms \
         meanwhile, {} ms after; {behind} records behind at one gateway, all there {} ms after the load; seed {}",
        took.len(),
        slowest(&took, began, left),
        slowest(&took, left, back),
        slowest(&took, back, ended),
        caught_up.as_millis(),
        seed(),
    );
    for gateway in [first, second] {
        must_not_have_panicked(&gateway.directory);
        let gateway = Arc::try_unwrap(gateway).ok().expect("nobody else has it");
        aftermath(gateway, &[("agent:load", 100_000_000_000_000)]).await;
    }
}
