//! Letting a request in: route, framing, identity, body, worst case, hold.
//!
//! A request leaves here refused and answered, or admitted: its budget is held on every account,
//! INTENT is in the log and its body is rewritten for the tier that the budget affords.

use super::Local;
use super::context::{Admission, Context, State};
use super::receive::{Stop, content_type, last, read_body, text};
use super::relay::Relay;
use super::reply;
use super::session::{self, Drain, Link};
use super::settle::Exchange;
use crate::answer::Answer;
use crate::auth::{self, Identity};
use crate::budget::Balance;
use crate::catalog::ServiceTier;
use crate::gateway::{Gateway, Live};
use crate::identity::AttemptId;
use crate::json::Limits;
use crate::ledger::{Ask, Denied, Grant, Reservation};
use crate::policy::{Agent, BoundMode};
use crate::provider::openrouter::OpenRouter;
use crate::provider::{Provider as _, Rewrite};
use crate::refusal::{Exhausted, Refusal};
use crate::route::Route;
use crate::surface::{Request, chat};
use bytes::Bytes;
use http::{HeaderMap, Method, Version, header};
use pingora_core::Result;
use pingora_proxy::Session;
use std::net::IpAddr;
use std::sync::Arc;

/// The route of the OpenAI chat surface.
const CHAT: &str = "/v1/chat/completions";

/// Body limit of routes that are answered inside the process.
const LOCAL_BODY: usize = 64 << 10;

/// Decides about a request. `Ok(true)`: it has been answered here.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn request(
    gateway: &Arc<Gateway>,
    local: &dyn Local,
    session: &mut Session,
    ctx: &mut Context,
) -> Result<bool> {
    if gateway.stopping.load(std::sync::atomic::Ordering::Relaxed) {
        session.set_keepalive(None);
    } else if session.get_keepalive().is_some() {
        // Unless the client wants the connection closed.
        session.set_keepalive(Some(gateway.settings.timeouts.keepalive.as_secs().max(1)));
    }
    // A client may send its next request before this one is answered; it is kept for its turn.
    session.downstream_session.set_pipelining_enabled(true);
    let stop = match route(gateway, local, session, ctx).await {
        Ok(Some(answer)) => {
            gateway.metrics.answered(ctx.route, answer.status.as_u16());
            reply::send(session, ctx.id, answer, false).await?;
            return Ok(true);
        }
        Ok(None) => return Ok(false),
        Err(stop) => stop,
    };
    match stop {
        Stop::Refuse { refusal, close } => {
            refuse(gateway, session, ctx, &refusal, close).await?;
            Ok(true)
        }
        Stop::Broken(error) => Err(error),
    }
}

/// Answers with a refusal and counts it.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn refuse(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Context,
    refusal: &Refusal,
    close: bool,
) -> Result<()> {
    ctx.refused = Some(refusal.code());
    let answer = Answer::refusal(refusal);
    gateway.metrics.refused(refusal.code());
    gateway.metrics.answered(ctx.route, answer.status.as_u16());
    reply::send(session, ctx.id, answer, close).await
}

/// `Some`: a local answer. `None`: admitted, on to the upstream.
async fn route(
    gateway: &Arc<Gateway>,
    local: &dyn Local,
    session: &mut Session,
    ctx: &mut Context,
) -> Result<Option<Answer>, Stop> {
    framing(gateway, session)?;
    let raw = session.req_header().raw_path();
    let path = std::str::from_utf8(raw)
        .map_err(|_| last(Refusal::BadRequest("The request target is no valid text")))?;
    // The exact raw path: whatever a server behind might normalise is a different route.
    let path = path.split('?').next().unwrap_or_default();
    if path == CHAT {
        ctx.route = "chat";
        if session.req_header().method != Method::POST {
            return Err(last(Refusal::MethodNotAllowed { allow: "POST" }));
        }
        chat(gateway, session, ctx).await?;
        return Ok(None);
    }
    if local.serves(path) {
        ctx.route = "local";
        return answer_locally(gateway, local, session).await.map(Some);
    }
    let shown = path.chars().take(128).collect();
    Err(last(Refusal::NotFound(shown)))
}

