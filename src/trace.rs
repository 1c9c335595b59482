//! Traces: who called, what is recorded of a request, and what a provider is told of it.
//!
//! Decides how W3C trace context is read and written, which traces are recorded, and what the facts
//! of a request are. How they are exported is decided by whoever takes them ([`Sink`]). No prompt,
//! answer or key is ever part of a fact.

mod context;
mod facts;
pub mod words;

pub use context::{Parent, SpanId, TraceId};
pub use facts::{Answered, Attempt, Finished, Span};

use std::sync::Arc;

/// Takes the facts of requests that have ended. It never waits and never fails: what it cannot take it
/// drops and counts.
pub trait Sink: Send + Sync {
    /// A request has ended.
    fn finished(&self, facts: Box<Finished>);

    /// Nothing more comes: what was taken is sent, for as long as there is patience for it.
    fn close(&self);
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Whether a caller that has decided is followed.
    pub parent: bool,
    /// The share of the others that is recorded, in billionths.
    pub billionths: u32,
}

impl Sampler {
    /// Every trace, unless its caller says otherwise.
    pub const ALL: Self = Self {
        parent: true,
        billionths: WHOLE,
    };

    /// Whether a trace is recorded. One that has no parent is judged by its number, as everybody else
    /// who samples by ratio judges it.
    pub fn takes(self, trace: TraceId, parent: Option<&Parent>) -> bool {
        if let Some(parent) = parent.filter(|_| self.parent) {
            return parent.sampled;
        }
        let bound = (u128::from(self.billionths) << 63) / u128::from(WHOLE);
        u128::from(trace.low() >> 1) < bound
    }
}

/// All of them, in billionths.
pub const WHOLE: u32 = 1_000_000_000;

/// Records the requests of one process.
#[derive(Clone)]
pub struct Tracer {
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Where their facts go.
    pub sink: Arc<dyn Sink>,
}

impl Tracer {
    /// The span of a request that has just arrived.
    pub fn begin(&self, parent: Option<Parent>) -> Span {
        let trace = parent
            .as_ref()
            .map_or_else(TraceId::random, |parent| parent.trace);
        Span {
            trace,
            id: SpanId::random(),
            sampled: self.sampler.takes(trace, parent.as_ref()),
            parent,
        }
    }
}

#[cfg(test)]
mod tests;
