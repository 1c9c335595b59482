//! Lines on their way out of the log: checked, then decoded.
//!
//! Decides whether a line is one of ours, one of the Execwall OR Gate's, or damaged.

use super::record::{Party, Snapshot};
use crate::budget::account::Based;
use crate::identity::{AccountId, AgentId, AttemptId, KeyId, UserId};
use crate::money::Nanos;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

/// The chain hash of a line: the first 16 hexadecimal digits of its SHA-256.
pub(in crate::ledger) type Link = [u8; 16];

/// The link before the first record of a chain.
pub(in crate::ledger) const NO_LINK: Link = [b'0'; 16];

/// The link that the record after `line` carries.
pub(in crate::ledger) fn link(line: &[u8]) -> Link {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(line);
    let mut text = NO_LINK;
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest.iter()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    text
}

/// What a record does.
#[derive(Debug)]
pub(in crate::ledger) enum Action {
    Intent(Party),
    Settle {
        id: AttemptId,
        cost: Nanos,
        agent: AgentId,
        unresolved: bool,
    },
    Void {
        id: AttemptId,
    },
    Budget {
        account: AccountId,
        total: Option<Nanos>,
        spent: Option<Nanos>,
        policy: Nanos,
        window: i64,
        based: Option<Based>,
    },
    Reset {
        account: AccountId,
        window: i64,
        based: Option<Based>,
    },
    Open {
        account: AccountId,
        opening: Nanos,
        every: String,
        window: i64,
        turn: Option<(u64, Nanos)>,
    },
    Period {
        account: AccountId,
        every: String,
        window: i64,
        turn: Option<(u64, Nanos)>,
    },
    Limit {
        account: AccountId,
    },
    Snapshot {
        state: Box<Snapshot>,
        footer: bool,
    },
    /// Spend that the Execwall OR Gate recorded.
    LegacySpend {
        agent: Option<AgentId>,
        cost: Nanos,
    },
    /// A reset that the Execwall OR Gate recorded.
    LegacyReset {
        agent: Option<AgentId>,
    },
}

/// One record.
#[derive(Debug)]
pub(in crate::ledger) struct Entry {
    /// Its number in its chain; 0 for lines of the Execwall OR Gate.
    pub(in crate::ledger) seq: u64,
    /// When it was written, in Unix microseconds.
    pub(in crate::ledger) at: i64,
    /// The link it carries.
    pub(in crate::ledger) prev: Link,
    /// What it does.
    pub(in crate::ledger) action: Action,
}

#[derive(Deserialize)]
struct Fields<'a> {
    seq: Option<u64>,
    #[serde(borrow)]
    prev: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    agent_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow)]
    every: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    key: Option<KeyId>,
    user: Option<UserId>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    nano_usd: Option<i64>,
    held: Option<i64>,
    tier: Option<usize>,
    models: Option<Vec<String>>,
    accounts: Option<Vec<(AccountId, i64)>>,
    total: Option<i64>,
    spent: Option<i64>,
    policy: Option<i64>,
    opening: Option<i64>,
    period: Option<i64>,
    turn: Option<u64>,
    charged: Option<i64>,
    base: Option<i64>,
    version: Option<u64>,
    state: Option<Box<Snapshot>>,
}

impl Fields<'_> {
    /// How often a period has changed, and what own records have charged since.
    fn turn(&self) -> Option<(u64, Nanos)> {
        Some((self.turn?, Nanos(self.charged?)))
    }

    fn based(&self) -> Option<Based> {
        Some(Based {
            version: self.version?,
            amount: Nanos(self.base?),
        })
    }
}

/// Length of `,"crc":"xxxxxxxx"}`.
const CRC_TAIL: usize = 18;

/// Whether the line ends in a checksum of ours that is right.
pub(in crate::ledger) fn sealed(line: &[u8]) -> bool {
    let Some((body, tail)) = line.len().checked_sub(CRC_TAIL).map(|at| line.split_at(at)) else {
        return false;
    };
    let digits = tail
        .strip_prefix(b",\"crc\":\"")
        .and_then(|rest| rest.strip_suffix(b"\"}"));
    let told = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    told == Some(crc32fast::hash(body))
}

