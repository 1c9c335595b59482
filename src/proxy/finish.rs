//! The end of a request: an answer for an exchange that failed, and the last word about every one.

use super::admit;
use super::context::Context;
use super::inner;
use super::relay::Relay;
use super::session;
use super::tell::{self, End};
use super::told::Told;
use super::upstream;
use crate::answer::event;
use crate::gateway::Gateway;
use crate::refusal::Refusal;
use crate::stream::Meter;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};

/// Answers for an exchange that failed, where there is somebody to answer.
pub(crate) async fn failed(
    gateway: &Gateway,
    session: &mut Session,
    error: &Error,
    ctx: &mut Context,
) -> FailToProxy {
    let mut gone = false;
    let mut refused = None;
    if let Some(admission) = ctx.admission() {
        session::restore(&mut session.downstream_session, &admission.link);
        gone = admission.link.client_gone();
        refused = admission.refusal.take();
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
    let refusal = refused.unwrap_or_else(|| refusal(error));
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
    let held = match &mut admission.relay {
        // What was translated is whole events.
        Relay::Translated { .. } => None,
        _ => admission.exchange.meter().map(Meter::finish),
    };
    let held = held.map(|held| held.with(None)).unwrap_or_default();
    let Some(held) = ctx.screening.broken_off(held) else {
        // It was refused, and said so.
        return;
    };
    let Some(admission) = ctx.admission() else {
        return;
    };
    let mut last = held.to_vec();
    last.extend_from_slice(b"\n\n");
    let event = event::error_event(
        admission.journey.surface,
        StatusCode::BAD_GATEWAY,
        "The upstream provider broke off its answer",
        "upstream_broken_off",
    );
    last.extend_from_slice(&event);
    let last = ctx.signing.broken_off(Bytes::from(last));
    if last.is_empty() {
        // Its end was sent and signed already.
        return;
    }
    // The client may be gone as well.
    let _ = session
        .downstream_session
        .write_response_body(last, false)
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
    ctx.screening.report(gateway);
    let mut told = Told::of(ctx, error);
    let (route, refused) = (ctx.route, ctx.refused);
    let seen = |session: &Session| {
        let written = session.response_written();
        written.map_or(0, |header| header.status.as_u16())
    };
    let Some(admission) = ctx.admission() else {
        told.status = seen(session);
        let path = session.req_header().raw_path();
        told.here(gateway, path);
        return;
    };
    if let Some(meter) = admission.exchange.meter() {
        // Where the answer broke off, what was held back is of no use to anybody.
        let _ = meter.finish();
    }
    told.gone = admission.link.client_gone();
    if told.gone {
        admission.exchange.left();
    }
    session::restore(&mut session.downstream_session, &admission.link);
    told.status = seen(session);
    let outcome = admission.exchange.close();
    if let Some(bill) = &outcome.bill {
        inner::charged(bill.cost);
    }
    let used = outcome.bill.as_ref().map(|bill| bill.usage.total());
    if let Some(permit) = &mut admission.journey.permit {
        permit.correct(used.unwrap_or(0));
    }
    if refused.is_none() {
        gateway.metrics.answered(route, told.status);
    }
    let mut end = End {
        status: told.status,
        gone: told.gone,
        first_byte: told.first_byte,
        error: None,
    };
    end.error = told.proxied(gateway, admission);
    tell::ended(admission, end);
}
