//! The owner of a request's reservation: it settles once, whatever happens.
//!
//! [`Exchange::close`] is called where the answer ends, again when Pingora has finished with the
//! request, and by `Drop` when a hook panicked; only the first call counts. What an answer costs is
//! decided in [`crate::bill`].

use crate::bill::{self, Terms};
use crate::gateway::{Gateway, Live};
use crate::identity::{AgentId, AttemptId};
use crate::insight::{LONGEST, Said};
use crate::ledger::{Reservation, Settled};
use crate::limit::Permit;
use crate::money::Nanos;
use crate::route::Candidate;
use crate::stream::{Meter, Reading};
use crate::tokens;
use crate::usage::{Bill, Course, ServiceTier};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request body up to this size is kept until the end, in case its tokens must be counted.
const KEEP_BODY: usize = 16 << 10;

/// For a longer one, this many bytes are taken for a token: fewer than in any prose or code, so
/// that the estimate is not too low.
const BYTES_PER_TOKEN: usize = 3;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was sent.
    Held,
    /// The request was sent, or may have been.
    Dispatched,
    /// The provider refused it: an error status, which no provider bills.
    Rejected,
    /// An answer began.
    Answering,
}

/// How the request's own tokens can be counted, should the provider not say.
enum Input {
    Body(Bytes),
    Tokens(u64),
}

/// One attempt with its reservation and meter.
pub(crate) struct Exchange {
    gateway: Arc<Gateway>,
    live: Arc<Live>,
    agent: AgentId,
    reservation: Option<Reservation>,
    candidate: Arc<Candidate>,
    service_tier: ServiceTier,
    input: Input,
    phase: Phase,
    /// Whether any attempt was ever sent: one that was lost may have been worked on.
    sent: bool,
    meter: Option<Meter>,
    /// When the first generated token of a stream was read.
    first_token: Option<Instant>,
    /// When the answer ended.
    ended: Option<Instant>,
    /// The place among the limits of the model.
    place: Option<Permit>,
    outcome: Option<Outcome>,
    /// When it was held for, when its answer began, and with which status.
    since: Instant,
    first_byte: Option<Instant>,
    http: u16,
    /// Whether its client had left when it ended.
    left: bool,
    /// The client's body, where what is said is kept.
    said: Option<Bytes>,
}

/// How an exchange ended.
pub(crate) struct Outcome {
    /// The bill; `None` when nothing was charged.
    pub bill: Option<Bill>,
    /// What the ledger made of it.
    pub settled: Option<Settled>,
}

