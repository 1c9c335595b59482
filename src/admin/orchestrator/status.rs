//! `GET /status`: whether everything works that these routes need.
//!
//! Decides what is looked at: that canaries can be made and rules are there, that the breaker knows what was
//! spent, and that somebody who serves models can be connected to. What exactly is wrong is said to those who
//! may use these routes; that something is, to everybody.

use super::caller::Caller;
use crate::admin::{Peer, Shared};
use crate::answer::Answer;
use crate::gateway::Live;
use crate::guard::canary::Canary;
use crate::policy::provider::Block;
use crate::policy::upstream::BaseUrl;
use crate::provider::OPENCLAW;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long connecting to a provider may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is believed what was found out.
const FRESH: Duration = Duration::from_secs(2);

/// What was found out about providers.
#[derive(Default)]
pub(in crate::admin) struct Reached(Mutex<Option<(Instant, Result<(), String>)>>);

/// `GET /status`.
pub(super) async fn status(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Response {
    let trusted = Caller::of(&shared, &headers, peer).is_ok();
    let gateway = &shared.gateway;
    let defence = match Canary::new() {
        Ok(_) if gateway.live().policy.rules.screen.is_empty() => {
            Err("there are no rules".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    // Asked for what was spent it says so, or that it does not know.
    let breaker = match gateway.costs().await {
        Some(_) => Ok(()),
        None => Err("it does not know what was spent".to_owned()),
    };
    let checks = [
        ("orchestrator", Ok(())),
        ("injectionDefense", defence),
        ("costCircuitBreaker", breaker),
        ("gateway", reached(&shared, &gateway.live()).await),
    ];
    let well = checks.iter().all(|(_, check)| check.is_ok());
    let checks = checks.into_iter().map(|(name, check)| {
        let mut shown = json!({"ok": check.is_ok()});
        if let Err(error) = check {
            shown["error"] = if trusted { error } else { "unavailable".into() }.into();
        }
        (name.to_owned(), shown)
    });
    let checks: Map<String, Value> = checks.collect();
    let (code, word) = if well {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    let timestamp = super::judge::now();
    let body = json!({"status": word, "checks": checks, "timestamp": timestamp});
    crate::admin::response(Answer::json(code, &body))
}

/// Whether anybody who serves models can be connected to.
async fn reached(shared: &Shared, live: &Live) -> Result<(), String> {
    let known = {
        let known = shared.reached.0.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.clone()
    };
    if let Some((at, outcome)) = known
        && at.elapsed() < FRESH
    {
        return outcome;
    }
    let outcome = look(live).await;
    let mut known = shared
        .reached
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *known = Some((Instant::now(), outcome.clone()));
    outcome
}

async fn look(live: &Live) -> Result<(), String> {
    let policy = &live.policy;
    let mut wrong = Vec::new();
    for block in asked_first(live) {
        for endpoint in &block.endpoints {
            let place = authority(&endpoint.base_url);
            match timeout(PATIENCE, TcpStream::connect(&place)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => wrong.push(format!("{} at {place}: {error}", block.name)),
                Err(_) => wrong.push(format!("{} at {place}: no answer in time", block.name)),
            }
        }
    }
    if wrong.is_empty() {
        return Err(format!("no provider such as {}", policy.default_provider));
    }
    wrong.truncate(4);
    Err(wrong.join("; "))
}

/// Host and port, as connecting takes them.
fn authority(url: &BaseUrl) -> String {
    let host = url.host.trim_start_matches('[').trim_end_matches(']');
    if host.contains(':') {
        format!("[{host}]:{}", url.port)
    } else {
        format!("{host}:{}", url.port)
    }
}

/// The providers that requests go to: the OpenClaw gateway where what nobody describes is asked of it, else those
/// with a key.
fn asked_first(live: &Live) -> Vec<&Block> {
    let policy = &live.policy;
    let mut blocks: Vec<&Block> = policy.providers.values().map(|block| &**block).collect();
    if policy.default_provider == OPENCLAW {
        // The original's gateway: that another provider can be reached says nothing about it.
        blocks.retain(|block| block.name == OPENCLAW);
    } else if blocks.iter().any(|block| block.has_key()) {
        blocks.retain(|block| block.has_key());
    }
    blocks.sort_by_key(|block| block.name != policy.default_provider);
    blocks
}
