//! The facts of a request that has ended, as plain values: whoever exports them knows nothing else.

use super::context::{Parent, SpanId, TraceId, header};
use crate::identity::{AgentId, RequestId};
use crate::usage::Bill;
use http::HeaderValue;
use std::time::Duration;

/// Where a request stands in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: TraceId,
    /// The span of the request.
    pub id: SpanId,
    /// Whether it is recorded.
    pub sampled: bool,
    /// The caller's span.
    pub parent: Option<Parent>,
}

impl Span {
    /// The `traceparent` for whatever is called within this request, as span `within`.
    pub fn header(&self, within: SpanId) -> Option<HeaderValue> {
        header(self.trace, within, self.sampled)
    }
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Where it stands in a trace.
    pub span: Span,
    /// Its id.
    pub id: RequestId,
    /// When its header was read, in Unix milliseconds.
    pub unix_millis: u64,
    /// From its header to its end.
    pub elapsed: Duration,
    /// The route, a closed set.
    pub route: &'static str,
    /// What was asked for, in the words of the conventions: `chat`, `embeddings`, ...
    pub operation: &'static str,
    /// The agent, where the caller is known.
    pub agent: Option<AgentId>,
    /// The tier, from 0, of a request that was let in.
    pub tier: Option<usize>,
    /// The model that the client asked for.
    pub asked: Option<String>,
    /// The output tokens that the client asked for at most.
    pub max_tokens: Option<u64>,
    /// The temperature that the client asked for, as it wrote it.
    pub temperature: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The status that the client saw; 0 when it saw none.
    pub status: u16,
    /// What went wrong: a code of ours, a kind of failure, or a status. A closed set.
    pub error: Option<&'static str>,
    /// Whether the client left before the end.
    pub gone: bool,
    /// From the header to the first generated token, for streams.
    pub first_token: Option<Duration>,
    /// Between two generated tokens, on average, for streams.
    pub per_token: Option<Duration>,
    /// What a provider answered, where one was asked.
    pub answered: Option<Answered>,
    /// The attempts at providers, in order.
    pub attempts: Vec<Attempt>,
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The provider's block.
    pub provider: String,
    /// The kind of provider.
    pub kind: &'static str,
    /// The model, one of a bounded set of names.
    pub label: String,
    /// The answer's own identifier.
    pub id: Option<String>,
    /// What was charged; `None` when nothing was.
    pub bill: Option<Bill>,
}

/// One attempt at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its span.
    pub span: SpanId,
    /// From the request's header to its begin.
    pub from: Duration,
    /// From the request's header to its end.
    pub to: Duration,
    /// The provider's block.
    pub provider: String,
    /// The kind of provider.
    pub kind: &'static str,
    /// Where it is reached.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// What the provider calls the model.
    pub model: String,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, a closed set.
    pub error: Option<&'static str>,
}