impl Exchange {
    /// Takes charge of a reservation for a request sent to `candidate` with the given body; without
    /// a reservation, of a request that costs nothing.
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        live: &Arc<Live>,
        agent: AgentId,
        reservation: Option<Reservation>,
        candidate: Arc<Candidate>,
        service_tier: ServiceTier,
        body: &Bytes,
    ) -> Self {
        let input = if body.len() <= KEEP_BODY {
            Input::Body(body.clone())
        } else {
            Input::Tokens(u64::try_from(body.len() / BYTES_PER_TOKEN).unwrap_or(u64::MAX))
        };
        Self {
            gateway: Arc::clone(gateway),
            live: Arc::clone(live),
            agent,
            reservation,
            candidate,
            service_tier,
            input,
            phase: Phase::Held,
            sent: false,
            meter: None,
            first_token: None,
            ended: None,
            place: None,
            outcome: None,
            since: Instant::now(),
            first_byte: None,
            http: 0,
            left: false,
            said: None,
        }
    }

    /// The same, with a place among the limits of its model.
    pub(crate) fn among(mut self, place: Option<Permit>) -> Self {
        self.place = place;
        self
    }

    /// Notes how far the attempt came.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.sent |= phase == Phase::Dispatched;
    }

    /// How far the attempt came.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The same, for a request whose text is kept where texts are.
    pub(crate) fn saying(mut self, body: &Bytes) -> Self {
        let insights = self.gateway.insights.as_ref();
        let keeps = insights.is_some_and(|insights| insights.keeps_texts());
        self.said = keeps.then(|| body.clone());
        self
    }

    /// How much of the answer's text is kept.
    pub(crate) fn keeps(&self) -> usize {
        if self.said.is_some() { LONGEST } else { 0 }
    }

    /// Tells what was said in an attempt that was sent.
    fn tell(&mut self, attempt: AttemptId) {
        let (Some(request), Some(insights)) = (self.said.take(), &self.gateway.insights) else {
            return;
        };
        insights.said(Said {
            attempt,
            request,
            answer: self
                .meter
                .as_mut()
                .map(Meter::take_text)
                .unwrap_or_default(),
        });
    }

    /// Notes the status that the provider answered with.
    pub(crate) fn answered(&mut self, status: u16) {
        self.http = status;
        self.first_byte = Some(Instant::now());
    }

    /// Notes that the client left before the end.
    pub(crate) fn left(&mut self) {
        self.left = true;
    }

    /// Takes the meter of the answer that has begun.
    pub(crate) fn measure(&mut self, meter: Meter) {
        self.phase = Phase::Answering;
        self.meter = Some(meter);
    }

    /// The meter, once an answer has begun.
    pub(crate) fn meter(&mut self) -> Option<&mut Meter> {
        self.meter.as_mut()
    }

    /// Meters a piece, and notes when the first token comes. `None` when no answer has begun.
    pub(crate) fn read(&mut self, piece: Bytes) -> Option<Bytes> {
        let meter = self.meter.as_mut()?;
        let passed = meter.push(piece);
        // Of an answer that is no stream, nothing is read before its end.
        if self.first_token.is_none() && meter.reading().saw_content {
            self.first_token = Some(Instant::now());
        }
        Some(passed)
    }

    /// What the answer said, once it has begun.
    pub(crate) fn reading(&self) -> Option<&Reading> {
        self.meter.as_ref().map(Meter::reading)
    }

    /// The bill, once there is one.
    pub(crate) fn bill(&self) -> Option<&Bill> {
        self.outcome.as_ref()?.bill.as_ref()
    }

    /// When the first token of a stream came, and when the answer ended.
    pub(crate) fn tokens_at(&self) -> (Option<Instant>, Option<Instant>) {
        (self.first_token, self.ended)
    }

    /// Settles or voids, once; later calls only give the outcome again.
    pub(crate) fn close(&mut self) -> &Outcome {
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None => self.settle(),
        };
        self.outcome.insert(outcome)
    }

    fn settle(&mut self) -> Outcome {
        self.ended = Some(Instant::now());
        let nothing = Outcome {
            bill: None,
            settled: None,
        };
        let Some(mut reservation) = self.reservation.take() else {
            return nothing;
        };
        let bill = match self.phase {
            Phase::Held if !self.sent => {
                reservation.void("never dispatched");
                return nothing;
            }
            Phase::Rejected => {
                reservation.went(self.course(None));
                self.tell(reservation.id());
                reservation.void("refused by the provider");
                return nothing;
            }
            Phase::Held | Phase::Dispatched => bill::unanswered(&self.terms(), self.input_tokens()),
            Phase::Answering => {
                let bill = self.meter.as_ref().and_then(|meter| {
                    bill::bill(meter.reading(), &self.terms(), || self.input_tokens())
                });
                match bill {
                    Some(bill) => bill,
                    None => {
                        reservation.went(self.course(None));
                        self.tell(reservation.id());
                        reservation.void("an error of the provider before any content");
                        return nothing;
                    }
                }
            }
        };
        if let Some(place) = &mut self.place {
            place.correct(bill.usage.total());
        }
        reservation.went(self.course(Some(&bill)));
        self.tell(reservation.id());
        let settled = reservation.settle(bill.clone());
        self.gateway.breaker.settled();
        // A soft limit takes models without a price, for which nothing can be held.
        let over_bound = settled.over_bound && !bill::is_unpriced(&bill, &self.terms());
        if over_bound {
            tracing::warn!(
                agent.id = %self.agent,
                cost.usd = %settled.cost,
                model = %bill.model,
                "billed above what was held: the provider charges more than its documented maximum"
            );
        }
        self.gateway.metrics.settled(
            self.agent.as_str(),
            &self.candidate.block.name,
            self.live.name_of(&self.candidate, Some(&bill.model)),
            &bill,
            over_bound,
        );
        Outcome {
            bill: Some(bill),
            settled: Some(settled),
        }
    }

    /// How it went, at its end.
    fn course(&self, bill: Option<&Bill>) -> Course {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Course {
            provider: self.candidate.block.name.clone(),
            latency_ms: millis(self.since.elapsed()),
            first_byte_ms: self.first_byte.map(|at| millis(at - self.since)),
            http: self.http,
            error: self.error(),
            input: bill.map_or(Nanos::ZERO, |bill| self.input_cost(bill).min(bill.cost)),
        }
    }

    /// What went wrong, as it is called in records.
    fn error(&self) -> Option<&'static str> {
        let reading = self.meter.as_ref().map(Meter::reading);
        match (self.phase, reading) {
            (Phase::Rejected, _) => Some("refused"),
            (Phase::Answering, Some(reading)) if reading.error.is_some() => Some("failed"),
            (Phase::Answering, Some(reading)) if reading.done => None,
            _ if self.left => Some("client_left"),
            (Phase::Answering, _) => Some("broken_off"),
            (Phase::Held | Phase::Dispatched, _) => Some("lost"),
        }
    }

    /// The gateway that it belongs to.
    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// What is held for it; nothing once it is closed.
    pub(crate) fn held(&self) -> Nanos {
        let reservation = self.reservation.as_ref();
        reservation.map_or(Nanos::ZERO, |reservation| reservation.grant().held)
    }

    /// The part of a bill that is for input, by the prices.
    pub(crate) fn input_cost(&self, bill: &Bill) -> Nanos {
        bill::input_cost(bill, &self.terms())
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            catalog: &self.live.catalog,
            provider: self.candidate.block.kind,
            asked: &self.candidate.engines,
            own: self.candidate.own_price(),
            known: &self.candidate.targets,
            service_tier: self.service_tier,
        }
    }

    fn input_tokens(&self) -> u64 {
        match &self.input {
            Input::Body(body) => {
                let model = self.candidate.engines.first().map_or("", String::as_str);
                tokens::prompt_estimate(body, model)
            }
            Input::Tokens(tokens) => *tokens,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close();
    }
}
