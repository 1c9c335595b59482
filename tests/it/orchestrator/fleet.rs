//! Several gateways with one Redis: one caller is one caller, one session has one token.

use super::{ATTACK, TOKEN, infer, request, setup, validate};
use crate::support::redis::RedisServer;
use crate::support::{Gateway, LOOK, PATIENCE, Provider, Seen};
use serde_json::json;
use std::time::Instant;

async fn gateway(provider: &Provider, redis: &RedisServer) -> Gateway {
    setup(provider)
        .env("ADMIN_TOKEN", TOKEN)
        .redis(&format!("url: \"{}\"", redis.url()))
        .start()
        .await
}

/// Waits until a harmless message of `name` is answered like that.
async fn answered(gateway: &Gateway, name: &str, status: u16) {
    let start = Instant::now();
    while validate(gateway, "hello", name).await.status != status {
        assert!(start.elapsed() < PATIENCE, "never answered with {status}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strikes_at_several_gateways_count_together_and_all_keep_the_caller_out() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let one = gateway(&provider, &redis).await;
    let two = gateway(&provider, &redis).await;
    let three = gateway(&provider, &redis).await;
    assert_eq!(validate(&one, ATTACK, "a").await.status, 400);
    assert_eq!(validate(&two, ATTACK, "a").await.status, 400);
    let third = validate(&three, ATTACK, "a").await;
    assert_eq!(
        (third.status, &third.json()["error"]),
        (429, &json!("QUOTA_EXCEEDED"))
    );
    for gateway in [&one, &two, &three] {
        answered(gateway, "a", 429).await;
    }
    // Redis forgets, a gateway dies: what the others saw is told again.
    redis.flush_all();
    let two = two.restart().await;
    answered(&two, "a", 429).await;
    let four = gateway(&provider, &redis).await;
    answered(&four, "a", 429).await;
    let body = json!({"apiKey": "a"}).to_string();
    let lifted = one
        .admin(TOKEN, "/admin/unquarantine-temp", Some(&body))
        .await;
    assert_eq!(lifted.json()["lifted"], true);
    for gateway in [&one, &two, &three, &four] {
        answered(gateway, "a", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_gateway_counts_and_the_counts_are_put_together_later() {
    let (provider, mut redis) = (Provider::start().await, RedisServer::durable());
    let one = gateway(&provider, &redis).await;
    let two = gateway(&provider, &redis).await;
    redis.kill();
    assert_eq!(validate(&one, ATTACK, "a").await.status, 400);
    assert_eq!(validate(&one, ATTACK, "a").await.status, 400);
    assert_eq!(validate(&two, ATTACK, "a").await.status, 400);
    assert_eq!(validate(&two, "hello", "a").await.status, 200);
    redis.restart();
    for gateway in [&one, &two] {
        answered(gateway, "a", 429).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_has_one_token_at_every_gateway() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let one = gateway(&provider, &redis).await;
    let two = gateway(&provider, &redis).await;
    let body = json!({"systemPrompt": "You are kind.", "sessionId": "s"}).to_string();
    let prepare = async |gateway: &Gateway| {
        let said = gateway.post("/prepare-system-prompt", &body).await.json();
        said["canaryToken"].as_str().unwrap().to_owned()
    };
    let token = prepare(&one).await;
    assert_eq!(prepare(&two).await, token);
    // One that was never asked for it finds it all the same.
    let three = gateway(&provider, &redis).await;
    let leaked = json!({"output": format!("It is {token}"), "sessionId": "s"}).to_string();
    let reply = three.post("/filter-output", &leaked).await;
    assert_eq!(reply.json()["error"], "PROMPT_INJECTION_DETECTED");
    for gateway in [&one, &two] {
        assert_eq!(infer(gateway, &request("Hello")).await.status, 200);
    }
    let systems: Vec<String> = provider
        .records()
        .iter()
        .map(|record| record.body()["system"].to_string())
        .collect();
    assert_eq!(systems[0], systems[1]);
}
