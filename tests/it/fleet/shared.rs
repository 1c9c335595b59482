//! What is spent, held, pushed and reset at one gateway counts at all of them.

use super::{CAP, Open, TENANT, ask, at, cents, exhaust, told, two};
use crate::support::gateway::Setup;
use crate::support::purse::{billed, shown};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, Provider, Purse, Reply, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use weir::money::Nanos;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_holds_and_spends_the_other_knows_at_once() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&cents(&provider), &server).await;
    let purse = Purse::of(&server, TENANT);
    let open = Open::at(&first, &provider, "a", "held", 1000).await;
    let held = first.events("intent")[0]["held"].as_i64().unwrap();
    assert_eq!(shown(&second, "a").await, (CAP, 0, held));
    // Five fit beside one another, prompts included not.
    let mut opened = vec![open];
    for number in 1..4 {
        let gateway = if number % 2 == 0 { &first } else { &second };
        opened.push(Open::at(gateway, &provider, "a", &number.to_string(), 1000).await);
    }
    for gateway in [&first, &second] {
        let reply = ask(gateway, "a", 1000).await;
        assert_eq!(
            (reply.status, reply.code()),
            (429, "budget_in_flight".into())
        );
    }
    drop(opened);
    for gateway in [&first, &second] {
        gateway.quiet().await;
    }
    purse.agrees(&[&first, &second]).await;
    let spent = billed(&[&first, &second], "a");
    for gateway in [&first, &second] {
        assert_eq!(shown(gateway, "a").await.1, spent - spent % 1000, "in full");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_together_spend_a_hard_cap_and_not_more() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let setup = cents(&provider).redis(&at(&server.url()));
    let gateways = [
        setup.clone().start().await,
        setup.clone().start().await,
        setup.start().await,
    ];
    let all: Vec<&Gateway> = gateways.iter().collect();
    exhaust(&all, "a").await;
    for gateway in &all {
        gateway.quiet().await;
    }
    let purse = Purse::of(&server, TENANT);
    purse.agrees(&all).await;
    let spent = billed(&all, "a");
    assert!((CAP * 9 / 10..=CAP).contains(&spent), "{spent} of {CAP}");
    assert_eq!(purse.account("agent:a").unwrap().posted, spent);
    let served: usize = all.iter().map(|gateway| gateway.bills("a").len()).sum();
    assert_eq!(
        served,
        provider.records().len(),
        "refused requests go nowhere"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_is_chosen_by_what_all_have_spent() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let tiers = Agent::new("a", "0.01")
        .tier("0.9", &["test/unit"])
        .tier("0.0", &["test/unit"]);
    let setup = Gateway::over(&provider).unit_prices().agent(tiers);
    let [first, second] = two(&setup, &server).await;
    assert_eq!(ask(&second, "a", 20).await.header("x-weir-tier"), Some("0"));
    let _open = Open::at(&first, &provider, "a", "held", 1000).await;
    assert_eq!(ask(&second, "a", 20).await.header("x-weir-tier"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_and_a_reset_at_one_gateway_act_at_the_other_and_outlive_both() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&cents(&provider), &server).await;
    assert_eq!(ask(&second, "a", 1000).await.status, 200);
    told(&second).await;
    let pushed = first
        .push("a", r#"{"budget_total": 3.5, "budget_spent": 3.499}"#)
        .await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    for gateway in [&first, &second] {
        assert_eq!(shown(gateway, "a").await, (3_500_000_000, 3_499_000_000, 0));
        assert_eq!(gateway.account("a").await["budget_source"], "console");
    }
    assert_eq!(ask(&second, "a", 1000).await.code(), "budget_exhausted");
    let reset = second.post("/api/reset/a", "").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    assert_eq!(shown(&first, "a").await, (3_500_000_000, 0, 0));
    assert_eq!(ask(&first, "a", 1000).await.status, 200);
    first.quiet().await;
    let spent = first.spend("a").0;
    let [first, second] = [first.restart().await, second.restart().await];
    for gateway in [&first, &second] {
        let (limit, posted, held) = shown(gateway, "a").await;
        assert_eq!((limit, held), (3_500_000_000, 0));
        assert_eq!(posted, spent - spent % 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_leave_are_gone_at_once_and_leave_nothing_behind() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&cents(&provider), &server).await;
    let purse = Purse::of(&server, TENANT);
    let slow = first
        .chat("[[chunks=9 lat_ms=300 tag=slow]]")
        .agent("a")
        .max_tokens(9);
    let slow = tokio::spawn(slow.send());
    provider.arrived("slow").await;
    assert_eq!(purse.live().len(), 2);
    let mut first = first;
    first.signal("TERM");
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(first.wait_exit().await, Some(0));
    assert_eq!((purse.live().len(), purse.holds()), (1, 0));
    purse.agrees(&[&first, &second]).await;
    assert_eq!(second.terminate().await, Some(0));
    assert!(purse.live().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_downtime_counts_every_charge_once() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let [first, second] = two(&cents(&provider), &server).await;
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    let slow = first
        .chat("[[chunks=100 lat_ms=1500 tag=slow]]")
        .agent("a")
        .max_tokens(100);
    let slow = tokio::spawn(slow.send());
    provider.arrived("slow").await;
    let (code, first) = first.upgrade().await;
    assert_eq!(code, Some(0));
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    first.quiet().await;
    let purse = Purse::of(&server, TENANT);
    purse.agrees(&[&first, &second]).await;
    assert_eq!(first.bills("a").len(), 3);
    let first = first.restart().await;
    assert_eq!(ask(&first, "a", 100).await.status, 200);
    first.quiet().await;
    purse.agrees(&[&first, &second]).await;
}

/// A gateway as the AI Firewall is set up.
fn firewall(provider: &Provider, server: &RedisServer) -> Setup {
    let base = provider.base_url();
    Setup::bare()
        .env("INTERNAL_API_KEY", KEY)
        .env("UPSTREAM_BASE_URL", base.trim_end_matches("/v1"))
        .env("UPSTREAM_API_KEY", "sk-upstream-0123456789")
        .env("DAILY_BUDGET_LIMIT", "0.01")
        .env("REDIS_URL", &server.url())
}

const KEY: &str = "an-internal-key-of-some-length";

async fn by_key(gateway: &Gateway, prompt: &str) -> Reply {
    let body = json!({"model": "openai/gpt-4o-mini", "max_tokens": 20,
        "messages": [{"role": "user", "content": prompt}]});
    gateway.chat("").raw(body.to_string()).key(KEY).send().await
}

/// What the AI Firewall did: `float(redis.get(f"budget:{user}:{date}") or 0)`.
fn days(server: &RedisServer) -> Vec<(String, String)> {
    let keys = server.command(&["KEYS", "budget:*"]).list();
    let value = |key: String| {
        let text = server.command(&["GET", &key]).text();
        (key, text)
    };
    keys.into_iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_day_is_shared_and_readable_for_the_tools_of_the_firewall() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let gateways = [
        firewall(&provider, &server).start().await,
        firewall(&provider, &server).start().await,
    ];
    let before: BTreeSet<String> = [jiff::Timestamp::now()].map(key_of).into();
    for (gateway, cost) in [
        (&gateways[0], "0.0041"),
        (&gateways[1], "0.000000001"),
        (&gateways[0], "0.0052"),
    ] {
        let reply = by_key(gateway, &format!("[[cost={cost}]]")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        told(gateway).await;
    }
    let [first, second] = &gateways;
    Purse::of(&server, "weir").agrees(&[first, second]).await;
    let sum = billed(&[first, second], "default");
    assert_eq!(sum, 9_300_001);
    let written = eventually("the day's key", || {
        let days = days(&server);
        let sum_of = |days: &[(String, String)]| -> i64 {
            let amounts = days
                .iter()
                .map(|(_, text)| Nanos::parse_usd(text).unwrap().0);
            amounts.sum()
        };
        (sum_of(&days) == sum).then_some(days)
    })
    .await;
    let mut expected = before;
    expected.insert(key_of(jiff::Timestamp::now()));
    for (key, text) in &written {
        assert!(expected.contains(key), "{key}");
        let dollars: f64 = text.parse().unwrap();
        assert!(dollars > 0.0 && !text.contains(['e', 'E']), "{text}");
        let left = server.command(&["TTL", key]).number();
        assert!((1..=172_800).contains(&left), "{left} s to live");
    }
    // Together they are above what is left.
    let mut refused = 0;
    for gateway in &gateways {
        let reply = by_key(gateway, "[[cost=0.0009]]").await;
        if reply.status != 200 {
            assert_eq!(
                (reply.status, reply.code()),
                (402, "budget_exhausted".into())
            );
            assert_eq!(reply.json()["detail"]["account"], "user:default");
            refused += 1;
        }
        told(gateway).await;
    }
    assert_eq!(refused, 1, "the second of the two");
}

fn key_of(at: jiff::Timestamp) -> String {
    let date = jiff::tz::TimeZone::UTC.to_datetime(at).date();
    format!("budget:default:{date}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_see_each_other() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let of = |tenant: &str| {
        let place = format!("url: \"{}\", tenant: {tenant}, timeout: 2s", server.url());
        cents(&provider).redis(&place)
    };
    let (one, other) = (of("one").start().await, of("other").start().await);
    exhaust(&[&one], "a").await;
    one.quiet().await;
    assert_eq!(shown(&other, "a").await, (CAP, 0, 0));
    assert_eq!(ask(&other, "a", 300).await.status, 200);
    other.quiet().await;
    Purse::of(&server, "one").agrees(&[&one]).await;
    Purse::of(&server, "other").agrees(&[&other]).await;
}
