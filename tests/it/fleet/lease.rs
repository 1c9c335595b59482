//! Redis is away, and hard budgets go on by what was leased: so far, so long, and never beyond.

use super::{CAP, Open, TENANT, ask, at, cents, exhaust, must_be_away, served};
use crate::ledger_verify::verified;
use crate::support::purse::billed;
use crate::support::redis::RedisServer;
use crate::support::{Gateway, PATIENCE, Provider, Purse, Setup, eventually};
use std::time::Instant;

/// A fifth of what remains, for as long as Redis's state would be waited for.
const LEASE: &str = "lease: {share: 0.2, max: $0.01, time: 20s}";

fn leasing(provider: &Provider, server: &RedisServer, lease: &str) -> Setup {
    cents(provider).redis(&format!("{}, {lease}", at(&server.url())))
}

/// Waits until the gateway has leased something for those it serves.
async fn has_leased(gateway: &Gateway) -> i64 {
    let start = Instant::now();
    loop {
        let leased = gateway.metric("weir_redis_leased_usd").await;
        if leased > 0.0 {
            return format!("{:.0}", leased * 1e9)
                .parse()
                .expect("a whole number");
        }
        assert!(start.elapsed() < PATIENCE, "nothing is leased");
        tokio::time::sleep(crate::support::LOOK).await;
    }
}

/// Asks until nothing is granted any more; how much was.
async fn use_up(gateway: &Gateway) -> i64 {
    let before = gateway.spend("a").0;
    loop {
        let reply = ask(gateway, "a", 20).await;
        if reply.status != 200 {
            must_be_away(&reply);
            return gateway.spend("a").0 - before;
        }
    }
}

/// What stands in Redis is what stands in the logs, of all gateways.
fn must_agree(gateways: &[&Gateway]) {
    let logs: Vec<_> = gateways.iter().map(|gateway| gateway.log_path()).collect();
    let (code, report) = verified(&gateways[0].directory, &logs, "30s");
    assert_eq!((code, &report["agrees"]), (0, &true.into()), "{report}");
}

/// Spends all that is left and stops: leases are given back, and nothing is left over.
async fn ends_well(mut gateways: Vec<Gateway>, server: &RedisServer) {
    let all: Vec<&Gateway> = gateways.iter().collect();
    exhaust(&all, "a").await;
    for gateway in &all {
        gateway.quiet().await;
    }
    must_agree(&all);
    let spent = billed(&all, "a");
    assert!((CAP * 9 / 10..=CAP).contains(&spent), "{spent} of {CAP}");
    for gateway in &mut gateways {
        gateway.signal("TERM");
        assert_eq!(gateway.wait_exit().await, Some(0));
    }
    let all: Vec<&Gateway> = gateways.iter().collect();
    let purse = Purse::of(server, TENANT);
    purse.agrees(&all).await;
    assert_eq!(purse.account("agent:a").unwrap().posted, spent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_is_survived_by_what_was_leased_and_the_cap_holds() {
    for mut server in [RedisServer::durable(), RedisServer::start()] {
        let provider = Provider::start().await;
        let setup = leasing(&provider, &server, LEASE);
        let (first, second) = (setup.clone().start().await, setup.start().await);
        for gateway in [&first, &second] {
            assert_eq!(ask(gateway, "a", 300).await.status, 200);
            gateway.quiet().await;
        }
        for gateway in [&first, &second] {
            has_leased(gateway).await;
        }
        must_agree(&[&first, &second]);
        server.kill();
        // One that stays open until Redis is back, and longer.
        let open = Open::at(&first, &provider, "a", "held", 100).await;
        let granted = [use_up(&first).await, use_up(&second).await];
        assert!(granted.iter().all(|granted| *granted > 0), "{granted:?}");
        assert!(granted.iter().sum::<i64>() <= CAP / 2, "{granted:?}");
        // Whoever was never seen has no lease; whoever has no limit needs none.
        for gateway in [&first, &second] {
            assert_eq!(ask(gateway, "soft", 20).await.status, 200);
            assert!(gateway.metric("weir_redis_lease_grants").await > 0.0);
        }
        server.again();
        for gateway in [&first, &second] {
            served(gateway, "a", 20).await;
        }
        // With what is held since before.
        must_agree(&[&first, &second]);
        drop(open);
        first.quiet().await;
        ends_well(vec![first, second], &server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_over_after_its_time() {
    let (provider, mut server) = (Provider::start().await, RedisServer::durable());
    let lease = "lease: {share: 0.5, max: $1, time: 3s}";
    let gateway = leasing(&provider, &server, lease).start().await;
    assert_eq!(ask(&gateway, "a", 20).await.status, 200);
    let leased = has_leased(&gateway).await;
    let before = gateway.spend("a").0;
    server.kill();
    eventually_gone(&gateway).await;
    must_be_away(&ask(&gateway, "a", 20).await);
    gateway.quiet().await;
    assert!(gateway.spend("a").0 - before < leased, "there was more");
    server.again();
    served(&gateway, "a", 20).await;
    gateway.quiet().await;
    ends_well(vec![gateway], &server).await;
}

async fn eventually_gone(gateway: &Gateway) {
    let start = Instant::now();
    while gateway.metric("weir_redis_leases").await > 0.0 {
        assert!(start.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(crate::support::LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_with_a_lease_is_charged_what_it_spent() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let lease = "lease: {share: 0.2, max: $1, time: 4s}, orphan_after: 5s";
    let setup = leasing(&provider, &server, lease);
    let (mut first, second) = (setup.clone().start().await, setup.start().await);
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    let leased = has_leased(&first).await;
    first.quiet().await;
    let spent = first.spend("a").0;
    first.kill9();
    let purse = Purse::of(&server, TENANT);
    eventually("it is charged", || {
        let account = purse.account("agent:a")?;
        (account.posted == spent + leased && account.pending == 0).then_some(())
    })
    .await;
    must_agree(&[&first, &second]);
    let first = first.again().await;
    eventually("what it spent itself", || {
        (purse.account("agent:a")?.posted == spent).then_some(())
    })
    .await;
    ends_well(vec![first, second], &server).await;
}

/// It goes on while the others put together what Redis lost, and nobody else spends what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_cut_off_while_redis_forgets_spends_its_lease_only() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let way = crate::support::Detour::to(server.port()).await;
    let lease = "lease: {share: 0.3, max: $1, time: 3s}, recovery_wait: 3s";
    let place = |url: &str| format!("url: \"{url}\", tenant: {TENANT}, timeout: 2s, {lease}");
    let through = place(&format!("redis://{}/0", way.addr));
    let first = cents(&provider).redis(&through).start().await;
    let second = cents(&provider).redis(&place(&server.url())).start().await;
    for gateway in [&first, &second] {
        assert_eq!(ask(gateway, "a", 20).await.status, 200);
        has_leased(gateway).await;
    }
    way.cut();
    server.flush_all();
    use_up(&first).await;
    // The second spends what it can, while and after it waits for the first.
    let start = Instant::now();
    let mut refused = 0;
    while refused < 50 {
        let reply = ask(&second, "a", 20).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "budget_in_flight");
            refused += 1;
        }
        assert!(start.elapsed() < PATIENCE, "never at its end");
    }
    second.quiet().await;
    assert!(billed(&[&first, &second], "a") <= CAP);
    way.turn(server.port());
    served(&first, "a", 20).await;
    ends_well(vec![first, second], &server).await;
}
