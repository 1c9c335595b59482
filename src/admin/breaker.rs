//! The cost breaker's routes, in the shapes of the API Orchestrator's: what was spent elsewhere, how things stand,
//! what it is made of, limits and resets.
//!
//! Decides who may: with a client's key or the admin token one tells and asks how things stand; the rest needs the
//! admin token. Amounts are exact numbers.

use super::orchestrator::Denied;
use super::{Peer, Refused, Shared, origin, unavailable};
use crate::auth::Identity;
use crate::breaker::{Level, Spent, Standing};
use crate::gateway::breaker::{Costs, NotLimited, NotTracked, Told};
use crate::money::Nanos;
use crate::refusal::Refusal;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// More tokens in one request are a mistake.
const MOST_TOKENS: u64 = 1_000_000_000;

/// The longest name of a model, in bytes.
const LONGEST_MODEL: usize = 256;

type Dollars = Box<RawValue>;

/// An answer, or an error as the API Orchestrator wrote them.
type Reply = Result<Response, Denied>;

/// What `/track` is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Track {
    model: String,
    input_tokens: u64,
    output_tokens: u64,
    user: Option<String>,
    api_key: Option<String>,
}

#[derive(Serialize)]
struct Tracked {
    cost: Dollars,
    total: Dollars,
    state: Level,
}

#[derive(Serialize)]
struct Stands {
    level: Level,
    total: Dollars,
    threshold: Dollars,
    thresholds: Sums,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    level: Level,
    total: Dollars,
    threshold: Dollars,
    costs: Window,
    thresholds: Sums,
    breakdown: Breakdown,
    recent_requests: Vec<Recent>,
}

/// What the sum is of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    total: Dollars,
    own: Dollars,
    window: &'static str,
    since: Option<String>,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    limits_set: Vec<Level>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Breakdown {
    by_model: Sums,
    by_user: Sums,
    by_key: Sums,
    by_agent: Sums,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recent {
    timestamp: Option<String>,
    model: Arc<str>,
    user: Arc<str>,
    api_key: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Arc<str>>,
    input_tokens: u64,
    output_tokens: u64,
    cost: Dollars,
}

/// Amounts by name, in their order.
struct Sums(Vec<(Arc<str>, Nanos)>);

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, amount) in &self.0 {
            map.serialize_entry(name, &amount.usd_exact())?;
        }
        map.end()
    }
}

fn time(millis: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(format!("{at:.3}"))
}

/// An answer whose amounts are as they are.
fn exact(body: &impl Serialize) -> Reply {
    let text = serde_json::to_string(body).map_err(|_| Refusal::Internal)?;
    let json = HeaderValue::from_static("application/json");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, json)], text).into_response())
}

fn thresholds(standing: &Standing) -> Sums {
    let all = standing.thresholds.all();
    Sums(
        all.map(|(level, from)| (level.name().into(), from))
            .collect(),
    )
}

fn stands(standing: &Standing) -> Stands {
    Stands {
        level: standing.level,
        total: standing.total.usd_exact(),
        threshold: standing.threshold().usd_exact(),
        thresholds: thresholds(standing),
    }
}

/// Who asks: a client with its identity, or an operator.
fn anybody(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Option<Identity>, Refused> {
    match shared.caller(headers, peer) {
        Ok(identity) => Ok(Some(identity)),
        // Being on this machine helps nobody out of quarantine.
        Err(refusal @ Refusal::KeyQuarantined(_)) => Err(Refused(refusal)),
        Err(refusal) => match shared.allow(headers, peer) {
            Ok(()) => Ok(None),
            Err(Refused(busy @ Refusal::TooManyAttempts)) => Err(Refused(busy)),
            Err(_) => Err(Refused(refusal)),
        },
    }
}

fn read<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::InvalidField {
        field: "body".into(),
        message: format!("The request body is not what this route reads: {error}"),
    })
}

fn wrong(field: &'static str, message: impl Into<String>) -> Refused {
    Refused(Refusal::InvalidField {
        field: field.into(),
        message: message.into(),
    })
}

