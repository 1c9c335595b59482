//! Points for what was found, added up and explained.
//!
//! Decides how findings add up: each rule counts once, and only findings that stand near each other count
//! together, so that a long harmless text does not become suspicious by its length.

use std::sync::Arc;

/// The most points.
pub const MOST: u16 = 100;

/// How far apart findings may stand that count together, in bytes.
const REACH: usize = 6_000;

/// How much a text looks like an attack, in hundredths, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// The sum, [`MOST`] at most.
    pub total: u16,
    /// The rules that were met with their points, the heaviest first.
    pub reasons: Vec<Reason>,
}

/// A rule that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule, by its name in the files.
    pub rule: Arc<str>,
    /// What it adds; negative when it speaks for the text.
    pub points: i16,
}

/// A rule that was met at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fired {
    pub(super) at: usize,
    pub(super) rule: u16,
}

/// The heaviest stretch of a text. `points` says what a rule adds.
pub(super) fn heaviest(fired: &mut [Fired], points: impl Fn(u16) -> i16) -> Vec<u16> {
    fired.sort_unstable();
    let mut counts: Vec<(u16, u32)> = Vec::new();
    let mut first = 0;
    let mut sum = 0_i32;
    let mut best = (0_i32, 0..0);
    for (last, one) in fired.iter().enumerate() {
        while one.at - fired[first].at > REACH {
            let gone = fired[first].rule;
            first += 1;
            if let Some(count) = counts.iter_mut().find(|count| count.0 == gone) {
                count.1 -= 1;
                if count.1 == 0 {
                    sum -= i32::from(points(gone));
                }
            }
        }
        match counts.iter_mut().find(|count| count.0 == one.rule) {
            Some(count) if count.1 > 0 => count.1 += 1,
            Some(count) => {
                count.1 = 1;
                sum += i32::from(points(one.rule));
            }
            None => {
                counts.push((one.rule, 1));
                sum += i32::from(points(one.rule));
            }
        }
        if sum > best.0 {
            best = (sum, first..last + 1);
        }
    }
    let mut rules: Vec<u16> = fired[best.1].iter().map(|one| one.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

impl Score {
    /// The higher of two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.total > self.total {
            other
        } else {
            self
        }
    }

    /// The sum of reasons; those of no points are left out.
    pub(super) fn of(mut reasons: Vec<Reason>) -> Self {
        reasons.retain(|reason| reason.points != 0);
        reasons.sort_by(|one, other| (other.points, &one.rule).cmp(&(one.points, &other.rule)));
        let sum: i32 = reasons.iter().map(|reason| i32::from(reason.points)).sum();
        let total = u16::try_from(sum.max(0)).unwrap_or(MOST).min(MOST);
        Self { total, reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: usize, rule: u16) -> Fired {
        Fired { at: place, rule }
    }

    #[test]
    fn each_rule_counts_once_and_only_near_others() {
        let points = |rule: u16| [30, 20, 40][usize::from(rule)];
        let mut fired = [at(0, 0), at(10, 0), at(20, 1), at(20_000, 2), at(20_500, 1)];
        assert_eq!(heaviest(&mut fired, points), [1, 2]);
        let mut fired = [at(0, 0), at(10, 1)];
        assert_eq!(heaviest(&mut fired, points), [0, 1]);
        assert_eq!(heaviest(&mut [], points), [0_u16; 0]);
    }

    #[test]
    fn a_score_is_the_sum_of_its_reasons_within_bounds() {
        let reason = |rule: &str, points| Reason {
            rule: rule.into(),
            points,
        };
        let score = Score::of(vec![reason("a", 10), reason("b", 95), reason("c", 0)]);
        assert_eq!(score.total, 100);
        assert_eq!(score.reasons, [reason("b", 95), reason("a", 10)]);
        assert_eq!(Score::of(vec![reason("a", -10)]).total, 0);
        assert_eq!(Score::of(vec![reason("a", -10), reason("b", 30)]).total, 20);
    }
}
