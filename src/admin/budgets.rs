//! `/api/spend`, `/api/budget` and `/api/reset`: what accounts have, and changes of it.
//!
//! Decides the shapes. `/api/spend` knows agents, as consoles do; `/api/budget` and `/api/reset` know
//! every account: an agent by its name, any other by its id, such as `team:research`.

use super::party::Party;
use super::{Peer, Reply, Shared, origin, reply, timestamp, unavailable};
use crate::identity::AgentId;
use crate::money::Nanos;
use crate::policy::Agent;
use crate::refusal::Refusal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /api/spend`.
pub(super) async fn all_spend(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    shared.allow(&headers, peer)?;
    let live = shared.gateway.live();
    let mut all = Map::new();
    for (id, agent) in &live.policy.agents {
        all.insert(id.to_string(), account(&shared, id, agent).await);
    }
    Ok(reply(&Value::Object(all)))
}

/// `GET /api/spend/{agent}`.
pub(super) async fn spend(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Reply {
    shared.allow(&headers, peer)?;
    let live = shared.gateway.live();
    let agent = live.policy.agents.get_key_value(name.as_str());
    let (id, agent) = agent.ok_or_else(|| Refusal::AgentNotFound {
        agent: name.chars().filter(|c| !c.is_control()).take(128).collect(),
    })?;
    Ok(reply(&account(&shared, id, agent).await))
}

async fn account(shared: &Shared, id: &AgentId, agent: &Arc<Agent>) -> Value {
    let balance = shared.gateway.book.balance(&agent.account).await;
    let source = Party::Agent(id, agent).source(&balance);
    json!({
        "agent_id": id,
        "budget_total": balance.limit.as_usd_f64(),
        "budget_spent": balance.posted.as_usd_f64(),
        "budget_remaining": (balance.limit - balance.posted).as_usd_f64(),
        "budget_held": balance.pending.as_usd_f64(),
        "budget_source": source,
        "period": agent.account.period.kind.to_string(),
        "period_reset": balance.period_end.and_then(timestamp),
        "hard_cap": agent.account.hard,
    })
}

/// Which of all accounts are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    account: Option<String>,
}

/// `GET /api/budget`: every account, or the one that `?account=` names.
pub(super) async fn all(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Reply {
    shared.allow(&headers, peer)?;
    let Query(wanted) =
        wanted.map_err(|_| Refusal::BadRequest("The only query parameter is 'account'"))?;
    let live = shared.gateway.live();
    let policy = &live.policy;
    let parties: Vec<Party<'_>> = match wanted.account.as_deref() {
        None => Party::all(policy).collect(),
        Some(id) => {
            let exact = Party::of_account(policy, id);
            vec![exact.or_else(|_| Party::named(policy, id))?]
        }
    };
    let mut accounts = Vec::with_capacity(parties.len());
    for party in parties {
        let balance = shared.gateway.book.balance(party.spec()).await;
        accounts.push(party.shown(policy, &balance));
    }
    Ok(reply(&json!({ "accounts": accounts })))
}

/// `GET /api/budget/{name}`.
pub(super) async fn one(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Reply {
    shared.allow(&headers, peer)?;
    let live = shared.gateway.live();
    let party = Party::named(&live.policy, &name)?;
    let balance = shared.gateway.book.balance(party.spec()).await;
    Ok(reply(&party.shown(&live.policy, &balance)))
}

/// A pushed budget; amounts are read as exact decimals.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push<'a> {
    #[serde(borrow, default)]
    budget_total: Option<&'a RawValue>,
    #[serde(borrow, default)]
    budget_spent: Option<&'a RawValue>,
}

/// `POST /api/budget/{name}`.
pub(super) async fn push(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(name): Path<String>,
    body: Bytes,
) -> Reply {
    shared.allow(&headers, peer)?;
    let live = shared.gateway.live();
    let party = Party::named(&live.policy, &name)?;
    let push: Push<'_> = serde_json::from_slice(&body).map_err(|_| {
        Refusal::BadRequest("Expected a JSON object with 'budget_total' and/or 'budget_spent'")
    })?;
    let total = amount("budget_total", push.budget_total)?;
    let spent = amount("budget_spent", push.budget_spent)?;
    if total.is_none() && spent.is_none() {
        return Err(Refusal::BadRequest("Provide 'budget_total' and/or 'budget_spent'").into());
    }
    let by = origin(peer);
    let balance = shared
        .gateway
        .book
        .push(party.spec(), total, spent, &by)
        .await
        .map_err(|error| unavailable(&error))?;
    tracing::info!(account.id = %party.spec().id, admin.peer = by, "budget changed");
    shared.told("budget.push", party.spec().id.as_str(), peer);
    Ok(answer(
        party,
        "updated",
        [
            ("budget_total", balance.limit.as_usd_f64().into()),
            ("budget_spent", balance.posted.as_usd_f64().into()),
        ],
    ))
}

fn amount(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Nanos>, Refusal> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let invalid = || Refusal::InvalidField {
        field: field.into(),
        message: format!("'{field}' must be an amount in US dollars, 0 or more"),
    };
    let amount = Nanos::parse_usd(raw.get()).map_err(|_| invalid())?;
    if amount < Nanos::ZERO || raw.get().starts_with('-') {
        return Err(invalid());
    }
    Ok(Some(amount))
}

/// `POST /api/reset/{name}`.
pub(super) async fn reset(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Reply {
    shared.allow(&headers, peer)?;
    let live = shared.gateway.live();
    let party = Party::named(&live.policy, &name)?;
    let by = origin(peer);
    shared
        .gateway
        .book
        .reset(party.spec(), &by)
        .await
        .map_err(|error| unavailable(&error))?;
    tracing::info!(account.id = %party.spec().id, admin.peer = by, "spend reset");
    shared.told("budget.reset", party.spec().id.as_str(), peer);
    Ok(answer(party, "reset", [("budget_spent", 0.0.into())]))
}

/// What a change is answered with: consoles know agents by their names, others have the account's id.
fn answer<const N: usize>(
    party: Party<'_>,
    status: &str,
    figures: [(&str, Value); N],
) -> axum::response::Response {
    let mut body = Map::from_iter(figures.map(|(name, value)| (name.to_owned(), value)));
    body.insert("status".into(), status.into());
    match party {
        Party::Agent(id, _) => body.insert("agent_id".into(), id.as_str().into()),
        _ => body.insert("account".into(), party.spec().id.as_str().into()),
    };
    reply(&Value::Object(body))
}
