//! The way back: bytes pass as they are, the meter looks, metadata is added at the end.
//!
//! Decides how an answer is passed on from its header, settles when its end is seen (before the
//! last bytes go out, so that a client that has its answer also has its bill), and turns failures
//! into answers. What an answer costs is decided elsewhere.

use super::admit;
use super::context::{Admission, Context};
use super::execwall::Execwall;
use super::redact::Redactor;
use super::reply;
use super::session;
use super::settle::Phase;
use super::upstream;
use crate::gateway::Gateway;
use crate::money::Nanos;
use crate::refusal::Refusal;
use crate::stream::{AnswerKind, Finish, Meter, MeterOptions, Place};
use crate::telemetry::{self, Access};
use crate::tokens::{self, Encoding};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};
use std::time::Instant;

/// Headers of an upstream's answer that say nothing to Weir's client.
const DROPPED: [HeaderName; 5] = [
    header::CONNECTION,
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("keep-alive"),
];

const AGENT: HeaderName = HeaderName::from_static("x-weir-agent");
const TIER: HeaderName = HeaderName::from_static("x-weir-tier");
const MODELS: HeaderName = HeaderName::from_static("x-weir-models");
const REMAINING: HeaderName = HeaderName::from_static("x-weir-budget-remaining");
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-weir-max-tokens");

/// How an answer is passed on.
#[derive(Default)]
pub(crate) enum Relay {
    /// Its header was not seen yet.
    #[default]
    Waiting,
    /// An answer to meter; with `metadata`, `_execwall` is put in at its end. Where the length of
    /// the answer is announced, `room` bytes of it are for that.
    Metered {
        metadata: Option<Box<Execwall>>,
        room: Option<usize>,
    },
    /// An error of the provider: our key is taken out, nothing is metered.
    Redacted(Redactor),
}

/// Looks at the header before anything of it is passed on.
///
/// # Errors
/// When the answer cannot be passed on: a redirect, or one that is compressed although that was
/// declined, so that it cannot be metered.
pub(crate) fn examine(response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    if response.status.is_informational() {
        return Ok(());
    }
    let Some(admission) = ctx.admission() else {
        return Ok(());
    };
    // There will be no other attempt once this header is passed on.
    admission.link.forget_body();
    if response.status.is_redirection() {
        admission.exchange.enter(Phase::Rejected);
        return Err(invalid("redirected"));
    }
    if response.status.as_u16() >= 600 {
        // No status of HTTP, so no error that is known to be free.
        return Err(invalid("of no known class"));
    }
    let encoded = response
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded {
        if !response.status.is_success() {
            admission.exchange.enter(Phase::Rejected);
        }
        return Err(invalid("compressed although that was declined"));
    }
    Ok(())
}

fn invalid(why: &'static str) -> Box<Error> {
    Error::explain(
        ErrorType::InvalidHTTPHeader,
        format!("the upstream's answer is {why}"),
    )
    .into_up()
}

