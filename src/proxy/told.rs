//! What is told of a request that has ended: metrics, the line of the log, the facts for a trace.
//!
//! Decides what counts as an error. Every request has one line; those that only ask whether the
//! process lives have theirs at the level `debug`.

use super::context::{Admission, Context};
use super::recording::{self, Place, Recording};
use super::upstream;
use crate::auth;
use crate::gateway::Gateway;
use crate::identity::RequestId;
use crate::metrics::{End, Proxied};
use crate::telemetry::{self, Access};
use crate::trace::{Answered, Finished, words};
use crate::usage::Bill;
use pingora_core::{Error, ErrorSource};
use std::time::{Duration, Instant};
use tracing::Level;

/// Paths that machines ask for all the time.
const PULSE: [&[u8]; 3] = [b"/health", b"/api/health", b"/metrics"];

/// A request that has ended.
pub(super) struct Told {
    id: RequestId,
    unix_millis: u64,
    arrived: Instant,
    elapsed: Duration,
    route: &'static str,
    refused: Option<&'static str>,
    /// From the header to the first byte of the answer.
    pub(super) first_byte: Option<Duration>,
    recording: Option<Box<Recording>>,
    /// The status that the client saw; 0 when it saw none.
    pub(super) status: u16,
    /// Whether the client left before the end.
    pub(super) gone: bool,
    kind: Option<&'static str>,
    detail: Option<String>,
}

impl Told {
    /// What the context knows by itself; its recording ends here.
    pub(super) fn of(ctx: &mut Context, error: Option<&Error>) -> Self {
        let upstream = error.filter(|error| *error.esource() != ErrorSource::Downstream);
        Self {
            id: ctx.id,
            unix_millis: ctx.unix_millis,
            arrived: ctx.arrived,
            elapsed: ctx.arrived.elapsed(),
            route: ctx.route,
            refused: ctx.refused,
            first_byte: ctx.first_byte.map(|at| at - ctx.arrived),
            recording: ctx.recording.take(),
            status: 0,
            gone: false,
            kind: upstream.map(upstream::kind),
            detail: error.map(|error| error.etype().as_str().to_owned()),
        }
    }

    /// Of a request that was answered here.
    pub(super) fn here(self, gateway: &Gateway, path: &[u8]) {
        let pulse = self.refused.is_none() && PULSE.contains(&path);
        let level = if pulse { Level::DEBUG } else { Level::INFO };
        let asked = self.recording.as_ref();
        let asked = asked.and_then(|recording| recording.asked.model.as_deref());
        self.line(level, asked, None);
        // What is no request for a model is no part of a trace.
        if words::path(self.route).is_some() {
            self.record(gateway, None);
        }
    }

