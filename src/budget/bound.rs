//! The most a request can cost on one tier.
//!
//! Input tokens at the dearest candidate's rate, plus output tokens times choices at the dearest
//! output rate, plus fees per call. Decides the arithmetic only; which rates a model can meet is
//! the catalogue's to say.

use super::Offer;
use crate::money::{Nanos, Picos, PicosPerToken};

/// The dearest rates that one candidate could bill this request at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worst {
    /// Per input token.
    pub input: PicosPerToken,
    /// Per output token.
    pub output: PicosPerToken,
    /// Per call, whatever its size.
    pub fees: Nanos,
    /// The most output tokens the model ever gives per choice.
    pub max_output: u64,
}

/// The size of a request, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Upper bound of input tokens.
    pub input: u64,
    /// The client's own `max_tokens`, per choice.
    pub max_tokens: Option<u64>,
    /// Choices asked for (`n`), at least 1.
    pub choices: u64,
    /// Output tokens that come on top of `max_tokens`, such as rejected predictions.
    pub extra_output: u64,
    /// Fewest output tokens worth dispatching for, when the number may be fitted; `None` when it
    /// must stay as it is.
    pub fit_down_to: Option<u64>,
}

/// The offer of a tier whose candidates are `candidates`; the dearest input and the dearest output
/// rate need not be the same model's.
pub fn offer(size: Size, candidates: &[Worst], unpriced: Option<String>) -> Offer {
    let dearest = |rate: fn(&Worst) -> PicosPerToken| candidates.iter().map(rate).max();
    let input = dearest(|c| c.input).unwrap_or_default();
    let output = dearest(|c| c.output).unwrap_or_default();
    let fees = candidates.iter().map(|c| c.fees).max().unwrap_or_default();
    let model_limit = candidates.iter().map(|c| c.max_output).max().unwrap_or(0);
    let wanted = size.max_tokens.unwrap_or(model_limit);
    Offer {
        fixed: (input.times(size.input) + output.times(size.extra_output)).ceil_nanos() + fees,
        per_token: Picos(u128::from(output.0).saturating_mul(u128::from(size.choices))),
        wanted,
        minimum: size.fit_down_to.map_or(wanted, |least| least.min(wanted)),
        unpriced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SONNET: Worst = Worst {
        input: PicosPerToken(3_000_000),
        output: PicosPerToken(15_000_000),
        fees: Nanos::ZERO,
        max_output: 8192,
    };
    const SIZE: Size = Size {
        input: 1000,
        max_tokens: Some(100),
        choices: 1,
        extra_output: 0,
        fit_down_to: Some(16),
    };

    #[test]
    fn input_and_output_are_held_at_the_dearest_rates() {
        let dear_input = Worst {
            input: PicosPerToken(9_000_000),
            output: PicosPerToken(1),
            ..SONNET
        };
        let offer = offer(SIZE, &[SONNET, dear_input], None);
        assert_eq!(offer.fixed, Nanos(9_000_000));
        assert_eq!(offer.hold(100), Nanos(9_000_000 + 1_500_000));
        assert_eq!((offer.wanted, offer.minimum), (100, 16));
    }

    #[test]
    fn every_choice_is_held_for() {
        let one = offer(SIZE, &[SONNET], None);
        let four = offer(Size { choices: 4, ..SIZE }, &[SONNET], None);
        assert_eq!(
            four.hold(100) - four.fixed,
            Nanos(4 * (one.hold(100) - one.fixed).0)
        );
    }

    #[test]
    fn without_max_tokens_the_models_limit_is_held() {
        let offer = offer(
            Size {
                max_tokens: None,
                ..SIZE
            },
            &[SONNET],
            None,
        );
        assert_eq!(offer.wanted, 8192);
    }

    #[test]
    fn an_overflowing_request_saturates_and_never_wraps_to_a_credit() {
        let size = Size {
            input: u64::MAX,
            max_tokens: Some(u64::MAX),
            choices: 128,
            ..SIZE
        };
        let offer = offer(size, &[SONNET], None);
        assert!(offer.hold(u64::MAX) >= crate::money::MAX_AMOUNT);
    }
}
