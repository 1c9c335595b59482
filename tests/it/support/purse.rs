//! What stands in Redis, read from outside, and whether it is what the spend logs add up to.

use super::redis::{RedisServer, Said};
use super::{Gateway, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use weir::money::Nanos;

/// The shared state of one tenant.
pub(crate) struct Purse<'a> {
    server: &'a RedisServer,
    tenant: String,
}

/// An account as it stands there, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) window: i64,
    pub(crate) posted: i64,
    pub(crate) pending: i64,
}

impl<'a> Purse<'a> {
    pub(crate) fn of(server: &'a RedisServer, tenant: &str) -> Self {
        let tenant = tenant.to_owned();
        Self { server, tenant }
    }

    fn key(&self, rest: &str) -> String {
        format!("weir:{{{}}}:{rest}", self.tenant)
    }

    fn hash(&self, key: &str) -> BTreeMap<String, String> {
        let words = self.server.command(&["HGETALL", key]).list();
        words
            .chunks_exact(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    }

    fn keys(&self, rest: &str) -> Vec<String> {
        let pattern = self.key(rest);
        self.server.command(&["KEYS", &pattern]).list()
    }

    /// An account, once somebody has used it.
    pub(crate) fn account(&self, id: &str) -> Option<Standing> {
        let key = self.key(&format!("a:{id}"));
        // One command, so that the figures are of one moment.
        let words = ["HMGET", &key, "win", "posted", "pending"];
        let Said::List(figures) = self.server.command(&words) else {
            return None;
        };
        let mut figures = figures.into_iter().map(|figure| match figure {
            Said::Nil => None,
            figure => Some(figure.number()),
        });
        Some(Standing {
            window: figures.next()??,
            posted: figures.next()??,
            pending: figures.next()??,
        })
    }

    /// What all gateways have charged to an account, by the start of the window.
    pub(crate) fn charged(&self, id: &str) -> BTreeMap<i64, i64> {
        let windows = self.keys(&format!("w:{id}:*")).into_iter();
        let sum = |key: &String| -> i64 {
            let amount = |(source, amount): (String, String)| {
                let amount: i64 = amount.parse().expect("an amount");
                if source.starts_with('-') {
                    -amount
                } else {
                    amount
                }
            };
            self.hash(key).into_iter().map(amount).sum()
        };
        windows
            .map(|key| {
                (
                    key.rsplit(':')
                        .next()
                        .and_then(|start| start.parse().ok())
                        .expect("a window"),
                    sum(&key),
                )
            })
            .collect()
    }

    /// How many holds are open there.
    pub(crate) fn holds(&self) -> usize {
        let gateways = self.keys("h:*").into_iter();
        gateways.map(|key| self.hash(&key).len()).sum()
    }

    /// Gateways that count as alive.
    pub(crate) fn live(&self) -> Vec<String> {
        let key = self.key("live");
        self.server.command(&["ZRANGE", &key, "0", "-1"]).list()
    }

    /// Waits until nothing is held there any more.
    pub(crate) async fn empty(&self) {
        eventually("the end of all holds", || (self.holds() == 0).then_some(())).await;
    }

    /// Waits until Redis knows everything that stands in the logs, and nothing else: no hold is open,
    /// and what is charged to every account in every window is the sum of its settlements.
    pub(crate) async fn agrees(&self, gateways: &[&Gateway]) {
        self.empty().await;
        let mut last = String::new();
        let expected = settled(gateways);
        let accounts: std::collections::BTreeSet<&String> =
            expected.keys().map(|(account, _)| account).collect();
        let agreed = eventually_or("Redis says what the logs say", || {
            let mut found = BTreeMap::new();
            for &account in &accounts {
                for (window, total) in self.charged(account) {
                    found.insert((account.clone(), window), total);
                }
                let pending = self.account(account).map(|standing| standing.pending);
                if pending != Some(0) {
                    last = format!("{account}: {pending:?} pending");
                    return None;
                }
            }
            last = format!("Redis: {found:?}\nlogs:  {expected:?}");
            (found == expected).then_some(())
        });
        if !agreed.await {
            panic!("Redis and the logs disagree:\n{last}");
        }
    }
}

/// Like [`eventually`], for those who have more to say when it never happens.
pub(crate) async fn eventually_or(what: &str, mut look: impl FnMut() -> Option<()>) -> bool {
    let start = std::time::Instant::now();
    while look().is_none() {
        if start.elapsed() > super::PATIENCE {
            eprintln!("never happened: {what}");
            return false;
        }
        tokio::time::sleep(super::LOOK).await;
    }
    true
}

/// What the records of all gateways charge, by account and start of the window.
pub(crate) fn settled(gateways: &[&Gateway]) -> BTreeMap<(String, i64), i64> {
    let mut sums = BTreeMap::new();
    for gateway in gateways {
        let mut held: HashMap<String, Vec<(String, i64)>> = HashMap::new();
        for record in gateway.log() {
            let Some(id) = record["id"].as_str() else {
                continue;
            };
            match record["event"].as_str() {
                Some("intent") => {
                    let accounts = serde_json::from_value(record["accounts"].clone());
                    held.insert(id.to_owned(), accounts.expect("accounts"));
                }
                None => {
                    let cost = record["nano_usd"].as_i64().expect("nano_usd");
                    for place in held.get(id).expect("an intent before it") {
                        *sums.entry(place.clone()).or_default() += cost;
                    }
                }
                Some(_) => {}
            }
        }
    }
    // A window in which everything was free is not worth a key.
    sums.retain(|_, sum| *sum > 0);
    sums
}

/// What all gateways together have billed an agent, by their logs.
pub(crate) fn billed(gateways: &[&Gateway], agent: &str) -> i64 {
    let bills = gateways.iter().map(|gateway| gateway.spend(agent));
    bills.map(|Nanos(nanos)| nanos).sum()
}

/// A budget as the admin API shows it, in nano-dollars: limit, spent, held.
pub(crate) async fn shown(gateway: &Gateway, agent: &str) -> (i64, i64, i64) {
    let account = gateway.account(agent).await;
    let nanos = |field: &str| -> i64 {
        let text = Value::to_string(&account[field]);
        Nanos::parse_usd(&text).expect("an amount").0
    };
    (
        nanos("budget_total"),
        nanos("budget_spent"),
        nanos("budget_held"),
    )
}
