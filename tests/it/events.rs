//! What happens, told to whoever watches: which events there are, what they say, and who may see them.

mod sinks;
mod watchers;

use crate::support::gateway::{Agent, Gateway, Setup, free_port};
use crate::support::redis::{RedisServer, Said};
use crate::support::watcher::Watcher;
use crate::support::{Provider, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const TOKEN: &str = "admin-0123456789abcdef0123456789abcdef";

/// A gateway with a listener for whoever watches, and where that is.
async fn watched(setup: Setup) -> (Gateway, SocketAddr) {
    let port = free_port();
    let gateway = setup.env("EVENTS_PORT", &port.to_string()).start().await;
    (gateway, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The fields of every event in a stream of Redis, in their order.
fn stream(redis: &RedisServer, key: &str) -> Vec<BTreeMap<String, String>> {
    let items = |said: Said| match said {
        Said::List(items) => items,
        other => panic!("no list: {other:?}"),
    };
    let entries = items(redis.command(&["XRANGE", key, "-", "+"]));
    let fields = entries.into_iter().map(|entry| {
        let texts = items(entry).remove(1).list();
        let pairs = texts.chunks(2);
        pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    });
    fields.collect()
}

/// Everything of an event that the Model Gateway's consumers read.
const MODEL_GATEWAY: [(&str, &[&str]); 3] = [
    (
        "model.request.start",
        &["model", "trace_id", "request_size", "timestamp", "metadata"],
    ),
    ("model.streaming.start", &["model", "trace_id", "timestamp"]),
    (
        "model.request.complete",
        &[
            "model",
            "trace_id",
            "tokens_in",
            "tokens_out",
            "usd",
            "latency_ms",
            "status",
            "timestamp",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_events_have_its_fields_in_redis_and_at_the_websocket() {
    let provider = Provider::that("tokens_in=100 tokens_out=50");
    let redis = RedisServer::start();
    let setup = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .redis(&format!("url: \"{}\"", redis.url()));
    let (gateway, address) = watched(setup).await;
    let mut watcher = Watcher::at(address, "").await;
    let reply = gateway.chat("Tell me a story").stream().send().await;
    assert_eq!(reply.status, 200);
    let events = watcher.until("model.request.complete").await;

    let expected = MODEL_GATEWAY.map(|(name, _)| name);
    let told: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(told, expected);
    for (event, (name, fields)) in events.iter().zip(MODEL_GATEWAY) {
        assert_eq!(event["event_type"], name);
        for field in fields {
            assert!(
                event.get(*field).is_some(),
                "{name} without {field}: {event}"
            );
        }
        assert_eq!(
            event["trace_id"],
            reply.header("x-weir-request-id").unwrap()
        );
        assert_eq!(event["agent"], "default");
    }
    let [start, _, complete] = &events[..] else {
        panic!("three events: {events:?}");
    };
    assert_eq!(start["metadata"], serde_json::json!({}));
    assert!(start["request_size"].as_u64().is_some_and(|size| size > 0));
    assert!(start["held_nano_usd"].as_u64().is_some_and(|held| held > 0));
    assert_eq!(
        (&complete["tokens_in"], &complete["tokens_out"]),
        (&100.into(), &50.into())
    );
    assert_eq!(complete["status"], 200);
    assert!(complete.get("error").is_none());
    let bill = gateway.bill("default").await;
    assert_eq!(complete["nano_usd"], bill["nano_usd"]);
    assert_eq!(complete["model"], bill["model"]);

    // The same events in Redis, every value a string.
    let stored = eventually("three events in Redis", || {
        Some(stream(&redis, "agent.events")).filter(|events| events.len() >= 3)
    })
    .await;
    assert_eq!(stored.len(), 3);
    for (stored, event) in stored.iter().zip(&events) {
        let mut shown = event.as_object().unwrap().clone();
        shown.remove("type");
        assert_eq!(stored.len(), shown.len(), "{stored:?} is not {event}");
        for (field, value) in &shown {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(stored[field], text, "{field}");
        }
    }
    assert_eq!(gateway.metric("weir_events_total").await, 3.0);
    assert_eq!(gateway.metric("weir_event_sink_lost_total").await, 0.0);
    let text = gateway.get("/metrics").await.text();
    for line in [
        r#"weir_events_total{type="model.streaming.start"} 1"#,
        r#"weir_event_sink_up{sink="redis"} 1"#,
        r#"weir_event_sink_up{sink="websocket"} 1"#,
        r#"weir_event_watchers{sink="websocket"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_that_is_let_in_ends_once_however_it_ends() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider).agent(Agent::new("default", "10"));
    let (gateway, address) = watched(setup).await;
    let mut watcher = Watcher::at(address, "?type=model.*").await;
    let kinds = |events: &[Value]| -> Vec<String> {
        let kinds = events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned());
        kinds.collect()
    };

    // Answered, refused by the provider, broken off, left by the client.
    gateway.chat("hello").send().await;
    let events = watcher.until("model.request.complete").await;
    assert_eq!(
        kinds(&events),
        ["model.request.start", "model.request.complete"]
    );
    assert_eq!(
        (&events[1]["client_gone"], &events[1]["status"]),
        (&false.into(), &200.into())
    );

    gateway.chat("[[status=400]]").send().await;
    let events = watcher.until("model.request.complete").await;
    assert_eq!((events.len(), &events[1]["status"]), (2, &400.into()));
    assert_eq!(
        (&events[1]["source"], &events[1]["nano_usd"]),
        (&"none".into(), &0.into())
    );

    gateway
        .chat("[[cut_at=3 cut=fin]] a story")
        .stream()
        .send()
        .await;
    let events = watcher.until("model.request.complete").await;
    assert_eq!(kinds(&events)[1], "model.streaming.start");
    assert!(events[2]["error"].is_string(), "{}", events[2]);

    let response = gateway
        .chat("[[delay_ms=50 chunks=40]] a long story")
        .stream()
        .open()
        .await;
    drop(response);
    let events = watcher.until("model.request.complete").await;
    let last = events.last().unwrap();
    assert_eq!(last["client_gone"], true);
    assert_eq!(last["trace_id"], events[0]["trace_id"]);

    // Refused: one event, which says so.
    let refused = gateway.chat("hello").raw("no JSON").send().await;
    let events = watcher.until("model.request.refused").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["code"], refused.code());
    assert_eq!(
        (&events[0]["status"], &events[0]["surface"]),
        (&400.into(), &"chat".into())
    );
    assert_eq!(events[0]["agent"], "default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_provider_is_an_end_with_its_reason_and_ejected_in_the_end() {
    let port = free_port();
    let setup = Setup::new(&format!("http://127.0.0.1:{port}/v1"));
    let (gateway, address) = watched(setup).await;
    let mut watcher = Watcher::at(address, "").await;
    for _ in 0..weir::balance::FAILURES {
        let reply = gateway.chat("hello").send().await;
        assert_eq!(reply.code(), "upstream_unreachable");
    }
    let events = watcher.until("provider.ejected").await;
    let ejected = events.last().unwrap();
    assert_eq!(ejected["endpoint"], format!("127.0.0.1:{port}"));
    assert_eq!(ejected["millis"], weir::balance::EJECTED);
    let complete = events
        .iter()
        .find(|event| event["type"] == "model.request.complete");
    let complete = complete.unwrap();
    assert_eq!(complete["error"], "upstream_unreachable");
    assert_eq!(
        (&complete["status"], &complete["nano_usd"]),
        (&502.into(), &0.into())
    );
    assert!(
        !events
            .iter()
            .any(|event| event["type"] == "model.request.refused")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_do_is_told() {
    let provider = Provider::start().await;
    let (gateway, address) = watched(Gateway::over(&provider)).await;
    let mut watcher = Watcher::at(address, "?type=admin.change,gateway.reload").await;
    gateway.push("default", r#"{"budget_total": 7}"#).await;
    let event = watcher.event().await;
    assert_eq!(
        (&event["action"], &event["subject"], &event["by"]),
        (
            &"budget.push".into(),
            &"agent:default".into(),
            &"127.0.0.1".into()
        )
    );
    gateway.post("/api/reset/default", "{}").await;
    assert_eq!(watcher.event().await["action"], "budget.reset");

    gateway.post("/api/reload", "{}").await;
    let event = watcher.event().await;
    assert_eq!(
        (&event["result"], &event["by"]),
        (&"unchanged".into(), &"api".into())
    );
    assert_eq!(watcher.event().await["action"], "reload");
    std::fs::write(gateway.directory.join("policy.yaml"), "cost_routing: [").unwrap();
    gateway.signal("HUP");
    let event = watcher.event().await;
    assert_eq!(
        (&event["result"], &event["by"]),
        (&"invalid".into(), &"signal".into())
    );
    assert!(
        event["problems"]
            .as_u64()
            .is_some_and(|problems| problems > 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_gets_what_it_asks_for() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider)
        .agent(Agent::new("one", "10"))
        .agent(Agent::new("two", "10"));
    let (gateway, address) = watched(setup).await;
    let mut one = Watcher::at(address, "?agent=one&type=model.request.complete").await;
    let mut model = Watcher::at(
        address,
        "?model=no/such,openai/gpt-4o-mini&type=admin.change,model.request.c*",
    )
    .await;
    for agent in ["two", "one", "two"] {
        gateway.chat("hello").agent(agent).send().await;
    }
    assert_eq!(one.event().await["agent"], "one");
    for agent in ["two", "one", "two"] {
        let event = model.event().await;
        assert_eq!(
            (&event["type"], &event["agent"]),
            (&"model.request.complete".into(), &agent.into())
        );
    }
    gateway.chat("hello").agent("one").send().await;
    assert_eq!(one.event().await["agent"], "one");
    for query in ["?type=model.request.strat", "?kind=x", "?type=nothing.*"] {
        assert_eq!(
            Watcher::try_at(address, query, &[]).await.err(),
            Some(400),
            "{query}"
        );
    }
    let plain = gateway.get("/events?type=strat").await;
    assert_eq!((plain.status, plain.code()), (400, "bad_request".into()));
}
