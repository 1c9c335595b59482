//! Every way in which Redis may be set up serves and bills, and tells nobody its secrets.

use super::{Open, TENANT, ask, at, cents, exhaust, must_be_away, said, served};
use crate::support::purse::billed;
use crate::support::redis::{Cluster, RedisServer, Sentinels};
use crate::support::{Gateway, Provider, Purse, Setup};

/// Two gateways, each of which is served and whose bills are the shared state's.
async fn work(setup: Setup, server: &RedisServer) -> [Gateway; 2] {
    let gateways = [setup.clone().start().await, setup.start().await];
    let [first, second] = &gateways;
    for gateway in &gateways {
        assert_eq!(ask(gateway, "a", 100).await.status, 200);
        gateway.quiet().await;
    }
    let purse = Purse::of(server, TENANT);
    purse.agrees(&[first, second]).await;
    let posted = purse.account("agent:a").unwrap().posted;
    assert_eq!(posted, billed(&[first, second], "a"));
    gateways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_a_password_open_redis_and_are_never_told() {
    const SECRET: &str = "sesame-open-0123456789";
    let provider = Provider::start().await;
    let mut server = RedisServer::with_acl("ann-of-weir", SECRET);
    let url = server.url();
    let gateways = work(cents(&provider).redis(&at(&url)), &server).await;
    server.kill();
    let wrong = url.replace(SECRET, "sesame-wrong-0123456789");
    let setup = cents(&provider).redis(&at(&wrong));
    let setup = setup.env("REDIS_URL", &url).env("RUST_LOG", "trace");
    let third = setup.start().await;
    for gateway in gateways.iter().chain([&third]) {
        must_be_away(&ask(gateway, "a", 20).await);
    }
    server.again();
    let impostor = cents(&provider)
        .settings("log:\n  level: trace")
        .redis(&format!("{}, connect_timeout: 300ms", at(&wrong)))
        .start()
        .await;
    must_be_away(&ask(&impostor, "a", 20).await);
    served(&third, "a", 20).await;
    for gateway in gateways.iter().chain([&third, &impostor]) {
        let metrics = gateway.get("/metrics").await.text();
        for told in [gateway.output(), metrics] {
            assert!(!told.contains("sesame"), "{told}");
        }
        let spend = gateway.get("/api/spend").await.text();
        assert!(!spend.contains("sesame"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_is_believed_by_its_certificate_only() {
    let (provider, server) = (Provider::start().await, RedisServer::with_tls());
    let trusting = format!(
        "{}, tls: {{ca_file: \"{}\"}}",
        at(&server.url()),
        server.ca_file().display()
    );
    work(cents(&provider).redis(&trusting), &server).await;
    let stranger = cents(&provider)
        .redis(&format!("{}, connect_timeout: 300ms", at(&server.url())))
        .start()
        .await;
    must_be_away(&ask(&stranger, "a", 20).await);
    assert_eq!(ask(&stranger, "soft", 20).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_to_the_next_master_and_nothing_is_forgotten() {
    let (provider, mut sentinels) = (Provider::start().await, Sentinels::start());
    let place = format!(
        "sentinel: {}, tenant: {TENANT}, timeout: 2s, recovery_wait: 20s",
        sentinels.yaml()
    );
    let setup = cents(&provider).redis(&place);
    let gateways = work(setup, sentinels.master()).await;
    let [first, second] = &gateways;
    let open = Open::at(first, &provider, "a", "held", 1000).await;
    sentinels.fail_over();
    for gateway in &gateways {
        served(gateway, "a", 20).await;
    }
    drop(open);
    exhaust(&[first, second], "a").await;
    for gateway in &gateways {
        gateway.quiet().await;
    }
    let purse = Purse::of(sentinels.master(), TENANT);
    purse.agrees(&[first, second]).await;
    assert!(billed(&[first, second], "a") <= super::CAP);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_serves_and_survives_a_node_that_forgets() {
    let (provider, mut cluster) = (Provider::start().await, Cluster::start());
    let place = format!(
        "cluster: {}, tenant: {TENANT}, timeout: 2s, recovery_wait: 20s",
        cluster.yaml()
    );
    let setup = cents(&provider).redis(&place);
    let [first, second] = [setup.clone().start().await, setup.start().await];
    assert_eq!(ask(&first, "a", 20).await.status, 200);
    let slot = |server: &RedisServer| {
        let keys = server.command(&["KEYS", "weir:*"]).list();
        !keys.is_empty()
    };
    let home = cluster.servers.iter().position(slot).expect("one of them");
    let home = &mut cluster.servers[home];
    let open = Open::at(&second, &provider, "a", "held", 1000).await;
    home.restart();
    for gateway in [&first, &second] {
        served(gateway, "a", 20).await;
    }
    drop(open);
    exhaust(&[&first, &second], "a").await;
    for gateway in [&first, &second] {
        gateway.quiet().await;
    }
    let purse = Purse::of(home, TENANT);
    purse.agrees(&[&first, &second]).await;
    assert!(billed(&[&first, &second], "a") <= super::CAP);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_throw_keys_away_is_warned_of() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = cents(&provider).redis(&at(&server.url()));
    let careful = setup.clone().start().await;
    assert_eq!(ask(&careful, "a", 20).await.status, 200);
    let quiet = careful.output();
    assert!(!quiet.contains("maxmemory-policy"), "{quiet}");
    let policy = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    assert_eq!(server.command(&policy).text(), "OK");
    let warned = setup.start().await;
    assert_eq!(ask(&warned, "a", 20).await.status, 200);
    for word in ["allkeys-lru", "noeviction"] {
        said(&warned, word).await;
    }
}
