//! The user of Redis that the documentation describes can do what gateways need, and no more.

use crate::support::redis::{Cluster, RedisServer, Said, Sentinels};
use crate::support::{Agent, Gateway, Provider, Setup, eventually};
use std::process::Command;

const PASSWORD: &str = "a-password-of-redis";

/// The rules as `docs/fleet.md` has them, and more.
fn rules(more: &str) -> Vec<String> {
    let text = include_str!("../../docs/fleet.md");
    let rule = text
        .lines()
        .find_map(|line| line.strip_prefix("user weir "));
    let rule = rule
        .expect("a rule for a user")
        .replace("PASSWORD", PASSWORD);
    let words = rule.split(' ').chain(more.split(' '));
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Makes the user there, who may do what the documentation says.
fn admit(redis: &RedisServer, more: &str) {
    let rules = rules(more);
    let mut words = vec!["ACL", "SETUSER", "weir"];
    words.extend(rules.iter().map(String::as_str));
    assert_eq!(redis.command(&words).text(), "OK");
}

/// Everything that was refused to anybody there.
fn refused(redis: &RedisServer) -> Vec<String> {
    let Said::List(entries) = redis.command(&["ACL", "LOG"]) else {
        panic!("no list");
    };
    let entries = entries.into_iter();
    entries.map(|entry| format!("{entry:?}")).collect()
}

fn gateway(provider: &Provider, place: &str) -> Setup {
    Gateway::over(provider)
        .agent(Agent::new("default", "1000").line("period: monthly"))
        .routing("users:\n  ann: {budget_total: 5, period: daily, limits: {requests_per_minute: 100, concurrent_requests: 50}}")
        .settings(&format!("stores: {{redis: {{{place}, timeout: 2s}}}}"))
}

/// Everything that a gateway does with Redis.
async fn live(gateway: Gateway) -> Gateway {
    for prompt in ["[[cost=0.25]]", "[[status=500]]"] {
        let call = gateway.chat(prompt).header("x-user-id", "ann");
        call.send().await;
    }
    let pushed = gateway.push("default", r#"{"budget_total": 80, "budget_spent": 12.5}"#);
    assert_eq!(pushed.await.status, 200);
    assert_eq!(gateway.post("/api/reset/default", "").await.status, 200);
    let mut open = gateway
        .chat("[[chunks=1000 delay_ms=50]]")
        .stream()
        .open()
        .await;
    assert!(open.chunk().await.unwrap().is_some());
    // Comes back to what it held.
    let gateway = gateway.restart().await;
    assert_eq!(gateway.chat("[[cost=0.5]]").send().await.status, 200);
    let verified = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args([
            "ledger",
            "verify",
            "--policy=policy.yaml",
            "--config=weir.yaml",
            "--wait=30s",
        ])
        .current_dir(&gateway.directory)
        .env_clear()
        .output();
    let verified = verified.unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}");
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_in_the_documentation_may_do_all_that_gateways_need() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    admit(&redis, "");
    let url = format!(
        "url: 'redis://weir:{PASSWORD}@127.0.0.1:{}/0'",
        redis.port()
    );
    let gateway = live(gateway(&provider, &url).start().await).await;
    let day = eventually("the AI Firewall's key", || {
        let keys = redis.command(&["KEYS", "budget:ann:*"]).list();
        keys.into_iter().next()
    });
    assert_eq!(redis.command(&["GET", &day.await]).text(), "0.25");
    redis.flush_all();
    eventually("a state that was put together again", || {
        let phase = redis.command(&["HGET", "weir:{weir}:state", "phase"]);
        (phase == Said::Text("open".into())).then_some(())
    })
    .await;
    assert_eq!(gateway.terminate().await, Some(0));
    assert_eq!(refused(&redis), Vec::<String>::new());
    for key in redis.command(&["KEYS", "*"]).list() {
        assert!(
            key.starts_with("weir:{weir}:") || key.starts_with("budget:") || key == "agent.events",
            "{key}"
        );
    }
    // And no more: neither other keys nor anything that empties or stops it.
    for words in [
        &["GET", "other"][..],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["KEYS", "*"],
    ] {
        let said = redis.command(&[&["ACL", "DRYRUN", "weir"], words].concat());
        let said = said.text();
        assert!(
            said.contains("no permission") || said.contains("No permissions"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_may_do_what_is_needed_in_a_cluster_and_with_sentinels() {
    let (provider, cluster) = (Provider::start().await, Cluster::start());
    for server in &cluster.servers {
        admit(server, "+cluster|slots +ping");
    }
    let login = format!("username: weir, password: {PASSWORD}");
    let place = format!("cluster: {}, {login}", cluster.yaml());
    let one = live(gateway(&provider, &place).start().await).await;
    assert_eq!(one.terminate().await, Some(0));
    for server in &cluster.servers {
        assert_eq!(refused(server), Vec::<String>::new());
    }
    let mut sentinels = Sentinels::naming(RedisServer::start());
    admit(sentinels.master(), "+role");
    let place = format!("sentinel: {}, {login}", sentinels.yaml());
    let two = live(gateway(&provider, &place).start().await).await;
    assert_eq!(two.terminate().await, Some(0));
    assert_eq!(refused(sentinels.master()), Vec::<String>::new());
}