/// Prepares the header for the client and decides how the body is passed on.
///
/// # Errors
/// When a header of ours cannot be written.
pub(crate) fn header(response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    if response.status.is_informational() {
        return Ok(());
    }
    let id = ctx.id.to_string();
    ctx.first_byte = Some(Instant::now());
    let Some(admission) = ctx.admission() else {
        return Ok(());
    };
    for name in &DROPPED {
        response.remove_header(name);
    }
    // The provider's own words could hold anything, our key included.
    response.set_reason_phrase(None)?;
    response.insert_header(reply::REQUEST_ID, id)?;
    describe(response, admission)?;
    if !response.status.is_success() {
        admission.exchange.enter(Phase::Rejected);
        let upstream = &admission.live.policy.upstream;
        let key = upstream.api_key.as_ref().or(upstream.fallback_key.as_ref());
        let redactor = Redactor::new(key.map(|key| key.expose().as_bytes()));
        redactor.headers(response);
        admission.relay = Relay::Redacted(redactor);
        return Ok(());
    }
    let events = response
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let wanted = admission.live.policy.metadata;
    let metadata = wanted.then(|| Box::new(Execwall::new(admission)));
    let strip = admission.stream && !admission.include_usage;
    let room = match (announced_length(response), &metadata) {
        (Some(length), Some(execwall)) if !events => {
            let room = execwall.room();
            let length = HeaderValue::from(length.saturating_add(room));
            response.insert_header(header::CONTENT_LENGTH, length)?;
            Some(room)
        }
        (Some(_), execwall) if execwall.is_some() || strip => {
            response.remove_header(&header::CONTENT_LENGTH);
            if admission.http1 {
                response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
            None
        }
        _ => None,
    };
    let encoding = admission
        .models
        .first()
        .map_or(Encoding::O200k, |model| tokens::encoding_for(model));
    let kind = if events {
        AnswerKind::EventStream
    } else {
        AnswerKind::Json
    };
    admission.exchange.measure(Meter::new(
        kind,
        MeterOptions {
            strip_usage_chunk: strip,
            insert_before_done: wanted,
            count: counter(encoding),
        },
    ));
    admission.relay = Relay::Metered { metadata, room };
    Ok(())
}

/// What is known by now about the request, as headers.
fn describe(response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
    response.insert_header(AGENT, admission.agent.as_str())?;
    response.insert_header(TIER, HeaderValue::from(admission.tier))?;
    response.insert_header(MODELS, admission.models.join(","))?;
    response.insert_header(REMAINING, admission.remaining.to_string())?;
    if let Some(tokens) = admission.fitted {
        response.insert_header(MAX_TOKENS, HeaderValue::from(tokens))?;
    }
    Ok(())
}

/// Passes a piece of the body on.
pub(crate) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    let Some(admission) = ctx.admission() else {
        return;
    };
    match &mut admission.relay {
        Relay::Waiting => {}
        Relay::Redacted(redactor) => {
            *body = Some(redactor.pass(body.take().unwrap_or_default(), end));
        }
        Relay::Metered { metadata, room } => {
            let (metadata, room) = (metadata.take(), *room);
            let passed = metered(body.take(), end, metadata.as_deref(), room, admission);
            admission.relay = Relay::Metered { metadata, room };
            *body = passed;
        }
    }
}

/// Meters a piece; at the end of the answer settles first and then lets the end go out.
fn metered(
    piece: Option<Bytes>,
    end: bool,
    execwall: Option<&Execwall>,
    room: Option<usize>,
    admission: &mut Admission,
) -> Option<Bytes> {
    let meter = admission.exchange.meter()?;
    let passed = match piece {
        Some(piece) if !piece.is_empty() => meter.push(piece),
        _ => Bytes::new(),
    };
    if !end && !meter.at_done() {
        return (!passed.is_empty()).then_some(passed);
    }
    let held = meter.finish();
    let last = match execwall {
        Some(execwall) => metadata(held.place, execwall, admission),
        None => {
            admission.exchange.close();
            None
        }
    };
    let rest = fill(held, last.as_deref(), room);
    let all = match (passed.is_empty(), rest.is_empty()) {
        (true, _) => rest,
        (_, true) => passed,
        (false, false) => Bytes::from([passed, rest].concat()),
    };
    (!all.is_empty()).then_some(all)
}

/// The end of an answer with `last` in its place. Where room was announced for it, spaces fill what
/// is not needed: white space after a JSON value is part of JSON.
fn fill(held: Finish, last: Option<&[u8]>, room: Option<usize>) -> Bytes {
    let Some(room) = room else {
        return held.with(last);
    };
    let whole = held.before.len() + held.after.len() + room;
    let mut rest = held.clone().with(last);
    if rest.len() > whole {
        rest = held.with(None);
    }
    let mut rest = Vec::from(rest);
    rest.resize(whole, b' ');
    Bytes::from(rest)
}

