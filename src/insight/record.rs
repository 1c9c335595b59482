//! One attempt as a row.
//!
//! Decides what of the spend log becomes which column. A row is an attempt, not a request: attempts of
//! one request may be at different models and providers, and each has its own cost. The first attempt
//! has the request's id as its `trace_id`, a further one its own.

use crate::ledger::log::tail::Ended;
use crate::usage::Usage;
use serde::Serialize;
use std::sync::Arc;

/// The longest name of a model that is kept, in bytes: it comes from the provider.
const LONGEST_MODEL: usize = 256;

/// The most tokens that are counted for one attempt, so that sums of any number of rows fit.
const MOST_TOKENS: i64 = 1 << 40;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub(super) attempt_id: String,
    pub(super) trace_id: String,
    request_id: String,
    log_id: Arc<str>,
    pub(super) at_ms: i64,
    pub(super) model: String,
    provider: Option<String>,
    pub(super) agent_id: String,
    pub(super) user_id: Option<String>,
    key_id: Option<String>,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    input_nano_usd: i64,
    pub(super) nano_usd: i64,
    pub(super) latency_ms: Option<i64>,
    first_byte_ms: Option<i64>,
    http_status: Option<u16>,
    pub(super) status: &'static str,
    error: Option<String>,
    billing: String,
    metadata: Metadata,
}

/// What has no column of its own.
#[derive(Clone, Debug, Serialize)]
struct Metadata {
    usage: Usage,
    source: String,
    prices: String,
    tier: Option<u64>,
    chain: Arc<str>,
    seq: u64,
}

/// How an answer went that was one.
pub(super) const SUCCESS: &str = "success";

impl Record {
    /// The row of an attempt that the log called `log_id` tells of.
    pub fn new(log_id: &Arc<str>, ended: Ended) -> Self {
        let attempt_id = ended.id.to_string();
        let request_id = ended.id.request.to_string();
        let unresolved = ended.billing == "unresolved";
        let error = ended
            .error
            .or_else(|| unresolved.then(|| "unresolved".to_owned()));
        Self {
            trace_id: if ended.id.number == 1 {
                request_id.clone()
            } else {
                attempt_id.clone()
            },
            attempt_id,
            request_id,
            log_id: Arc::clone(log_id),
            at_ms: ended.at_ms,
            model: clean(&ended.model, LONGEST_MODEL),
            provider: ended.provider,
            agent_id: ended.agent.as_str().to_owned(),
            user_id: ended.user.map(|user| user.as_str().to_owned()),
            key_id: ended.key.map(|key| key.as_str().to_owned()),
            prompt_tokens: tokens(ended.usage.input),
            completion_tokens: tokens(ended.usage.output),
            input_nano_usd: ended.input.0,
            nano_usd: ended.cost.0,
            latency_ms: ended.latency_ms.map(tokens),
            first_byte_ms: ended.first_byte_ms.map(tokens),
            http_status: ended.http,
            status: if error.is_none() { SUCCESS } else { "error" },
            error,
            billing: ended.billing,
            metadata: Metadata {
                usage: ended.usage,
                source: ended.source,
                prices: clean(&ended.prices, LONGEST_MODEL),
                tier: ended.tier,
                chain: ended.chain,
                seq: ended.seq,
            },
        }
    }

    pub(super) fn hour_ms(&self) -> i64 {
        hour_of(self.at_ms)
    }
}

/// The hour that a moment is in.
pub(super) fn hour_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(HOUR) * HOUR
}

/// The day (UTC) that a moment is in.
pub(super) fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY) * DAY
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MOST_TOKENS).min(MOST_TOKENS)
}

/// Text of at most `most` bytes that a database takes: PostgreSQL has no zero byte in text.
pub(super) fn clean(text: &str, most: usize) -> String {
    let text = &text[..text.floor_char_boundary(most)];
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AgentId;
    use crate::money::Nanos;

    fn ended(id: &str, billing: &str) -> Ended {
        Ended {
            chain: "main".into(),
            seq: 7,
            id: id.parse().unwrap(),
            at_ms: 1_738_324_801_234,
            agent: AgentId::new("a").unwrap(),
            user: None,
            key: None,
            model: "m\0".into(),
            provider: None,
            usage: Usage {
                input: u64::MAX,
                output: 3,
                ..Usage::default()
            },
            cost: Nanos(5),
            input: Nanos(2),
            latency_ms: Some(u64::MAX),
            first_byte_ms: None,
            http: None,
            error: None,
            billing: billing.into(),
            source: "unresolved".into(),
            prices: String::new(),
            tier: None,
        }
    }

    #[test]
    fn the_first_attempt_has_the_requests_id_and_a_further_one_its_own() {
        let log: Arc<str> = "l".into();
        let first = Record::new(&log, ended("req_94bc3b72001cf0d82bbe72907a-1", "settled"));
        let second = Record::new(&log, ended("req_94bc3b72001cf0d82bbe72907a-2", "settled"));
        assert_eq!(first.trace_id, "req_94bc3b72001cf0d82bbe72907a");
        assert_eq!(second.trace_id, "req_94bc3b72001cf0d82bbe72907a-2");
        assert_eq!(first.request_id, second.request_id);
        assert_eq!((first.status, first.error), (SUCCESS, None));
    }

    #[test]
    fn what_nobody_knows_is_an_error_and_absurd_numbers_are_bounded() {
        let log: Arc<str> = "l".into();
        let id = "req_94bc3b72001cf0d82bbe72907a-1";
        let record = Record::new(&log, ended(id, "unresolved"));
        assert_eq!(record.status, "error");
        assert_eq!(record.error.as_deref(), Some("unresolved"));
        assert_eq!(
            (record.prompt_tokens, record.latency_ms),
            (MOST_TOKENS, Some(MOST_TOKENS))
        );
        assert_eq!(record.model, "m\u{fffd}");
        assert_eq!(clean("äö", 3), "ä");
        let (at, hour) = (record.at_ms, record.hour_ms());
        assert!(hour <= at && at < hour + HOUR && hour % HOUR == 0);
        assert_eq!(day_of(-1), -DAY);
    }
}
