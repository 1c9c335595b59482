//! An event as text: a flat JSON object, or pairs of strings.
//!
//! Decides which field stands where and how its value is written. Both forms come from one list, so that they
//! cannot differ.

use super::{Event, Kind, Request, VERSION};
use crate::money::Nanos;
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Event {
    /// The event as one flat JSON object with `event_type` and `type`, as the Model Gateway's WebSocket sent it.
    pub fn json(&self) -> String {
        let name = self.kind.name();
        let mut text = String::with_capacity(512);
        // Neither names of events nor of fields have anything in them that JSON would escape.
        let _ = write!(text, r#"{{"event_type":"{name}","type":"{name}""#);
        for (field, value) in self.fields() {
            let _ = write!(text, r#","{field}":{value}"#);
        }
        text.push('}');
        text
    }

    /// The event as pairs of strings, as the Model Gateway wrote it to a Redis stream; values that are not there
    /// are left out.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("event_type", self.kind.name().to_owned())];
        for (field, value) in self.fields() {
            pairs.push((
                field,
                match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                },
            ));
        }
        pairs
    }

    /// The fields in their order.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut fields = Vec::with_capacity(20);
        self.kind.fields(&mut fields);
        let at = i64::try_from(self.at).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
        fields.push(("timestamp", json!(format!("{at:.3}"))));
        fields.push(("seq", json!(self.seq)));
        fields.push(("v", json!(VERSION)));
        fields
    }
}

type Fields = Vec<(&'static str, Value)>;

fn dollars(amount: Nanos) -> Value {
    json!(amount.as_usd_f64())
}

fn of(fields: &mut Fields, request: &Request) {
    fields.push(("model", json!(&*request.model)));
    fields.push(("trace_id", json!(request.id.to_string())));
}

fn whose(fields: &mut Fields, request: &Request) {
    fields.push(("agent", json!(request.agent.as_str())));
    if let Some(user) = &request.user {
        fields.push(("user", json!(user.as_str())));
    }
}

impl Kind {
    fn fields(&self, fields: &mut Fields) {
        match self {
            Self::Start(request, begun) => {
                of(fields, request);
                fields.push(("request_size", json!(begun.size)));
                fields.push(("metadata", json!({})));
                whose(fields, request);
                fields.push(("provider", json!(&*begun.provider)));
                fields.push(("surface", json!(begun.surface)));
                fields.push(("stream", json!(begun.stream)));
                fields.push(("held_nano_usd", json!(begun.held.0)));
                fields.push(("tier", json!(begun.tier)));
            }
            Self::Streaming(request) => {
                of(fields, request);
                whose(fields, request);
            }
            Self::Complete(request, ended) => {
                of(fields, request);
                fields.push(("tokens_in", json!(ended.tokens_in)));
                fields.push(("tokens_out", json!(ended.tokens_out)));
                fields.push(("usd", dollars(ended.cost)));
                fields.push(("latency_ms", json!(ended.latency_ms)));
                fields.push(("status", json!(ended.status)));
                if let Some(error) = &ended.error {
                    fields.push(("error", json!(&**error)));
                }
                whose(fields, request);
                fields.push(("provider", json!(&*ended.provider)));
                fields.push(("nano_usd", json!(ended.cost.0)));
                fields.push(("source", json!(ended.source)));
                if let Some(first) = ended.first_byte_ms {
                    fields.push(("first_byte_ms", json!(first)));
                }
                fields.push(("client_gone", json!(ended.gone)));
                fields.push(("attempts", json!(ended.attempts)));
            }
            Self::Refused(refused) => {
                fields.push(("trace_id", json!(refused.id.to_string())));
                fields.push(("code", json!(refused.code)));
                fields.push(("status", json!(refused.status)));
                fields.push(("surface", json!(refused.surface)));
                if let Some(agent) = &refused.agent {
                    fields.push(("agent", json!(agent.as_str())));
                }
            }
            Self::Warning(warning) => {
                let used = percent(warning.total, warning.limit);
                fields.push(("budget_used_percent", json!(used)));
                fields.push(("daily_total", dollars(warning.total)));
                fields.push(("daily_limit", dollars(warning.limit)));
                fields.push(("account", json!(warning.account.as_str())));
                fields.push(("level_percent", json!(f64::from(warning.level) / 10_000.0)));
                fields.push(("period_start", json!(warning.window)));
            }
            Self::Exceeded(exceeded) => {
                fields.push(("daily_total", dollars(exceeded.total)));
                fields.push(("daily_limit", dollars(exceeded.limit)));
                fields.push(("blocked_model", json!(&*exceeded.model)));
                fields.push(("account", json!(exceeded.account.as_str())));
                fields.push(("agent", json!(exceeded.agent.as_str())));
                fields.push(("trace_id", json!(exceeded.id.to_string())));
            }
            Self::Finding(finding) => {
                fields.push(("control", json!(finding.control)));
                fields.push(("rule", json!(&*finding.rule)));
                fields.push(("action", json!(finding.action)));
                fields.push(("severity", json!(finding.severity)));
                fields.push(("count", json!(finding.count)));
                fields.push(("agent", json!(finding.agent.as_str())));
                fields.push(("trace_id", json!(finding.id.to_string())));
            }
            Self::Breaker(breaker) => {
                fields.push(("level", json!(breaker.level)));
                fields.push(("before", json!(breaker.before)));
                fields.push(("total", dollars(breaker.total)));
                fields.push(("threshold", dollars(breaker.threshold)));
            }
            Self::Ejected(ejected) => {
                fields.push(("provider", json!(&*ejected.provider)));
                fields.push(("endpoint", json!(&*ejected.endpoint)));
                fields.push(("millis", json!(ejected.millis)));
            }
            Self::Reload(reload) => {
                fields.push(("result", json!(reload.result)));
                fields.push(("by", json!(reload.by)));
                fields.push(("problems", json!(reload.problems)));
            }
            Self::Upgrade(upgrade) => {
                fields.push(("phase", json!(upgrade.phase)));
                fields.push(("pid", json!(upgrade.pid)));
            }
            Self::Change(change) => {
                fields.push(("action", json!(change.action)));
                fields.push(("subject", json!(&*change.subject)));
                fields.push(("by", json!(&*change.by)));
            }
        }
    }
}

/// How much of a limit is used, in percent with two decimals.
fn percent(total: Nanos, limit: Nanos) -> f64 {
    if limit.0 <= 0 {
        return 100.0;
    }
    let hundredths = i128::from(total.0) * 10_000 / i128::from(limit.0);
    i32::try_from(hundredths).map_or(f64::from(i32::MAX), f64::from) / 100.0
}
