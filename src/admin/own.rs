//! `GET /v1/budget`: what the caller itself may still spend, for clients that plan ahead.
//!
//! Decides what a caller may see: the accounts that its own next request would fall under and the
//! limits that would hold for it, found by its key and the headers that choose agent and user.
//! Nobody else's, and nothing is held or counted for it.

use super::party::{end, figures, put};
use super::{Peer, Reply, Shared, reply};
use crate::auth::Identity;
use crate::budget::{AccountSpec, Balance, tier};
use crate::identity::UserId;
use crate::limit::Left;
use crate::money::Nanos;
use crate::policy::Agent;
use crate::settings::units;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /v1/budget`.
pub(super) async fn budget(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    let live = shared.gateway.live();
    let identity = shared.caller(&headers, peer)?;
    let mut accounts = Vec::new();
    for spec in identity.accounts(&live.policy).iter() {
        let balance = shared.gateway.book.balance(spec).await;
        accounts.push((Arc::clone(spec), balance));
    }
    // The agent's own is the first.
    let own = accounts.first().map_or_else(Balance::default, |own| own.1);
    let agent = &identity.agent;
    let tier = tier::select(&agent.thresholds, own.remaining(), own.limit);

    let mut body = figures(&agent.account, &own);
    body.remove("account");
    body.insert("object".into(), "budget".into());
    body.insert("agent_id".into(), agent.id.as_str().into());
    let user = identity.user.as_ref().map(UserId::as_str);
    body.insert("user".into(), user.into());
    let teams: Vec<&str> = identity.teams().map(|team| team.id.as_str()).collect();
    body.insert("team".into(), teams.first().copied().into());
    body.insert("teams".into(), teams.into());
    body.insert("period_end".into(), end(&own));
    body.insert("tier".into(), tier_of(agent, tier));
    let models = agent.tiers.get(tier).or(agent.allowed.as_ref());
    body.insert("models_allowed".into(), json!(models));
    body.insert("limits".into(), limits(&shared, &identity).await);
    put(&mut body, "spendable", spendable(&accounts));
    let accounts = accounts.iter().map(|(spec, balance)| {
        let mut shown = figures(spec, balance);
        shown.insert("period_end".into(), end(balance));
        Value::Object(shown)
    });
    body.insert("accounts".into(), accounts.collect());
    Ok(reply(&Value::Object(body)))
}

/// The tier that a request would be served on now; nothing for an agent without tiers.
fn tier_of(agent: &Agent, number: usize) -> Value {
    let Some(threshold) = agent.thresholds.get(number) else {
        return Value::Null;
    };
    let share: Value = serde_json::from_str(&units::show_share(*threshold)).unwrap_or_default();
    json!({"number": number, "threshold": share})
}

/// The most that one request may hold: what the tightest hard account has left beside what is held.
/// Nothing where no account is hard.
fn spendable(accounts: &[(Arc<AccountSpec>, Balance)]) -> Option<Nanos> {
    let hard = accounts.iter().filter(|(spec, _)| spec.hard);
    let left = hard.map(|(_, balance)| balance.remaining().at_least_zero());
    left.min()
}

/// The tightest limits of key, agent, user and teams, and what is left of them.
async fn limits(shared: &Shared, identity: &Identity) -> Value {
    let now = jiff::Timestamp::now().as_second();
    let now = u64::try_from(now).unwrap_or_default();
    let standing = shared.gateway.standing(identity.claims(), now).await;
    let own = identity.claims();
    let bytes = own.filter_map(|claim| claim.limits.request_bytes);
    let bytes = bytes.fold(shared.gateway.settings.limits.body_bytes, usize::min);
    let mut shown = Map::new();
    let mut put = |limit: &str, name: &str, left: Option<Left>, resets: bool| {
        shown.insert(limit.into(), left.map(|left| left.limit).into());
        let remaining = left.map(|left| left.remaining);
        shown.insert(format!("{name}_remaining"), remaining.into());
        if resets {
            let reset = left.map(|left| left.reset);
            shown.insert(format!("{name}_reset_seconds"), reset.into());
        }
    };
    put("requests_per_minute", "requests", standing.requests, true);
    put("tokens_per_minute", "tokens", standing.tokens, true);
    put(
        "concurrent_requests",
        "concurrent",
        standing.concurrent,
        false,
    );
    shown.insert("request_bytes".into(), bytes.into());
    Value::Object(shown)
}
