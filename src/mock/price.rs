//! What the mock charges.
//!
//! A small table of its own, so that a test can compare the bill of a gateway with prices that the
//! gateway's own catalogue had no part in. Cached and reasoning tokens cost what the others do.

use crate::money::{Nanos, PicosPerToken};

/// Model, dollars per million input tokens, dollars per million output tokens; both in
/// pico-dollars per token.
pub(super) const TABLE: &[(&str, u64, u64)] = &[
    ("anthropic/claude-3.5-sonnet", 3_000_000, 15_000_000),
    ("openai/gpt-4o", 2_500_000, 10_000_000),
    ("anthropic/claude-3-haiku", 250_000, 1_250_000),
    ("openai/gpt-4o-mini", 150_000, 600_000),
    ("mistralai/mistral-7b-instruct", 130_000, 130_000),
];

/// Any model not in [`TABLE`]: 1 and 2 dollars per million.
const OTHERS: (u64, u64) = (1_000_000, 2_000_000);

/// The cost of an answer, rounded up once to a nano-dollar.
pub(super) fn cost(model: &str, input: u64, output: u64) -> Nanos {
    let (input_price, output_price) = TABLE
        .iter()
        .find(|(name, ..)| *name == model)
        .map_or(OTHERS, |(_, input, output)| (*input, *output));
    (PicosPerToken(input_price).times(input) + PicosPerToken(output_price).times(output))
        .ceil_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_and_round_up() {
        assert_eq!(cost("anthropic/claude-3.5-sonnet", 2, 64), Nanos(966_000));
        assert_eq!(cost("mistralai/mistral-7b-instruct", 1, 0), Nanos(130));
        assert_eq!(cost("someone/else", 1, 1), Nanos(3_000));
        assert_eq!(cost("openai/gpt-4o-mini", 0, 0), Nanos::ZERO);
    }
}
