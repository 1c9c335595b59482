//! A request as it is recorded for traces: who called, what was asked, where it went.
//!
//! Decides which attempt has which span, and which provider learns of the trace. Where nobody records,
//! this exists only for a caller that names a trace, which then passes through.

use super::context::{Context, State};
use super::upstream;
use crate::gateway::Gateway;
use crate::policy::provider::Block;
use crate::policy::upstream::BaseUrl;
use crate::settings::Propagate;
use crate::surface::Request;
use crate::trace::{Attempt, Parent, Span, SpanId};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use std::time::Duration;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest name of a model that is recorded, in bytes.
const LONGEST: usize = 256;

/// The longest number that is recorded as it was written.
const NUMBER: usize = 32;

/// A request as it is recorded.
pub(crate) struct Recording {
    pub(super) place: Place,
    pub(super) asked: Asked,
    pub(super) attempts: Vec<Attempt>,
}

/// Where it stands in a trace.
pub(super) enum Place {
    /// It is not recorded here; the caller's trace passes through.
    Passing(Parent),
    /// It has a span of its own.
    Own(Span),
}

/// What the client asked for.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<String>,
    pub(super) stream: bool,
}

/// Begins to record a request that has just arrived.
pub(super) fn begin(gateway: &Gateway, headers: &HeaderMap, ctx: &mut Context) {
    let parent = Parent::of(headers);
    let place = match &gateway.tracer {
        Some(tracer) => Some(Place::Own(tracer.begin(parent))),
        None => parent.map(Place::Passing),
    };
    ctx.recording = place.map(|place| {
        Box::new(Recording {
            place,
            asked: Asked::default(),
            attempts: Vec::new(),
        })
    });
}

impl Recording {
    /// The numbers of the trace and of the span, for the log.
    pub(super) fn numbers(&self) -> (String, Option<String>) {
        match &self.place {
            Place::Passing(parent) => (parent.trace.to_string(), None),
            Place::Own(span) => (span.trace.to_string(), Some(span.id.to_string())),
        }
    }

    /// The headers for a provider.
    fn headers(&self) -> [(HeaderName, Option<HeaderValue>); 2] {
        let (parent, state) = match &self.place {
            Place::Passing(parent) => (parent.header(), parent.state.clone()),
            Place::Own(span) => {
                let within = self.attempts.last().map_or(span.id, |attempt| attempt.span);
                let state = span.parent.as_ref().and_then(|parent| parent.state.clone());
                (span.header(within), state)
            }
        };
        [(TRACEPARENT, parent), (TRACESTATE, state)]
    }

    fn last(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut()
    }
}

impl Context {
    /// Notes what the client asked for.
    pub(super) fn asked(&mut self, request: &Request<'_>) {
        let Some(recording) = &mut self.recording else {
            return;
        };
        let short = |text: &str| text[..text.floor_char_boundary(LONGEST)].to_owned();
        let temperature = request.object.get("temperature");
        recording.asked = Asked {
            model: request.model.as_deref().map(short),
            max_tokens: request.max_tokens.filter(|tokens| *tokens > 0),
            temperature: temperature
                .filter(|text| text.len() <= NUMBER)
                .map(str::to_owned),
            stream: request.stream,
        };
    }
}

/// An attempt sets out for a provider.
pub(super) fn sets_out(ctx: &mut Context) {
    let now = ctx.arrived.elapsed();
    let (Some(recording), State::Admitted(admission)) = (&mut ctx.recording, &ctx.state) else {
        return;
    };
    let candidate = &admission.candidate;
    let outgoing = admission.journey.live.outgoing(&candidate.block.name);
    let Some(door) = outgoing.and_then(|outgoing| outgoing.doors.get(admission.door.0)) else {
        return;
    };
    if !matches!(&recording.place, Place::Own(span) if span.sampled) {
        return;
    }
    recording.attempts.push(Attempt {
        span: SpanId::random(),
        from: now,
        to: now,
        provider: candidate.block.name.clone(),
        kind: candidate.block.kind.name(),
        host: door.base_url.host.clone(),
        port: door.base_url.port,
        model: candidate.engines.first().cloned().unwrap_or_default(),
        status: None,
        error: None,
    });
}

/// Tells the provider of the trace, where it may know.
///
/// # Errors
/// Never in practice: what is written is a valid header.
pub(super) fn tell(gateway: &Gateway, ctx: &Context, request: &mut RequestHeader) -> Result<()> {
    let (Some(recording), State::Admitted(admission)) = (&ctx.recording, &ctx.state) else {
        return Ok(());
    };
    let block = &admission.candidate.block;
    let outgoing = admission.journey.live.outgoing(&block.name);
    let door = outgoing.and_then(|outgoing| outgoing.doors.get(admission.door.0));
    if !door.is_some_and(|door| may_know(gateway.settings.otel.propagate, block, &door.base_url)) {
        return Ok(());
    }
    for (name, value) in recording.headers() {
        if let Some(value) = value {
            request.insert_header(name, value)?;
        }
    }
    Ok(())
}

fn may_know(propagate: Propagate, block: &Block, url: &BaseUrl) -> bool {
    match propagate {
        Propagate::All => true,
        Propagate::None => false,
        Propagate::Own => block.private || !url.is_public_name(),
    }
}

/// The provider has answered.
pub(super) fn answered(ctx: &mut Context, response: &ResponseHeader) {
    let now = ctx.arrived.elapsed();
    let status = response.status;
    let last = ctx
        .recording
        .as_mut()
        .and_then(|recording| recording.last());
    if let Some(attempt) = last.filter(|_| !status.is_informational()) {
        attempt.status = Some(status.as_u16());
        attempt.to = now;
    }
}

/// An attempt has failed.
pub(super) fn failed(ctx: &mut Context, error: &Error) {
    let now = ctx.arrived.elapsed();
    let last = ctx
        .recording
        .as_mut()
        .and_then(|recording| recording.last());
    let Some(attempt) = last else { return };
    attempt.to = now;
    // An answer that is not passed on has its status.
    let own = matches!(error.etype(), ErrorType::HTTPStatus(_));
    if *error.esource() == ErrorSource::Upstream && !own {
        attempt.error = Some(upstream::kind(error));
    }
}

/// The whole request has ended: so has its last attempt.
pub(super) fn ended(recording: &mut Recording, after: Duration) {
    if let Some(attempt) = recording.last() {
        if attempt.error.is_none() {
            attempt.to = after;
        }
        attempt.to = attempt.to.min(after);
    }
}
