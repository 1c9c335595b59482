//! Where events are written: Redis and a file, and what happens when they are away.

use super::stream;
use crate::support::gateway::{Agent, Gateway, Setup};
use crate::support::redis::{RedisServer, Sentinels};
use crate::support::{LOOK, PATIENCE, Provider, eventually};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

/// A gateway with a soft budget, so that Redis may be away.
fn over(provider: &Provider) -> Setup {
    Gateway::over(provider).agent(Agent::new("default", "1000").soft())
}

/// Waits until a metric is at least this.
async fn reaches(gateway: &Gateway, metric: &str, least: f64) {
    let start = Instant::now();
    while gateway.metric(metric).await < least {
        assert!(start.elapsed() < PATIENCE, "{metric} never was {least}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_redis_costs_no_request_and_events_wait_for_it() {
    let provider = Provider::start().await;
    let mut redis = RedisServer::start();
    let setup = over(&provider).redis(&format!(
        "url: \"{}\", limits: false, connect_timeout: 500ms",
        redis.url()
    ));
    let gateway = setup.start().await;
    gateway.chat("hello").send().await;
    eventually("the first events", || {
        (stream(&redis, "agent.events").len() == 2).then_some(())
    })
    .await;
    redis.kill();
    // No two alike: an agent that repeats itself is an event, too.
    let mut prompts = (0..).map(|number| format!("hello {number}"));
    let mut ask = async || gateway.chat(&prompts.next().unwrap()).send().await;
    for _ in 0..10 {
        assert_eq!(ask().await.status, 200);
    }
    let start = Instant::now();
    while gateway
        .get("/metrics")
        .await
        .text()
        .contains(r#"sink_up{sink="redis"} 1"#)
    {
        assert!(start.elapsed() < PATIENCE, "it never noticed");
        ask().await;
    }
    redis.again();
    let told = gateway.metric("weir_events_total").await;
    let start = Instant::now();
    let stored = loop {
        let stored = stream(&redis, "agent.events");
        let lost = gateway.metric("weir_event_sink_lost_total").await;
        // The server has forgotten the two that it had.
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        if stored.len() as f64 + lost + 2.0 >= told {
            break stored;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} and {lost} of {told}",
            stored.len()
        );
        tokio::time::sleep(LOOK).await;
    };
    // They waited for it, each is there once, and they are in their order.
    let numbers: Vec<u64> = stored
        .iter()
        .map(|event| event["seq"].parse().unwrap())
        .collect();
    // What was on its way when it died may be lost, and is counted; nothing after that is.
    let last = numbers.last().map(u64::to_string);
    assert_eq!(last, Some(told.to_string()), "{numbers:?}");
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
    let text = gateway.get("/metrics").await.text();
    assert!(
        text.contains(r#"weir_event_sink_up{sink="redis"} 1"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_refuses_waits_until_it_is_taken() {
    let provider = Provider::start().await;
    let redis = RedisServer::start();
    assert_eq!(
        redis.command(&["SET", "agent.events", "no stream"]).text(),
        "OK"
    );
    let setup = over(&provider).redis(&format!("url: \"{}\"", redis.url()));
    let gateway = setup.start().await;
    for _ in 0..3 {
        assert_eq!(gateway.chat("hello").send().await.status, 200);
    }
    eventually("that it is noticed", || {
        let said = gateway.output();
        said.contains("events do not arrive").then_some(())
    })
    .await;
    assert_eq!(gateway.metric("weir_event_sink_up").await, 0.0);
    assert_eq!(redis.command(&["DEL", "agent.events"]).number(), 1);
    let stored = eventually("all of them", || {
        Some(stream(&redis, "agent.events")).filter(|events| events.len() >= 6)
    })
    .await;
    let numbers: Vec<&str> = stored.iter().map(|event| &*event["seq"]).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"]);
    reaches(&gateway, "weir_event_sink_up", 1.0).await;
    assert_eq!(gateway.metric("weir_event_sink_lost_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_events_of_a_process_are_written_before_it_ends() {
    let provider = Provider::start().await;
    let redis = RedisServer::start();
    let setup = over(&provider)
        .redis(&format!("url: \"{}\"", redis.url()))
        .settings("events: {redis: {stream: 'my.events', maxlen: 1000}, file: events.jsonl}");
    let gateway = setup.start().await;
    let directory = gateway.directory.clone();
    for _ in 0..20 {
        gateway.chat("hello").send().await;
    }
    let gateway = gateway.keeping();
    assert_eq!(gateway.terminate().await, Some(0));
    let stored = stream(&redis, "my.events");
    let text = std::fs::read_to_string(directory.join("events.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((stored.len(), lines.len()), (40, 40));
    for (stored, line) in stored.iter().zip(&lines) {
        assert_eq!(stored["event_type"], line["type"].as_str().unwrap());
        assert_eq!(stored["seq"], line["seq"].to_string());
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_private_and_a_new_one_begins_when_it_is_full_or_moved_away() {
    let provider = Provider::start().await;
    let setup =
        over(&provider).settings("events: {file: {path: ev/events.jsonl, size: 4KiB, keep: 2}}");
    let gateway = setup.start().await;
    let path = gateway.directory.join("ev/events.jsonl");
    let older = |number: u32| gateway.directory.join(format!("ev/events.jsonl.{number}"));
    let start = Instant::now();
    while !older(2).exists() {
        assert!(start.elapsed() < PATIENCE, "never so many");
        gateway.chat("hello").send().await;
    }
    for path in [&path, &older(1), &older(2)] {
        // For a moment between two files, there is none.
        let found = eventually("the file", || std::fs::metadata(path).ok()).await;
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert!(found.len() <= 4096);
    }
    assert!(!older(3).exists());
    // As a tool for logs does it.
    let moved = gateway.directory.join("ev/moved");
    eventually("a file to move", || std::fs::rename(&path, &moved).ok()).await;
    gateway.chat("hello").send().await;
    eventually("a new file", || path.exists().then_some(())).await;
    assert_eq!(gateway.metric("weir_event_sink_lost_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_where_it_is_not_wanted() {
    let provider = Provider::start().await;
    let redis = RedisServer::start();
    let setup = over(&provider)
        .redis(&format!("url: \"{}\"", redis.url()))
        .settings("events: {redis: false}");
    let gateway = setup.start().await;
    gateway.chat("hello").send().await;
    gateway.quiet().await;
    assert_eq!(gateway.metric("weir_events_total").await, 0.0);
    assert_eq!(redis.command(&["EXISTS", "agent.events"]).number(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_follow_the_master_that_sentinels_name() {
    let provider = Provider::start().await;
    let mut group = Sentinels::start();
    let setup = over(&provider).redis(&format!("sentinel: {}, timeout: 2s", group.yaml()));
    let gateway = setup.start().await;
    gateway.chat("hello").send().await;
    eventually("events at the master", || {
        (stream(group.master(), "agent.events").len() == 2).then_some(())
    })
    .await;
    group.fail_over();
    let start = Instant::now();
    let mut sent = 0;
    while stream(group.master(), "agent.events").len() < 4 {
        assert!(start.elapsed() < PATIENCE, "never at the new master");
        gateway.chat("hello").send().await;
        sent += 1;
        tokio::time::sleep(LOOK).await;
    }
    assert!(sent > 0);
    reaches(&gateway, "weir_event_sink_up", 1.0).await;
}
