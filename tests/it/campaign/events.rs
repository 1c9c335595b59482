//! Events by the hundred thousand: none is lost while those who watch keep up, and nobody waits for those who
//! do not.

use super::{chance, knob, must_not_have_panicked, seed};
use crate::support::client::{chat_body, request};
use crate::support::gateway::{Agent, Gateway, free_port};
use crate::support::redis::RedisServer;
use crate::support::watcher::{Heard, Watcher};
use crate::support::{LOOK, Provider};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use weir::feed::BEHIND;

/// Requests that are sent before the first of them is answered.
const AT_ONCE: u64 = 50;

/// Connections that ask.
const ASKING: u64 = 4;

/// How long anything may take to settle after the last request.
const SETTLES: Duration = Duration::from_secs(120);

/// One metric's series with their values.
async fn series(gateway: &Gateway, name: &str) -> BTreeMap<String, u64> {
    let text = gateway.get("/metrics").await.text();
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .filter(|(series, _)| series.split('{').next() == Some(name))
        .filter_map(|(series, value)| {
            let label = series.split('"').nth(1)?.to_owned();
            Some((label, value.parse().ok()?))
        })
        .collect()
}

async fn told(gateway: &Gateway) -> u64 {
    series(gateway, "weir_events_total").await.values().sum()
}

/// Makes about `count` events: mostly requests that are refused, here and there one that is answered. Every request
/// is answered as it should be. Gives how many of them there were.
async fn make(gateway: &Arc<Gateway>, count: u64, seed: u64) -> u64 {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..ASKING {
        let (gateway, mut chance) = (Arc::clone(gateway), chance(seed, number));
        asking.spawn(async move {
            let (mut made, mut requests) = (0, 0);
            let refused = request(&[], "no JSON").repeat(usize::try_from(AT_ONCE).unwrap());
            let answered = request(&[], &chat_body("[[chunks=2]] hello", true));
            let mut raw = gateway.raw().await;
            while made < count / ASKING {
                if chance.u8(..) < 20 {
                    raw.send(&answered).await;
                    assert_eq!(raw.reply().await.status, 200);
                    (made, requests) = (made + 3, requests + 1);
                    continue;
                }
                raw.send(&refused).await;
                for _ in 0..AT_ONCE {
                    assert_eq!(raw.reply().await.status, 400);
                }
                (made, requests) = (made + AT_ONCE, requests + AT_ONCE);
            }
            requests
        });
    }
    let mut requests = 0;
    while let Some(asked) = asking.join_next().await {
        requests += asked.unwrap();
    }
    requests
}

/// Reads every event; ends with how many there were once it has read number `last` of them.
async fn read(mut watcher: Watcher, mut last: tokio::sync::watch::Receiver<u64>) -> u64 {
    let mut seen: Vec<bool> = Vec::new();
    let mut count = 0;
    loop {
        let heard = tokio::select! {
            heard = watcher.next() => heard,
            changed = last.changed() => {
                changed.unwrap();
                if count >= *last.borrow() { return count; }
                continue;
            }
        };
        let Heard::Event(event) = heard else {
            panic!("the reader was sent away after {count} events: {heard:?}");
        };
        let number = usize::try_from(event["seq"].as_u64().unwrap()).unwrap();
        if seen.len() <= number {
            seen.resize(number + 1, false);
        }
        assert!(
            !std::mem::replace(&mut seen[number], true),
            "{number} came twice"
        );
        count += 1;
        if count == *last.borrow() {
            assert!(
                seen[1..].iter().all(|seen| *seen),
                "one of {count} is missing"
            );
            return count;
        }
    }
}

/// Somebody who watches and reads nothing.
async fn stopped(address: SocketAddr) -> Watcher {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    Watcher::over(stream, "", &[]).await.unwrap()
}

async fn settles<T: PartialOrd + std::fmt::Debug>(
    what: &str,
    wanted: T,
    mut look: impl AsyncFnMut() -> T,
) {
    let start = Instant::now();
    loop {
        let found = look().await;
        if found >= wanted {
            return;
        }
        assert!(
            start.elapsed() < SETTLES,
            "{what}: {found:?}, not {wanted:?}"
        );
        tokio::time::sleep(LOOK * 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_reach_everybody_who_keeps_up_and_nobody_waits_for_the_others() {
    let (seed, count) = (seed(), knob("EVENTS", 20_000, 1_000_000));
    let provider = Provider::start().await;
    let mut redis = RedisServer::start();
    let port = free_port();
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "100000").soft())
        .redis(&format!(
            "url: \"{}\", limits: false, connect_timeout: 500ms",
            redis.url()
        ))
        .settings("events: {redis: {maxlen: 10000000}, ping: 10s}\nlog: {level: warn}")
        .env("EVENTS_PORT", &port.to_string())
        .start()
        .await;
    let gateway = Arc::new(gateway);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (tell, last) = tokio::sync::watch::channel(u64::MAX);
    let reader = tokio::spawn(read(Watcher::at(address, "").await, last.clone()));
    let start = Instant::now();
    let asked = make(&gateway, count, seed).await;
    gateway.quiet().await;
    let (first, took) = (told(&gateway).await, start.elapsed());
    assert!(
        first >= asked && first >= count - ASKING * AT_ONCE,
        "{first} events"
    );
    settles("events in Redis", first, async || {
        let length = redis.command(&["XLEN", "agent.events"]).number();
        u64::try_from(length).unwrap()
    })
    .await;
    assert_eq!(
        redis.command(&["XLEN", "agent.events"]).number(),
        i64::try_from(first).unwrap()
    );
    let lost = series(&gateway, "weir_event_sink_lost_total").await;
    assert_eq!(lost.values().sum::<u64>(), 0, "{lost:?}");

    // Now one that reads nothing, and no Redis: every request is answered, the losses are counted.
    let idle = stopped(address).await;
    redis.kill();
    make(&gateway, u64::try_from(BEHIND).unwrap() + 3_000, seed + 1).await;
    gateway.quiet().await;
    let all = told(&gateway).await;
    settles("the reader that stopped is sent away", 1, async || {
        let dropped = series(&gateway, "weir_event_watchers_dropped_total").await;
        dropped["websocket"]
    })
    .await;
    let made = all - first;
    let lost = async || series(&gateway, "weir_event_sink_lost_total").await["redis"];
    settles("losses are counted", 1, async || lost().await).await;
    // What waited for it arrives, and everything else was counted: not one event is unaccounted for.
    redis.again();
    settles(
        "events that waited, and those that were lost",
        made,
        async || {
            let length = redis.command(&["XLEN", "agent.events"]).number();
            u64::try_from(length).unwrap() + lost().await
        },
    )
    .await;
    let arrived = redis.command(&["XLEN", "agent.events"]).number();
    assert_eq!(u64::try_from(arrived).unwrap() + lost().await, made);
    drop(idle);
    tell.send_replace(all);
    let read = tokio::time::timeout(SETTLES, reader).await;
    assert_eq!(
        read.expect("every event").unwrap(),
        all,
        "the reader kept up"
    );
    let lost = lost().await;
    must_not_have_panicked(&gateway.directory);
    let rate = u128::from(first) * 1000 / took.as_millis().max(1);
    eprintln!(
        "events: seed {seed}, {asked} requests, {first} events in {took:.1?} ({rate}/s): none lost; \
         without Redis {made} more, of which {lost} were lost there and none elsewhere"
    );
}
