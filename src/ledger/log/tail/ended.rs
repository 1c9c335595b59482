//! An attempt that ended after it was sent, with everything that its record tells.

use super::Kind;
use crate::identity::{AgentId, AttemptId, KeyId, UserId};
use crate::money::Nanos;
use crate::usage::Usage;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

/// An attempt that was settled, or given back although it was sent.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The chain it stands in, as a [`super::Position`] names it.
    pub chain: Arc<str>,
    /// Its number there.
    pub seq: u64,
    /// The attempt; no two have the same, anywhere.
    pub id: AttemptId,
    /// When that was written, in Unix milliseconds.
    pub at_ms: i64,
    /// Whose budget it was charged to.
    pub agent: AgentId,
    /// The person behind the key.
    pub user: Option<UserId>,
    /// The key it came with.
    pub key: Option<KeyId>,
    /// The model that answered, else the one asked for.
    pub model: String,
    /// The block of the policy that was asked; `None` where nobody can say any more, as after the
    /// death of a process.
    pub provider: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// What was charged; zero when it was given back.
    pub cost: Nanos,
    /// The part of it that is for input.
    pub input: Nanos,
    /// From its hold to its end, in milliseconds.
    pub latency_ms: Option<u64>,
    /// From its hold to the header of the answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// The status that the provider answered with.
    pub http: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// `settled`, `estimated`, `unresolved`, or `void`.
    pub billing: String,
    /// Where the amount came from; empty for what was given back.
    pub source: String,
    /// Version of the price table.
    pub prices: String,
    /// The tier of its agent, from 0.
    pub tier: Option<u64>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    agent_id: AgentId,
    user: Option<UserId>,
    key: Option<KeyId>,
    #[serde(default)]
    model: String,
    provider: Option<String>,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    nano_usd: i64,
    #[serde(default)]
    input_nano_usd: i64,
    latency_ms: Option<u64>,
    first_byte_ms: Option<u64>,
    http: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    prices: String,
    tier: Option<u64>,
}

/// Whether a request was sent whose hold was given back by this record: only then it says to whom. In
/// a string these bytes cannot stand, because quotes are escaped there.
pub(super) fn was_sent(line: &[u8]) -> bool {
    memchr::memmem::find(line, b",\"provider\":\"").is_some()
}

impl Ended {
    pub(super) fn parse(chain: &Arc<str>, seq: u64, kind: Kind, line: &[u8]) -> Option<Self> {
        let row: Row<'_> = serde_json::from_slice(line).ok()?;
        let civil: jiff::civil::DateTime = row.timestamp.parse().ok()?;
        let at = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
        Some(Self {
            chain: Arc::clone(chain),
            seq,
            id: row.id.parse().ok()?,
            at_ms: at.as_millisecond(),
            agent: row.agent_id,
            user: row.user,
            key: row.key,
            model: row.model,
            provider: row.provider,
            usage: row.usage,
            cost: Nanos(row.nano_usd),
            input: Nanos(row.input_nano_usd),
            latency_ms: row.latency_ms,
            first_byte_ms: row.first_byte_ms,
            http: row.http,
            error: row.error,
            billing: match kind {
                Kind::Settled => row.status,
                Kind::Voided => "void".to_owned(),
                Kind::Reset => return None,
            },
            source: row.source,
            prices: row.prices,
            tier: row.tier,
        })
    }
}