fn announced_length(response: &ResponseHeader) -> Option<usize> {
    let length = response.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Settles, and writes the metadata in the form that fits its place.
fn metadata(place: Place, execwall: &Execwall, admission: &mut Admission) -> Option<Vec<u8>> {
    let fallback = admission.remaining;
    let outcome = admission.exchange.close();
    let cost = outcome.bill.as_ref().map_or(Nanos::ZERO, |bill| bill.cost);
    let balance = outcome.settled.as_ref().map(|settled| settled.balance);
    let remaining = balance.map_or(fallback, |balance| balance.limit - balance.posted);
    let asked = admission.models.first().map(String::as_str);
    let reading = admission.exchange.meter()?.reading();
    execwall.text(place, cost, remaining, reading, asked)
}

fn counter(encoding: Encoding) -> fn(&str) -> u64 {
    match encoding {
        Encoding::Cl100k => |text| tokens::count(text, Encoding::Cl100k),
        Encoding::O200k => |text| tokens::count(text, Encoding::O200k),
    }
}

/// Answers for an exchange that failed, where there is somebody to answer.
pub(crate) async fn failed(
    gateway: &Gateway,
    session: &mut Session,
    error: &Error,
    ctx: &mut Context,
) -> FailToProxy {
    let mut gone = false;
    if let Some(admission) = ctx.admission() {
        session::restore(&mut session.downstream_session, &admission.link);
        gone = admission.link.client_gone();
    }
    let nothing = FailToProxy {
        error_code: 0,
        can_reuse_downstream: false,
    };
    let dead = *error.esource() == ErrorSource::Downstream
        && matches!(
            error.etype(),
            ErrorType::WriteError
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed
                | ErrorType::H2Error
        );
    if gone || dead {
        return nothing;
    }
    if session
        .response_written()
        .is_some_and(|header| !header.status.is_informational())
    {
        broken_off(session, ctx).await;
        return nothing;
    }
    let refusal = refusal(error);
    let status = crate::answer::status(&refusal).as_u16();
    // A client that left meanwhile needs no answer.
    let _ = admit::refuse(gateway, session, ctx, &refusal, true).await;
    FailToProxy {
        error_code: status,
        can_reuse_downstream: false,
    }
}

/// Tells a client in the middle of a stream that there will be no more: SDKs raise the event as an
/// error, where a closed connection alone might pass for the end.
async fn broken_off(session: &mut Session, ctx: &mut Context) {
    let events = session.response_written().is_some_and(|header| {
        header
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    });
    let Some(admission) = ctx.admission().filter(|_| events) else {
        return;
    };
    let held = admission
        .exchange
        .meter()
        .map(|meter| meter.finish().with(None));
    let mut last = held.unwrap_or_default().to_vec();
    last.extend_from_slice(
        b"\n\ndata: {\"error\":{\"message\":\"The upstream provider broke off its answer\",\
          \"type\":\"api_error\",\"param\":null,\"code\":\"upstream_broken_off\"}}\n\n",
    );
    // The client may be gone as well.
    let _ = session
        .downstream_session
        .write_response_body(Bytes::from(last), false)
        .await;
}

fn refusal(error: &Error) -> Refusal {
    match (error.esource(), upstream::kind(error)) {
        (ErrorSource::Downstream, _) => Refusal::BadRequest("The request is not valid HTTP"),
        (_, "timeout") => Refusal::UpstreamTimeout,
        (_, "invalid") => Refusal::UpstreamInvalid,
        (ErrorSource::Upstream, _) => Refusal::UpstreamUnreachable,
        _ => Refusal::Internal,
    }
}

/// The last hook: everything is settled, the session is whole again, one line is written.
pub(crate) fn finished(
    gateway: &Gateway,
    session: &mut Session,
    error: Option<&Error>,
    ctx: &mut Context,
) {
    let refused = ctx.refused;
    let route = ctx.route;
    let elapsed = ctx.arrived.elapsed();
    let first_byte = ctx.first_byte.map(|at| at - ctx.arrived);
    let (id, unix_millis) = (ctx.id, ctx.unix_millis);
    let Some(admission) = ctx.admission() else {
        tracing::debug!(request.id = %id, route, refused, duration_ms = elapsed.as_millis(), "answered");
        return;
    };
    if let Some(meter) = admission.exchange.meter() {
        // Where the answer broke off, what was held back is of no use to anybody.
        let _ = meter.finish();
    }
    let gone = admission.link.client_gone();
    session::restore(&mut session.downstream_session, &admission.link);
    let status = session
        .response_written()
        .map_or(0, |header| header.status.as_u16());
    let (agent, tier, attempts) = (admission.agent.clone(), admission.tier, admission.attempts);
    let outcome = admission.exchange.close();
    if refused.is_none() {
        gateway.metrics.answered(route, status);
    }
    gateway.metrics.proxied(elapsed, first_byte);
    if gone {
        gateway.metrics.client_gone();
    }
    let bill = outcome.bill.as_ref();
    telemetry::access(
        &Access {
            id: id.to_string(),
            agent: agent.as_str(),
            tier,
            model: bill.map(|bill| bill.model.as_str()),
            status,
            refused,
            attempts,
            cost: bill.map(|bill| bill.cost.0),
            source: bill.map(|bill| bill.source.name()),
            input: bill.map(|bill| bill.usage.input),
            output: bill.map(|bill| bill.usage.output),
            gone,
            millis: elapsed.as_millis(),
            error: error.map(|error| error.etype().as_str()),
        },
        unix_millis,
    );
}