/// Refuses what proxies and servers could read differently, and headers beyond the limits.
fn framing(gateway: &Gateway, session: &Session) -> Result<(), Stop> {
    let request = session.req_header();
    let headers = &request.headers;
    let refuse = |why| Err(last(Refusal::BadRequest(why)));
    let limits = &gateway.settings.limits;
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size + request.raw_path().len() > limits.header_bytes {
        return refuse("The request header is too large");
    }
    if headers.len() > limits.headers {
        return refuse("The request has too many headers");
    }
    let sized = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if sized > 1 || (chunked && (sized == 1 || had_length(session))) {
        return refuse("The request's length is ambiguous");
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return refuse("The request names several hosts");
    }
    match request.version {
        Version::HTTP_11 if !headers.contains_key(header::HOST) => {
            return refuse("The request names no host");
        }
        Version::HTTP_10 if sized > 0 || chunked => {
            return refuse("HTTP/1.0 requests with a body are not served");
        }
        _ => {}
    }
    if headers.contains_key(header::UPGRADE) {
        return refuse("This route does not upgrade connections");
    }
    Ok(())
}

/// Whether the header had a `Content-Length` as it arrived: beside a transfer coding, Pingora takes
/// it out before anybody sees it.
fn had_length(session: &Session) -> bool {
    let Some(http1) = session.downstream_session.as_http1() else {
        return false;
    };
    let raw = http1.get_headers_raw_bytes();
    raw.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"content-length")
    })
}

async fn answer_locally(
    gateway: &Gateway,
    local: &dyn Local,
    session: &mut Session,
) -> Result<Answer, Stop> {
    let body = read_body(gateway, session, LOCAL_BODY).await?;
    let peer = peer_ip(session);
    let header = session.req_header();
    let mut request = http::Request::builder()
        .method(header.method.clone())
        .uri(header.uri.clone())
        .body(body)
        .map_err(|_| Refusal::BadRequest("The request target is no valid URI"))?;
    *request.headers_mut() = header.headers.clone();
    Ok(local.answer(request, peer).await)
}

/// The chat surface: from header to hold.
async fn chat(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    ctx: &mut Context,
) -> Result<(), Stop> {
    let live = gateway.live();
    let identity = identify(&live, session, ctx).map_err(last)?;
    content_type(&session.req_header().headers).map_err(last)?;
    let limits = &gateway.settings.limits;
    let body = read_body(gateway, session, limits.body_bytes).await?;
    let request = chat::parse(
        &body,
        Limits {
            depth: limits.json_depth,
        },
    )?;

    let route = route_of(&live, &identity.agent, &request)?;
    let reservation = hold(gateway, ctx, &live, &identity, &route, &request, &body).await?;

    let grant = reservation.grant();
    let tier = grant.tier;
    let fitted = grant.fitted.then_some(grant.tokens);
    let written = bounded_output(&live, &identity.agent, &request, grant);
    let remaining = grant
        .balances
        .first()
        .map(Balance::remaining)
        .unwrap_or_default();
    let models = route.tier(tier);
    let rewritten = Bytes::from(OpenRouter.body(
        &request,
        &Rewrite {
            fallbacks: if identity.agent.tiers.is_empty() {
                &[]
            } else {
                &models
            },
            max_tokens: written.map(|tokens| (request.max_tokens_field, tokens)),
            ..Rewrite::default()
        },
    ));
    let link = Link::new(
        rewritten.clone(),
        drain(gateway),
        Arc::clone(&gateway.stopping),
    );
    let exchange = Exchange::new(
        gateway,
        &live,
        identity.agent.id.clone(),
        reservation,
        Arc::clone(&models),
        request.service_tier.unwrap_or(ServiceTier::Default),
        &rewritten,
    );
    ctx.state = State::Admitted(Box::new(Admission {
        agent: identity.agent.id.clone(),
        tier,
        models,
        original_model: request.model.as_deref().map(str::to_owned),
        fitted,
        remaining,
        link: Arc::clone(&link),
        passthrough: passthrough(&identity, &session.req_header().headers),
        stream: request.stream,
        include_usage: request.include_usage,
        http1: session.req_header().version == Version::HTTP_11,
        exchange,
        attempts: 0,
        relay: Relay::default(),
        live,
    }));
    session.set_write_timeout(Some(gateway.settings.timeouts.write));
    session::install(&mut session.downstream_session, &link);
    Ok(())
}

