//! What a gateway knows of the shared state, as it is said when that is put together again.
//!
//! Decides what is told after Redis lost its state: what stands in this gateway's log, and what it
//! last heard of everything else. Totals only grow and registers carry versions, so it does no harm
//! to say what is known already.

use crate::budget::{AccountSpec, Balance};
use crate::identity::AccountId;
use crate::ledger::shared::{End, Held, Testimony};
use crate::money::Nanos;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, HashMap};

/// One account, in words of the library: amounts are decimal text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) account: String,
    pub(super) tag: String,
    #[serde(rename = "gen")]
    pub(super) turn: String,
    pub(super) win: String,
    pub(super) base: String,
    pub(super) bv: String,
    pub(super) pv: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pp: Option<String>,
    #[serde(default, skip_serializing)]
    pub(super) posted: String,
    #[serde(default, skip_serializing)]
    pub(super) pending: String,
    /// What each gateway has charged in the window.
    #[serde(default, deserialize_with = "table")]
    pub(super) charged: BTreeMap<String, String>,
}

/// A hold, in words of the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    held: String,
    accounts: Vec<(String, String)>,
}

/// The open holds of gateways, by gateway and attempt.
pub(super) type Holds = BTreeMap<String, BTreeMap<String, Hold>>;

/// Which holds of gateways are open.
pub(super) type Open = BTreeMap<String, Vec<String>>;

/// What `weir_sync_1` replies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct News {
    /// What the server does when its memory is full, where that was asked.
    pub(super) policy: String,
    #[serde(deserialize_with = "list")]
    pub(super) gateways: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(super) accounts: Vec<Share>,
    /// Gateways that grants did not wait for any longer.
    #[serde(deserialize_with = "list")]
    pub(super) missing: Vec<String>,
    /// Holds of gateways that are gone, and what they were charged.
    pub(super) orphans: String,
    pub(super) orphaned: String,
    pub(super) more: bool,
    pub(super) last: String,
    pub(super) ver: String,
}

/// A list that is empty may come as an empty object: Lua knows one kind of table.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Table<T> {
        List(Vec<T>),
        Empty {},
    }
    Ok(match Table::deserialize(deserializer)? {
        Table::List(list) => list,
        Table::Empty {} => Vec::new(),
    })
}

/// A map that is empty may come as an empty list.
fn table<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Table {
        Map(BTreeMap<String, String>),
        Empty([(); 0]),
    }
    Ok(match Table::deserialize(d)? {
        Table::Map(map) => map,
        Table::Empty([]) => BTreeMap::new(),
    })
}

/// Holds as they are written in Redis.
pub(super) fn holds_of(json: &str) -> Option<Holds> {
    // Lua knows one kind of table.
    if json == "[]" {
        return Some(Holds::new());
    }
    serde_json::from_str(json).ok()
}

fn nanos(text: &str) -> Nanos {
    Nanos(text.parse().unwrap_or_default())
}

/// The state as last heard of.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    accounts: HashMap<String, Share>,
    /// Gateways that gave signs of life, to this process or the ones before it.
    pub(super) gateways: Vec<String>,
    /// What other gateways have leased.
    pub(super) leases: Holds,
    /// Whether this process has heard all there was to hear.
    pub(super) complete: bool,
}

impl Mirror {
    /// Nothing yet but who the `gateways` are.
    pub(super) fn knowing(gateways: Vec<String>) -> Self {
        Self {
            gateways,
            ..Self::default()
        }
    }

    /// Takes news over. While the state is being put together, `open` is not set: then those who have
    /// not been heard of must not be forgotten.
    pub(super) fn hear(&mut self, news: &mut News, open: bool) {
        let known = std::mem::replace(&mut self.gateways, std::mem::take(&mut news.gateways));
        if open {
            self.complete = true;
        } else {
            self.gateways.extend(known);
            self.gateways.sort_unstable();
            self.gateways.dedup();
        }
        for share in news.accounts.drain(..) {
            self.accounts.insert(share.account.clone(), share);
        }
    }

    /// What is known of all accounts.
    pub(super) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.accounts.values()
    }

    /// The versions of an account's registers.
    pub(super) fn version(&self, spec: &AccountSpec) -> Option<String> {
        let share = self.accounts.get(spec.id.as_str())?;
        Some(format!("{} {}", share.bv, share.pv))
    }

    /// Whether a limit was pushed that the policy's own has overtaken.
    pub(super) fn overtaken(&self, spec: &AccountSpec) -> bool {
        let share = self.accounts.get(spec.id.as_str());
        share.is_some_and(|share| {
            let policy = share.pp.as_deref().map(nanos);
            share.pt.is_some() && policy != Some(spec.limit)
        })
    }

    /// The state of an account under `spec` at `now`, in Unix seconds.
    pub(super) fn balance(&self, spec: &AccountSpec, now: i64) -> Option<Balance> {
        let share = self.accounts.get(spec.id.as_str())?;
        let start: i64 = share.win.parse().ok()?;
        let mut window = spec.period.window(now);
        let over = share.tag == spec.period.tag() && window.start > start;
        if !over {
            window = spec.period.window(start);
        }
        let figure = |text: &str| if over { Nanos::ZERO } else { nanos(text) };
        let pushed = share.pt.as_deref().filter(|_| {
            let policy = share.pp.as_deref().map(nanos);
            policy == Some(spec.limit)
        });
        Some(Balance {
            limit: pushed.map_or(spec.limit, nanos),
            posted: figure(&share.posted),
            pending: figure(&share.pending),
            period_start: window.start,
            period_end: window.end,
            pushed: pushed.is_some(),
        })
    }
}

