//! A provider's bad day: what the client gets, how many attempts are made, and what is billed.

use crate::support::faults::Scripted;
use crate::support::gateway::{Setup, free_port};
use crate::support::{Agent, Gateway, Provider, Reply, Seen};
use serde_json::{Value, json};

/// Two models, each at a provider of its own, at one dollar per million input tokens and two per
/// million output tokens; the agent's tier tries `first`, then `second`.
fn two(first: &str, second: &str) -> Setup {
    Gateway::at("http://127.0.0.1:9/v1")
        .models(&models(first, second, ""))
        .agent(Agent::new("default", "10").tier("0.0", &["first", "second"]))
}

fn models(first: &str, second: &str, more: &str) -> String {
    format!(
        "providers:\n  one: {{base_url: \"{first}\", timeout: 500ms}}\n  two: {{base_url: \"{second}\"}}\n\
         models:\n  first: {{provider: one, engine: engine-1, input_cost: 0.000001, output_cost: 0.000002, \
         max_tokens: 1000{more}}}\n  second: {{provider: two, engine: engine-2, input_cost: 0.000001, \
         output_cost: 0.000002, max_tokens: 1000}}\n"
    )
}

fn by(reply: &Reply, model: &str, provider: &str, attempts: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-weir-model"), Some(model));
    assert_eq!(reply.header("x-weir-provider"), Some(provider));
    assert_eq!(reply.header("x-weir-attempts"), Some(attempts));
}

