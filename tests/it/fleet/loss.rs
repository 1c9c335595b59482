//! Redis forgets, or remembers an earlier time: no charge, hold, push or reset is forgotten with it.

use super::{Open, TENANT, ask, at, cents, exhaust, must_be_away, said, served, through, two};
use crate::support::purse::{billed, eventually_or, shown};
use crate::support::redis::RedisServer;
use crate::support::{Detour, Gateway, Provider, Purse, eventually};

/// What is pushed as the limit of `a`, in nano-dollars.
const LIMIT: i64 = 20_000_000;

/// What is spent, pushed, reset and held before the loss.
struct Before {
    /// Billed before the reset, which does not count any more.
    forgotten: i64,
    pending: i64,
    _open: Vec<Open>,
}

/// Something of everything, at both gateways.
async fn busy(gateways: [&Gateway; 2], provider: &Provider, purse: &Purse<'_>) -> Before {
    let [first, second] = gateways;
    for (gateway, tokens) in [(first, 300), (second, 500), (second, 100)] {
        assert_eq!(ask(gateway, "a", tokens).await.status, 200);
        assert_eq!(ask(gateway, "soft", tokens).await.status, 200);
    }
    for gateway in gateways {
        gateway.quiet().await;
    }
    purse.agrees(&gateways).await;
    let forgotten = billed(&gateways, "a");
    let push = first.push("a", r#"{"budget_total": 0.02}"#).await;
    assert_eq!(push.status, 200, "{}", push.text());
    assert_eq!(second.post("/api/reset/a", "").await.status, 200);
    let mut open = Vec::new();
    for (gateway, tag) in [(first, "one"), (second, "two")] {
        assert_eq!(ask(gateway, "a", 700).await.status, 200);
        open.push(Open::at(gateway, provider, "a", tag, 1000).await);
    }
    let held = |gateway: &Gateway| {
        gateway.events("intent").pop().unwrap()["held"]
            .as_i64()
            .unwrap()
    };
    let before = Before {
        forgotten,
        pending: held(first) + held(second),
        _open: open,
    };
    knows(&before, &gateways, purse).await;
    before
}

/// Waits until Redis has what was spent since the reset, and what is held.
async fn knows(before: &Before, gateways: &[&Gateway], purse: &Purse<'_>) {
    let expected = || (billed(gateways, "a") - before.forgotten, before.pending);
    let mut last = None;
    let known = eventually_or("what was spent and held before", || {
        last = purse.account("agent:a").map(|a| (a.posted, a.pending));
        (last == Some(expected())).then_some(())
    });
    if !known.await {
        panic!("{last:?} is not {:?}", expected());
    }
}

/// Nothing is forgotten after the loss, and the limit holds.
async fn remembered(before: Before, gateways: [&Gateway; 2], purse: &Purse<'_>) {
    for gateway in gateways {
        served(gateway, "a", 20).await;
    }
    knows(&before, &gateways, purse).await;
    for gateway in gateways {
        let (limit, _, held) = shown(gateway, "a").await;
        assert_eq!((limit, held), (LIMIT, before.pending));
        assert_eq!(gateway.account("a").await["budget_source"], "console");
    }
    let forgotten = before.forgotten;
    drop(before);
    exhaust(&gateways, "a").await;
    for gateway in gateways {
        gateway.quiet().await;
    }
    purse.agrees(&gateways).await;
    let spent = billed(&gateways, "a") - forgotten;
    assert!(
        (LIMIT * 9 / 10..=LIMIT).contains(&spent),
        "{spent} of {LIMIT}"
    );
    assert_eq!(purse.account("agent:a").unwrap().posted, spent);
}

/// A loss that happens to one server.
async fn is_survived(mut server: RedisServer, lose: impl FnOnce(&mut RedisServer)) {
    let provider = Provider::start().await;
    let [first, second] = two(&cents(&provider), &server).await;
    let before = busy([&first, &second], &provider, &Purse::of(&server, TENANT)).await;
    lose(&mut server);
    remembered(before, [&first, &second], &Purse::of(&server, TENANT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_told_everything() {
    is_survived(RedisServer::start(), RedisServer::restart_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_its_data_is_told_what_it_missed() {
    is_survived(RedisServer::durable(), RedisServer::restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_keys_were_all_deleted_is_told_everything() {
    is_survived(RedisServer::start(), |server| server.flush_all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_functions_were_deleted_is_given_them_again() {
    is_survived(RedisServer::start(), |server| {
        assert_eq!(server.command(&["FUNCTION", "FLUSH"]).text(), "OK");
    })
    .await;
}

/// What an eviction does, or a hand that slips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_deleted_is_put_together_again() {
    is_survived(RedisServer::start(), |server| {
        let key = format!("weir:{{{TENANT}}}:a:agent:a");
        assert_eq!(server.command(&["DEL", &key]).number(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_from_before_is_told_what_came_after() {
    let provider = Provider::start().await;
    let mut master = RedisServer::start();
    let replica = RedisServer::replica_of(&master);
    let detour = Detour::to(master.port()).await;
    let setup = cents(&provider).redis(&through(&detour));
    let (first, second) = (setup.clone().start().await, setup.start().await);
    assert_eq!(ask(&first, "a", 200).await.status, 200);
    let late = Open::at(&second, &provider, "a", "early", 200).await;
    eventually("a replica that knows the hold", || {
        (Purse::of(&replica, TENANT).holds() == 1).then_some(())
    })
    .await;
    replica.promote();
    drop(late);
    second.quiet().await;
    let before = busy([&first, &second], &provider, &Purse::of(&master, TENANT)).await;
    master.kill();
    detour.turn(replica.port());
    remembered(before, [&first, &second], &Purse::of(&replica, TENANT)).await;
}

/// The old master never ended: it is the server that it was, with the state that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_that_comes_back_is_told_what_came_after() {
    let provider = Provider::start().await;
    let old = RedisServer::start();
    let new = RedisServer::replica_of(&old);
    let ways = [Detour::to(old.port()).await, Detour::to(old.port()).await];
    let setup = |way: &Detour| cents(&provider).redis(&through(way));
    let (first, second) = (setup(&ways[0]).start().await, setup(&ways[1]).start().await);
    assert_eq!(ask(&first, "a", 200).await.status, 200);
    first.quiet().await;
    Purse::of(&old, TENANT).agrees(&[&first, &second]).await;
    new.promote();
    for way in &ways {
        way.turn(new.port());
    }
    for gateway in [&first, &second] {
        served(gateway, "a", 20).await;
        gateway.quiet().await;
    }
    let before = busy([&first, &second], &provider, &Purse::of(&new, TENANT)).await;
    // The second has not said yet what it holds.
    ways[0].turn(old.port());
    for _ in 0..50 {
        must_be_away(&ask(&first, "a", 20).await);
    }
    ways[1].turn(old.port());
    remembered(before, [&first, &second], &Purse::of(&old, TENANT)).await;
}

/// When each gateway was last heard of, by its name.
fn signs(server: &RedisServer) -> Vec<u64> {
    let key = format!("weir:{{{TENANT}}}:live");
    let mut names = server.command(&["ZRANGE", &key, "0", "-1"]).list();
    names.sort();
    let score = |name: &String| server.command(&["ZSCORE", &key, name]).text();
    let scores = names.iter().map(score);
    scores
        .map(|score| score.parse().expect("milliseconds"))
        .collect()
}

/// Each gateway hears of the others with its own sign of life: waits until all have given one more.
async fn known_to_each_other(server: &RedisServer) {
    let together = signs(server);
    eventually("another sign of life of each", || {
        let later = signs(server);
        together
            .iter()
            .zip(&later)
            .all(|(was, is)| is > was)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_wait_until_every_gateway_that_was_alive_has_told_what_it_knows() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let way = Detour::to(server.port()).await;
    let first = cents(&provider).redis(&at(&server.url())).start().await;
    let second = cents(&provider).redis(&through(&way)).start().await;
    let purse = Purse::of(&server, TENANT);
    let before = busy([&first, &second], &provider, &purse).await;
    // A sign of life later, the first knows that there is a second.
    eventually("two gateways", || (purse.live().len() == 2).then_some(())).await;
    known_to_each_other(&server).await;
    way.cut();
    server.flush_all();
    for _ in 0..50 {
        must_be_away(&ask(&first, "a", 20).await);
    }
    way.turn(server.port());
    remembered(before, [&first, &second], &purse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_do_not_wait_for_ever_for_a_gateway_that_is_gone() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let place = format!(
        "url: \"{}\", tenant: {TENANT}, timeout: 2s, recovery_wait: 300ms",
        server.url()
    );
    let setup = cents(&provider).redis(&place);
    let (first, mut second) = (setup.clone().start().await, setup.start().await);
    assert_eq!(ask(&second, "a", 500).await.status, 200);
    second.quiet().await;
    let purse = Purse::of(&server, TENANT);
    purse.agrees(&[&first, &second]).await;
    known_to_each_other(&server).await;
    second.kill9();
    server.flush_all();
    served(&first, "a", 20).await;
    first.quiet().await;
    said(&first, "grants go on without a gateway").await;
    let second = second.again().await;
    served(&second, "a", 20).await;
    second.quiet().await;
    purse.agrees(&[&first, &second]).await;
}
