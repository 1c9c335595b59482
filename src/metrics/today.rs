//! What was settled today, model by model, as the Model Gateway reports it.
//!
//! Decides what a day is (UTC) and how many models are told apart. In memory only: it begins at zero
//! with the process, and every process counts its own. What is owed stands in the ledger.

use crate::money::Nanos;
use crate::usage::Bill;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Models told apart in a day: a provider may name any model as the one that answered.
const MODELS: usize = 512;

/// The name under which all others are counted.
const OTHERS: &str = "other";

/// The figures of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970-01-01, UTC.
    number: i64,
    /// The money settled, by model.
    pub models: BTreeMap<String, Nanos>,
    /// Input tokens settled.
    pub input: u64,
    /// Output tokens settled.
    pub output: u64,
}

/// The figures of the day that it is.
#[derive(Debug, Default)]
pub(super) struct Today(Mutex<Day>);

impl Today {
    /// Counts a settlement made on day `number`.
    pub(super) fn add(&self, number: i64, bill: &Bill) {
        self.with(number, |day| {
            let known = day.models.contains_key(&bill.model) || day.models.len() < MODELS;
            let name = if known { bill.model.as_str() } else { OTHERS };
            let cost = bill.cost.at_least_zero();
            match day.models.get_mut(name) {
                Some(sum) => *sum += cost,
                None => {
                    day.models.insert(name.to_owned(), cost);
                }
            }
            day.input = day.input.saturating_add(bill.usage.input);
            day.output = day.output.saturating_add(bill.usage.output);
        });
    }

    /// The figures of day `number`.
    pub(super) fn look(&self, number: i64) -> Day {
        self.with(number, |day| day.clone())
    }

    /// Begins day `number` again.
    pub(super) fn clear(&self, number: i64) {
        self.with(number, |day| {
            *day = Day {
                number,
                ..Day::default()
            }
        });
    }

    fn with<T>(&self, number: i64, act: impl FnOnce(&mut Day) -> T) -> T {
        let mut day = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not bring a day back.
        if number > day.number {
            *day = Day {
                number,
                ..Day::default()
            };
        }
        act(&mut day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{CostSource, Usage};

    fn bill(model: &str, nanos: i64) -> Bill {
        Bill {
            cost: Nanos(nanos),
            source: CostSource::Provider,
            usage: Usage {
                input: 3,
                output: 4,
                ..Usage::default()
            },
            model: model.into(),
            prices: "v".into(),
        }
    }

    #[test]
    fn a_day_sums_up_its_models_and_the_next_begins_at_zero() {
        let today = Today::default();
        for (model, nanos) in [("a", 5), ("b", 7), ("a", 1), ("a", -9)] {
            today.add(20_000, &bill(model, nanos));
        }
        let day = today.look(20_000);
        let models = [("a".to_owned(), Nanos(6)), ("b".to_owned(), Nanos(7))];
        assert_eq!(day.models, BTreeMap::from(models));
        assert_eq!((day.input, day.output), (12, 16));
        assert!(today.look(20_001).models.is_empty());
        today.add(20_001, &bill("a", 2));
        assert_eq!(
            today.look(20_000).models["a"],
            Nanos(2),
            "no day comes back"
        );
        today.clear(20_001);
        assert_eq!(
            (today.look(20_001).models.len(), today.look(20_001).input),
            (0, 0)
        );
    }

    #[test]
    fn invented_models_are_not_told_apart_without_end() {
        let today = Today::default();
        for number in 0..2 * MODELS {
            today.add(1, &bill(&format!("m{number}"), 1));
        }
        let day = today.look(1);
        assert_eq!(day.models.len(), MODELS + 1);
        assert_eq!(day.models.values().copied().sum::<Nanos>(), Nanos(1024));
    }
}
