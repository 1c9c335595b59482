//! Which models a budget affords, and what is done when it affords none.

use crate::support::gateway::UNIT;
use crate::support::{Agent, Gateway, Provider, Seen, eventually};
use serde_json::json;

fn three_tiers(name: &str) -> Agent {
    Agent::new(name, "100")
        .tier("0.80", &["anthropic/claude-3.5-sonnet", "openai/gpt-4o"])
        .tier("0.30", &["anthropic/claude-3-haiku", "openai/gpt-4o-mini"])
        .tier("0.00", &["mistralai/mistral-7b-instruct"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_is_left_exactly_below_its_threshold_and_not_before() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(three_tiers("a"))
        .start()
        .await;
    for (spent, tier) in [
        ("0", "0"),
        ("19.999999999", "0"),
        ("20", "0"),
        ("20.000000001", "1"),
        ("70", "1"),
        ("70.000000001", "2"),
        ("99.9", "2"),
    ] {
        for stream in [false, true] {
            let push = format!(r#"{{"budget_spent": {spent}}}"#);
            assert_eq!(gateway.push("a", &push).await.status, 200);
            let call = gateway.chat("[[cost=0.001]]").agent("a").max_tokens(20);
            let reply = call.field("stream", stream).send().await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(
                reply.header("x-weir-tier"),
                Some(tier),
                "{spent} of 100 spent"
            );
        }
    }
    let models = |record: &weir::mock::Record| record.body()["models"].clone();
    let records = provider.records();
    assert_eq!(
        models(&records[0]),
        json!(["anthropic/claude-3.5-sonnet", "openai/gpt-4o"])
    );
    assert_eq!(
        models(&records[7]),
        json!(["anthropic/claude-3-haiku", "openai/gpt-4o-mini"])
    );
    assert_eq!(
        models(&records[13]),
        json!(["mistralai/mistral-7b-instruct"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_requests_in_flight_hold_counts_when_a_tier_is_chosen() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(
            Agent::new("a", "0.01")
                .tier("0.9", &[UNIT])
                .tier("0", &[UNIT]),
        )
        .start()
        .await;
    let first = gateway
        .chat("[[hang=headers tag=held]]")
        .agent("a")
        .max_tokens(1000);
    let first = tokio::spawn(first.try_open());
    provider.arrived("held").await;
    // Two of ten thousandths are held: 80 %.
    let second = gateway.chat("x").agent("a").max_tokens(20).send().await;
    assert_eq!(second.header("x-weir-tier"), Some("1"));
    first.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_budget_goes_on_serving_on_its_cheapest_tier() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(three_tiers("soft").soft())
        .start()
        .await;
    gateway.push("soft", r#"{"budget_spent": 100}"#).await;
    for stream in [false, true] {
        let call = gateway.chat("[[cost=1.5]]").agent("soft");
        let reply = call.field("stream", stream).send().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-weir-tier"), Some("2"));
    }
    let account = gateway.account("soft").await;
    assert_eq!(account["budget_remaining"], -3.0);
    assert_eq!(account["hard_cap"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_refused_by_a_hard_cap_unless_a_ceiling_is_given() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider)
        .agent(Agent::new("hard", "10").tier("0", &["nobody/knows"]))
        .agent(Agent::new("soft", "10").soft().tier("0", &["nobody/knows"]))
        .agent(Agent::new("free-choice", "10").untiered());
    let gateway = setup.clone().start().await;
    let hard = gateway.chat("x").agent("hard").send().await;
    assert_eq!((hard.status, hard.code()), (400, "model_unpriced".into()));
    assert_eq!(hard.json()["error"]["param"], "model");
    let chosen = gateway
        .chat("x")
        .agent("free-choice")
        .field("model", "nobody/knows");
    assert_eq!(chosen.send().await.code(), "model_unpriced");
    assert_eq!(gateway.chat("x").agent("soft").send().await.status, 200);
    assert_eq!(provider.records().len(), 1);

    let ceiling = setup.routing(
        "unpriced_ceiling: {input_usd_per_million: 100, output_usd_per_million: 200, max_output_tokens: 1000}",
    );
    let gateway = ceiling.start().await;
    let hard = gateway.chat("x").agent("hard").max_tokens(100).send().await;
    assert_eq!(hard.status, 200, "{}", hard.text());
    let intent = &gateway.events("intent")[0];
    assert!(intent["held"].as_i64().unwrap() >= 100 * 200_000);
    // Held at the ceiling, billed at what the provider says.
    let bill = gateway.bill("hard").await;
    assert_eq!(bill["source"], "provider");
    assert!(bill["nano_usd"].as_i64() < intent["held"].as_i64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_tokens_is_fitted_to_the_budget_and_the_client_is_told() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(Agent::new("a", "0.002").unit())
        .start()
        .await;
    // A thousand tokens would cost the whole budget, without the prompt.
    for field in ["max_tokens", "max_completion_tokens"] {
        provider.forget();
        gateway.post("/api/reset/a", "").await;
        let call = gateway.chat("[[chunks=1000]]").agent("a");
        let reply = call.field(field, 1000).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let fitted: u64 = reply.header("x-weir-max-tokens").unwrap().parse().unwrap();
        assert!((500..1000).contains(&fitted), "{fitted}");
        let record = provider.only_record().await;
        assert_eq!(record.body()[field], fitted);
        assert_eq!(record.produced, fitted);
        assert!(gateway.account("a").await["budget_remaining"].as_f64() >= Some(0.0));
    }
    // No number from the client: the model's limit is what must be afforded.
    provider.forget();
    gateway.post("/api/reset/a", "").await;
    let reply = gateway.chat("[[chunks=1000]]").agent("a").send().await;
    let fitted: u64 = reply.header("x-weir-max-tokens").unwrap().parse().unwrap();
    assert_eq!(provider.only_record().await.body()["max_tokens"], fitted);
    // Enough for what is asked: nothing is touched and nothing is said.
    provider.forget();
    gateway.post("/api/reset/a", "").await;
    let reply = gateway.chat("x").agent("a").max_tokens(20).send().await;
    assert_eq!(reply.header("x-weir-max-tokens"), None);
    assert_eq!(provider.only_record().await.body()["max_tokens"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_too_small_for_any_answer_refuses_before_anything_is_sent() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(Agent::new("a", "0.0001").unit())
        .start()
        .await;
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (402, "budget_exhausted".into())
    );
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    // Several choices cost several times as much.
    gateway.push("a", r#"{"budget_total": 0.001}"#).await;
    let one = gateway.chat("x").agent("a").max_tokens(100).send().await;
    assert_eq!(one.status, 200);
    gateway.post("/api/reset/a", "").await;
    let many = gateway.chat("x").agent("a").max_tokens(16).field("n", 128);
    assert_eq!(many.send().await.status, 402);
    assert_eq!(provider.records().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_only_held_says_try_again_and_then_serves() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .routing("fit_max_tokens: false")
        .agent(Agent::new("a", "0.003").unit())
        .start()
        .await;
    let first = gateway
        .chat("[[lat_ms=300 chunks=2 tag=first]]")
        .agent("a")
        .max_tokens(1000);
    let first = tokio::spawn(first.send());
    provider.arrived("first").await;
    let second = gateway.chat("x").agent("a").max_tokens(1000).send().await;
    assert_eq!(
        (second.status, second.code()),
        (429, "budget_in_flight".into())
    );
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.json()["error"]["type"], "rate_limit_error");
    assert_eq!(first.await.unwrap().status, 200);
    let third = gateway.chat("x").agent("a").max_tokens(1000).send().await;
    assert_eq!(third.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_over_all_agents_holds_them_all() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing("gateway:\n  budget_total: 2\n  period: daily")
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("b", "10"))
        .start()
        .await;
    assert_eq!(
        gateway.chat("[[cost=1]]").agent("a").send().await.status,
        200
    );
    assert_eq!(
        gateway.chat("[[cost=1]]").agent("b").send().await.status,
        200
    );
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (402, "budget_exhausted".into())
    );
    assert_eq!(reply.json()["detail"]["account"], "gateway");
    assert_eq!(gateway.account("a").await["budget_spent"], 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_tiers_gets_the_model_it_asks_for() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("a", "10").untiered())
        .start()
        .await;
    let reply = gateway
        .chat("x")
        .agent("a")
        .field("model", "openai/gpt-4o")
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = provider.only_record().await.body();
    assert_eq!(body["model"], "openai/gpt-4o");
    assert!(body.get("models").is_none() && body.get("route").is_none());
    let none = gateway.chat("x").agent("a").send().await;
    assert_eq!((none.status, none.code()), (400, "invalid_field".into()));
    eventually("the bill", || (gateway.bills("a").len() == 1).then_some(())).await;
}
