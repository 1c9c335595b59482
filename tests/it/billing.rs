//! Which number ends up on the bill.

use crate::support::gateway::UNIT;
use crate::support::{Agent, Gateway, Peer, Provider, Scripted};
use serde_json::Value;

fn unit(provider: &Provider) -> crate::support::Setup {
    Gateway::over(provider)
        .unit_prices()
        .agent(Agent::new("default", "1000").unit())
}

/// Bills of one answer whole and one streamed.
async fn bills(gateway: &Gateway, behaviour: &str) -> [Value; 2] {
    let before = gateway.bills("default").len();
    for stream in [false, true] {
        let call = gateway.chat(&format!("[[{behaviour}]]")).max_tokens(1000);
        let reply = call.field("stream", stream).send().await;
        assert_eq!(reply.status, 200, "{behaviour}: {}", reply.text());
    }
    let mut bills = gateway
        .billed("default", before + 2)
        .await
        .split_off(before);
    let streamed = bills.remove(1);
    [bills.remove(0), streamed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_providers_cost_comes_first_then_its_tokens_at_our_prices() {
    let provider = Provider::start().await;
    let gateway = unit(&provider).start().await;
    for (behaviour, source, nanos) in [
        ("cost=0.0015", "provider", 1_500_000),
        ("cost=0.0015 usage=twice", "provider", 1_500_000),
        ("cost=0.0015 usage=early", "provider", 1_500_000),
        ("cost=1e-9", "provider", 1),
        // A thousand nano-dollars a token in, two thousand out.
        (
            "cost=off tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "dialect=openai tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=off tokens_in=7 tokens_out=64 usage=twice",
            "usage",
            7_000 + 128_000,
        ),
        ("cost=0 tokens_in=7 tokens_out=64", "usage", 7_000 + 128_000),
        (
            "cost=wrong:-1 tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=wrong:1e30 tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=wrong:1e400 tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=wrong:true tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=wrong:null tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
        (
            "cost=wrong:text tokens_in=7 tokens_out=64",
            "usage",
            7_000 + 128_000,
        ),
    ] {
        for bill in bills(&gateway, behaviour).await {
            assert_eq!(bill["source"], source, "{behaviour}");
            assert_eq!(bill["nano_usd"], nanos, "{behaviour}");
            assert_eq!(bill["status"], "settled", "{behaviour}");
            assert_eq!(bill["model"], UNIT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_cannot_be_true_never_lowers_a_bill_below_our_own_count() {
    let provider = Provider::start().await;
    let gateway = unit(&provider).start().await;
    for usage in ["off", "null", "negative", "huge", "zero", "string"] {
        let behaviour = format!("cost=off chunks=100 usage={usage}");
        for bill in bills(&gateway, &behaviour).await {
            assert_eq!(bill["source"], "estimated", "{usage}");
            assert_eq!(bill["status"], "estimated", "{usage}");
            let output = bill["usage"]["output"].as_u64().unwrap();
            // One chunk is one word; a word is a token or two.
            assert!((100..=250).contains(&output), "{usage}: {output}");
            let nanos = bill["nano_usd"].as_u64().unwrap();
            assert!(nanos >= output * 2000, "{usage}: {nanos}");
            assert!(nanos < 1_000_000, "{usage}: {nanos}");
        }
    }
    // Far fewer tokens than were seen are not believed either.
    for bill in bills(&gateway, "cost=off chunks=100 tokens_in=5 tokens_out=1").await {
        assert_eq!(bill["source"], "estimated");
        assert!(bill["nano_usd"].as_u64().unwrap() >= 200_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_and_reasoning_tokens_are_parts_and_not_on_top() {
    let provider = Provider::start().await;
    let gateway = unit(&provider).start().await;
    let behaviour = "cost=off tokens_in=100 tokens_out=64 cached=40 reasoning=30";
    for bill in bills(&gateway, behaviour).await {
        assert_eq!(bill["nano_usd"], 100_000 + 128_000);
        assert_eq!(bill["tokens"], 164);
        assert_eq!(bill["usage"]["cache_read"], 40);
        assert_eq!(bill["usage"]["reasoning"], 30);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_is_billed_as_the_model_that_answered() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "100").tier("0", &["openai/gpt-4o-mini", "openai/gpt-4o"]))
        .start()
        .await;
    let [first, streamed] =
        bills(&gateway, "fallback=1 cost=off tokens_in=1000 tokens_out=64").await;
    for bill in [first, streamed] {
        assert_eq!(bill["model"], "openai/gpt-4o");
        assert_eq!(bill["nano_usd"], 2_500_000 + 640_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_the_middle_of_a_stream_is_passed_on_and_billed_for_what_came() {
    let provider = Provider::start().await;
    let gateway = unit(&provider).start().await;
    let stream = |prompt: &str| gateway.chat(prompt).stream().send();
    let reply = stream("[[error_at=10 tag=middle]]").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .events()
            .iter()
            .any(|event| event["error"]["code"] == 502)
    );
    let bill = gateway.bill("default").await;
    assert!(bill["nano_usd"].as_u64().unwrap() >= 10 * 2000, "{bill}");
    // With the cost in the error event.
    stream("[[error_at=10 error_cost=0.0042]]").await;
    assert_eq!(gateway.billed("default", 2).await[1]["nano_usd"], 4_200_000);
    // The only event, and no cost: nothing was done.
    let only = stream("[[error_at=0]]").await;
    assert!(
        only.events()
            .iter()
            .any(|event| event.get("error").is_some())
    );
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 2);
    assert_eq!(gateway.events("void").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_dearer_than_its_hold_is_posted_as_it_is() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .unit_prices()
        .agent(Agent::new("default", "1").unit())
        .start()
        .await;
    let reply = gateway.chat("[[cost=3]]").max_tokens(10).send().await;
    assert_eq!(reply.metadata().unwrap()["budget_remaining"], -2.0);
    assert!(gateway.metric("weir_over_bound_total").await >= 1.0);
    assert_eq!(gateway.chat("x").send().await.status, 402);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_break_json_or_repeat_usage_are_billed_once() {
    let bodies = [
        // Cut off, two members of one name, not JSON at all, an empty one.
        r#"{"choices":[{"message":{"content":"one two three"}}],"usage":{"prompt_tokens":5,"completion_tokens":3"#,
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":3,"cost":0.001},"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"cost":0.001}}"#,
        "this is no JSON",
        "",
    ];
    let upstream = Scripted::start(move |_, mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            let index = (0..4).find(|index| text.contains(&format!("case-{index}")));
            let json = &["Content-Type: application/json"];
            peer.answer("200 OK", json, bodies[index.unwrap_or(3)])
                .await;
        }
    })
    .await;
    let gateway = Gateway::at(&upstream.base_url())
        .unit_prices()
        .routing("metadata: false")
        .agent(Agent::new("default", "10").unit())
        .start()
        .await;
    for (index, body) in bodies.iter().enumerate() {
        let reply = gateway
            .chat(&format!("case-{index}"))
            .max_tokens(50)
            .send()
            .await;
        assert_eq!(reply.status, 200);
        assert_eq!(&reply.text(), body);
    }
    gateway.quiet().await;
    let bills = gateway.bills("default");
    assert!(bills.len() <= 4, "{bills:?}");
    let second: Vec<_> = bills
        .iter()
        .filter(|bill| bill["nano_usd"] == 1_000_000)
        .collect();
    assert_eq!(second.len(), 1, "{bills:?}");
    assert!(bills.iter().all(|bill| bill["nano_usd"].as_i64() > Some(0)));
    // Text that came is never free.
    assert!(bills.len() >= 3, "{bills:?}");
}
