//! Several gateways and one Redis: what they share, and what becomes of it on its bad days.

mod away;
mod days;
mod gone;
mod hints;
mod lease;
mod loss;
mod places;
mod shared;

use crate::support::client::request;
use crate::support::gateway::{Setup, UNIT};
use crate::support::redis::RedisServer;
use crate::support::{
    Agent, Detour, Gateway, LOOK, PATIENCE, Provider, Raw, Reply, bounded, eventually,
};
use serde_json::json;
use std::time::Instant;

/// The tenant of a server that nobody else uses.
const TENANT: &str = "team-one";

/// Where Redis is, for [`Setup::redis`]; patient, because the machine may be busy.
fn at(url: &str) -> String {
    format!("url: \"{url}\", tenant: {TENANT}, timeout: 2s, recovery_wait: 20s")
}

/// The same through a detour.
fn through(detour: &Detour) -> String {
    at(&format!("redis://{}/0", detour.addr))
}

/// Gateways with an agent `a` that has a hard cap of ten thousandths of a dollar and a model that
/// costs two millionths a token, and a soft agent `soft`. Amounts that are only held by other
/// requests refuse, and nothing is fitted.
fn cents(provider: &Provider) -> Setup {
    Gateway::over(provider)
        .unit_prices()
        .routing("fit_max_tokens: false")
        .settings("drain: {time: 50ms}")
        .agent(Agent::new("a", "0.01").unit())
        .agent(Agent::new("soft", "0.001").soft().tier("0.0", &[UNIT]))
}

/// What [`cents`] gives `a`, in nano-dollars.
const CAP: i64 = 10_000_000;

async fn two(setup: &Setup, server: &RedisServer) -> [Gateway; 2] {
    let setup = setup.clone().redis(&at(&server.url()));
    [setup.clone().start().await, setup.start().await]
}

/// A request of an agent whose answer has so many tokens.
async fn ask(gateway: &Gateway, agent: &str, tokens: u64) -> Reply {
    let prompt = format!("[[chunks={tokens}]]");
    let call = gateway.chat(&prompt).agent(agent).max_tokens(tokens);
    call.send().await
}

/// Waits until everything has ended at a gateway, and Redis has heard of it: others know it from then on.
async fn told(gateway: &Gateway) {
    gateway.quiet().await;
    let heard = async {
        while gateway.metric("weir_redis_backlog").await > 0.0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    bounded("the end of what Redis has not heard", heard).await;
}

/// Waits until a gateway has said this; it writes its log beside its work.
async fn said(gateway: &Gateway, words: &str) {
    let look = || gateway.output().contains(words).then_some(());
    eventually(words, look).await;
}

/// Asks until it is served.
async fn served(gateway: &Gateway, agent: &str, tokens: u64) {
    let start = Instant::now();
    loop {
        let reply = ask(gateway, agent, tokens).await;
        if reply.status == 200 {
            return;
        }
        must_be_away(&reply);
        assert!(start.elapsed() < PATIENCE, "never served again");
    }
}

fn must_be_away(reply: &Reply) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "ledger_unavailable"),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("retry-after"), Some("1"));
}

/// Spends what is left of `a`'s cap, by turns, until everybody says that it is exhausted.
async fn exhaust(gateways: &[&Gateway], agent: &str) {
    let start = Instant::now();
    for tokens in [300, 20] {
        for gateway in gateways {
            loop {
                let reply = ask(gateway, agent, tokens).await;
                match (
                    reply.status,
                    reply.status != 200 && reply.code() == "budget_in_flight",
                ) {
                    // What others hold may come back.
                    (200, _) | (429, true) => {}
                    (402, _) => break,
                    _ => must_be_away(&reply),
                }
                assert!(start.elapsed() < PATIENCE, "never exhausted");
            }
        }
    }
}

/// A request that stays open at the provider until this is dropped, having held for `tokens`.
struct Open(Option<Raw>);

impl Open {
    async fn at(
        gateway: &Gateway,
        provider: &Provider,
        agent: &str,
        tag: &str,
        tokens: u64,
    ) -> Self {
        let body = json!({"max_tokens": tokens, "messages": [
            {"role": "user", "content": format!("[[hang=headers tag={tag}]]")}]});
        let body = body.to_string();
        let (agent, length) = (
            format!("X-Agent-Id: {agent}"),
            format!("Content-Length: {}", body.len()),
        );
        let headers = ["Content-Type: application/json", &agent, &length];
        let mut client = gateway.raw().await;
        client.send(request(&headers, &body)).await;
        provider.arrived(tag).await;
        Self(Some(client))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.reset();
        }
    }
}
