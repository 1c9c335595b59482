//! Redis is away: hard budgets are refused at once, soft ones go on, and keys are checked as ever.

use super::{CAP, TENANT, ask, at, cents, must_be_away, said, served, two};
use crate::support::gateway::Setup;
use crate::support::redis::RedisServer;
use crate::support::{Detour, Gateway, Provider, Purse, bounded};

const KEY: &str = "a-key-of-some-length-for-one";

/// Far more requests than could be refused one after another if each of them waited for Redis.
const MANY: usize = 200;

fn keyed(provider: &Provider) -> Setup {
    let setup = cents(provider);
    setup
        .key("one", KEY, "a", "")
        .key("two", SOFT_KEY, "soft", "")
}

const SOFT_KEY: &str = "a-key-of-some-length-for-two";

async fn with_key(gateway: &Gateway, agent: &str, key: &str) -> crate::support::Reply {
    let call = gateway.chat("[[chunks=20]]").agent(agent).key(key);
    call.max_tokens(20).send().await
}

/// What holds while Redis is away, whatever the way.
async fn is_away(gateways: &[&Gateway]) {
    bounded("refusals that wait for nobody", async {
        for gateway in gateways {
            for _ in 0..MANY {
                must_be_away(&with_key(gateway, "a", KEY).await);
            }
        }
    })
    .await;
    for gateway in gateways {
        for key in ["another-key-of-some-length", &KEY[1..]] {
            assert_eq!(with_key(gateway, "a", key).await.status, 401);
        }
        assert_eq!(with_key(gateway, "soft", KEY).await.status, 403);
        for _ in 0..3 {
            let reply = with_key(gateway, "soft", SOFT_KEY).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        assert_eq!(gateway.get("/api/health").await.status, 200);
        assert_eq!(gateway.metric("weir_redis_up").await, 0.0);
        let push = gateway.push("a", r#"{"budget_total": 5}"#).await;
        assert_eq!(
            (push.status, push.code()),
            (503, "ledger_unavailable".into())
        );
    }
}

/// Served again, and everything that was spent meanwhile is known.
async fn is_back(gateways: &[&Gateway], purse: &Purse<'_>) {
    for gateway in gateways {
        bounded("a gateway that serves again", async {
            loop {
                let reply = with_key(gateway, "a", KEY).await;
                if reply.status == 200 {
                    break;
                }
                must_be_away(&reply);
            }
        })
        .await;
        assert_eq!(with_key(gateway, "soft", SOFT_KEY).await.status, 200);
        gateway.quiet().await;
    }
    purse.agrees(gateways).await;
    for gateway in gateways {
        let soft = gateway.bills("soft").len();
        assert!(
            soft == 4 || soft == 1,
            "{soft}: three while away, one after"
        );
        let account = gateway.account("a").await;
        assert_eq!(account["budget_source"], "local", "the push was refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_refuses_hard_budgets_at_once_and_nothing_else() {
    let (provider, mut server) = (Provider::start().await, RedisServer::durable());
    let [first, second] = two(&keyed(&provider), &server).await;
    server.kill();
    is_away(&[&first, &second]).await;
    server.again();
    is_back(&[&first, &second], &Purse::of(&server, TENANT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_says_nothing_is_away_like_one_that_is_not_there() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    // With the timeouts that a gateway has without being told.
    let place = format!("url: \"{}\", tenant: {TENANT}", server.url());
    let setup = keyed(&provider).redis(&place);
    let (first, second) = (setup.clone().start().await, setup.start().await);
    server.pause();
    is_away(&[&first, &second]).await;
    server.resume();
    is_back(&[&first, &second], &Purse::of(&server, TENANT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_without_redis_and_joins_when_there_is_one() {
    let provider = Provider::start().await;
    let mut server = RedisServer::start();
    server.kill();
    let place = format!(
        "url: \"{}\", tenant: {TENANT}, timeout: 2s, connect_timeout: 100ms",
        server.url()
    );
    let setup = keyed(&provider).redis(&place);
    let gateway = setup.start().await;
    said(&gateway, "Redis does not answer").await;
    is_away(&[&gateway]).await;
    server.again();
    is_back(&[&gateway], &Purse::of(&server, TENANT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_without_redis_stops_nobody_else() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let detour = Detour::to(server.port()).await;
    let first = keyed(&provider)
        .redis(&super::through(&detour))
        .start()
        .await;
    let second = keyed(&provider).redis(&at(&server.url())).start().await;
    detour.cut();
    is_away(&[&first]).await;
    for _ in 0..3 {
        assert_eq!(with_key(&second, "a", KEY).await.status, 200);
    }
    detour.turn(server.port());
    // The requests of the second counted meanwhile.
    is_back(&[&first, &second], &Purse::of(&server, TENANT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_keep_more_refuses_and_serves_again_when_it_can() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&cents(&provider), &server).await;
    assert_eq!(ask(&first, "a", 20).await.status, 200);
    assert_eq!(
        server.command(&["CONFIG", "SET", "maxmemory", "1"]).text(),
        "OK"
    );
    for gateway in [&first, &second] {
        must_be_away(&ask(gateway, "a", 20).await);
        assert_eq!(ask(gateway, "soft", 20).await.status, 200);
        said(gateway, "OOM").await;
    }
    assert_eq!(
        server.command(&["CONFIG", "SET", "maxmemory", "0"]).text(),
        "OK"
    );
    for gateway in [&first, &second] {
        served(gateway, "a", 20).await;
        gateway.quiet().await;
    }
    let purse = Purse::of(&server, TENANT);
    purse.agrees(&[&first, &second]).await;
    assert!(purse.account("agent:a").unwrap().posted < CAP);
}
