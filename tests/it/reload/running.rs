//! Requests that are under way while another configuration comes into force.

use super::{KEY, OTHER, refused, reload, two_agents, write};
use crate::support::client::{chat_body, request};
use crate::support::faults::Scripted;
use crate::support::{Agent, Gateway, Provider, Reply, bounded};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_stops_at_once_on_kept_connections_too_and_its_stream_goes_on() {
    let provider = Provider::start().await;
    let setup = |keys: &[(&str, &str)]| {
        let setup = Gateway::over(&provider).agent(Agent::new("a", "10"));
        keys.iter()
            .fold(setup, |setup, (id, key)| setup.key(id, key, "a", ""))
    };
    let gateway = setup(&[("gone", KEY), ("stays", OTHER)]).start().await;
    let ask = |key: &str| {
        let body = chat_body("[[chunks=1]]", false);
        let (length, key) = (
            format!("Content-Length: {}", body.len()),
            format!("x-api-key: {key}"),
        );
        request(&["Content-Type: application/json", &length, &key], &body)
    };
    let mut kept = gateway.raw().await;
    kept.send(ask(KEY)).await;
    assert_eq!(kept.reply().await.status, 200);
    let call = gateway.chat("[[chunks=100 delay_ms=10 tag=open]]").key(KEY);
    let mut open = call.stream().open().await;
    assert!(open.chunk().await.unwrap().is_some());

    gateway.write_policy(&setup(&[("stays", OTHER)]));
    assert_eq!(
        reload(&gateway).await["changes"],
        json!(["key `gone` revoked"])
    );
    kept.send(ask(OTHER)).await;
    assert_eq!(kept.reply().await.status, 200);
    kept.send(ask(KEY)).await;
    let reply = kept.reply().await;
    assert_eq!(
        (reply.status, reply.code()),
        (401, "invalid_api_key".into())
    );
    assert_eq!(gateway.chat("x").key(KEY).send().await.status, 401);

    let reply = Reply::read(open).await;
    assert!(reply.complete && reply.done(), "{}", reply.text());
    let record = provider.ended("open").await;
    assert_eq!(record.produced, 100);
    let bills = gateway.billed("a", 3).await;
    let bill = bills
        .iter()
        .find(|bill| bill["nano_usd"] == record.produced_cost_nanos);
    assert_eq!(bill.expect("the stream is billed")["key"], "gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_budget_refuses_new_requests_and_the_stream_under_way_ends_whole() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("a", "10"))
        .start()
        .await;
    let call = gateway
        .chat("[[chunks=60 delay_ms=10 cost=2 tag=open]]")
        .agent("a");
    let mut open = call.stream().open().await;
    assert!(open.chunk().await.unwrap().is_some());
    gateway.write_policy(&Gateway::over(&provider).agent(Agent::new("a", "0.000001")));
    reload(&gateway).await;
    let reply = gateway.chat("x").agent("a").send().await;
    assert!(
        [402, 429].contains(&reply.status),
        "new work is refused: {}",
        reply.text()
    );
    let reply = Reply::read(open).await;
    assert!(reply.complete && reply.done(), "{}", reply.text());
    let record = provider.ended("open").await;
    assert_eq!(record.produced, 60);
    assert_eq!(gateway.bill("a").await["nano_usd"], 2_000_000_000_i64);
    gateway.quiet().await;
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (402, "budget_exhausted".into())
    );
    let account = gateway.account("a").await;
    assert_eq!(account["budget_spent"], 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_limit_counts_what_is_under_way_and_does_not_cut_it_off() {
    let provider = Provider::start().await;
    let setup = |limit: u64| {
        let limits = format!("limits: {{concurrent_requests: {limit}}}");
        Gateway::over(&provider).agent(Agent::new("a", "10").line(&limits))
    };
    let gateway = setup(3).start().await;
    let open = |tag: &str| {
        let prompt = format!("[[chunks=80 delay_ms=10 tag={tag}]]");
        gateway.chat(&prompt).agent("a").stream().open()
    };
    let streams = [open("one").await, open("two").await];
    gateway.write_policy(&setup(1));
    reload(&gateway).await;
    let reply = gateway.chat("x").agent("a").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (429, "rate_limit_exceeded".into())
    );
    for stream in streams {
        let reply = Reply::read(stream).await;
        assert!(reply.complete && reply.done(), "{}", reply.text());
    }
    gateway.quiet().await;
    assert_eq!(gateway.chat("x").agent("a").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_request_keeps_the_models_and_providers_it_began_with() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&go));
    // The first provider fails once it is told to; by then another policy is in force.
    let first = Scripted::start(move |_, mut peer| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            while peer.request().await.is_some() {
                tell.notify_one();
                wait.notified().await;
                peer.answer("503 Service Unavailable", &[], "{}").await;
            }
        }
    })
    .await;
    let second = Provider::that("dialect=openai");
    let models = |rest: &str| {
        format!(
            "providers:\n  one: {{base_url: \"{}\"}}\n  two: {{base_url: \"{}\"}}\nmodels:\n{rest}",
            first.base_url(),
            second.base_url()
        )
    };
    let before = models(
        "  first: {provider: one, input_cost: 0.000001, output_cost: 0.000002}\n  \
           second: {provider: two, input_cost: 0.000001, output_cost: 0.000002}\n",
    );
    let gateway = Gateway::at("http://127.0.0.1:9/v1")
        .models(&before)
        .agent(Agent::new("a", "10").tier("0.0", &["first", "second"]))
        .start()
        .await;
    let call = gateway.chat("hello").agent("a");
    let running = tokio::spawn(call.send());
    bounded("the first attempt", asked.notified()).await;
    // Neither the agent nor its models are there any more.
    gateway.write_policy(&Gateway::at("http://127.0.0.1:9/v1").agent(Agent::new("b", "1")));
    write(&gateway, "models.yaml", "models: {}\n");
    let reply = reload(&gateway).await;
    assert_eq!(reply["agents"], json!(["b"]));
    go.notify_one();
    let reply = running.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-weir-model"), Some("second"));
    let bill = gateway.bill("a").await;
    assert_eq!(bill["source"], "usage");
    assert_eq!(gateway.chat("x").agent("a").send().await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_while_fifty_requests_are_in_flight_lose_none() {
    let provider = Provider::start().await;
    let agents = ["a", "b"];
    let gateway = two_agents(&provider).start().await;
    let mut open = Vec::new();
    for number in 0..50 {
        let prompt = format!("[[chunks=40 delay_ms=20 cost=0.001 tag=r{number}]]");
        let call = gateway
            .chat(&prompt)
            .agent(agents[number % 2])
            .max_tokens(100);
        open.push(call.stream().open().await);
    }
    for round in 0..6 {
        let name = format!("round-{round}");
        let more = two_agents(&provider).agent(Agent::new(&name, "1"));
        gateway.write_policy(&more);
        reload(&gateway).await;
        write(&gateway, "policy.yaml", "cost_routing: [");
        refused(&gateway).await;
    }
    let mut all = JoinSet::new();
    for response in open {
        all.spawn(Reply::read(response));
    }
    for reply in all.join_all().await {
        assert!(
            reply.status == 200 && reply.complete && reply.done(),
            "{}",
            reply.text()
        );
    }
    gateway.quiet().await;
    for agent in agents {
        let bills = gateway.bills(agent);
        assert_eq!(bills.len(), 25, "{agent}");
        assert!(bills.iter().all(|bill| bill["nano_usd"] == 1_000_000));
    }
    assert_eq!(provider.records().len(), 50);
}
