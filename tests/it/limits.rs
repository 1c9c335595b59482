//! Limits of keys, agents, users and models.

use crate::support::{Agent, Gateway, Provider, Reply};

const KEY: &str = "a-client-key-of-some-length";
const OTHER: &str = "another-key-of-some-length";

fn limited(reply: &Reply, whose: &str) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.code(), "rate_limit_exceeded");
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains(whose), "{message}");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_key_are_limited_and_what_is_left_is_said() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .key("one", KEY, "default", "limits: {requests_per_minute: 3}")
        .key("two", OTHER, "default", "")
        .start()
        .await;
    for left in ["2", "1", "0"] {
        let reply = gateway.chat("x").key(KEY).send().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some(left));
        assert!(
            reply
                .header("x-ratelimit-reset-requests")
                .unwrap()
                .ends_with('s')
        );
    }
    for _ in 0..3 {
        limited(&gateway.chat("x").key(KEY).send().await, "key");
    }
    assert_eq!(gateway.chat("x").key(OTHER).send().await.status, 200);
    assert_eq!(provider.records().len(), 4);
    gateway.quiet().await;
    assert_eq!(
        gateway.bills("default").len(),
        4,
        "refused requests hold nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_refused_for_another_reason_do_not_count() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "1").line("limits: {requests_per_minute: 1}"))
        .start()
        .await;
    assert_eq!(
        gateway
            .push("default", r#"{"budget_spent": 1}"#)
            .await
            .status,
        200
    );
    for _ in 0..3 {
        assert_eq!(gateway.chat("x").send().await.status, 402);
    }
    assert_eq!(
        gateway
            .push("default", r#"{"budget_spent": 0}"#)
            .await
            .status,
        200
    );
    assert_eq!(gateway.chat("x").send().await.status, 200);
    limited(&gateway.chat("x").send().await, "agent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_reserved_and_then_corrected() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10").line("limits: {tokens_per_minute: 1000}"))
        .start()
        .await;
    let reply = gateway
        .chat("[[tokens_in=10 tokens_out=20]]")
        .max_tokens(900)
        .send()
        .await;
    assert_eq!(reply.status, 200);
    gateway.quiet().await;
    // 30 of them were used: 900 more fit, 960 do not.
    let reply = gateway
        .chat("[[tokens_in=10 tokens_out=20]]")
        .max_tokens(900)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.quiet().await;
    limited(&gateway.chat("x").max_tokens(960).send().await, "agent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_free_again_when_its_client_leaves() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("drain: {time: 300ms}")
        .agent(Agent::new("default", "10").line("limits: {concurrent_requests: 1}"))
        .start()
        .await;
    let open = gateway
        .chat("[[chunks=500 delay_ms=20 tag=held]]")
        .stream()
        .open()
        .await;
    limited(&gateway.chat("x").send().await, "agent");
    drop(open);
    let mut served = 0;
    while served == 0 {
        let reply = gateway.chat("x").send().await;
        served += usize::from(reply.status == 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_at_its_limit_is_followed_by_the_next() {
    let provider = Provider::start().await;
    let models = format!(
        "providers:\n  one: {{base_url: \"{}\"}}\nmodels:\n  a: {{provider: one, input_cost: 0.000001, output_cost: 0.000002, \
         limits: {{requests_per_minute: 1}}}}\n  b: {{provider: one, input_cost: 0.000001, output_cost: 0.000002, \
         limits: {{requests_per_minute: 1}}}}\n",
        provider.base_url()
    );
    let gateway = Gateway::over(&provider)
        .models(&models)
        .agent(Agent::new("default", "10").tier("0.0", &["a", "b"]))
        .start()
        .await;
    for model in ["a", "b"] {
        let reply = gateway.chat("x").send().await;
        assert_eq!(
            reply.header("x-weir-model"),
            Some(model),
            "{}",
            reply.text()
        );
    }
    limited(&gateway.chat("x").send().await, "model");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_body_limit_of_an_agent_holds() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10").line("limits: {request_bytes: 2KiB}"))
        .start()
        .await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    let reply = gateway.chat(&"x".repeat(3000)).send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (413, "request_too_large".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_budget_and_limits_hold_whatever_key_and_agent_ask() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing("users:\n  ann: {budget_total: 1, limits: {requests_per_minute: 2}}\n  bob: {budget_total: 0.000001}")
        .agent(Agent::new("default", "10"))
        .key("one", KEY, "default", "user: ann, users: [bob]")
        .start()
        .await;
    let reply = gateway.chat("x").key(KEY).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bob = gateway
        .chat("x")
        .key(KEY)
        .header("x-user-id", "bob")
        .send()
        .await;
    assert_eq!(
        (bob.status, bob.json()["detail"]["account"].as_str()),
        (402, Some("user:bob"))
    );
    let field = gateway.chat("x").key(KEY).field("user", "bob").send().await;
    assert_eq!(field.status, 402, "the field of the body chooses, too");
    let eve = gateway
        .chat("x")
        .key(KEY)
        .header("x-user-id", "eve")
        .send()
        .await;
    assert_eq!((eve.status, eve.code()), (403, "user_not_allowed".into()));
    assert_eq!(gateway.chat("x").key(KEY).send().await.status, 200);
    limited(&gateway.chat("x").key(KEY).send().await, "user");
}
