//! The upstream side: where a request goes, with which headers, and when it may go again.
//!
//! Headers are built fresh from an allow-list, so nothing that a client sends can strip, repeat or
//! forge one of ours. Addresses come from the policy only.

use super::context::{Admission, Context};
use super::journey::{Failed, Next};
use super::settle::Phase;
use super::tell;
use crate::balance::{self, Outcome, Visit};
use crate::gateway::{Gateway, Live};
use crate::policy::upstream::BaseUrl;
use crate::provider::Call;
use crate::settings::Http2;
use crate::surface::Surface;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Client headers that go upstream as they are. Everything else a client sends stays here.
static ALLOWED: [HeaderName; 5] = [
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("idempotency-key"),
];

/// The client's headers that may go upstream, those of particular providers included.
pub(crate) fn forwarded(client: &HeaderMap, live: &Live) -> Vec<(HeaderName, HeaderValue)> {
    let passes = live.passes();
    let wanted = ALLOWED.iter().chain(passes);
    let found = wanted.filter_map(|name| {
        let value = client.get(name)?;
        Some((name.clone(), value.clone()))
    });
    found.collect()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a resolved name is used before it is resolved again.
const NAME_LIFETIME: Duration = Duration::from_secs(30);

/// The most connections that are tried for one request. Pingora gives up after 16.
const ATTEMPTS: u16 = 15;

/// Addresses by host and port, and when they were looked up.
type Names = HashMap<(String, u16), (Instant, Vec<SocketAddr>)>;

/// Resolved upstream names.
#[derive(Default)]
pub(crate) struct Resolver {
    known: Mutex<Names>,
}

impl Resolver {
    /// The address for attempt `attempt` (from 0): further attempts try further addresses. A public
    /// name never leads into a private network unless `private` says so, and nothing leads to the
    /// addresses where clouds keep their credentials.
    ///
    /// # Errors
    /// A connect error when the name does not resolve, or to no address that is allowed.
    async fn address(&self, url: &BaseUrl, private: bool, attempt: u16) -> Result<SocketAddr> {
        let (host, port) = (url.host.as_str(), url.port);
        let allowed = |address: &&SocketAddr| allowed(url, address.ip(), private);
        let pick = |all: &[SocketAddr]| {
            let all: Vec<&SocketAddr> = all.iter().filter(allowed).collect();
            all.get(usize::from(attempt) % all.len().max(1))
                .map(|address| **address)
        };
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
            let why = format!("{host} has no address that is allowed");
            Error::explain(ErrorType::ConnectError, why).into_up()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Names> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The peer of the next attempt.
///
/// # Errors
/// When the upstream's name does not resolve or must not resolve as it does, and when no further
/// attempt can be paid for.
pub(crate) async fn peer(
    gateway: &Arc<Gateway>,
    resolver: &Resolver,
    ctx: &mut Context,
) -> Result<Box<HttpPeer>> {
    let Some(admission) = ctx.admission() else {
        return Err(Error::explain(ErrorType::InternalError, "not admitted"));
    };
    if let Some(wait) = admission.journey.wait.take() {
        tokio::time::sleep(wait).await;
    }
    if admission.journey.next == Next::Again {
        // What was held for the attempt before is settled first, so that this one can be paid.
        admission.exchange.close();
        match admission.journey.further(gateway, now_millis()).await {
            Ok(prepared) => admission.take(prepared),
            Err(refusal) => {
                admission.refusal = Some(refusal);
                return Err(Error::explain(ErrorType::InternalError, "refused"));
            }
        }
    }
    let block = &admission.candidate.block;
    let Some(outgoing) = admission.journey.live.outgoing(&block.name).cloned() else {
        return Err(Error::explain(ErrorType::InternalError, "no such provider"));
    };
    let now = now_millis();
    let tried = &admission.journey.tried;
    // When every endpoint is ejected, asking one all the same is better than asking none.
    let at = balance::choose(&outgoing.health, tried, now).unwrap_or_else(|| {
        let rest = (0..outgoing.doors.len()).find(|at| !tried.contains(at));
        rest.unwrap_or(0)
    });
    let (Some(door), Some(health)) = (outgoing.doors.get(at), outgoing.health.get(at)) else {
        return Err(Error::explain(ErrorType::InternalError, "no endpoint"));
    };
    admission.door = (at, outgoing.doors.len());
    admission.visit = Some((Visit::begin(health, now), Instant::now()));
    let url = &door.base_url;
    let private = block.private;
    let address = resolver.address(url, private, admission.attempts).await?;
    admission.attempts += 1;
    gateway.metrics.attempted(&block.name);
    if admission.attempts > 1 {
        gateway.metrics.retried();
    }
    let mut peer = HttpPeer::new(address, url.https, url.host.clone());
    let timeouts = &gateway.settings.timeouts;
    let left = admission
        .journey
        .deadline
        .saturating_duration_since(Instant::now());
    let model = admission.candidate.model();
    let patience = model
        .and_then(|model| model.timeout)
        .unwrap_or(block.timeout);
    let patience = patience.min(left.max(Duration::from_millis(1)));
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect * 2);
    options.read_timeout = Some(patience);
    options.write_timeout = Some(patience);
    options.idle_timeout = Some(timeouts.upstream_idle);
    options.alpn = match (url.https, gateway.settings.upstream.http2) {
        (true, Http2::Auto) => ALPN::H2H1,
        _ => ALPN::H1,
    };
    Ok(Box::new(peer))
}

/// Now, in Unix milliseconds.
pub(crate) fn now_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(0))
}

