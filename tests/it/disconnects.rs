//! Clients and providers that leave in the middle: never free, never twice.

use crate::support::client::{chat_body, request};
use crate::support::{Agent, Gateway, Provider, Raw, eventually};
use serde_json::Value;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    Reset,
}

impl Leave {
    fn with(self, raw: Raw) {
        match self {
            Self::Close => drop(raw),
            Self::Reset => raw.reset(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_pays_exactly_what_the_provider_produced() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let mut story = 0;
    for leave in [Leave::Close, Leave::Reset] {
        for behaviour in [
            "delay_ms=5",
            "delay_ms=5 dialect=openai",
            "delay_ms=5 split=50 crlf=1 comment=1",
            "delay_ms=1 pad=4000",
        ] {
            for after_first in [true, false] {
                story += 1;
                let mut raw = gateway.raw().await;
                let lat = if after_first { 0 } else { 100 };
                let prompt = format!("[[chunks=40 {behaviour} lat_ms={lat} tag=s{story}]]");
                raw.send(request(&[], &chat_body(&prompt, true))).await;
                if after_first {
                    raw.until("\"content\":").await;
                } else {
                    provider.arrived(&format!("s{story}")).await;
                }
                leave.with(raw);
                let record = provider.ended(&format!("s{story}")).await;
                let what = format!("{leave:?} {behaviour} after first: {after_first}");
                assert!(
                    record.completed && record.produced == 40,
                    "{what}: it was read to its end"
                );
                let bills = gateway.billed("default", story).await;
                assert_eq!(bills.len(), story, "{what}");
                let bill = &bills[story - 1];
                assert_eq!(bill["status"], "settled", "{what}");
                assert_eq!(bill["nano_usd"], record.produced_cost_nanos, "{what}");
            }
        }
    }
    assert!(gateway.metric("weir_client_disconnects_total").await > 0.0);
    gateway.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_a_json_answer_pays_for_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for (number, leave) in [Leave::Close, Leave::Reset].into_iter().enumerate() {
        let mut raw = gateway.raw().await;
        let prompt = format!("[[lat_ms=150 chunks=30 tag=json{number}]]");
        raw.send(request(&[], &chat_body(&prompt, false))).await;
        provider.arrived(&format!("json{number}")).await;
        leave.with(raw);
        let record = provider.ended(&format!("json{number}")).await;
        assert!(record.completed);
        let bills = gateway.billed("default", number + 1).await;
        assert_eq!(bills[number]["nano_usd"], record.produced_cost_nanos);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_stops_sending_is_served_in_full() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for stream in [false, true] {
        let mut raw = gateway.raw().await;
        let prompt = "[[chunks=30 delay_ms=3 lat_ms=50]]";
        raw.send(request(&[], &chat_body(prompt, stream))).await;
        raw.half_close().await;
        let reply = raw.reply().await;
        assert_eq!(reply.status, 200);
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains("_execwall"), "{text}");
        assert_eq!(stream, text.ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(gateway.metric("weir_client_disconnects_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_nobody_reads_is_given_up_at_the_limit_and_estimated() {
    let provider = Provider::start().await;
    for limits in [
        "{time: 100ms, bytes: 16MiB}",
        "{time: 60s, bytes: 4KiB}",
        "{time: 0s, bytes: 0}",
    ] {
        provider.forget();
        let gateway = Gateway::over(&provider)
            .settings(&format!("drain: {limits}"))
            .agent(Agent::new("default", "1000"))
            .start()
            .await;
        let mut raw = gateway.raw().await;
        let prompt = "[[chunks=1000000 delay_ms=2 tag=endless]]";
        raw.send(request(&[], &chat_body(prompt, true))).await;
        raw.until("\"content\":").await;
        raw.reset();
        let bill = gateway.bill("default").await;
        assert_eq!(bill["status"], "estimated", "{limits}");
        assert!(bill["nano_usd"].as_i64() > Some(0), "{limits}");
        let record = provider.ended("endless").await;
        assert!(record.peer_left, "the provider was told to stop");
        gateway.quiet().await;
        assert_eq!(gateway.bills("default").len(), 1, "{limits}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_silent_provider_does_not_hold_its_budget_for_ever() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("drain: {time: 200ms, bytes: 1MiB}")
        .start()
        .await;
    for (number, behaviour) in ["hang=headers", "hang_at=0", "hang_at=5"]
        .iter()
        .enumerate()
    {
        let mut raw = gateway.raw().await;
        let prompt = format!("[[{behaviour} tag=silent{number}]]");
        raw.send(request(&[], &chat_body(&prompt, true))).await;
        provider.arrived(&format!("silent{number}")).await;
        if number == 2 {
            raw.until("\"content\":\" river").await;
        }
        raw.reset();
        let bills = gateway.billed("default", number + 1).await;
        assert_eq!(bills[number]["status"], "estimated", "{behaviour}");
        assert!(bills[number]["nano_usd"].as_i64() > Some(0), "{behaviour}");
    }
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_its_provider_breaks_off_ends_with_an_error_event_and_a_bill() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for (number, cut) in ["fin", "rst"].iter().enumerate() {
        let prompt = format!("[[cut_at=20 cut={cut} delay_ms=1 tag={cut}]]");
        let reply = gateway.chat(&prompt).stream().send().await;
        assert_eq!(reply.status, 200);
        assert!(!reply.done(), "{cut}: it did not end as if all was well");
        let events = reply.events();
        let last = events.last().unwrap();
        assert_eq!(last["error"]["code"], "upstream_broken_off", "{cut}");
        assert!(last["error"]["message"].is_string());
        let bills = gateway.billed("default", number + 1).await;
        let bill = &bills[number];
        assert_eq!(bill["source"], "estimated");
        let output = bill["usage"]["output"].as_u64().unwrap();
        let record = provider.ended(cut).await;
        // A reset may overtake the last chunks.
        assert!(
            output >= 1 && output <= record.produced + 5,
            "{output} of {}",
            record.produced
        );
        if *cut == "fin" {
            assert!(output >= record.produced, "{output} of {}", record.produced);
        }
    }
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_answer_cut_short_is_not_passed_off_as_whole() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for (number, cut) in ["fin", "rst"].iter().enumerate() {
        let reply = gateway
            .chat(&format!("[[cut_at=300 cut={cut}]]"))
            .send()
            .await;
        assert!(!reply.complete || reply.status == 502, "{reply:?}");
        assert!(serde_json::from_slice::<Value>(&reply.body).map_or(true, |_| reply.status == 502));
        let bills = gateway.billed("default", number + 1).await;
        assert_eq!(bills[number]["status"], "estimated");
        assert!(bills[number]["nano_usd"].as_i64() > Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_falls_silent_is_given_up_and_billed_for_what_it_said() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .upstream("timeout_seconds: 300ms")
        .start()
        .await;
    let reply = gateway
        .chat("[[hang_at=12 tag=hang]]")
        .stream()
        .send()
        .await;
    assert_eq!(reply.status, 200);
    assert!(!reply.done());
    assert!(reply.events().last().unwrap().get("error").is_some());
    let bill = gateway.bill("default").await;
    assert_eq!(bill["status"], "estimated");
    assert!(bill["usage"]["output"].as_u64() >= Some(12));
    let json = gateway.chat("[[hang_at=200]]").send().await;
    assert!(!json.complete || json.status == 504);
    assert_eq!(gateway.billed("default", 2).await.len(), 2);
    eventually("the provider is told", || {
        provider
            .records()
            .iter()
            .all(|record| record.ended)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_right_after_the_request_may_have_cost_something() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let reply = gateway.chat("[[cut=accept]] once upon a time").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (502, "upstream_unreachable".into())
    );
    let bill = gateway.bill("default").await;
    assert_eq!(bill["status"], "estimated");
    assert!(bill["nano_usd"].as_i64() > Some(0));
    assert_eq!(
        provider.records().len(),
        1,
        "a new connection is not tried again"
    );
}
