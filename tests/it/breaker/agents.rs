//! Agents in a loop, and agents that spend far more than they ever did.

use super::{HAIKU, events, guarded, levels, spend, total};
use crate::support::{Agent, Provider};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_loop_is_stopped_and_others_are_not() {
    let provider = Provider::start().await;
    let repeats = ", repeats: {action: refuse, times: 3, within: 10m, cool_down: 5m}";
    let gateway = guarded(&provider, &levels(repeats))
        .agent(Agent::new("other", "1000").untiered())
        .start()
        .await;
    let same = |agent: &str| {
        let call = gateway.chat("the same").agent(agent);
        call.field("model", HAIKU).max_tokens(5)
    };
    for _ in 0..2 {
        assert_eq!(same("default").send().await.status, 200);
    }
    for _ in 0..2 {
        let refused = same("default").send().await;
        assert_eq!(
            (refused.status, refused.code()),
            (429, "repeated_request".into())
        );
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=300).contains(&wait), "{wait}");
    }
    assert_eq!(same("other").send().await.status, 200);
    spend(&gateway, "0.1").await;
    assert_eq!(gateway.metric("weir_breaker_found_total").await, 1.0);
    let all = events(&gateway, r#""type":"guard.finding""#, 1).await;
    let found = &all[0];
    assert_eq!(
        (&found["control"], &found["rule"], &found["action"]),
        (&json!("breaker"), &json!("repeat"), &json!("refused"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_spends_far_more_than_ever_is_stopped_for_a_while() {
    let provider = Provider::start().await;
    let spikes = ", spikes: {action: refuse, dollars_per_minute: 0.1, cool_down: 10m}";
    let breaker = levels(spikes).replace("emergency: 4", "emergency: 400");
    let mut gateway = guarded(&provider, &breaker).start().await;
    spend(&gateway, "0.01").await;
    total(&gateway, 0.01).await;
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().await, Some(0));
    // An hour of work, a cent a minute.
    let path = gateway.directory.join("spend.jsonl.window");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let last = kept["latest"].as_i64().unwrap() / 60_000 * 60_000;
    let past: Vec<Value> = (5..60)
        .rev()
        .map(|minute| json!({"at": last - minute * 60_000, "cost": 10_000_000, "tokens": 10}))
        .collect();
    kept["tracker"]["spikes"]["agents"]["default"]["minutes"] = json!(past);
    std::fs::write(&path, kept.to_string()).unwrap();

    let gateway = gateway.again().await;
    spend(&gateway, "0.09").await;
    total(&gateway, 0.1).await;
    spend(&gateway, "0.02").await;
    total(&gateway, 0.12).await;
    let refused = gateway.chat("hello").field("model", HAIKU).send().await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "spend_spike".into())
    );
    assert!(refused.header("retry-after").is_some());
    let text = gateway.get("/metrics").await.text();
    assert!(
        text.contains(r#"weir_breaker_found_total{action="refuse",rule="spike.dollars"} 1"#),
        "{text}"
    );
}
