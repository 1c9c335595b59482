//! The way back: bytes pass as they are, the meter looks, metadata is added at the end.
//!
//! Decides how an answer is passed on from its header, settles when its end is seen (before the
//! last bytes go out, so that a client that has its answer also has its bill), and turns failures
//! into answers. What an answer costs is decided elsewhere.

use super::admit;
use super::context::{Admission, Context};
use super::redact::Redactor;
use super::reply;
use super::session;
use super::settle::Phase;
use super::upstream;
use crate::gateway::Gateway;
use crate::money::Nanos;
use crate::refusal::Refusal;
use crate::stream::{AnswerKind, Meter, MeterOptions};
use crate::tokens::{self, Encoding};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, header};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Headers of an upstream's answer that say nothing to Weir's client.
const DROPPED: [HeaderName; 5] = [
    header::CONNECTION,
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("keep-alive"),
];

/// How an answer is passed on.
#[derive(Default)]
pub(crate) enum Relay {
    /// Its header was not seen yet.
    #[default]
    Waiting,
    /// An answer to meter; with `metadata`, `_execwall` is put in at its end.
    Metered { metadata: bool, announced: bool },
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
    Error::explain(ErrorType::InvalidHTTPHeader, format!("the upstream's answer is {why}")).into_up()
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
    response.insert_header(reply::REQUEST_ID, id)?;
    describe(response, admission)?;
    if !response.status.is_success() {
        admission.exchange.enter(Phase::Rejected);
        let key = admission.live.policy.upstream.api_key.as_ref();
        let redactor = Redactor::new(key.map(|key| key.expose().as_bytes()));
        redactor.headers(response);
        admission.relay = Relay::Redacted(redactor);
        return Ok(());
    }
    let events = response
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let metadata = admission.live.policy.metadata;
    let strip = admission.stream && !admission.include_usage;
    if metadata || (events && strip) {
        response.remove_header(&header::CONTENT_LENGTH);
        if admission.http1 {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
    }
    let encoding = admission.models.first().map_or(Encoding::O200k, |model| tokens::encoding_for(model));
    let kind = if events { AnswerKind::EventStream } else { AnswerKind::Json };
    admission.exchange.measure(Meter::new(
        kind,
        MeterOptions {
            strip_usage_chunk: strip,
            insert_before_done: metadata,
            count: encoding.counter(),
        },
    ));
    admission.relay = Relay::Metered { metadata, announced: false };
    Ok(())
}

/// What is known by now about the request, as headers.
fn describe(response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
    response.insert_header("x-weir-agent", admission.agent.as_str())?;
    response.insert_header("x-weir-tier", admission.tier.to_string())?;
    response.insert_header("x-weir-models", admission.models.join(","))?;
    response.insert_header("x-weir-budget-remaining", admission.remaining.to_string())?;
    if let Some(tokens) = admission.fitted {
        response.insert_header("x-weir-max-tokens", tokens.to_string())?;
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
        Relay::Metered { .. } => *body = metered(body.take(), end, admission),
    }
}
