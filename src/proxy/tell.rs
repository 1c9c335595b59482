//! What the proxy tells whoever watches.
//!
//! Decides which events a request makes: one that Weir refuses makes one that says so; every other one makes one
//! when it is let in and one when it has ended, however that was, and a stream one more with its first byte.

use super::context::{Admission, Context};
use crate::auth;
use crate::event::{Begun, Ejected, Ended, Kind, Refused, Request};
use crate::gateway::Gateway;
use crate::money::Nanos;
use crate::usage::Bill;
use std::sync::Arc;
use std::time::Duration;

/// A request was let in; its body has `size` bytes.
pub(super) fn started(gateway: &Gateway, ctx: &mut Context, size: usize) {
    let Some(admission) = ctx.admission() else {
        return;
    };
    gateway.feed.tell(|| {
        let begun = Begun {
            size: u64::try_from(size).unwrap_or(u64::MAX),
            stream: admission.stream,
            surface: admission.journey.surface.name(),
            provider: provider(admission),
            held: admission.exchange.held(),
            tier: admission.journey.tier,
        };
        Kind::Start(request(admission, None), begun)
    });
}

/// The first byte of a stream is on its way.
pub(super) fn streaming(admission: &Admission) {
    let feed = &admission.exchange.gateway().feed;
    feed.tell(|| Kind::Streaming(request(admission, None)));
}

/// A request was refused before it was let in. One that was let in has its own end.
pub(super) fn refused(gateway: &Gateway, ctx: &mut Context, code: &'static str, status: u16) {
    if ctx.admission().is_some() {
        return;
    }
    gateway.feed.tell(|| {
        Kind::Refused(Refused {
            id: ctx.id,
            code,
            status,
            surface: ctx.route,
            agent: ctx.agent.clone(),
        })
    });
}

/// How a request ended, besides what it cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    /// The status that the client saw; 0 when it saw none.
    pub status: u16,
    /// Whether the client left.
    pub gone: bool,
    /// From the header of the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// What went wrong.
    pub error: Option<&'static str>,
}

/// A request that was let in has ended. Only the first call counts.
pub(super) fn ended(admission: &mut Admission, end: End) {
    if std::mem::replace(&mut admission.told, true) {
        return;
    }
    let gateway = Arc::clone(admission.exchange.gateway());
    gateway.feed.tell(|| {
        let bill = admission.exchange.close().bill.clone();
        let bill = bill.as_ref();
        let ended = Ended {
            provider: provider(admission),
            tokens_in: bill.map_or(0, |bill| bill.usage.input),
            tokens_out: bill.map_or(0, |bill| bill.usage.output),
            cost: bill.map_or(Nanos::ZERO, |bill| bill.cost),
            source: bill.map_or("none", |bill| bill.source.name()),
            latency_ms: millis(admission.arrived.elapsed()),
            first_byte_ms: end.first_byte.map(millis),
            status: end.status,
            gone: end.gone,
            attempts: admission.attempts,
            error: end.error.map(Arc::from),
        };
        Kind::Complete(request(admission, bill), Box::new(ended))
    });
}

impl Drop for Admission {
    /// A hook that panicked and a task that was dropped are ends, too.
    fn drop(&mut self) {
        let gone = self.link.client_gone();
        let error = Some("aborted");
        ended(
            self,
            End {
                gone,
                error,
                ..End::default()
            },
        );
    }
}

/// The current attempt's endpoint is left alone for `time`.
pub(super) fn ejected(gateway: &Gateway, admission: &Admission, millis: u64) {
    gateway.feed.tell(|| {
        let block = &admission.candidate.block;
        let endpoint = block.endpoints.get(admission.door.0);
        let endpoint = endpoint.map(|endpoint| {
            let url = &endpoint.base_url;
            format!("{}:{}", url.host, url.port)
        });
        Kind::Ejected(Ejected {
            provider: provider(admission),
            endpoint: endpoint.unwrap_or_default().into(),
            millis,
        })
    });
}

/// The request; with a bill, its model is the one that answered.
fn request(admission: &Admission, bill: Option<&Bill>) -> Request {
    let journey = &admission.journey;
    let asked = admission.original_model.as_deref();
    let model = match (bill, asked) {
        (Some(bill), _) => auth::shown(&bill.model),
        (None, Some(asked)) => auth::shown(asked),
        (None, None) => admission.candidate.name().to_owned(),
    };
    Request {
        id: journey.id,
        model: model.into(),
        agent: journey.identity.agent.id.clone(),
        user: journey.identity.user.clone(),
    }
}

fn provider(admission: &Admission) -> Arc<str> {
    admission.candidate.block.name.as_str().into()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
