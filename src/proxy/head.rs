//! The header of an answer on its way to the client: what is left out of it, and what is known by then.

use super::context::Admission;
use super::sign::SIGNATURE;
use super::upstream;
use crate::limit::Standing;
use http::{HeaderName, HeaderValue, header};
use pingora::http::ResponseHeader;
use pingora_core::Result;

/// Headers of an upstream's answer that say nothing to Weir's client.
const DROPPED: [HeaderName; 6] = [
    header::CONNECTION,
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("keep-alive"),
    // Another gateway's, about other bytes.
    SIGNATURE,
];

const AGENT: HeaderName = HeaderName::from_static("x-weir-agent");
const TIER: HeaderName = HeaderName::from_static("x-weir-tier");
const MODELS: HeaderName = HeaderName::from_static("x-weir-models");
const MODEL: HeaderName = HeaderName::from_static("x-weir-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-weir-provider");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-weir-attempts");
const REMAINING: HeaderName = HeaderName::from_static("x-weir-budget-remaining");
const BREAKER: HeaderName = HeaderName::from_static("x-weir-breaker");
const DOWNGRADED: HeaderName = HeaderName::from_static("x-weir-downgraded-from");
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-weir-max-tokens");

/// The upstream's header without what is not for the client. It is a new one: one that was read from
/// a connection remembers how every name was spelt, and has to do so for all that are added.
pub(super) fn fresh(response: &ResponseHeader) -> Result<ResponseHeader> {
    let size = response.headers.len() + 14;
    // No reason phrase: the provider's own words could hold anything, our key included.
    let mut fresh = ResponseHeader::build_no_case(response.status, Some(size))?;
    fresh.set_version(response.version);
    for (name, value) in &response.headers {
        if !DROPPED.contains(name) {
            fresh.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(fresh)
}

/// What is known by now about the request, as headers.
pub(super) fn describe(response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
    let journey = &admission.journey;
    response.insert_header(AGENT, journey.identity.agent.id.as_str())?;
    response.insert_header(TIER, HeaderValue::from(journey.tier))?;
    let tier = journey.route.tiers.get(journey.tier);
    let models = tier.and_then(|tier| tier.header.clone());
    let [model, provider] = admission.candidate.headers.clone();
    for (name, value) in [(MODELS, models), (MODEL, model), (PROVIDER, provider)] {
        if let Some(value) = value {
            response.insert_header(name, value)?;
        }
    }
    response.insert_header(ATTEMPTS, HeaderValue::from(admission.attempts))?;
    response.insert_header(REMAINING, admission.remaining.to_string())?;
    if let Some(from) = &journey.judged.from {
        response.insert_header(BREAKER, journey.judged.level.name())?;
        response.insert_header(DOWNGRADED, from.clone())?;
    }
    if let Some(permit) = &journey.permit {
        rate_limits(response, &permit.standing(upstream::now_millis() / 1000))?;
    }
    if let Some(tokens) = admission.fitted {
        response.insert_header(MAX_TOKENS, HeaderValue::from(tokens))?;
    }
    Ok(())
}

/// What is left of our own limits, in OpenAI's words. It replaces what the provider said: its limits
/// are shared by all clients.
fn rate_limits(response: &mut ResponseHeader, standing: &Standing) -> Result<()> {
    let all = [("requests", standing.requests), ("tokens", standing.tokens)];
    for (what, left) in all {
        let Some(left) = left else { continue };
        let mut set = |kind: &str, value: HeaderValue| {
            response.insert_header(format!("x-ratelimit-{kind}-{what}"), value)
        };
        set("limit", HeaderValue::from(left.limit))?;
        set("remaining", HeaderValue::from(left.remaining))?;
        let reset = HeaderValue::try_from(format!("{}s", left.reset));
        set("reset", reset.unwrap_or(HeaderValue::from_static("60s")))?;
    }
    Ok(())
}

/// The body will be of another length than the provider's.
pub(super) fn unknown_length(response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
    response.remove_header(&header::CONTENT_LENGTH);
    if admission.http1 {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

pub(super) fn announced_length(response: &ResponseHeader) -> Option<usize> {
    let length = response.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Whether what follows is a stream of events.
pub(super) fn is_stream(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
