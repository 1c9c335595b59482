//! The upstream side: where a request goes, with which headers, and when it may go again.
//!
//! Headers are built fresh from an allow-list, so nothing that a client sends can strip, repeat or
//! forge one of ours. Addresses come from the policy only.

use super::context::Context;
use super::settle::Phase;
use crate::gateway::Gateway;
use crate::settings::Http2;
use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Client headers that go upstream as they are. Everything else a client sends stays here.
const ALLOWED: [HeaderName; 7] = [
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("idempotency-key"),
];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a resolved name is used before it is resolved again.
const NAME_LIFETIME: Duration = Duration::from_secs(30);

/// How often a request that was certainly not sent is tried.
pub(crate) const ATTEMPTS: u16 = 3;

/// Addresses by host and port, and when they were looked up.
type Names = HashMap<(String, u16), (Instant, Vec<SocketAddr>)>;

/// Resolved upstream names.
#[derive(Default)]
pub(crate) struct Resolver {
    known: Mutex<Names>,
}

impl Resolver {
    /// The address for attempt `attempt` (from 0): further attempts try further addresses.
    ///
    /// # Errors
    /// A connect error when the name does not resolve.
    async fn address(&self, host: &str, port: u16, attempt: u16) -> Result<SocketAddr> {
        let pick = |all: &[SocketAddr]| all.get(usize::from(attempt) % all.len().max(1)).copied();
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(SocketAddr::new(ip, port));
        }
        let key = (host.to_owned(), port);
        if let Some((at, all)) = self.lock().get(&key)
            && at.elapsed() < NAME_LIFETIME
            && let Some(address) = pick(all)
        {
            return Ok(address);
        }
        let found = tokio::net::lookup_host((host, port)).await;
        let mut known = self.lock();
        let all = match found {
            Ok(addresses) => {
                // IPv4 first: a name such as localhost often resolves to an IPv6 address that
                // nothing listens on.
                let mut all: Vec<_> = addresses.collect();
                all.sort_by_key(SocketAddr::is_ipv6);
                known.insert(key, (Instant::now(), all.clone()));
                all
            }
            // A name that resolved once is still the best guess when resolving fails.
            Err(error) => known.get(&key).map(|(_, all)| all.clone()).ok_or_else(|| {
                Error::because(ErrorType::ConnectError, format!("resolving {host}"), error)
                    .into_up()
            })?,
        };
        pick(&all).ok_or_else(|| {
            Error::explain(ErrorType::ConnectError, format!("{host} has no address")).into_up()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Names> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The peer of the next attempt.
///
/// # Errors
/// When the upstream's name does not resolve.
pub(crate) async fn peer(
    gateway: &Gateway,
    resolver: &Resolver,
    ctx: &mut Context,
) -> Result<Box<HttpPeer>> {
    let Some(admission) = ctx.admission() else {
        return Err(Error::explain(ErrorType::InternalError, "not admitted"));
    };
    let upstream = &admission.live.policy.upstream;
    let url = &upstream.base_url;
    let address = resolver
        .address(&url.host, url.port, admission.attempts)
        .await?;
    admission.attempts += 1;
    if admission.attempts > 1 {
        gateway.metrics.retried();
    }
    let mut peer = HttpPeer::new(address, url.https, url.host.clone());
    let timeouts = &gateway.settings.timeouts;
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect * 2);
    options.read_timeout = Some(upstream.timeout);
    options.write_timeout = Some(upstream.timeout);
    options.idle_timeout = Some(timeouts.upstream_idle);
    options.alpn = match (url.https, gateway.settings.upstream.http2) {
        (true, Http2::Auto) => ALPN::H2H1,
        _ => ALPN::H1,
    };
    Ok(Box::new(peer))
}

/// Replaces whatever Pingora prepared with a header of our own.
///
/// # Errors
/// When a configured value is no valid header.
pub(crate) fn header(
    ctx: &mut Context,
    client: &RequestHeader,
    request: &mut RequestHeader,
) -> Result<()> {
    let id = ctx.id.to_string();
    let Some(admission) = ctx.admission() else {
        return Err(Error::explain(ErrorType::InternalError, "not admitted"));
    };
    let outgoing = &admission.live.outgoing;
    let path = outgoing.path.as_bytes();
    let mut fresh = RequestHeader::build_no_case(http::Method::POST, path, Some(16))?;
    fresh.set_version(request.version);
    for (name, value) in &outgoing.headers {
        fresh.insert_header(name.clone(), value.clone())?;
    }
    for name in &ALLOWED {
        if let Some(value) = client.headers.get(name) {
            fresh.insert_header(name.clone(), value.clone())?;
        }
    }
    let length = HeaderValue::from(admission.link.body().len());
    fresh.insert_header(header::CONTENT_LENGTH, length)?;
    if let Some(value) = outgoing.authorization(admission.passthrough.as_ref()) {
        fresh.insert_header(header::AUTHORIZATION, value.clone())?;
    }
    fresh.insert_header(REQUEST_ID, id)?;
    *request = fresh;
    admission.exchange.enter(Phase::Dispatched);
    Ok(())
}

/// Whether a failed connection may be tried again: nothing was sent.
pub(crate) fn connect_failed(
    gateway: &Gateway,
    ctx: &mut Context,
    mut error: Box<Error>,
) -> Box<Error> {
    gateway.metrics.upstream_error("connect");
    let again = ctx.admission().is_some_and(|admission| {
        admission.exchange.phase() == Phase::Held && admission.attempts < ATTEMPTS
    });
    error.set_retry(again);
    error
}

/// Whether a request that failed after it was dispatched may be tried again: only on a kept-alive
/// connection that its server closed without a single byte of an answer, which is what a server
/// does that gave the connection up before the request came (RFC 9112, 9.3.1).
pub(crate) fn exchange_failed(
    gateway: &Gateway,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if *error.esource() == ErrorSource::Upstream {
        gateway.metrics.upstream_error(kind(&error));
    }
    let closed = matches!(
        error.etype(),
        ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H2Error
    );
    let again = reused
        && closed
        && *error.esource() == ErrorSource::Upstream
        && ctx.admission().is_some_and(|admission| {
            let fresh = admission.exchange.phase() == Phase::Dispatched
                && admission.attempts < ATTEMPTS
                && !admission.link.client_gone();
            if fresh {
                admission.exchange.enter(Phase::Held);
            }
            fresh
        });
    error.set_retry(again);
    error
}

/// The kind of an upstream failure, a closed set for the metrics.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => "timeout",
        ErrorType::ConnectionClosed => "closed",
        ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2 => "invalid",
        _ => "broken",
    }
}
