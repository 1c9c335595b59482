//! `POST /admin/unquarantine-temp` and `-permanent`: an operator lets a caller in again.
//!
//! Decides whom the name in the body means: whoever calls itself so, and the key of the gateway's that is the
//! one named, by itself or by its id.

use super::Denied;
use super::caller::caller_name;
use crate::admin::{Peer, Refused, Shared, origin};
use crate::custody::Lifted;
use crate::guard::audit::{Entry, Event};
use crate::guard::finding::Severity;
use crate::guard::quarantine::{Lift, Who};
use crate::identity::KeyId;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;

#[derive(Deserialize)]
struct Wish {
    #[serde(rename = "apiKey")]
    api_key: Option<String>,
}

/// `POST /admin/unquarantine-temp`.
pub(super) async fn temporary(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    lift(&shared, peer, &headers, &body, Lift::Temporary).await
}

/// `POST /admin/unquarantine-permanent`.
pub(super) async fn permanent(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    lift(&shared, peer, &headers, &body, Lift::Permanent).await
}

async fn lift(
    shared: &Shared,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    body: &[u8],
    lift: Lift,
) -> Result<Response, Denied> {
    let allowed = shared.allow(headers, peer);
    allowed.map_err(|Refused(refusal)| Denied::from(refusal))?;
    let wish: Option<Wish> = serde_json::from_slice(body).ok();
    let name = wish.and_then(|wish| caller_name(&wish.api_key?));
    let name = name.ok_or_else(|| Denied::missing("apiKey"))?;
    let mut was = None;
    let mut is = None;
    for who in meant(shared, &name) {
        let Lifted { before, after } = shared.gateway.quarantine.lift(&who, lift).await;
        if before.is_some() {
            told(shared, peer, who, lift, after.is_some());
        }
        was = was.or(before);
        is = is.or(after);
    }
    let what = match lift {
        Lift::Temporary => "Temporary quarantine",
        Lift::Permanent => "Quarantine",
    };
    let message = match (was, is) {
        (None, _) => "The key was not in quarantine".to_owned(),
        (Some(_), Some(_)) => {
            "The key is in quarantine for good; use /admin/unquarantine-permanent".to_owned()
        }
        (Some(_), None) => format!("{what} lifted"),
    };
    Ok(crate::admin::reply(&json!({
        "success": is.is_none(),
        "lifted": was.is_some() && is.is_none(),
        "quarantined": is.is_some(),
        "message": message,
    })))
}

/// Everybody whom the name means.
fn meant(shared: &Shared, name: &str) -> Vec<Who> {
    let live = shared.gateway.live();
    let keys = &live.policy.keys;
    let found = keys.find(name).map(|key| Who::of_key(&key.id));
    let named = KeyId::new(name).ok().map(|id| Who::of_key(&id));
    let mut meant = vec![Who::of_caller(name)];
    for who in [found, named].into_iter().flatten() {
        if !meant.contains(&who) {
            meant.push(who);
        }
    }
    meant
}

fn told(shared: &Shared, peer: Option<IpAddr>, who: Who, lift: Lift, still: bool) {
    let kind = match lift {
        Lift::Temporary => "temporary",
        Lift::Permanent => "permanent",
    };
    let outcome = if still { "kept" } else { "lifted" };
    let mut entry = Entry::new(Event::QuarantineLifted, Severity::Medium, outcome);
    entry.who = Some(who);
    let entry = entry.with("type", kind).with("by", origin(peer));
    shared.gateway.audit.record(entry);
    shared.announced("quarantine.lift", &who.masked(), peer);
    tracing::info!(
        caller = who.masked(),
        admin.peer = origin(peer),
        kind,
        "quarantine lifted"
    );
}
