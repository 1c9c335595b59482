//! Who asks for a route that takes a client's key: found as for any of its requests.

use super::Shared;
use crate::auth::{self, Identity};
use crate::policy::Policy;
use crate::refusal::Refusal;
use axum::http::{HeaderMap, header};
use std::net::IpAddr;

impl Shared {
    /// The identity behind a client's headers, unless its key is in quarantine.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let identity = caller(&self.gateway.live().policy, headers, peer)?;
        match self.gateway.quarantine.check_key(identity.key.as_ref()) {
            None => Ok(identity),
            Some(quarantined) => Err(Refusal::KeyQuarantined(quarantined.remaining())),
        }
    }
}

/// The identity behind a client's headers.
///
/// # Errors
/// The refusal to answer with.
pub(super) fn caller(
    policy: &Policy,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Identity, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if policy.keys.is_empty() && auth::page::may_have_sent(headers) {
        return Err(Refusal::MissingKey(
            "Web pages, and requests to a public name (Host), are served with an API key only",
        ));
    }
    auth::authenticate(
        policy,
        auth::presented(text(header::AUTHORIZATION.as_str()), text("x-api-key")),
        text("x-agent-id"),
        text("x-user-id"),
        peer.is_some_and(|ip| ip.to_canonical().is_loopback()),
        jiff::Timestamp::now().as_second(),
    )
}