/// What the records say of every attempt: `void`, or how its bill was found.
fn ends(gateway: &Gateway) -> Vec<String> {
    let log = gateway.log();
    let ended = log.iter().filter_map(|record| {
        let event = record.get("event").and_then(Value::as_str);
        match event {
            Some("void") => Some("void".to_owned()),
            None => Some(record["source"].as_str().unwrap().to_owned()),
            _ => None,
        }
    });
    ended.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_is_followed_by_the_next_and_costs_nothing() {
    let good = Provider::that("dialect=openai");
    for status in [408, 409, 429, 500, 502, 503, 529] {
        let bad = Provider::that(&format!("status={status} retry_after=60"));
        let gateway = two(&bad.base_url(), &good.base_url()).start().await;
        for stream in [false, true] {
            let reply = gateway.chat("hello").field("stream", stream).send().await;
            by(&reply, "second", "two", "2");
        }
        gateway.quiet().await;
        assert_eq!(
            ends(&gateway),
            ["void", "usage", "void", "usage"],
            "{status}"
        );
        let sent = good.records().pop().unwrap();
        assert_eq!(sent.body()["model"], "engine-2");
        assert_eq!(
            gateway.events("intent").len(),
            4,
            "each attempt has its hold"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_be_reached_is_followed_by_the_next() {
    let good = Provider::start().await;
    let nobody = format!("http://127.0.0.1:{}/v1", free_port());
    let gateway = two(&nobody, &good.base_url()).start().await;
    by(&gateway.chat("hello").send().await, "second", "two", "2");
    gateway.quiet().await;
    assert_eq!(ends(&gateway), ["void", "provider"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_lost_is_charged_as_an_estimate_and_the_next_one_for_itself() {
    let good = Provider::start().await;
    for lost in [
        "hang=headers",
        "cut=accept",
        "cut_at=0 cut=rst hang=headers",
    ] {
        let bad = Provider::that(lost);
        let gateway = two(&bad.base_url(), &good.base_url()).start().await;
        by(&gateway.chat("hello").send().await, "second", "two", "2");
        gateway.quiet().await;
        assert_eq!(ends(&gateway), ["estimated", "provider"], "{lost}");
        let bills = gateway.bills("default");
        assert_eq!(bills[0]["model"], "engine-1", "{lost}");
        assert!(bills[0]["nano_usd"].as_i64().unwrap() > 0, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_not_tried_again() {
    let good = Provider::start().await;
    let bad = Provider::that("chunks=8 cut_at=3");
    let gateway = two(&bad.base_url(), &good.base_url()).start().await;
    let reply = gateway.chat("hello").stream().send().await;
    assert_eq!(reply.header("x-weir-model"), Some("first"));
    let last = reply.events().pop().unwrap();
    assert_eq!(last["error"]["code"], "upstream_broken_off");
    assert!(good.records().is_empty());
    gateway.quiet().await;
    assert_eq!(ends(&gateway), ["estimated"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_request_is_nobody_elses_to_answer() {
    let good = Provider::start().await;
    for status in [400, 401, 403, 404, 422] {
        let bad = Provider::that(&format!("status={status}"));
        let gateway = two(&bad.base_url(), &good.base_url()).start().await;
        let reply = gateway.chat("hello").send().await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-weir-attempts"), Some("1"));
        gateway.quiet().await;
        assert_eq!(ends(&gateway), ["void"]);
    }
    assert!(good.records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_candidate_is_asked_again_and_its_own_error_is_passed_on() {
    let flaky = Provider::that("fail_first=2 key=a status=503");
    let gateway = Gateway::over(&flaky).routing("retries: 2").start().await;
    by(
        &gateway.chat("hello").send().await,
        "openai/gpt-4o-mini",
        "openrouter",
        "3",
    );
    gateway.quiet().await;
    assert_eq!(ends(&gateway), ["void", "void", "provider"]);

    let down = Provider::that("status=503 retry_after=1");
    let gateway = Gateway::over(&down).routing("retries: 1").start().await;
    let reply = gateway.chat("hello").send().await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(down.records().len(), 2);
    // A provider that wants to be left alone for long is left alone.
    let busy = Provider::that("status=429 retry_after=120");
    let gateway = Gateway::over(&busy).routing("retries: 3").start().await;
    let reply = gateway.chat("hello").send().await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("120"))
    );
    assert_eq!(busy.records().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_attempt_that_the_budget_does_not_carry_is_a_402() {
    let good = Provider::start().await;
    let lost = Provider::that("hang=headers");
    let dearer = models(&lost.base_url(), &good.base_url(), "").replacen(
        "engine-2, input_cost: 0.000001",
        "engine-2, input_cost: 0.0001",
        1,
    );
    let gateway = Gateway::at("http://127.0.0.1:9/v1")
        .models(&dearer)
        .agent(Agent::new("poor", "0.001").tier("0.0", &["first", "second"]))
        .routing("fit_max_tokens: false")
        .start()
        .await;
    let call = gateway
        .chat("hello, this is a prompt of some length")
        .agent("poor");
    let reply = call.max_tokens(40).send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (402, "budget_exhausted".into())
    );
    assert!(good.records().is_empty());
    gateway.quiet().await;
    assert_eq!(ends(&gateway), ["estimated"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_too_long_goes_to_the_model_that_is_configured_for_it() {
    let good = Provider::start().await;
    let script = |code: &'static str, message: &'static str| async move {
        Scripted::start(move |_, mut peer| async move {
            while peer.request().await.is_some() {
                let body = json!({"error": {"message": message, "type": "invalid_request_error", "code": code}});
                peer.answer("400 Bad Request", &["Content-Type: application/json"], &body.to_string()).await;
            }
        })
        .await
    };
    let overflow = "This model's maximum context length is 8192 tokens";
    for (code, message, option) in [
        ("context_length_exceeded", overflow, "on_context_overflow"),
        (
            "content_policy_violation",
            "Refused by the content policy",
            "on_content_policy",
        ),
    ] {
        let small = script(code, message).await;
        let more = format!(", {option}: second");
        let gateway = Gateway::at("http://127.0.0.1:9/v1")
            .models(&models(&small.base_url(), &good.base_url(), &more))
            .agent(Agent::new("default", "10").tier("0.0", &["first"]))
            .start()
            .await;
        for stream in [false, true] {
            let reply = gateway.chat("hello").field("stream", stream).send().await;
            by(&reply, "second", "two", "2");
        }
        gateway.quiet().await;
        assert_eq!(ends(&gateway), ["void", "provider", "void", "provider"]);
    }
    // Any other refusal of the request is the client's to read.
    let other = script("invalid_value", "temperature is too high").await;
    let gateway = Gateway::at("http://127.0.0.1:9/v1")
        .models(&models(
            &other.base_url(),
            &good.base_url(),
            ", on_context_overflow: second",
        ))
        .agent(Agent::new("default", "10").tier("0.0", &["first"]))
        .start()
        .await;
    let reply = gateway.chat("hello").send().await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_value".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_endpoints_of_a_model_share_the_work_and_a_broken_one_is_left_out() {
    let (a, b) = (Provider::start().await, Provider::start().await);
    let down = Provider::that("status=500");
    let text = format!(
        "providers:\n  fleet:\n    endpoints:\n      - {{name: a, base_url: \"{}\"}}\n      - {{name: b, base_url: \"{}\"}}\n      \
         - {{name: down, base_url: \"{}\"}}\nmodels:\n  m: {{provider: fleet, engine: e, input_cost: 0.000001, \
         output_cost: 0.000002, max_tokens: 100}}\n",
        a.base_url(),
        b.base_url(),
        down.base_url()
    );
    let gateway = Gateway::at("http://127.0.0.1:9/v1")
        .models(&text)
        .agent(Agent::new("default", "10").tier("0.0", &["m"]))
        .start()
        .await;
    for round in 0..10 {
        let calls = (0..8).map(|_| gateway.chat("[[delay_ms=2 chunks=3]]").send());
        for reply in futures(calls).await {
            assert_eq!(reply.status, 200, "round {round}: {}", reply.text());
        }
    }
    let (a, b, down) = (a.records().len(), b.records().len(), down.records().len());
    assert_eq!(a + b, 80);
    assert!(a > 10 && b > 10, "{a} and {b}");
    assert!(down < 40, "asked {down} times, though it never answers");
}

/// A request of each surface, for the tier's model.
fn surfaces() -> [(&'static str, Value); 5] {
    let user = json!([{"role": "user", "content": "hello"}]);
    [
        ("/v1/chat/completions", json!({"messages": user})),
        (
            "/v1/completions",
            json!({"model": "x", "prompt": "hello", "max_tokens": 50}),
        ),
        ("/v1/responses", json!({"input": "hello"})),
        ("/v1/messages", json!({"messages": user, "max_tokens": 50})),
        ("/proxy/first", json!({"messages": user})),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_is_the_same_on_every_surface() {
    let good = Provider::that("dialect=openai");
    let nobody = format!("http://127.0.0.1:{}/v1", free_port());
    let faults = [
        (Some("status=429 retry_after=60"), "void"),
        (Some("status=503"), "void"),
        (None, "void"),
        (Some("hang=headers"), "estimated"),
        (Some("cut=accept"), "estimated"),
    ];
    for (fault, first) in faults {
        let bad = fault.map(Provider::that);
        let address = bad.as_ref().map_or(nobody.clone(), Provider::base_url);
        let gateway = two(&address, &good.base_url()).start().await;
        let mut expected = Vec::new();
        for (path, body) in surfaces() {
            for stream in [false, true] {
                let mut body = body.clone();
                body["stream"] = json!(stream);
                let reply = gateway.post(path, &body.to_string()).await;
                by(&reply, "second", "two", "2");
                gateway.quiet().await;
                expected.extend([first, "usage"]);
                assert_eq!(ends(&gateway), expected, "{path} after {fault:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_answers_every_surface_says_so_in_its_own_words() {
    let down = Provider::that("status=503");
    let gateway = two(&down.base_url(), &down.base_url()).start().await;
    for (path, body) in surfaces() {
        let reply = gateway.post(path, &body.to_string()).await;
        assert_eq!(reply.status, 503, "{path}");
        assert_eq!(reply.header("x-weir-attempts"), Some("2"));
        let body = reply.json();
        let message = match path {
            "/v1/messages" => {
                assert_eq!(body["type"], "error");
                &body["error"]["message"]
            }
            _ => &body["error"]["message"],
        };
        assert!(message.is_string(), "{path}: {body}");
    }
    gateway.quiet().await;
    assert!(ends(&gateway).iter().all(|end| end == "void"));
}

/// All of them at once.
async fn futures<F>(calls: impl Iterator<Item = F>) -> Vec<Reply>
where
    F: std::future::Future<Output = Reply> + Send + 'static,
{
    let tasks: Vec<_> = calls.map(tokio::spawn).collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}
