//! Letting a request in: route, framing, identity, body, worst case, hold.
//!
//! A request leaves here refused and answered, or admitted: its budget is held on every account,
//! INTENT is in the log and its body is rewritten for the tier that the budget affords.

use super::caller::{identify, passthrough, peer_ip};
use super::context::{Admission, Context, State};
use super::framing::framing;
use super::guard;
use super::journey::Journey;
use super::link::{Drain, Link};
use super::receive::{Stop, content_type, last, read_body, text};
use super::relay::Relay;
use super::reply;
use super::session;
use super::settle::Exchange;
use super::sign::Signing;
use super::tell;
use super::upstream;
use super::{Local, breaker};
use crate::answer::{Answer, Rest};
use crate::auth::{self, Identity};
use crate::budget::tier;
use crate::gateway::guard::Asked;
use crate::gateway::{Gateway, Live};
use crate::json::Limits;
use crate::money::Nanos;
use crate::provider::Rewrite;
use crate::refusal::Refusal;
use crate::route::{Candidate, Route};
use crate::surface::{Request, Surface};
use crate::tokens;
use crate::usage::ServiceTier;
use bytes::Bytes;
use http::{Method, StatusCode, Version};
use pingora_core::Result;
use pingora_proxy::Session;
use serde_json::json;
use std::sync::Arc;

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
        Ok(Some((mut answer, rest))) => {
            ctx.signing.own(&mut answer);
            gateway.metrics.answered(ctx.route, answer.status.as_u16());
            match rest {
                None => reply::send(session, ctx.id, answer, false).await?,
                Some(rest) => {
                    session.set_write_timeout(Some(gateway.settings.timeouts.write));
                    reply::pass(session, ctx.id, answer, rest).await?;
                }
            }
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
    if let Refusal::BudgetExhausted(state) = refusal {
        gateway.exceeded(ctx.id, state);
    }
    let mut answer = Answer::refusal_in(ctx.shape(), refusal, &ctx.id.to_string());
    ctx.signing.own(&mut answer);
    gateway.metrics.refused(refusal.code());
    gateway.metrics.answered(ctx.route, answer.status.as_u16());
    tell::refused(gateway, ctx, refusal.code(), answer.status.as_u16());
    reply::send(session, ctx.id, answer, close).await
}

/// `Some`: a local answer. `None`: admitted, on to the upstream.
async fn route(
    gateway: &Arc<Gateway>,
    local: &dyn Local,
    session: &mut Session,
    ctx: &mut Context,
) -> Result<Option<(Answer, Option<Rest>)>, Stop> {
    framing(gateway, session)?;
    let raw = session.req_header().raw_path();
    let path = std::str::from_utf8(raw)
        .map_err(|_| last(Refusal::BadRequest("The request target is no valid text")))?;
    // The exact raw path: whatever a server behind might normalise is a different route.
    let path = path.split('?').next().unwrap_or_default();
    let surface = Surface::of(path).filter(|_| local.beside_models());
    if let Some((surface, model)) = surface {
        ctx.route = surface.name();
        ctx.surface = Some(surface);
        if session.req_header().method != Method::POST {
            return Err(last(Refusal::MethodNotAllowed { allow: "POST" }));
        }
        let model = model.map(str::to_owned);
        let answer = proxied(gateway, session, ctx, surface, model).await?;
        return Ok(answer.map(|answer| (answer, None)));
    }
    if local.serves(path) {
        ctx.route = "local";
        let largest = if local.takes_conversations(path) {
            gateway.settings.limits.body_bytes
        } else {
            LOCAL_BODY
        };
        return answer_locally(gateway, local, session, largest)
            .await
            .map(Some);
    }
    let shown = path.chars().take(128).collect();
    Err(last(Refusal::NotFound(shown)))
}

