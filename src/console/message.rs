//! What the gateway tells the console, as JSON. Amounts are exact decimals.

use crate::budget::{AccountSpec, Balance};
use crate::identity::{AccountId, AgentId, KeyId, UserId};
use crate::ledger::log::tail::{Position, Settlement};
use crate::policy::Agent;
use serde::Serialize;
use serde_json::value::RawValue;

/// The body of a request.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) gateway_id: &'a str,
    pub(super) version: &'a str,
    pub(super) sent_at: String,
    /// After what the console has, as it said itself; `None` asks it.
    pub(super) cursor: Option<&'a Position>,
    /// After what this message has.
    pub(super) next: Option<&'a Position>,
    pub(super) spend: Vec<Row<'a>>,
    /// Whether the next message follows at once.
    pub(super) more: bool,
    pub(super) budgets: Vec<State>,
}

impl Message<'_> {
    /// The text.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Plain structs with text keys serialise without fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// One settlement.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    id: String,
    request_id: String,
    chain: &'a str,
    seq: u64,
    at: &'a str,
    agent_id: &'a AgentId,
    user: Option<&'a UserId>,
    key: Option<&'a KeyId>,
    model: &'a str,
    tokens: u64,
    usage: Option<&'a RawValue>,
    cost: Box<RawValue>,
    nano_usd: i64,
    status: &'a str,
    source: &'a str,
    period_start: Option<String>,
}

/// One settlement as it is sent.
pub(super) fn row(settlement: &Settlement) -> Row<'_> {
    Row {
        id: settlement.id.to_string(),
        request_id: settlement.id.request.to_string(),
        chain: &settlement.chain,
        seq: settlement.seq,
        at: &settlement.at,
        agent_id: &settlement.agent,
        user: settlement.user.as_ref(),
        key: settlement.key.as_ref(),
        model: &settlement.model,
        tokens: settlement.tokens,
        usage: settlement.usage.as_deref(),
        cost: settlement.cost.usd_exact(),
        nano_usd: settlement.cost.0,
        status: &settlement.status,
        source: &settlement.source,
        period_start: moment(Some(settlement.window).filter(|window| *window != 0)),
    }
}

/// The state of one account.
#[derive(Serialize)]
pub(super) struct State {
    account: AccountId,
    agent_id: Option<AgentId>,
    budget_total: Box<RawValue>,
    budget_spent: Box<RawValue>,
    budget_held: Box<RawValue>,
    period: &'static str,
    period_start: Option<String>,
    period_end: Option<String>,
    hard_cap: bool,
    /// `console` where the console may set the budget.
    budget_source: &'static str,
    /// Whether the limit in force was pushed, by whomever.
    pushed: bool,
    /// The last revision of the console's that acted.
    revision: Option<String>,
}

/// The state of an account, of an agent's where it is one's.
pub(super) fn state(
    spec: &AccountSpec,
    balance: &Balance,
    agent: Option<&Agent>,
    revision: Option<&str>,
) -> State {
    // Accounts without periods have no window.
    let start = balance.period_end.map(|_| balance.period_start);
    State {
        account: spec.id.clone(),
        agent_id: agent.map(|agent| agent.id.clone()),
        budget_total: balance.limit.usd_exact(),
        budget_spent: balance.posted.usd_exact(),
        budget_held: balance.pending.usd_exact(),
        period: spec.period.kind.name(),
        period_start: moment(start),
        period_end: moment(balance.period_end),
        hard_cap: spec.hard,
        budget_source: agent.map_or("local", |agent| agent.budget_source.name()),
        pushed: balance.pushed,
        revision: revision.map(str::to_owned),
    }
}

/// Unix seconds as RFC 3339.
fn moment(seconds: Option<i64>) -> Option<String> {
    let moment = jiff::Timestamp::from_second(seconds?).ok()?;
    Some(moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::period::{Period, PeriodKind};
    use crate::budget::warn::Levels;
    use crate::money::Nanos;
    use serde_json::{Value, json};

    #[test]
    fn amounts_are_exact_and_what_is_not_known_is_null() {
        let settlement = Settlement {
            chain: "main".into(),
            seq: 6,
            id: "req_94bc3b72001cf0d82bbe72907a-1".parse().unwrap(),
            at: "2025-01-31T12:00:01.234000Z".into(),
            agent: AgentId::new("researcher").unwrap(),
            user: None,
            key: None,
            model: "openai/\"gpt\"".into(),
            tokens: 12,
            usage: Some(RawValue::from_string(r#"{"input":12}"#.into()).unwrap()),
            cost: Nanos(9_007_199_254_740_991),
            status: "settled".into(),
            source: "provider".into(),
            window: 0,
        };
        let spec = AccountSpec {
            id: AccountId::new("agent:researcher").unwrap(),
            limit: Nanos(1),
            opening: Nanos::ZERO,
            hard: true,
            period: Period {
                kind: PeriodKind::Daily,
                zone: jiff::tz::TimeZone::UTC,
            },
            warn: Levels::default(),
        };
        let balance = Balance {
            limit: Nanos(1),
            posted: Nanos(2_500_000_000),
            period_start: 1_735_689_600,
            period_end: Some(1_735_776_000),
            ..Balance::default()
        };
        let position = Position::default();
        let text = Message {
            gateway_id: "eu-1",
            version: "1",
            sent_at: "now".into(),
            cursor: None,
            next: Some(&position),
            spend: vec![row(&settlement)],
            more: false,
            budgets: vec![state(&spec, &balance, None, Some("7"))],
        }
        .to_json();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r#""cost":9007199.254740991,"#), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cursor"], Value::Null);
        assert_eq!(value["next"], json!({}));
        let row = &value["spend"][0];
        assert_eq!(row["id"], "req_94bc3b72001cf0d82bbe72907a-1");
        assert_eq!(row["request_id"], "req_94bc3b72001cf0d82bbe72907a");
        assert_eq!(
            (&row["user"], &row["period_start"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(row["usage"]["input"], 12);
        let state = &value["budgets"][0];
        assert_eq!(state["budget_total"].to_string(), "1e-9");
        assert_eq!(state["period_start"], "2025-01-01T00:00:00Z");
        assert_eq!(state["period_end"], "2025-01-02T00:00:00Z");
        assert_eq!(state["revision"], "7");
    }
}
