//! Gateways end, for a moment or for good, or are cut off: what they held is charged, and once.

use super::{CAP, Open, TENANT, ask, cents, exhaust, must_be_away, said, served, through, told};
use crate::support::gateway::new_directory;
use crate::support::purse::{billed, shown};
use crate::support::redis::RedisServer;
use crate::support::{Detour, Gateway, Provider, Purse, Setup, eventually};

/// Gateways are missed after so long. A sign of life is given every second.
const MISSED: &str = "orphan_after: 3s";

fn missed_soon(provider: &Provider, server: &RedisServer) -> Setup {
    cents(provider).redis(&format!("{}, {MISSED}", super::at(&server.url())))
}

fn held(gateway: &Gateway) -> i64 {
    let intents = gateway.events("intent");
    intents.last().expect("an intent")["held"]
        .as_i64()
        .expect("an amount")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_and_started_again_charges_its_holds_once() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = super::two(&cents(&provider), &server).await;
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    let _open = Open::at(&first, &provider, "a", "held", 1000).await;
    let (_, _, pending) = shown(&second, "a").await;
    assert_eq!(pending, held(&first));
    let first = first.restart().await;
    let purse = Purse::of(&server, TENANT);
    purse.agrees(&[&first, &second]).await;
    let bills = first.bills("a");
    assert_eq!(
        (bills.len(), &bills[1]["status"]),
        (2, &"unresolved".into())
    );
    exhaust(&[&first, &second], "a").await;
    for gateway in [&first, &second] {
        gateway.quiet().await;
    }
    purse.agrees(&[&first, &second]).await;
    assert!(billed(&[&first, &second], "a") <= CAP);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_held_that_is_gone_for_good_is_charged_and_corrected_when_it_returns() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = missed_soon(&provider, &server);
    let (mut first, second) = (setup.clone().start().await, setup.start().await);
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    // Else it would be charged as held.
    told(&first).await;
    let open = Open::at(&first, &provider, "a", "held", 1000).await;
    let (spent, held) = (first.spend("a").0, held(&first));
    first.kill9();
    let purse = Purse::of(&server, TENANT);
    purse.empty().await;
    let account = purse.account("agent:a").unwrap();
    assert_eq!((account.posted, account.pending), (spent + held, 0));
    said(&second, "charged what a gateway that is gone left held").await;
    // The cap counts it.
    exhaust(&[&second], "a").await;
    second.quiet().await;
    assert!(billed(&[&first, &second], "a") + held <= CAP);
    drop(open);
    let first = first.again().await;
    purse.agrees(&[&first, &second]).await;
    let posted = purse.account("agent:a").unwrap().posted;
    assert_eq!(posted, billed(&[&first, &second], "a"), "charged once");
}

/// The holds that were charged are not known any more when it returns, what was charged for them is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_held_that_is_gone_is_corrected_even_after_a_loss() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = missed_soon(&provider, &server);
    let (mut first, second) = (setup.clone().start().await, setup.start().await);
    let open = Open::at(&first, &provider, "a", "held", 1000).await;
    let held = held(&first);
    first.kill9();
    let purse = Purse::of(&server, TENANT);
    purse.empty().await;
    assert_eq!(purse.account("agent:a").unwrap().posted, held);
    // A sign of life later the second knows it, too.
    let told = second.metric("weir_redis_recoveries").await;
    said(&second, "charged what a gateway").await;
    server.flush_all();
    served(&second, "a", 20).await;
    assert!(second.metric("weir_redis_recoveries").await > told);
    second.quiet().await;
    let spent = second.spend("a").0;
    assert_eq!(purse.account("agent:a").unwrap().posted, held + spent);
    drop(open);
    let first = first.again().await;
    purse.agrees(&[&first, &second]).await;
    let posted = purse.account("agent:a").unwrap().posted;
    assert_eq!(posted, billed(&[&first, &second], "a"), "charged once");
}

/// Its log has the end of the request, Redis was never told, and then nobody heard of it for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_cut_off_for_long_is_charged_what_it_really_spent() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let way = Detour::to(server.port()).await;
    let first = cents(&provider)
        .redis(&format!("{}, {MISSED}", through(&way)))
        .start()
        .await;
    let second = missed_soon(&provider, &server).start().await;
    let slow = first
        .chat("[[chunks=10 lat_ms=800 tag=ends]]")
        .agent("a")
        .max_tokens(1000);
    let slow = tokio::spawn(slow.send());
    provider.arrived("ends").await;
    let open = Open::at(&first, &provider, "a", "goes-on", 1000).await;
    way.cut();
    assert_eq!(slow.await.unwrap().status, 200);
    let purse = Purse::of(&server, TENANT);
    purse.empty().await;
    assert!(
        purse.account("agent:a").unwrap().posted > first.spend("a").0,
        "as held"
    );
    way.turn(server.port());
    served(&first, "a", 20).await;
    // One of the two ended at less than was held; the other one is held still.
    let held = held_for(&first, 1);
    eventually("what was really spent, and what is held", || {
        let account = purse.account("agent:a")?;
        let spent = billed(&[&first, &second], "a");
        (account.posted == spent && account.pending == held).then_some(())
    })
    .await;
    drop(open);
    first.quiet().await;
    purse.agrees(&[&first, &second]).await;
    let posted = purse.account("agent:a").unwrap().posted;
    assert_eq!(posted, billed(&[&first, &second], "a"));
}

fn held_for(gateway: &Gateway, number: usize) -> i64 {
    gateway.events("intent")[number]["held"]
        .as_i64()
        .expect("an amount")
}

/// The process sleeps, as a machine does that is migrated; nothing is wrong with its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_slept_goes_on_with_its_holds() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = missed_soon(&provider, &server);
    let (first, second) = (setup.clone().start().await, setup.start().await);
    let open = Open::at(&first, &provider, "a", "goes-on", 1000).await;
    first.signal("STOP");
    let purse = Purse::of(&server, TENANT);
    purse.empty().await;
    first.signal("CONT");
    served(&first, "a", 20).await;
    drop(open);
    first.quiet().await;
    purse.agrees(&[&first, &second]).await;
    let posted = purse.account("agent:a").unwrap().posted;
    assert_eq!(posted, billed(&[&first, &second], "a"));
}

/// A copy of a log has the id of the log: the two would count as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_the_copy_of_anothers_log_is_refused() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = cents(&provider).redis(&super::at(&server.url()));
    let first = setup.clone().start().await;
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    first.quiet().await;
    let copy = new_directory();
    for name in ["spend.jsonl", "spend.jsonl.id"] {
        std::fs::copy(first.directory.join(name), copy.join(name)).unwrap();
    }
    let twin = setup.start_in(copy).await;
    said(&twin, "another process is alive as this gateway").await;
    for _ in 0..100 {
        must_be_away(&ask(&twin, "a", 20).await);
        assert_eq!(ask(&first, "a", 1).await.status, 200);
    }
    drop(twin);
    first.quiet().await;
    Purse::of(&server, TENANT).agrees(&[&first]).await;
}