/// `POST /track`.
pub(super) async fn track(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let identity = anybody(&shared, &headers, peer)?;
    let track: Track = read(&body)?;
    let model = track.model.trim();
    if model.is_empty() || model.len() > LONGEST_MODEL {
        return Err(wrong("model", "'model' must be the name of a model").into());
    }
    for (field, tokens) in [
        ("inputTokens", track.input_tokens),
        ("outputTokens", track.output_tokens),
    ] {
        if tokens > MOST_TOKENS {
            let message = format!("'{field}' must be at most {MOST_TOKENS}");
            return Err(wrong(field, message).into());
        }
    }
    let of = |read: fn(&Identity) -> Option<String>| identity.as_ref().and_then(read);
    let user = of(|identity| identity.user.as_ref().map(ToString::to_string));
    let key = of(|identity| identity.key.as_ref().map(ToString::to_string));
    let told = Told {
        model: model.to_owned(),
        input: track.input_tokens,
        output: track.output_tokens,
        user: track.user.or(user),
        key_id: track.api_key.is_none().then_some(key).flatten(),
        key: track.api_key,
    };
    let tracked = shared.gateway.track(told).await;
    let tracked = tracked.map_err(|error| match error {
        NotTracked::Unpriced => wrong(
            "model",
            format!(
                "The model '{model}' has no known price; state one under cost_routing.prices, or an unpriced_ceiling"
            ),
        ),
        NotTracked::NotKept => unavailable(&error),
    })?;
    exact(&Tracked {
        cost: tracked.cost.usd_exact(),
        total: tracked.standing.total.usd_exact(),
        state: tracked.standing.level,
    })
}

/// `GET /state`.
pub(super) async fn state(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    anybody(&shared, &headers, peer)?;
    exact(&stands(&shared.gateway.costs_now().await))
}

/// `GET /admin/costs`.
pub(super) async fn costs(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    shared.allow(&headers, peer)?;
    let costs = shared.gateway.costs().await;
    let costs = costs.ok_or(Refusal::Internal)?;
    let Costs { standing, by, .. } = costs;
    let [model, user, key, agent] = by.map(Sums);
    exact(&Shown {
        level: standing.level,
        total: standing.total.usd_exact(),
        threshold: standing.threshold().usd_exact(),
        costs: Window {
            total: standing.total.usd_exact(),
            own: costs.own.usd_exact(),
            window: costs.window,
            since: time(costs.since),
            requests: costs.requests,
            input_tokens: costs.tokens.0,
            output_tokens: costs.tokens.1,
            limits_set: costs.set,
        },
        thresholds: thresholds(&standing),
        breakdown: Breakdown {
            by_model: model,
            by_user: user,
            by_key: key,
            by_agent: agent,
        },
        recent_requests: costs.recent.into_iter().map(recent).collect(),
    })
}

fn recent(spent: Spent) -> Recent {
    Recent {
        timestamp: time(spent.at),
        model: spent.model,
        user: spent.user,
        api_key: spent.key,
        agent: spent.agent,
        input_tokens: spent.input,
        output_tokens: spent.output,
        cost: spent.cost.usd_exact(),
    }
}

/// `POST /admin/costs/reset`.
pub(super) async fn reset(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    shared.allow(&headers, peer)?;
    let standing = shared.gateway.reset_costs().await;
    let standing = standing.map_err(|error| unavailable(&error))?;
    tracing::info!(admin.peer = origin(peer), "the cost breaker begins anew");
    shared.told("breaker.reset", "breaker", peer);
    exact(&stands(&standing))
}

/// `PUT /admin/costs/limits`.
pub(super) async fn limits(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    shared.allow(&headers, peer)?;
    let stated: BTreeMap<String, &RawValue> = read(&body)?;
    if stated.is_empty() {
        let example = "Name a level and its limit, such as {\"SOFT\": 300}";
        return Err(wrong("body", example).into());
    }
    let mut change = BTreeMap::new();
    for (name, amount) in stated {
        let level = Level::named(&name.to_ascii_uppercase()).filter(|level| *level > Level::Ok);
        let level =
            level.ok_or_else(|| wrong("body", "Levels are WARNING, SOFT, HARD and EMERGENCY"))?;
        let limit = Nanos::parse_usd(amount.get()).ok();
        let limit = limit.filter(|limit| *limit > Nanos::ZERO).ok_or_else(|| {
            wrong(
                "body",
                format!(
                    "The limit of {} must be a number of dollars above 0",
                    level.name()
                ),
            )
        })?;
        change.insert(level, limit);
    }
    let said: Vec<String> = change
        .iter()
        .map(|(level, limit)| format!("{}=${limit}", level.name()))
        .collect();
    let standing = shared.gateway.limit_costs(change).await;
    let standing = standing.map_err(|error| match error {
        NotLimited::Order(order) => wrong("body", format!("The limits are not in order: {order}")),
        NotLimited::NotKept => unavailable(&error),
    })?;
    let said = said.join(" ");
    tracing::info!(
        admin.peer = origin(peer),
        limits = said,
        "limits of the cost breaker set"
    );
    shared.told("breaker.limits", &said, peer);
    exact(&stands(&standing))
}
