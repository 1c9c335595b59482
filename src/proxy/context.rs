//! What is known about one request while it is on its way: a state, not twenty options.

use super::journey::Journey;
use super::link::Link;
use super::screening::Screening;
use super::settle::Exchange;
use super::sign::Signing;
use crate::balance::Visit;
use crate::identity::{AgentId, RequestId};
use crate::refusal::Refusal;
use crate::route::Candidate;
use crate::surface::{ErrorShape, Surface};
use crate::wire::Dialect;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The request's context, created with its header and dropped after its answer.
pub struct Context {
    pub(crate) id: RequestId,
    pub(crate) arrived: Instant,
    pub(crate) unix_millis: u64,
    pub(crate) state: State,
    /// The code of the refusal that was answered, for metrics and the log.
    pub(crate) refused: Option<&'static str>,
    /// When the first byte of an upstream's answer was passed on.
    pub(crate) first_byte: Option<Instant>,
    /// The matched route, a closed set, for metrics.
    pub(crate) route: &'static str,
    /// The surface that the client speaks, once the route is known.
    pub(crate) surface: Option<Surface>,
    /// The request as it is recorded for traces, where it is.
    pub(crate) recording: Option<Box<super::recording::Recording>>,
    /// How its answer is signed, once that is known.
    pub(crate) signing: Signing,
    /// How its answer is screened, once that is known.
    pub(crate) screening: Screening,
    /// The agent, once the caller is known; only while somebody watches.
    pub(crate) agent: Option<AgentId>,
    _in_flight: InFlight,
}

/// How far the request has come.
pub(crate) enum State {
    /// Nothing is decided.
    Arrived,
    /// Admitted: its budget is held, its body is rewritten.
    Admitted(Box<Admission>),
}

/// Everything that was decided when the request was let in.
pub(crate) struct Admission {
    /// What its attempts share, and what is left to try.
    pub journey: Journey,
    /// The candidate of the current attempt.
    pub candidate: Arc<Candidate>,
    /// The dialect in which its provider is asked.
    pub asked_in: Dialect,
    /// The model that the client asked for.
    pub original_model: Option<String>,
    /// Output tokens per choice written into the body, when they were fitted to the budget.
    pub fitted: Option<u64>,
    /// What the agent had left once this attempt's hold was taken.
    pub remaining: crate::money::Nanos,
    /// The wrapper's other half.
    pub link: Arc<Link>,
    /// The client's `Authorization`, to go upstream when no upstream key is configured.
    pub passthrough: Option<HeaderValue>,
    /// The client's headers that may go upstream.
    pub forwarded: Vec<(HeaderName, HeaderValue)>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Whether the client asked for the usage chunk.
    pub include_usage: bool,
    /// Whether the client speaks HTTP/1.1, so that a body of unknown length is chunked.
    pub http1: bool,
    /// The owner of the reservation and of the meter.
    pub exchange: Exchange,
    /// Connection attempts made.
    pub attempts: u16,
    /// The endpoint that the current attempt went to, and how many its provider has.
    pub door: (usize, usize),
    /// The current attempt at that endpoint, and when it set out.
    pub visit: Option<(Visit, Instant)>,
    /// Whether the failure that Pingora is about to report is followed by another attempt.
    pub again: bool,
    /// Why no further attempt could be made.
    pub refusal: Option<Refusal>,
    /// How the answer is passed on, once its header was seen.
    pub relay: super::relay::Relay,
    /// When the request arrived.
    pub arrived: Instant,
    /// Whether it was told how it ended.
    pub told: bool,
}

impl Context {
    /// A context for a request that has just arrived.
    pub(crate) fn new(in_flight: &Arc<AtomicUsize>) -> Self {
        let unix_millis = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(0));
        Self {
            id: RequestId::new(unix_millis),
            arrived: Instant::now(),
            unix_millis,
            state: State::Arrived,
            refused: None,
            first_byte: None,
            route: "other",
            surface: None,
            recording: None,
            signing: Signing::default(),
            screening: Screening::default(),
            agent: None,
            _in_flight: InFlight::enter(in_flight),
        }
    }

    /// How errors look to this client.
    pub(crate) fn shape(&self) -> ErrorShape {
        self.surface.map_or(ErrorShape::OpenAi, Surface::shape)
    }

    /// The admission, once the request was let in.
    pub(crate) fn admission(&mut self) -> Option<&mut Admission> {
        match &mut self.state {
            State::Admitted(admission) => Some(admission),
            State::Arrived => None,
        }
    }
}

/// Counts a request as in flight for as long as it lives.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
