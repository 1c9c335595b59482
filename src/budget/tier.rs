//! Which tier a remaining budget affords.
//!
//! Thresholds are inclusive and tried in file order; the last tier is the fallback. Exactly as the
//! Execwall OR Gate decides, but in integers.

use crate::money::Nanos;

/// A share of the budget in billionths: 0.80 is 800,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(pub u32);

/// One, as a threshold.
pub const WHOLE: u32 = 1_000_000_000;

/// The number of the first tier whose threshold the remaining share reaches, else of the last one.
/// The share counts as zero when `total` or `remaining` is not above zero. Zero for no tiers.
pub fn select(thresholds: &[Threshold], remaining: Nanos, total: Nanos) -> usize {
    let reached = |threshold: &Threshold| {
        if total <= Nanos::ZERO || remaining <= Nanos::ZERO {
            return threshold.0 == 0;
        }
        i128::from(remaining.0) * i128::from(WHOLE) >= i128::from(threshold.0) * i128::from(total.0)
    };
    thresholds
        .iter()
        .position(reached)
        .unwrap_or_else(|| thresholds.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [Threshold; 3] = [Threshold(800_000_000), Threshold(300_000_000), Threshold(0)];

    #[test]
    fn thresholds_are_inclusive_and_in_file_order() {
        let at = |cents: i64| select(&SEED, Nanos(cents * 10_000_000), Nanos::usd(50));
        assert_eq!(at(5000), 0);
        assert_eq!(at(4000), 0, "exactly 80 % is premium");
        assert_eq!(at(3999), 1);
        assert_eq!(at(1500), 1);
        assert_eq!(at(1499), 2);
        assert_eq!(at(0), 2);
        assert_eq!(at(-10), 2);
    }

    #[test]
    fn the_last_tier_is_the_fallback() {
        let tiers = [Threshold(800_000_000), Threshold(300_000_000)];
        assert_eq!(select(&tiers, Nanos(1), Nanos::usd(1)), 1);
        assert_eq!(select(&[], Nanos(1), Nanos::usd(1)), 0);
        assert_eq!(select(&SEED, Nanos::usd(1), Nanos::ZERO), 2);
    }
}
