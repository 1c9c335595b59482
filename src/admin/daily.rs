//! The Model Gateway's routes: its models with their prices, and the day's spending.
//!
//! Decides which account is the daily one: that of the whole gateway. Its limit and spending are the
//! ledger's; what each model cost since midnight (UTC) is read from the spend log. Both outlive a
//! restart. Errors are written as the Model Gateway wrote them.

use super::{Peer, Refused, Shared, TASK, origin, reply, response, unavailable};
use crate::answer::Answer;
use crate::auth;
use crate::gateway::Live;
use crate::ledger::day::Day;
use crate::money::PicosPerToken;
use crate::policy::models::Model;
use crate::refusal::Refusal;
use crate::surface::ErrorShape;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Pico-dollars in a dollar.
const PICOS: u64 = 1_000_000_000_000;

/// A refusal in the words of the Model Gateway.
pub(super) struct Denied(pub(super) Refusal);

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        response(Answer::refusal_in(ErrorShape::Titan, &self.0, ""))
    }
}

/// `GET /models`, which is open to everybody.
pub(super) async fn models(State(shared): State<Shared>) -> Response {
    let live = shared.gateway.live();
    let models: Vec<Value> = live
        .policy
        .models
        .iter()
        .map(|(name, model)| described(&live, name, model))
        .collect();
    reply(&json!({
        "models": models,
        "defaults": defaults(&live),
        "budget": budget(&shared, &live, &shared.gateway.today().await).await,
    }))
}

/// `GET /budget/stats`.
pub(super) async fn stats(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let day = shared.gateway.today().await;
    let mut stats = budget(&shared, &shared.gateway.live(), &day).await;
    stats["tokens"] = json!({"prompt": day.input, "completion": day.output});
    Ok(reply(&stats))
}

/// `POST /budget/reset`.
pub(super) async fn reset(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let by = origin(peer);
    let live = shared.gateway.live();
    if let Some(account) = &live.policy.gateway {
        let reset = shared.gateway.book.reset(account, &by).await;
        reset.map_err(|error| Denied(unavailable(&error).0))?;
    }
    shared.gateway.clear_today().await;
    tracing::info!(admin.peer = by, "daily spend reset");
    shared.told("budget.reset", "gateway", peer);
    Ok(reply(&json!({"message": "Budget reset successfully"})))
}

/// Whether the admin token was presented, said as the Model Gateway said it.
pub(super) fn allow(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<(), Denied> {
    shared.allow(headers, peer).map_err(|Refused(refusal)| {
        let Refusal::AdminToken(text) = refusal else {
            return Denied(refusal);
        };
        let sent = headers.get(header::AUTHORIZATION);
        let bearer = auth::presented(sent.and_then(|value| value.to_str().ok()), None);
        Denied(match (sent, bearer) {
            (None, _) => Refusal::MissingKey(text),
            (Some(_), None) => Refusal::AuthorizationFormat,
            (Some(_), Some(_)) => Refusal::AdminToken(text),
        })
    })
}

/// Which model serves which task.
fn defaults(live: &Live) -> Map<String, Value> {
    let aliases = live.policy.aliases.iter();
    let tasks = aliases.filter_map(|(name, model)| Some((name.strip_prefix(TASK)?, model)));
    tasks
        .map(|(task, model)| (task.to_owned(), model.as_str().into()))
        .collect()
}

fn described(live: &Live, name: &str, model: &Model) -> Value {
    let target = live.directory().of_policy(name);
    let price = target.and_then(|target| target.price);
    let stated = model.price.map(|price| (price.input, price.output));
    let rates = stated.or_else(|| {
        let rates = price.as_ref().map(|price| price.rates);
        rates.map(|rates| (rates.input, rates.output))
    });
    let max_output = price.as_ref().and_then(|price| price.max_output);
    json!({
        "name": name,
        "provider": model.provider,
        "input_cost": rates.map(|(input, _)| per_token(input)),
        "output_cost": rates.map(|(_, output)| per_token(output)),
        "max_tokens": model.max_tokens.or(max_output),
        "supports_streaming": true,
    })
}

/// Dollars per token as a JSON number.
fn per_token(price: PicosPerToken) -> Value {
    let text = format!("{}.{:012}", price.0 / PICOS, price.0 % PICOS);
    serde_json::from_str(&text).unwrap_or_default()
}

async fn budget(shared: &Shared, live: &Live, day: &Day) -> Value {
    let usage: Map<String, Value> = day
        .models
        .iter()
        .map(|(model, cost)| (model.clone(), cost.as_usd_f64().into()))
        .collect();
    let account = live.policy.gateway.as_ref();
    let balance = match account {
        Some(account) => Some(shared.gateway.book.balance(account).await),
        None => None,
    };
    let spent = match balance {
        Some(balance) => balance.posted,
        None => day.total(),
    };
    let remaining = balance.map(|balance| (balance.limit - balance.posted).as_usd_f64());
    json!({
        "daily_limit_usd": balance.map(|balance| balance.limit.as_usd_f64()),
        "daily_spent_usd": spent.as_usd_f64(),
        "remaining_usd": remaining,
        "models_usage": usage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_written_as_the_models_file_has_it() {
        for (text, picos) in [
            ("0.0000025", 2_500_000),
            ("0.00001", 10_000_000),
            ("0", 0),
            ("1.5", 1_500_000_000_000),
        ] {
            let price = PicosPerToken::parse_usd(text).unwrap();
            assert_eq!(price, PicosPerToken(picos));
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(per_token(price).as_f64(), expected.as_f64(), "{text}");
        }
    }
}
