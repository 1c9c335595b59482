//! Who is asking.
//!
//! Decides what of a request says so; whether it is believed is [`crate::auth`]'s.

use super::context::Context;
use super::inner;
use super::receive::text;
use crate::auth::{self, Identity};
use crate::gateway::{Gateway, Live};
use crate::refusal::Refusal;
use crate::surface::Surface;
use http::{HeaderMap, header};
use pingora_proxy::Session;
use std::net::IpAddr;

/// Who is asking, from the headers and the peer's address.
pub(super) fn identify(
    gateway: &Gateway,
    live: &Live,
    session: &Session,
    ctx: &Context,
) -> Result<Identity, Refusal> {
    let headers = &session.req_header().headers;
    // A request of this process's own for somebody who has presented the admin token does so, too.
    let by_operator = inner::asker().is_some_and(|asker| asker.operator);
    if (by_operator || ctx.surface == Some(Surface::Titan))
        && let Some(operator) = auth::operator(
            &live.policy,
            gateway.settings.admin.token.as_ref(),
            auth::presented(
                text(headers, header::AUTHORIZATION.as_str()),
                text(headers, "x-api-key").filter(|_| by_operator),
            ),
            text(headers, "x-agent-id"),
        )
    {
        return Ok(operator);
    }
    if live.policy.keys.is_empty() && auth::page::may_have_sent(headers) {
        // Any page that a browser on this machine opens could spend the budget.
        return Err(Refusal::MissingKey(
            "Web pages, and requests to a public name (Host), are served with an API key only",
        ));
    }
    let presented = auth::presented(
        text(headers, header::AUTHORIZATION.as_str()),
        text(headers, "x-api-key"),
    );
    auth::authenticate(
        &live.policy,
        presented,
        text(headers, "x-agent-id"),
        text(headers, "x-user-id"),
        peer_ip(session).is_some_and(|ip| ip.to_canonical().is_loopback()),
        i64::try_from(ctx.unix_millis / 1000).unwrap_or(i64::MAX),
    )
}

/// The other end of the connection.
pub(super) fn peer_ip(session: &Session) -> Option<IpAddr> {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map(std::net::SocketAddr::ip)
        .or_else(inner::peer)
}

/// The client's own key, where it goes on to the provider.
pub(super) fn passthrough(identity: &Identity, headers: &HeaderMap) -> Option<http::HeaderValue> {
    let mut value = headers
        .get(header::AUTHORIZATION)
        .filter(|_| identity.passthrough)
        .cloned()?;
    value.set_sensitive(true);
    Some(value)
}
