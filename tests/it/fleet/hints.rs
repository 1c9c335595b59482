//! What one gateway found out about an endpoint spares the others finding it out.

use super::{TENANT, at, must_be_away};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Reply, Setup};
use std::time::Instant;

/// A model at two endpoints of one provider, of which one always fails; `soft` and `hard` may use it.
fn fleet(good: &Provider, down: &Provider) -> Setup {
    let text = format!(
        "providers:\n  house:\n    endpoints:\n      - {{name: good, base_url: \"{}\"}}\n      \
         - {{name: down, base_url: \"{}\"}}\nmodels:\n  m: {{provider: house, engine: e, \
         input_cost: 0.000001, output_cost: 0.000002, max_tokens: 100}}\n",
        good.base_url(),
        down.base_url()
    );
    Gateway::at("http://127.0.0.1:9/v1")
        .models(&text)
        .agent(Agent::new("soft", "10").soft().tier("0.0", &["m"]))
        .agent(Agent::new("hard", "10").tier("0.0", &["m"]))
}

/// Answers take so long to begin that an endpoint that has given none yet is tried.
async fn ask(gateway: &Gateway, agent: &str) -> Reply {
    let prompt = "[[chunks=2 lat_ms=3]]";
    gateway.chat(prompt).agent(agent).send().await
}

async fn hints(gateway: &Gateway) -> f64 {
    gateway.metric("weir_redis_hints").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_ejected_the_other_asks_last() {
    let server = RedisServer::start();
    let (good, down) = (Provider::start().await, Provider::that("status=500"));
    let setup = fleet(&good, &down).redis(&at(&server.url()));
    let (first, second) = (setup.clone().start().await, setup.start().await);
    let start = Instant::now();
    // Until it was so for a while, on a machine that may be slow.
    loop {
        assert!(start.elapsed() < PATIENCE, "no hint that lasts");
        let before = down.records().len();
        while down.records().len() == before {
            // The request is served all the same.
            assert_eq!(ask(&first, "hard").await.status, 200);
            assert!(start.elapsed() < PATIENCE, "never asked again");
        }
        for _ in 0..60 {
            assert_eq!(ask(&first, "hard").await.status, 200);
        }
        let waited = Instant::now();
        while hints(&second).await < 1.0 && waited.elapsed() < PATIENCE / 8 {
            tokio::time::sleep(LOOK).await;
        }
        if hints(&second).await < 1.0 {
            continue;
        }
        let asked = down.records().len();
        for _ in 0..20 {
            let reply = ask(&second, "hard").await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        // Nobody renews it meanwhile: if it is there still, it always was.
        if hints(&second).await >= 1.0 {
            assert_eq!(down.records().len(), asked, "it is asked last");
            break;
        }
    }
    // Nothing that may be a secret is told.
    let key = format!("weir:{{{TENANT}}}:ejected");
    for word in server.command(&["HVALS", &key]).list() {
        assert!(word.starts_with("house/down 127.0.0.1:"), "{word}");
        assert!(!word.contains("/v1"), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_gateway_finds_out_by_itself() {
    let mut server = RedisServer::start();
    let (good, down) = (Provider::start().await, Provider::that("status=500"));
    let gateway = fleet(&good, &down).redis(&at(&server.url())).start().await;
    server.kill();
    for _ in 0..40 {
        let reply = ask(&gateway, "soft").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    must_be_away(&ask(&gateway, "hard").await);
    assert_eq!(hints(&gateway).await, 0.0);
    let asked = down.records().len();
    assert!((5..30).contains(&asked), "asked {asked} times");
}
