//! Limits that several gateways share through Redis.

use crate::support::redis::{Cluster, RedisServer, Sentinels};
use crate::support::{Agent, Gateway, LOOK, Provider, Reply, Setup, bounded};

/// A gateway whose agent has these limits and shares them through `redis`, a section of the settings.
fn sharing(provider: &Provider, redis: &str, limits: &str) -> Setup {
    // The budget is not what these stories are about.
    let agent = Agent::new("default", "1000").soft();
    Gateway::over(provider)
        .settings(&format!("stores: {{redis: {redis}}}"))
        .settings("drain: {time: 300ms}")
        .agent(agent.line(&format!("limits: {{{limits}}}")))
}

fn at(server: &RedisServer) -> String {
    format!("{{url: \"{}\", orphan_after: 3s}}", server.url())
}

fn limited(reply: &Reply) -> bool {
    assert!([200, 429].contains(&reply.status), "{}", reply.text());
    if reply.status == 429 {
        assert_eq!(reply.code(), "rate_limit_exceeded");
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    reply.status == 429
}

/// Asks until the request is served.
async fn served(gateway: &Gateway) {
    let asking = async {
        while limited(&gateway.chat("x").send().await) {
            tokio::time::sleep(LOOK).await;
        }
    };
    bounded("a request that is served", asking).await;
}

/// Sends `count` requests to each gateway, all at once; how many were served.
async fn race(gateways: [&Gateway; 2], count: usize) -> usize {
    let calls: Vec<_> = (0..count)
        .flat_map(|_| gateways)
        .map(|gateway| tokio::spawn(gateway.chat("x").send()))
        .collect();
    let mut served = 0;
    for call in calls {
        served += usize::from(!limited(&call.await.unwrap()));
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_requests_a_minute_are_ten_for_both_gateways_together() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let setup = sharing(&provider, &at(&redis), "requests_per_minute: 10");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    let first = one.chat("x").send().await;
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("9"));
    let second = two.chat("x").send().await;
    assert_eq!(second.header("x-ratelimit-remaining-requests"), Some("8"));
    for gateway in [&one, &two] {
        let shown = gateway.get("/v1/budget").await.json();
        assert_eq!(shown["limits"]["requests_remaining"], 8, "{shown}");
    }
    assert_eq!(race([&one, &two], 10).await, 8);
    assert!(limited(&one.chat("x").send().await));
    assert!(limited(&two.chat("x").send().await));
    assert_eq!(provider.records().len(), 10, "refused requests go nowhere");
    for gateway in [&one, &two] {
        assert_eq!(gateway.metric("weir_limits_alone_total").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_requests_at_a_time_are_three_for_both_gateways_together() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let setup = sharing(&provider, &at(&redis), "concurrent_requests: 3");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    let held = "[[chunks=500 delay_ms=20 tag=held]]";
    let first = one.chat(held).stream().open().await;
    let second = one.chat(held).stream().open().await;
    let third = two.chat(held).stream().open().await;
    for gateway in [&one, &two] {
        assert!(limited(&gateway.chat("x").send().await));
    }
    drop(second);
    served(&two).await;
    served(&one).await;
    drop((first, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_places_of_a_gateway_that_was_killed_come_back() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let setup = sharing(&provider, &at(&redis), "concurrent_requests: 1");
    let (mut one, two) = (setup.clone().start().await, setup.start().await);
    let open = one
        .chat("[[chunks=5000 delay_ms=20 tag=held]]")
        .stream()
        .open()
        .await;
    assert!(limited(&two.chat("x").send().await));
    one.kill9();
    served(&two).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_one_gateway_used_are_gone_for_the_other() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let setup = sharing(&provider, &at(&redis), "tokens_per_minute: 1000");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    let prompt = "[[tokens_in=10 tokens_out=290]]";
    let reply = one.chat(prompt).max_tokens(900).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // 300 of them were used, and the other gateway hears of it.
    let corrected = async {
        while limited(&two.chat(prompt).max_tokens(600).send().await) {
            tokio::time::sleep(LOOK).await;
        }
    };
    bounded("a reservation that is corrected", corrected).await;
    assert!(limited(&two.chat("x").max_tokens(750).send().await));
    assert!(limited(&one.chat("x").max_tokens(750).send().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_that_are_at_their_limit_elsewhere_are_followed_by_the_next() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let price = "provider: one, input_cost: 0.000001, output_cost: 0.000002";
    let models = format!(
        "providers:\n  one: {{base_url: \"{}\"}}\nmodels:\n  a: {{{price}, limits: {{requests_per_minute: 1}}}}\n  \
         b: {{{price}, limits: {{requests_per_minute: 1}}}}\n",
        provider.base_url()
    );
    let setup = Gateway::over(&provider)
        .settings(&format!("stores: {{redis: {}}}", at(&redis)))
        .models(&models)
        .agent(
            Agent::new("default", "1000")
                .soft()
                .tier("0.0", &["a", "b"]),
        );
    let (one, two) = (setup.clone().start().await, setup.start().await);
    for (gateway, model) in [(&one, "a"), (&two, "b")] {
        let reply = gateway.chat("x").send().await;
        let served = reply.header("x-weir-model");
        assert_eq!(served, Some(model), "{}", reply.text());
    }
    assert!(limited(&one.chat("x").send().await));
    assert!(limited(&two.chat("x").send().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_gateway_counts_for_itself_and_nobody_waits() {
    let (provider, mut redis) = (Provider::start().await, RedisServer::start());
    let setup = sharing(&provider, &at(&redis), "requests_per_minute: 4");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    redis.pause();
    assert_eq!(race([&one, &two], 8).await, 8, "four each");
    for gateway in [&one, &two] {
        assert!(gateway.metric("weir_limits_alone_total").await >= 4.0);
    }
    redis.resume();
    redis.kill();
    assert!(limited(&one.chat("x").send().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_without_redis_serves_and_asks_once_it_is_there() {
    let (provider, mut redis) = (Provider::start().await, RedisServer::start());
    redis.kill();
    let setup = sharing(&provider, &at(&redis), "requests_per_minute: 10000");
    let gateway = setup.start().await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    assert_eq!(gateway.metric("weir_limits_alone_total").await, 1.0);
    redis.again();
    let counted = || redis.command(&["EXISTS", "weir:{weir}:l:c:agent:default"]);
    let asked = async {
        while counted().number() == 0 {
            assert_eq!(gateway.chat("x").send().await.status, 200);
            tokio::time::sleep(LOOK).await;
        }
    };
    bounded("a gateway that asks Redis", asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_not_shared_when_that_is_switched_off() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let section = format!("{{url: \"{}\", limits: false}}", redis.url());
    let setup = sharing(&provider, &section, "requests_per_minute: 2");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    assert_eq!(race([&one, &two], 4).await, 4, "two each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_set_redis_up_will_do() {
    let provider = Provider::start().await;
    let acl = RedisServer::with_acl("weir", "a-long-password");
    let tls = RedisServer::with_tls();
    let mut sentinels = Sentinels::start();
    let cluster = Cluster::start();
    let trusted = tls.ca_file();
    let sections = [
        format!("{{url: \"{}\"}}", acl.url()),
        format!(
            "{{url: \"{}\", tls: {{ca_file: \"{}\"}}}}",
            tls.url(),
            trusted.display()
        ),
        format!("{{sentinel: {}}}", sentinels.yaml()),
        format!("{{cluster: {}}}", cluster.yaml()),
    ];
    for section in sections {
        let setup = sharing(&provider, &section, "requests_per_minute: 3");
        let (one, two) = (setup.clone().start().await, setup.start().await);
        assert_eq!(race([&one, &two], 3).await, 3, "{section}");
        assert!(!one.output().contains("a-long-password"));
    }
    // Another master takes over, with what it heard of the first.
    let section = format!("{{tenant: other, sentinel: {}}}", sentinels.yaml());
    let setup = sharing(&provider, &section, "concurrent_requests: 1");
    let (one, two) = (setup.clone().start().await, setup.start().await);
    let held = "[[chunks=5000 delay_ms=20 tag=held]]";
    let open = one.chat(held).stream().open().await;
    sentinels.fail_over();
    let refused = async {
        while !limited(&two.chat("x").send().await) {
            tokio::time::sleep(LOOK).await;
        }
    };
    bounded("a gateway that asks the new master", refused).await;
    drop(open);
    served(&two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ai_firewalls_five_lines_work_with_their_redis() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let key = "an-internal-key-of-some-length";
    let gateway = Setup::bare()
        .env("INTERNAL_API_KEY", key)
        .env(
            "UPSTREAM_BASE_URL",
            provider.base_url().trim_end_matches("/v1"),
        )
        .env("UPSTREAM_API_KEY", "sk-upstream-0123456789")
        .env("REDIS_URL", &redis.url())
        .env("DAILY_BUDGET_LIMIT", "5.0")
        .start()
        .await;
    let body = r#"{"model": "openai/gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello!"}]}"#;
    let reply = gateway.chat("").raw(body.to_owned()).key(key).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let said = gateway.output();
    assert!(!said.contains("REDIS_URL"), "{said}");
    let functions = format!("{:?}", redis.command(&["FUNCTION", "LIST"]));
    assert!(functions.contains("weir_limits_1"), "{functions}");
}
