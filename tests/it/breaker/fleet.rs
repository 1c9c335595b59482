//! Gateways with one Redis: one sum, one level, one who tells.

use super::{HAIKU, guarded, level, levels, put, spend, told, total};
use crate::support::gateway::Setup;
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, eventually};
use std::time::Instant;

fn shared(provider: &Provider, server: &RedisServer) -> Setup {
    guarded(provider, &levels("")).settings(&format!(
        "stores: {{redis: {{url: \"{}\", timeout: 2s, recovery_wait: 20s}}}}",
        server.url()
    ))
}

/// Everything that was told, by whomever.
fn all(gateways: [&Gateway; 2]) -> Vec<String> {
    gateways.into_iter().flat_map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_gateways_have_one_sum_and_one_of_them_tells() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = shared(&provider, &server);
    let [first, second] = [setup.clone().start().await, setup.start().await];
    // Neither has spent so much by itself.
    spend(&first, "0.6").await;
    spend(&second, "0.6").await;
    for gateway in [&first, &second] {
        level(gateway, "WARNING").await;
        total(gateway, 1.2).await;
    }
    eventually("somebody tells", || {
        (!all([&first, &second]).is_empty()).then_some(())
    })
    .await;
    spend(&second, "1").await;
    for gateway in [&first, &second] {
        level(gateway, "SOFT").await;
    }
    let mut said = eventually("somebody tells again", || {
        let said = all([&first, &second]);
        (said.len() >= 2).then_some(said)
    })
    .await;
    said.sort();
    assert_eq!(said, ["OK>WARNING", "WARNING>SOFT"]);

    // Limits and resets by hand are everybody's.
    let limits = put(&first, "/admin/costs/limits", r#"{"SOFT": 2.5}"#).await;
    assert_eq!(limits.status, 200, "{}", limits.text());
    for gateway in [&first, &second] {
        let state = level(gateway, "WARNING").await;
        assert_eq!(state["thresholds"]["SOFT"], 2.5);
    }
    assert_eq!(second.post("/admin/costs/reset", "").await.status, 200);
    for gateway in [&first, &second] {
        total(gateway, 0.0).await;
    }
    spend(&first, "0.1").await;
    for gateway in [&first, &second] {
        total(gateway, 0.1).await;
    }
    // One that comes back with nothing in its hands hears it again.
    let second = second.restart().await;
    total(&second, 0.1).await;
    let ttl = server.command(&["KEYS", "*breaker:*"]).list();
    assert!(!ttl.is_empty());
    for key in ttl {
        assert!(server.command(&["TTL", &key]).number() > 0, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_redis_goes_on_from_what_it_heard_and_tells_it_later() {
    let (provider, mut server) = (Provider::start().await, RedisServer::start());
    let setup = shared(&provider, &server).agent(Agent::new("soft", "1000").soft().untiered());
    let [first, second] = [setup.clone().start().await, setup.start().await];
    spend(&first, "1.1").await;
    spend(&second, "1.1").await;
    for gateway in [&first, &second] {
        level(gateway, "SOFT").await;
    }
    server.kill();
    let start = Instant::now();
    while first.metric("weir_redis_up").await > 0.0 {
        assert!(start.elapsed() < PATIENCE, "it never noticed");
        tokio::time::sleep(LOOK).await;
    }
    level(&first, "SOFT").await;
    let more = first.chat("[[cost=1]]").agent("soft");
    let more = more.field("model", HAIKU).max_tokens(5).send().await;
    assert_eq!(more.status, 200, "{}", more.text());
    let state = level(&first, "HARD").await;
    assert_eq!(state["total"], 3.2);

    // Redis has forgotten everything by then.
    server.again();
    for gateway in [&first, &second] {
        total(gateway, 3.2).await;
        level(gateway, "HARD").await;
    }
    let hard = |gateway: &Gateway| {
        let all = told(gateway).into_iter();
        all.filter(|change| change.ends_with(">HARD")).count()
    };
    assert_eq!(
        (hard(&first), hard(&second)),
        (1, 0),
        "it was told without Redis"
    );
}