    /// Of a request that was let in; its exchange is closed. Gives what went wrong.
    pub(super) fn proxied(
        mut self,
        gateway: &Gateway,
        admission: &Admission,
    ) -> Option<&'static str> {
        let (first, last) = admission.exchange.tokens_at();
        let bill = admission.exchange.bill();
        let reading = admission.exchange.reading();
        let broken = reading.is_some_and(|reading| reading.error.is_some() && !reading.done);
        if broken && self.kind.is_none() && self.error().is_none() {
            self.kind = Some("upstream_error");
        }
        let answer = reading.and_then(|reading| reading.id.as_deref());
        let live = &admission.journey.live;
        let answered = bill.map(|bill| bill.model.as_str());
        let model = live.name_of(&admission.candidate, answered);
        let first_token = first.map(|at| at - self.arrived);
        let per_token = first.zip(last).and_then(|(first, last)| {
            let more = bill?.usage.output.checked_sub(1)?;
            let more = u32::try_from(more).ok().filter(|more| *more > 0)?;
            Some((last - first) / more)
        });
        gateway.metrics.proxied(&Proxied {
            route: self.route,
            provider: &admission.candidate.block.name,
            model,
            end: match self.error() {
                _ if self.gone => End::Gone,
                None if self.status != 0 => End::Whole,
                _ => End::Failed,
            },
            duration: self.elapsed,
            first_byte: self.first_byte,
            first_token,
            per_token,
        });
        let asked = admission.original_model.as_deref();
        let let_in = LetIn {
            admission,
            bill,
            label: model.text(),
            answer,
            first_token,
            per_token,
        };
        let error = self.error();
        self.line(Level::INFO, asked, Some(&let_in));
        self.record(gateway, Some(&let_in));
        error
    }

    /// What went wrong: a code of ours, a kind of failure, or a status.
    fn error(&self) -> Option<&'static str> {
        self.refused
            .or(self.kind.filter(|_| !self.gone))
            .or_else(|| words::status(self.status))
    }

    /// Writes the line of the log.
    fn line(&self, level: Level, asked: Option<&str>, let_in: Option<&LetIn<'_>>) {
        let numbers = self.recording.as_ref().map(|recording| recording.numbers());
        let (trace, span) = numbers.unzip();
        let admission = let_in.map(|let_in| let_in.admission);
        let bill = let_in.and_then(|let_in| let_in.bill);
        let block = admission.map(|admission| &admission.candidate.block);
        let asked = asked.map(auth::shown);
        let model = words::path(self.route).is_some();
        telemetry::access(
            &Access {
                trace: trace.as_deref(),
                span: span.flatten().as_deref(),
                id: self.id.to_string(),
                route: self.route,
                path: words::path(self.route),
                status: self.status,
                error: self.error(),
                detail: self.detail.as_deref(),
                agent: admission.map(|admission| admission.journey.identity.agent.id.as_str()),
                tier: admission.map(|admission| admission.journey.tier),
                operation: model.then(|| words::operation(self.route)),
                provider: block.map(|block| words::provider(block.kind.name(), &block.name)),
                asked: asked.as_deref(),
                model: bill.map(|bill| bill.model.as_str()),
                input: bill.map(|bill| bill.usage.input),
                output: bill.map(|bill| bill.usage.output),
                cost: bill.map(|bill| bill.cost.0),
                source: bill.map(|bill| bill.source.name()),
                attempts: admission.map(|admission| admission.attempts),
                gone: self.gone,
                first_token: let_in
                    .and_then(|let_in| let_in.first_token.map(|time| time.as_millis())),
                millis: self.elapsed.as_millis(),
            },
            self.unix_millis,
            level,
        );
    }

    /// Hands the facts to whoever exports them.
    fn record(mut self, gateway: &Gateway, let_in: Option<&LetIn<'_>>) {
        let Some((tracer, mut recording)) = gateway.tracer.as_ref().zip(self.recording.take())
        else {
            return;
        };
        recording::ended(&mut recording, self.elapsed);
        let error = self.error();
        let Recording {
            place: Place::Own(span),
            asked: wanted,
            attempts,
        } = *recording
        else {
            return;
        };
        let identity = let_in.map(|let_in| &let_in.admission.journey);
        let (agent, tier) = identity
            .map(|journey| (journey.identity.agent.id.clone(), journey.tier))
            .unzip();
        tracer.sink.finished(Box::new(Finished {
            span,
            id: self.id,
            unix_millis: self.unix_millis,
            elapsed: self.elapsed,
            route: self.route,
            operation: words::operation(self.route),
            agent,
            tier,
            asked: wanted.model,
            max_tokens: wanted.max_tokens,
            temperature: wanted.temperature,
            stream: wanted.stream,
            status: self.status,
            error,
            gone: self.gone,
            first_token: let_in.and_then(|let_in| let_in.first_token),
            per_token: let_in.and_then(|let_in| let_in.per_token),
            answered: let_in.map(|let_in| {
                let block = &let_in.admission.candidate.block;
                Answered {
                    provider: block.name.clone(),
                    kind: block.kind.name(),
                    label: let_in.label.to_owned(),
                    id: let_in.answer.map(str::to_owned),
                    bill: let_in.bill.cloned(),
                }
            }),
            attempts,
        }));
    }
}

/// What there is to tell of a request that was let in.
struct LetIn<'a> {
    admission: &'a Admission,
    bill: Option<&'a Bill>,
    label: &'a str,
    answer: Option<&'a str>,
    first_token: Option<Duration>,
    per_token: Option<Duration>,
}