/// Everything that a log says of accounts.
pub(super) fn shares(testimony: &Testimony, source: impl Fn(&str) -> String) -> Vec<Share> {
    let mut charged: BTreeMap<(&str, u64, i64), BTreeMap<String, String>> = BTreeMap::new();
    for (chain, charge) in &testimony.charged {
        if charge.total > Nanos::ZERO {
            let place = (charge.account.as_str(), charge.turn, charge.window);
            let totals = charged.entry(place).or_default();
            totals.insert(source(chain), charge.total.0.to_string());
        }
    }
    let standing = testimony.accounts.iter().filter(|a| !a.tag.is_empty());
    let mut shares: Vec<Share> = standing
        .map(|standing| Share {
            account: standing.account.to_string(),
            tag: standing.tag.clone(),
            turn: standing.turn.to_string(),
            win: standing.window.to_string(),
            base: standing.based.amount.0.to_string(),
            bv: standing.based.version.to_string(),
            pv: standing.pushed.map_or(0, |pushed| pushed.at).to_string(),
            pt: standing.pushed.map(|pushed| pushed.total.0.to_string()),
            pp: standing.pushed.map(|pushed| pushed.policy.0.to_string()),
            charged: charged
                .remove(&(standing.account.as_str(), standing.turn, standing.window))
                .unwrap_or_default(),
            ..Share::default()
        })
        .collect();
    // Charges of windows that are over, for the books only.
    let tags: HashMap<&str, &str> = testimony
        .accounts
        .iter()
        .map(|a| (a.account.as_str(), a.tag.as_str()))
        .collect();
    shares.extend(
        charged
            .into_iter()
            .filter_map(|((account, turn, window), totals)| {
                Some(Share {
                    account: account.to_owned(),
                    tag: (*tags.get(account)?).to_owned(),
                    turn: turn.to_string(),
                    win: window.to_string(),
                    base: "0".to_owned(),
                    bv: "0".to_owned(),
                    pv: "0".to_owned(),
                    charged: totals,
                    ..Share::default()
                })
            }),
    );
    shares
}

/// Totals of this process: account, turn of its period, start of the window.
pub(super) type Totals<'a> = HashMap<(&'a AccountId, u64, i64), Nanos>;

/// What a testimony says that this process has charged.
pub(super) fn told(testimony: &Testimony) -> Totals<'_> {
    let own = testimony.charged.iter();
    let own = own.filter(|(chain, _)| *chain == testimony.own);
    own.map(|(_, charge)| ((&charge.account, charge.turn, charge.window), charge.total))
        .collect()
}

/// Whether everything that an end says was told already.
pub(super) fn is_told(told: &Totals<'_>, end: &End) -> bool {
    end.charges.iter().all(|charge| {
        let place = (&charge.account, charge.turn.max(1), charge.window);
        told.get(&place).is_some_and(|total| *total >= charge.total)
    })
}

/// The holds that are open by the log, so many at a time.
pub(super) fn holds(
    testimony: &Testimony,
    chunk: usize,
    source: impl Fn(&str) -> String,
) -> Vec<Holds> {
    let on = |(account, window): &(AccountId, i64)| (account.to_string(), window.to_string());
    let hold = |held: &Held| {
        let hold = Hold {
            held: held.held.0.to_string(),
            accounts: held.accounts.iter().map(on).collect(),
        };
        (held.id.to_string(), hold)
    };
    let own = source(&testimony.own);
    let chunks = testimony.open.chunks(chunk);
    chunks
        .map(|open| Holds::from([(own.clone(), open.iter().map(hold).collect())]))
        .collect()
}

/// All that are open by the log; those of dead processes are over.
pub(super) fn open(testimony: &Testimony, source: impl Fn(&str) -> String) -> Open {
    let ids = testimony.open.iter().map(|held| held.id.to_string());
    let mut open = Open::from([(source(&testimony.own), ids.collect())]);
    for chain in &testimony.dead {
        open.insert(source(chain), Vec::new());
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_forgotten_while_the_state_is_put_together() {
        let heard = |gateways: &[&str]| News {
            gateways: gateways.iter().map(|name| (*name).to_owned()).collect(),
            ..News::default()
        };
        let mut mirror = Mirror::knowing(vec!["c:".to_owned()]);
        // A process that has just started and begun to put it together hears of itself first.
        mirror.hear(&mut heard(&["a:"]), false);
        mirror.hear(&mut heard(&["a:", "b:"]), false);
        assert_eq!(mirror.gateways, ["a:", "b:", "c:"]);
        assert!(!mirror.complete, "others may not have found out yet");
        mirror.hear(&mut heard(&["a:", "b:"]), true);
        assert_eq!(mirror.gateways, ["a:", "b:"], "the other one has left");
        mirror.hear(&mut heard(&["b:"]), false);
        assert_eq!(mirror.gateways, ["a:", "b:"]);
        assert!(mirror.complete);
    }
}