/// Decodes a sealed line of ours.
///
/// # Errors
/// What is wrong with it.
pub(in crate::ledger) fn ours(line: &[u8], chain: &Arc<str>) -> Result<Entry, &'static str> {
    if !sealed(line) {
        return Err("checksum mismatch");
    }
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|_| "not a record")?;
    let prev = fields
        .prev
        .as_deref()
        .and_then(|prev| prev.as_bytes().try_into().ok());
    Ok(Entry {
        seq: fields.seq.ok_or("no sequence number")?,
        at: fields
            .timestamp
            .as_deref()
            .and_then(micros)
            .ok_or("no timestamp")?,
        prev: prev.ok_or("no link")?,
        action: action(fields, chain).ok_or("not a record")?,
    })
}

fn action(fields: Fields<'_>, chain: &Arc<str>) -> Option<Action> {
    let account = || AccountId::new(fields.account.as_deref()?).ok();
    let agent = || AgentId::new(fields.agent_id.as_deref()?).ok();
    let id = || fields.id.as_deref()?.parse().ok();
    let window = fields.period;
    Some(match fields.event.as_deref() {
        None => Action::Settle {
            id: id()?,
            cost: Nanos(fields.nano_usd?),
            agent: agent()?,
            unresolved: fields.status.as_deref() == Some("unresolved"),
        },
        Some("intent") => Action::Intent(Party {
            id: id()?,
            agent: agent()?,
            key: fields.key,
            user: fields.user,
            model: fields.models?.into_iter().next().unwrap_or_default(),
            tier: fields.tier?,
            held: Nanos(fields.held?),
            accounts: fields.accounts?,
            chain: Arc::clone(chain),
        }),
        Some("void") => Action::Void { id: id()? },
        Some("budget") => Action::Budget {
            account: account()?,
            total: fields.total.map(Nanos),
            spent: fields.spent.map(Nanos),
            policy: Nanos(fields.policy?),
            window: window?,
            based: fields.based(),
        },
        Some("reset") => Action::Reset {
            account: account()?,
            window: window?,
            based: fields.based(),
        },
        Some("open") => Action::Open {
            account: account()?,
            opening: Nanos(fields.opening?),
            turn: fields.turn(),
            every: fields.every?.into_owned(),
            window: window?,
        },
        Some("period") => Action::Period {
            account: account()?,
            turn: fields.turn(),
            every: fields.every?.into_owned(),
            window: window?,
        },
        Some("limit") => Action::Limit {
            account: account()?,
        },
        Some(kind @ ("header" | "footer" | "checkpoint")) => Action::Snapshot {
            footer: kind == "footer",
            state: fields.state.filter(|state| state.version == 1)?,
        },
        Some(_) => return None,
    })
}

/// Decodes a line of the Execwall OR Gate.
///
/// # Errors
/// What is wrong with it.
pub(in crate::ledger) fn legacy(line: &[u8]) -> Result<Entry, &'static str> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|_| "not a record")?;
    if fields.seq.is_some() {
        return Err("checksum mismatch");
    }
    let agent = fields.agent_id.as_deref().ok_or("not a record")?;
    // A name that no policy of ours can have cannot be charged to anybody.
    let agent = AgentId::new(agent).ok();
    let action = match fields.event.as_deref() {
        Some("reset") => Action::LegacyReset { agent },
        Some(_) => return Err("unknown event"),
        None => {
            let cost = fields.cost.ok_or("not a record")?;
            let cost = Nanos::parse_usd(cost.get()).map_err(|_| "cost is no amount")?;
            Action::LegacySpend { agent, cost }
        }
    };
    let at = fields
        .timestamp
        .as_deref()
        .and_then(micros)
        .ok_or("no timestamp")?;
    Ok(Entry {
        seq: 0,
        at,
        prev: NO_LINK,
        action,
    })
}

/// Unix microseconds of an ISO 8601 timestamp, which is in UTC when it names no offset.
fn micros(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(
        jiff::tz::TimeZone::UTC
            .to_timestamp(civil)
            .ok()?
            .as_microsecond(),
    )
}
