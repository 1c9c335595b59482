//! What each user spends in a day, whatever the user's own budget is, for the tools of the AI Firewall.

use super::{TENANT, at, cents, must_be_away, through};
use crate::support::purse::eventually_or;
use crate::support::redis::RedisServer;
use crate::support::{Detour, Gateway, PATIENCE, Provider, Purse, Setup};
use std::collections::BTreeMap;
use std::time::Instant;
use weir::money::Nanos;

const USERS: [(&str, &str); 3] = [
    ("ann", "a-key-of-some-length-for-ann"),
    ("bob", "a-key-of-some-length-for-bob"),
    ("cyd", "a-key-of-some-length-for-cyd"),
];

/// Ann has a month, Bob a day of his own, and Cyd no budget at all.
fn three(provider: &Provider) -> Setup {
    let budgets = "users:\n  ann: {budget_total: 50, period: monthly}\n  \
                   bob: {budget_total: 50, period: daily, timezone: Europe/Berlin}";
    let setup = cents(provider).routing(budgets);
    USERS.iter().fold(setup, |setup, (user, key)| {
        setup.key(user, key, "soft", &format!("user: {user}"))
    })
}

/// Spends as one of them, once that is possible; in nano-dollars.
async fn spend(gateway: &Gateway, spent: &mut BTreeMap<&'static str, i64>, who: usize, cost: i64) {
    let (user, key) = USERS[who];
    let prompt = format!("[[cost={}]]", Nanos(cost));
    let start = Instant::now();
    loop {
        let reply = gateway.chat(&prompt).agent("soft").key(key).send().await;
        if reply.status == 200 {
            break;
        }
        must_be_away(&reply);
        assert!(start.elapsed() < PATIENCE, "never served");
    }
    *spent.entry(user).or_default() += cost;
}

/// What the AI Firewall's tools do: `float(redis.get(f"budget:{user}:{date}") or 0)`. Midnight may pass.
fn found(server: &RedisServer) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for key in server.command(&["KEYS", "budget:*"]).list() {
        let text = server.command(&["GET", &key]).text();
        assert!(
            text.parse::<f64>().is_ok() && !text.contains(['e', 'E']),
            "{text}"
        );
        let [_, user, date] = key.split(':').collect::<Vec<_>>()[..] else {
            panic!("{key}");
        };
        assert!(date.parse::<jiff::civil::Date>().is_ok(), "{key}");
        let left = server.command(&["TTL", &key]).number();
        assert!((1..=172_800).contains(&left), "{left} s to live");
        *sums.entry(user.to_owned()).or_default() += Nanos::parse_usd(&text).unwrap().0;
    }
    sums
}

async fn says(server: &RedisServer, spent: &BTreeMap<&'static str, i64>, when: &str) {
    let expected: BTreeMap<String, i64> = spent
        .iter()
        .map(|(user, nanos)| ((*user).to_owned(), *nanos))
        .collect();
    let right = eventually_or(when, || (found(server) == expected).then_some(()));
    assert!(right.await, "{when}: {:?}, not {expected:?}", found(server));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_users_day_is_written_once_and_comes_back() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let way = Detour::to(server.port()).await;
    let first = three(&provider).redis(&through(&way)).start().await;
    let second = three(&provider).redis(&at(&server.url())).start().await;
    let mut spent = BTreeMap::new();
    for (round, gateway) in [&first, &second, &first].into_iter().enumerate() {
        for who in 0..USERS.len() {
            let cost = 4_100_001 + i64::try_from(10 * round + who).unwrap();
            spend(gateway, &mut spent, who, cost).await;
        }
    }
    says(&server, &spent, "what all have spent").await;
    // Cyd is held to nothing, and goes on without Redis.
    way.cut();
    for cost in [1, 2_000_000, 30] {
        spend(&first, &mut spent, 2, cost).await;
    }
    spend(&second, &mut spent, 2, 500).await;
    way.turn(server.port());
    says(&server, &spent, "what was spent meanwhile").await;
    server.flush_all();
    spend(&first, &mut spent, 0, 70).await;
    says(&server, &spent, "what was forgotten").await;
    // What a budget is made to say is no spend.
    let (push, reset) = ("/api/budget/user:ann", "/api/reset/user:ann");
    for (path, body) in [(push, r#"{"budget_spent": 7}"#), (reset, "")] {
        let reply = second.post(path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    let first = first.restart().await;
    spend(&first, &mut spent, 0, 900).await;
    spend(&second, &mut spent, 1, 900).await;
    says(&server, &spent, "what is spent after a restart").await;
    let kept = found(&server);
    for gateway in [&first, &second] {
        gateway.quiet().await;
    }
    Purse::of(&server, TENANT).agrees(&[&first, &second]).await;
    assert_eq!(found(&server), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_day_is_kept_where_nobody_asks_for_it() {
    let (provider, server) = (Provider::start().await, RedisServer::start());
    let place = format!("{}, firewall_keys: false", at(&server.url()));
    let gateway = three(&provider).redis(&place).start().await;
    spend(&gateway, &mut BTreeMap::new(), 0, 1000).await;
    gateway.quiet().await;
    Purse::of(&server, TENANT).agrees(&[&gateway]).await;
    assert!(found(&server).is_empty());
    let accounts = &gateway.events("intent")[0]["accounts"];
    assert!(!accounts.to_string().contains("day:"), "{accounts}");
}