async fn answer_locally(
    gateway: &Gateway,
    local: &dyn Local,
    session: &mut Session,
    largest: usize,
) -> Result<(Answer, Option<Rest>), Stop> {
    let body = read_body(gateway, session, largest).await?;
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

/// A request that goes to a provider. `Some`: it can be answered here.
async fn proxied(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    ctx: &mut Context,
    surface: Surface,
    model: Option<String>,
) -> Result<Option<Answer>, Stop> {
    let live = gateway.live();
    ctx.signing = Signing::of(&live.policy, surface, session.req_header(), ctx.id).map_err(last)?;
    let mut identity = identify(gateway, &live, session, ctx).map_err(last)?;
    if gateway.feed.watched() {
        ctx.agent = Some(identity.agent.id.clone());
    }
    guard::admitted(gateway, &identity).map_err(last)?;
    content_type(&session.req_header().headers).map_err(last)?;
    let limits = &gateway.settings.limits;
    let body = read_body(gateway, session, largest(&identity, limits.body_bytes)).await?;
    ctx.signing.read(&body);
    let incoming = guard::Incoming {
        gateway,
        live: &live,
        identity: &identity,
        surface,
        session: text(&session.req_header().headers, "x-session-id").map(str::to_owned),
        asked: Asked {
            id: ctx.id,
            agent: identity.agent.id.clone(),
            key: identity.key.clone(),
        },
    };
    let (body, screening) = incoming.examine(body).await?;
    ctx.screening = screening;
    let depth = Limits {
        depth: guard::deepest(&identity, limits.json_depth),
    };
    let mut request = surface.parse(&body, depth)?;
    if let Some(model) = &model {
        request.model = Some(model.into());
    }
    ctx.asked(&request);
    identity.choose_user(&live.policy, request.user.as_deref())?;
    let route = route_of(&live, &identity, &request)?;
    let (route, judged) = breaker::judge(gateway, &live, &identity, ctx, &request, &body, route)?;
    let original_model = request.model.as_deref().map(str::to_owned);
    let mut journey = Journey::new(
        gateway,
        ctx.id,
        Arc::clone(&live),
        identity,
        surface,
        route,
        body.clone(),
        model.clone(),
        ctx.arrived,
    );
    journey.judged = judged;
    journey.claim(gateway, &request, ctx.unix_millis).await?;
    let prepared = if surface == Surface::CountTokens {
        match count_tokens(gateway, &mut journey, &request) {
            Counting::Here(answer) => return Ok(Some(answer)),
            Counting::There(prepared) => *prepared,
        }
    } else {
        match journey.begin(gateway, &request, ctx.unix_millis).await {
            Ok(prepared) => prepared,
            Err(refusal) => {
                // A refused request does not count.
                if let Some(permit) = journey.permit.take() {
                    permit.cancel();
                }
                return Err(refusal.into());
            }
        }
    };
    let link = Link::new(prepared.body, drain(gateway), Arc::clone(&gateway.stopping));
    ctx.state = State::Admitted(Box::new(Admission {
        original_model,
        fitted: prepared.fitted,
        remaining: prepared.remaining,
        link: Arc::clone(&link),
        passthrough: passthrough(&journey.identity, &session.req_header().headers),
        forwarded: upstream::forwarded(&session.req_header().headers, &live),
        stream: request.stream,
        include_usage: request.include_usage,
        http1: session.req_header().version == Version::HTTP_11,
        exchange: prepared.exchange,
        candidate: prepared.candidate,
        asked_in: prepared.asked_in,
        attempts: 0,
        door: (0, 0),
        visit: None,
        again: false,
        refusal: None,
        relay: Relay::default(),
        arrived: ctx.arrived,
        told: false,
        journey,
    }));
    tell::started(gateway, ctx, body.len());
    session.set_write_timeout(Some(gateway.settings.timeouts.write));
    session::install(&mut session.downstream_session, &link);
    Ok(None)
}

/// The largest body that is taken: the process's limit, or a smaller one of key, agent, user or team.
fn largest(identity: &Identity, limit: usize) -> usize {
    let claims = identity.claims();
    let own = claims.filter_map(|claim| claim.limits.request_bytes);
    own.fold(limit, usize::min)
}

/// The route of the agent; for one without tiers, and for embeddings, which no tier is about, to
/// whatever the request names.
fn route_of(
    live: &Live,
    identity: &Identity,
    request: &Request<'_>,
) -> Result<Arc<Route>, Refusal> {
    let agent = &identity.agent;
    if let Some(route) = live
        .route(&agent.id)
        .filter(|_| request.max_tokens != Some(0))
    {
        return Ok(Arc::clone(route));
    }
    let model = request
        .model
        .as_deref()
        .ok_or_else(|| Refusal::InvalidField {
            field: "model".into(),
            message: "This agent has no tiers, so the request must name a 'model'".into(),
        })?;
    // The client's own fallbacks may answer, too.
    let models = std::iter::once(model).chain(request.fallbacks.iter().map(AsRef::as_ref));
    if let Some(allowed) = &agent.allowed {
        let aliases = &live.policy.aliases;
        let known = |name: &str| aliases.get(name).map_or(name, String::as_str).to_owned();
        let foreign = |name: &&str| {
            let mut allowed = allowed.iter();
            !allowed.any(|other| other == name || known(other) == known(name))
        };
        if let Some(model) = models.clone().find(foreign) {
            return Err(Refusal::ModelNotAllowed {
                model: auth::shown(model),
            });
        }
    }
    Route::of_request(models, live.directory())
        .map(Arc::new)
        .map_err(|model| Refusal::ModelNotFound {
            model: auth::shown(&model),
        })
}

/// Where tokens are counted.
enum Counting {
    /// By our own count.
    Here(Answer),
    /// By the provider, for nothing.
    There(Box<super::attempt::Prepared>),
}

/// Tokens are counted by a provider that does so for its own dialect, else here.
fn count_tokens(gateway: &Arc<Gateway>, journey: &mut Journey, request: &Request<'_>) -> Counting {
    let agent = Arc::clone(&journey.identity.agent);
    let balance = gateway.book.glance(&agent.account);
    let tier = tier::select(&agent.thresholds, balance.remaining(), balance.limit);
    let candidate = journey.at_tier(tier);
    let counts = |candidate: &Arc<Candidate>| {
        candidate.block.kind.counts_tokens()
            && candidate.asked_in(request.dialect) == Some(request.dialect)
    };
    let Some(candidate) = candidate.filter(counts) else {
        let engine = request.model.as_deref().unwrap_or_default();
        let count = tokens::prompt_estimate(journey.body(), engine);
        let body = json!({ "input_tokens": count });
        return Counting::Here(Answer::json(StatusCode::OK, &body));
    };
    let engine = candidate.engines.first().map(String::as_str);
    let body = Bytes::from(candidate.block.kind.body(
        request,
        &Rewrite {
            model: engine,
            ..Rewrite::default()
        },
    ));
    let exchange = Exchange::new(
        gateway,
        &journey.live,
        agent.id.clone(),
        None,
        Arc::clone(&candidate),
        ServiceTier::Default,
        &body,
    );
    Counting::There(Box::new(super::attempt::Prepared {
        exchange,
        body,
        candidate,
        asked_in: request.dialect,
        fitted: None,
        remaining: balance.remaining().max(Nanos::ZERO),
    }))
}

fn drain(gateway: &Gateway) -> Drain {
    let drain = &gateway.settings.drain;
    Drain {
        time: drain.time,
        bytes: u64::try_from(drain.bytes).unwrap_or(u64::MAX),
    }
}