/// The route of the agent; for one without tiers, to whatever the request names.
fn route_of(live: &Live, agent: &Agent, request: &Request<'_>) -> Result<Arc<Route>, Refusal> {
    if let Some(route) = live.route(&agent.id) {
        return Ok(Arc::clone(route));
    }
    let model = request
        .model
        .as_deref()
        .ok_or_else(|| Refusal::InvalidField {
            field: "model",
            message: "This agent has no tiers, so the request must name a 'model'".into(),
        })?;
    // The client's own fallbacks may answer, too.
    let models = std::iter::once(model).chain(request.fallbacks.iter().map(AsRef::as_ref));
    Ok(Arc::new(Route::of_models(models, &live.catalog)))
}

/// The output tokens to write into the body: a fitted number, and under a strict hard cap the number
/// that money is held for, because a table's limit binds nobody.
fn bounded_output(live: &Live, agent: &Agent, request: &Request<'_>, grant: &Grant) -> Option<u64> {
    let hard = agent.accounts.iter().any(|account| account.hard);
    let promised = hard && live.policy.bound == BoundMode::Strict && request.max_tokens.is_none();
    (grant.fitted || promised).then_some(grant.tokens)
}

/// Holds the worst case on every account, INTENT written.
async fn hold(
    gateway: &Gateway,
    ctx: &Context,
    live: &Live,
    identity: &Identity,
    route: &Route,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Reservation, Refusal> {
    let offers = route.offers(&live.policy, request, body);
    let agent = &identity.agent;
    let ask = Ask {
        id: AttemptId {
            request: ctx.id,
            number: 1,
        },
        agent: &agent.id,
        key: identity.key.as_ref(),
        user: identity.user.as_ref(),
        accounts: &agent.accounts,
        thresholds: &agent.thresholds,
        offers: &offers,
        models: &route.models,
        now_millis: ctx.unix_millis,
    };
    let held = gateway.book.reserve(ask).await;
    held.map_err(|denied| refusal(denied, identity, route))
}

fn drain(gateway: &Gateway) -> Drain {
    let drain = &gateway.settings.drain;
    Drain {
        time: drain.time,
        bytes: u64::try_from(drain.bytes).unwrap_or(u64::MAX),
    }
}

/// Who is asking, from the headers and the peer's address.
fn identify(live: &Live, session: &Session, ctx: &Context) -> Result<Identity, Refusal> {
    let headers = &session.req_header().headers;
    if live.policy.keys.is_empty() && headers.contains_key(header::ORIGIN) {
        // Any page that a browser on this machine opens could spend the budget.
        return Err(Refusal::MissingKey(
            "Web pages are served with an API key only",
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

fn peer_ip(session: &Session) -> Option<IpAddr> {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map(std::net::SocketAddr::ip)
}

fn passthrough(identity: &Identity, headers: &HeaderMap) -> Option<http::HeaderValue> {
    let mut value = headers
        .get(header::AUTHORIZATION)
        .filter(|_| identity.passthrough)
        .cloned()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a denied reservation looks like to the client.
fn refusal(denied: Denied, identity: &Identity, route: &Route) -> Refusal {
    let agent = &identity.agent;
    let state = |account: usize, tier: usize, balance: Balance| {
        let spec = agent.accounts.get(account).unwrap_or(&agent.account);
        Box::new(Exhausted {
            account: spec.id.clone(),
            agent: agent.id.clone(),
            total: balance.limit,
            spent: balance.posted,
            pending: balance.pending,
            tier,
            models: route.models.get(tier).cloned().unwrap_or_default(),
            hard: spec.hard,
        })
    };
    match denied {
        Denied::Exhausted {
            account,
            tier,
            balance,
        } => Refusal::BudgetExhausted(state(account, tier, balance)),
        Denied::InFlight {
            account,
            tier,
            balance,
        } => Refusal::BudgetInFlight(state(account, tier, balance)),
        Denied::Unpriced { model, .. } => Refusal::Unpriced { model },
        Denied::Unavailable => Refusal::LedgerUnavailable,
    }
}