/// Replaces whatever Pingora prepared with a header of our own.
///
/// # Errors
/// When a configured value is no valid header.
pub(crate) fn header(ctx: &mut Context, request: &mut RequestHeader) -> Result<()> {
    let id = ctx.id.to_string();
    let Some(admission) = ctx.admission() else {
        return Err(Error::explain(ErrorType::InternalError, "not admitted"));
    };
    let candidate = &admission.candidate;
    let outgoing = admission.journey.live.outgoing(&candidate.block.name);
    let door = outgoing.and_then(|outgoing| outgoing.doors.get(admission.door.0));
    let (Some(outgoing), Some(door)) = (outgoing, door) else {
        return Err(Error::explain(ErrorType::InternalError, "no endpoint"));
    };
    let model = candidate.model();
    let call = Call {
        dialect: admission.asked_in,
        engine: candidate.engines.first().map_or("", String::as_str),
        stream: admission.stream,
        count_tokens: admission.journey.surface == Surface::CountTokens,
        deployment: model
            .and_then(|model| model.deployment.as_deref())
            .or(door.deployment.as_deref()),
        api_version: door.api_version.as_deref(),
    };
    let below = candidate.block.kind.path(&call);
    let base = door.base_url.path.as_str();
    let mut path = Vec::with_capacity(base.len() + below.len());
    path.extend_from_slice(base.as_bytes());
    path.extend_from_slice(below.as_bytes());
    let mut fresh = RequestHeader::build_no_case(http::Method::POST, &path, Some(16))?;
    fresh.set_version(request.version);
    for (name, value) in &door.headers {
        fresh.insert_header(name.clone(), value.clone())?;
    }
    for (name, value) in &admission.forwarded {
        if ALLOWED.contains(name) || outgoing.passes.contains(name) {
            fresh.insert_header(name.clone(), value.clone())?;
        }
    }
    let length = HeaderValue::from(admission.link.body().len());
    fresh.insert_header(header::CONTENT_LENGTH, length)?;
    let own = admission.passthrough.as_ref();
    // The client's own key is for the provider that clients know of.
    let own =
        own.filter(|_| candidate.block.name == admission.journey.live.policy.default_provider);
    if let Some((name, value)) = door.authorization(call.dialect, own) {
        fresh.insert_header(name, value)?;
    }
    fresh.insert_header(REQUEST_ID, id)?;
    *request = fresh;
    admission.exchange.enter(Phase::Dispatched);
    Ok(())
}

