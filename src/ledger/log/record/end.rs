//! The two ends of an attempt: SETTLE and VOID.

use super::{
    Party, caller, count_field, dollars, event, id_field, natural, number_field, put, string,
    text_field, timestamp,
};
use crate::usage::{Bill, CostSource, Course, Usage};

/// SETTLE: what it cost. No `event`, so that it reads as a row of spend.
pub(in crate::ledger) fn settle(
    out: &mut Vec<u8>,
    now: u64,
    party: &Party,
    bill: &Bill,
    course: Option<&Course>,
) {
    timestamp(out, now);
    text_field(out, "agent_id", party.agent.as_str());
    out.extend_from_slice(b",\"cost\":");
    dollars(out, bill.cost);
    text_field(out, "model", &bill.model);
    count_field(out, "tokens", bill.usage.total());
    put(
        out,
        format_args!(",\"request_id\":\"{}\"", party.id.request),
    );
    id_field(out, party.id);
    number_field(out, "nano_usd", bill.cost.0);
    let status = match bill.source {
        CostSource::Provider | CostSource::Usage => "settled",
        CostSource::Estimated => "estimated",
        CostSource::Unresolved => "unresolved",
    };
    text_field(out, "status", status);
    text_field(out, "source", bill.source.name());
    usage(out, &bill.usage);
    text_field(out, "prices", &bill.prices);
    number_field(
        out,
        "period",
        party.accounts.first().map_or(0, |(_, window)| *window),
    );
    count_field(out, "tier", u64::try_from(party.tier).unwrap_or(u64::MAX));
    caller(out, party.key.as_ref(), party.user.as_ref());
    if let Some(course) = course {
        number_field(out, "input_nano_usd", course.input.0);
        went(out, course);
    }
}

/// How it went. A record without `provider` tells nothing about that.
fn went(out: &mut Vec<u8>, course: &Course) {
    text_field(out, "provider", &course.provider);
    count_field(out, "latency_ms", course.latency_ms);
    if let Some(millis) = course.first_byte_ms {
        count_field(out, "first_byte_ms", millis);
    }
    if course.http > 0 {
        count_field(out, "http", u64::from(course.http));
    }
    if let Some(error) = course.error {
        text_field(out, "error", error);
    }
}

/// The token counts that are not zero.
fn usage(out: &mut Vec<u8>, usage: &Usage) {
    out.extend_from_slice(b",\"usage\":{");
    let parts = [
        ("input", usage.input),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("cache_write_1h", usage.cache_write_1h),
        ("audio_input", usage.audio_input),
        ("output", usage.output),
        ("reasoning", usage.reasoning),
        ("audio_output", usage.audio_output),
        ("searches", usage.searches),
    ];
    let mut first = true;
    for (name, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        natural(out, count);
    }
    out.push(b'}');
}

/// VOID: nothing was billed, the hold is given back. With `course`, something was sent all the same.
pub(in crate::ledger) fn void(
    out: &mut Vec<u8>,
    now: u64,
    party: &Party,
    why: &str,
    course: Option<&Course>,
) {
    event(out, now, "void");
    id_field(out, party.id);
    text_field(out, "agent_id", party.agent.as_str());
    text_field(out, "why", why);
    if let Some(course) = course {
        text_field(out, "model", &party.model);
        caller(out, party.key.as_ref(), party.user.as_ref());
        went(out, course);
    }
}
