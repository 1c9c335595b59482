//! Facts as spans: one of the request (`SERVER`), one of each attempt at a provider (`CLIENT`).

use crate::trace::{Attempt, Finished, words};
use crate::trace::{SpanId as Number, TraceId as Trace};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many spans the facts make.
pub(super) fn count(facts: &Finished) -> usize {
    if facts.span.sampled {
        1 + facts.attempts.len()
    } else {
        0
    }
}

/// Appends the spans of a request.
pub(super) fn of(facts: &Finished, spans: &mut Vec<SpanData>) {
    let begin = UNIX_EPOCH + Duration::from_millis(facts.unix_millis);
    let trace = facts.span.trace;
    let parent = facts.span.parent.as_ref();
    let state = parent.and_then(|parent| parent.state.as_ref()?.to_str().ok());
    let state = state.and_then(|text| TraceState::from_str(text).ok());
    let state = state.unwrap_or_default();
    let name = |model: Option<&str>| match model {
        Some(model) => format!("{} {model}", facts.operation),
        None => facts.operation.to_owned(),
    };
    spans.push(SpanData {
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| number(parent.span)),
        parent_span_is_remote: parent.is_some(),
        status: status(facts.error),
        ..span(
            context(trace, facts.span.id, &state),
            SpanKind::Server,
            name(facts.asked.as_deref()),
            (begin, begin + facts.elapsed),
            server(facts),
        )
    });
    for (at, attempt) in facts.attempts.iter().enumerate() {
        let error = attempt.error.or_else(|| failed(attempt));
        spans.push(SpanData {
            parent_span_id: number(facts.span.id),
            status: status(error),
            ..span(
                context(trace, attempt.span, &state),
                SpanKind::Client,
                name(Some(&attempt.model)),
                (begin + attempt.from, begin + attempt.to.max(attempt.from)),
                client(facts, attempt, at, error),
            )
        });
    }
}

fn failed(attempt: &Attempt) -> Option<&'static str> {
    words::status(attempt.status?)
}

fn span(
    span_context: SpanContext,
    span_kind: SpanKind,
    name: String,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name: name.into(),
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope(),
    }
}

/// Who says so.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("weir")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

fn context(trace: Trace, span: Number, state: &TraceState) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.to_bytes()),
        number(span),
        TraceFlags::SAMPLED,
        false,
        state.clone(),
    )
}

fn number(span: Number) -> SpanId {
    SpanId::from_bytes(span.to_bytes())
}

fn status(error: Option<&'static str>) -> Status {
    error.map_or(Status::Unset, Status::error)
}

fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// What is said of the whole request.
fn server(facts: &Finished) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("gen_ai.operation.name", facts.operation),
        KeyValue::new("weir.request.id", facts.id.to_string()),
        KeyValue::new("weir.route", facts.route),
        KeyValue::new("http.request.method", "POST"),
    ];
    let mut say = |name: &'static str, value: Option<opentelemetry::Value>| {
        all.extend(value.map(|value| KeyValue::new(name, value)));
    };
    say("http.route", words::path(facts.route).map(Into::into));
    let seen = (facts.status != 0).then(|| i64::from(facts.status).into());
    say("http.response.status_code", seen);
    say("error.type", facts.error.map(Into::into));
    say("gen_ai.request.model", facts.asked.clone().map(Into::into));
    let agent = facts.agent.as_ref();
    say("weir.agent.id", agent.map(|agent| agent.to_string().into()));
    say("weir.tier", facts.tier.map(|tier| integer(tier).into()));
    say("weir.client.gone", facts.gone.then(|| true.into()));
    if let Some(answered) = &facts.answered {
        let provider = words::provider(answered.kind, &answered.provider);
        say("gen_ai.provider.name", Some(provider.to_owned().into()));
        say("weir.provider", Some(answered.provider.clone().into()));
        say("weir.attempts", Some(integer(facts.attempts.len()).into()));
    }
    let first = facts.first_token.map(|time| time.as_secs_f64().into());
    say("gen_ai.response.time_to_first_chunk", first);
    asked(facts, &mut all);
    answered(facts, &mut all);
    all
}

/// What is said of an attempt.
fn client(
    facts: &Finished,
    attempt: &Attempt,
    at: usize,
    error: Option<&'static str>,
) -> Vec<KeyValue> {
    let provider = words::provider(attempt.kind, &attempt.provider).to_owned();
    let mut all = vec![
        KeyValue::new("gen_ai.operation.name", facts.operation),
        KeyValue::new("gen_ai.provider.name", provider),
        KeyValue::new("gen_ai.request.model", attempt.model.clone()),
        KeyValue::new("server.address", attempt.host.clone()),
        KeyValue::new("server.port", i64::from(attempt.port)),
        KeyValue::new("weir.provider", attempt.provider.clone()),
        KeyValue::new("weir.request.id", facts.id.to_string()),
    ];
    if at > 0 {
        all.push(KeyValue::new("http.request.resend_count", integer(at)));
    }
    if let Some(status) = attempt.status {
        let status = i64::from(status);
        all.push(KeyValue::new("http.response.status_code", status));
    }
    all.extend(error.map(|error| KeyValue::new("error.type", error)));
    asked(facts, &mut all);
    // The answer is the last attempt's.
    if error.is_none() && at + 1 == facts.attempts.len() {
        answered(facts, &mut all);
    }
    all
}

fn asked(facts: &Finished, all: &mut Vec<KeyValue>) {
    if let Some(tokens) = facts.max_tokens {
        all.push(KeyValue::new("gen_ai.request.max_tokens", integer(tokens)));
    }
    let temperature = facts.temperature.as_deref();
    if let Some(number) = temperature.and_then(|text| text.parse::<f64>().ok()) {
        all.push(KeyValue::new("gen_ai.request.temperature", number));
    }
    if facts.stream {
        all.push(KeyValue::new("gen_ai.request.stream", true));
    }
}

fn answered(facts: &Finished, all: &mut Vec<KeyValue>) {
    let Some(answered) = &facts.answered else {
        return;
    };
    if let Some(id) = &answered.id {
        all.push(KeyValue::new("gen_ai.response.id", id.clone()));
    }
    let Some(bill) = &answered.bill else { return };
    all.push(KeyValue::new("gen_ai.response.model", bill.model.clone()));
    for (name, count) in [
        ("gen_ai.usage.input_tokens", bill.usage.input),
        ("gen_ai.usage.output_tokens", bill.usage.output),
        (
            "gen_ai.usage.cache_read.input_tokens",
            bill.usage.cache_read,
        ),
    ] {
        if count > 0 || !name.contains("cache") {
            all.push(KeyValue::new(name, integer(count)));
        }
    }
    all.push(KeyValue::new("weir.cost.nano_usd", bill.cost.0));
    all.push(KeyValue::new("weir.cost.source", bill.source.name()));
}