/// Whether a failed connection is followed by another attempt: nothing was sent.
pub(crate) fn connect_failed(
    gateway: &Gateway,
    ctx: &mut Context,
    mut error: Box<Error>,
) -> Box<Error> {
    let again = ctx.admission().is_some_and(|admission| {
        let block = &admission.candidate.block.name;
        gateway.metrics.upstream_error(block, "connect");
        ended(gateway, admission, Outcome::Failed);
        let gone = admission.link.client_gone();
        !gone && goes_on(admission, Failed::Unconnected)
    });
    error.set_retry(again);
    error
}

/// Says how the attempt at an endpoint ended.
pub(crate) fn ended(gateway: &Gateway, admission: &mut Admission, outcome: Outcome) {
    let Some((visit, _)) = &mut admission.visit else {
        return;
    };
    let now = now_millis();
    if visit.end(outcome, now) {
        let block = &admission.candidate.block.name;
        tracing::warn!(provider = %block, endpoint = admission.door.0, "ejected after failing again and again");
        gateway.metrics.upstream_error(block, "ejected");
        let millis = visit.ejected_for(now);
        tell::ejected(gateway, admission, millis);
    }
}

/// Whether another attempt follows, once this one `failed`.
pub(crate) fn goes_on(admission: &mut Admission, failed: Failed) -> bool {
    let (door, doors) = admission.door;
    admission.attempts < ATTEMPTS && admission.journey.fails(failed, door, doors)
}

/// Whether a request that failed after it was dispatched is followed by another attempt.
///
/// One that was sent on a kept-alive connection which its server closed without a single byte of an
/// answer goes again as it is, under the same hold: that is what a server does that gave the
/// connection up before the request came (RFC 9112, 9.3.1). Else, before an answer has begun,
/// another candidate is asked, under a hold of its own.
pub(crate) fn exchange_failed(
    gateway: &Gateway,
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let upstream = *error.esource() == ErrorSource::Upstream;
    let answered = session
        .response_written()
        .is_some_and(|header| !header.status.is_informational());
    let Some(admission) = ctx.admission() else {
        return error;
    };
    if std::mem::take(&mut admission.again) && !admission.link.client_gone() {
        error.set_retry(true);
        return error;
    }
    if upstream {
        let block = &admission.candidate.block.name;
        gateway.metrics.upstream_error(block, kind(&error));
    }
    let closed = matches!(
        error.etype(),
        ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H2Error
    );
    let open = upstream
        && !answered
        && admission.exchange.phase() == Phase::Dispatched
        && !admission.link.client_gone();
    let again = if open && reused && closed && admission.attempts < ATTEMPTS {
        ended(gateway, admission, Outcome::Unknown);
        admission.exchange.enter(Phase::Held);
        true
    } else {
        if upstream && !answered {
            ended(gateway, admission, Outcome::Failed);
        }
        open && goes_on(admission, Failed::Lost)
    };
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

/// Whether `ip` may be connected to for `url`.
fn allowed(url: &BaseUrl, ip: IpAddr, private: bool) -> bool {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local || ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    let inside = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    };
    private || !inside || !url.is_public_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(url: &str, ip: &str, private: bool) -> bool {
        allowed(&BaseUrl::parse(url).unwrap(), ip.parse().unwrap(), private)
    }

    #[test]
    fn a_public_name_never_leads_into_a_private_network() {
        for ip in [
            "10.0.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!reaches("https://api.openai.com/v1", ip, false), "{ip}");
            assert!(reaches("https://api.openai.com/v1", ip, true), "{ip}");
            for own in [
                "http://vllm:8000/v1",
                "https://llm.internal/v1",
                "https://localhost/v1",
                "https://10.0.0.1/v1",
            ] {
                assert!(reaches(own, ip, false), "{own} {ip}");
            }
        }
        assert!(reaches("https://api.openai.com/v1", "104.18.6.192", false));
    }

    #[test]
    fn nothing_leads_to_where_clouds_keep_credentials() {
        for ip in [
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::ffff:169.254.169.254",
        ] {
            assert!(!reaches("http://anything:80", ip, true), "{ip}");
        }
    }
}
