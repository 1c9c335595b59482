//! What a request cost, at the end of an answer on `/proxy/*`, as the Model Gateway wrote it.
//!
//! Decides the form: a member `cost` of a JSON answer, or a last event `{"done":true,...}` of a
//! stream. Amounts are exact decimals.

use crate::budget::Balance;
use crate::money::{MAX_AMOUNT, Nanos};
use crate::stream::Place;
use crate::usage::Usage;
use std::fmt::Write as _;

/// The amounts of one answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    /// The part for input.
    pub input: Nanos,
    /// What is charged.
    pub total: Nanos,
    /// The daily account, or the one that comes nearest to it.
    pub daily: Balance,
}

/// What the last event of a stream says besides the amounts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closing<'a> {
    pub usage: Usage,
    pub latency_ms: u128,
    pub trace_id: &'a str,
}

/// The most bytes that the member takes, with its comma.
pub(crate) fn room() -> usize {
    let most = Costs {
        input: MAX_AMOUNT,
        total: MAX_AMOUNT,
        daily: Balance {
            limit: MAX_AMOUNT,
            posted: MAX_AMOUNT,
            ..Balance::default()
        },
    };
    // Every amount may be negative.
    1 + cost(&most).len() + 6
}

/// The text for `place`.
pub(crate) fn text(place: Place, costs: &Costs, closing: &Closing<'_>) -> Option<Vec<u8>> {
    match place {
        Place::Nowhere => None,
        Place::Member => Some(cost(costs).into_bytes()),
        Place::Event => Some(event(costs, closing).into_bytes()),
    }
}

fn cost(costs: &Costs) -> String {
    let daily = &costs.daily;
    format!(
        "\"cost\":{{\"input_cost\":{},\"output_cost\":{},\"total_cost\":{},\"daily_total\":{},\
         \"daily_limit\":{},\"budget_remaining\":{}}}",
        costs.input,
        costs.total - costs.input,
        costs.total,
        daily.posted,
        daily.limit,
        daily.limit - daily.posted,
    )
}

fn event(costs: &Costs, closing: &Closing<'_>) -> String {
    let usage = &closing.usage;
    let mut event = String::from("data: {\"done\":true,");
    // Writing to a string cannot fail; the trace id is of hexadecimal digits.
    let _ = write!(
        event,
        "\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{}}},{},\
         \"latency_ms\":{},\"trace_id\":\"{}\"}}\n\n",
        usage.input,
        usage.output,
        usage.total(),
        cost(costs),
        closing.latency_ms,
        closing.trace_id,
    );
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const COSTS: Costs = Costs {
        input: Nanos(1_500),
        total: Nanos(4_000),
        daily: Balance {
            limit: Nanos::usd(20),
            posted: Nanos(20_000_000_001),
            pending: Nanos::ZERO,
            period_start: 0,
            period_end: None,
            pushed: false,
        },
    };

    #[test]
    fn the_member_is_json_and_fits_its_room() {
        let member = text(Place::Member, &COSTS, &Closing::default()).unwrap();
        assert!(member.len() < room());
        let object = format!("{{{}}}", String::from_utf8(member).unwrap());
        let cost: Value = serde_json::from_str(&object).unwrap();
        assert_eq!(cost["cost"]["output_cost"], 0.000_002_5);
        assert_eq!(cost["cost"]["budget_remaining"], -0.000_000_001);
    }

    #[test]
    fn a_stream_ends_with_what_it_cost() {
        let closing = Closing {
            usage: Usage {
                input: 3,
                output: 4,
                ..Usage::default()
            },
            latency_ms: 12,
            trace_id: "req_1",
        };
        let event = String::from_utf8(text(Place::Event, &COSTS, &closing).unwrap()).unwrap();
        let data = event.strip_prefix("data: ").unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["done"], true);
        assert_eq!(value["usage"]["total_tokens"], 7);
        assert_eq!(value["trace_id"], "req_1");
        assert!(event.ends_with("\n\n"));
    }
}
