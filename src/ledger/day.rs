//! What was settled today, model by model, as the Model Gateway reports it.
//!
//! Decides what a day is (UTC), that it begins anew with a reset of the gateway's account, and how many
//! models are told apart. It is a reading of the spend log: it outlives a restart, and processes that
//! write one log say the same. What is owed stands in the balances.

use super::log::LogError;
use super::log::tail::Tail;
use crate::identity::AccountId;
use crate::money::Nanos;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Models told apart in a day: a provider may name any model as the one that answered.
const MODELS: usize = 512;

/// The name under which all others are counted.
const OTHERS: &str = "other";

const SECONDS: i64 = 86_400;

/// How often reading begins anew because a reset was found. Each of them is a later one.
const AGAIN: usize = 8;

/// The figures of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// What is settled after this counts: UTC, as records have it.
    pub after: String,
    /// The money settled, by model.
    pub models: BTreeMap<String, Nanos>,
    /// Input tokens settled.
    pub input: u64,
    /// Output tokens settled.
    pub output: u64,
}

impl Day {
    /// Counts a settlement.
    fn add(&mut self, model: &str, cost: Nanos, usage: &Tokens) {
        self.spend(model, cost);
        self.input = self.input.saturating_add(usage.input);
        self.output = self.output.saturating_add(usage.output);
    }

    fn spend(&mut self, model: &str, cost: Nanos) {
        let known = self.models.contains_key(model) || self.models.len() < MODELS;
        let name = if known { model } else { OTHERS };
        match self.models.get_mut(name) {
            Some(sum) => *sum += cost.at_least_zero(),
            None => {
                self.models.insert(name.to_owned(), cost.at_least_zero());
            }
        }
    }

    /// Counts the figures of another gateway.
    pub fn join(&mut self, other: &Self) {
        for (model, cost) in &other.models {
            self.spend(model, *cost);
        }
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
    }

    /// All of it.
    pub fn total(&self) -> Nanos {
        self.models.values().copied().sum()
    }
}

/// The figures of the day that it is, read from a log.
#[derive(Debug)]
pub struct Today {
    log: PathBuf,
    /// Days since 1970-01-01.
    number: i64,
    tail: Tail,
    day: Day,
}

/// A settlement or a reset, as far as it counts here.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(default)]
    nano_usd: i64,
    #[serde(default)]
    usage: Tokens,
}

#[derive(Default, Deserialize)]
struct Tokens {
    #[serde(default)]
    input: u64,
    #[serde(default)]
    output: u64,
}

impl Today {
    /// Reads the log at `log`, once it is asked.
    pub fn of(log: &Path) -> Self {
        Self {
            tail: Tail::since(log, UNIX_EPOCH),
            log: log.to_owned(),
            number: i64::MIN,
            day: Day::default(),
        }
    }

    /// The figures up to now, which is in Unix seconds.
    ///
    /// # Errors
    /// [`LogError`] when a file cannot be read.
    pub fn look(&mut self, now: i64) -> Result<&Day, LogError> {
        let number = now.div_euclid(SECONDS);
        // A clock that was set back does not bring a day back.
        if number > self.number {
            self.number = number;
            self.begin(before(number * SECONDS));
        }
        for _ in 0..AGAIN {
            match self.read()? {
                Some(reset) => self.begin(reset),
                None => break,
            }
        }
        Ok(&self.day)
    }

    /// Counts only what is settled after `instant`, written as in records.
    pub fn clear(&mut self, instant: String) {
        if instant > self.day.after {
            self.begin(instant);
        }
    }

    /// Now, as records have it.
    pub fn instant(now: i64) -> String {
        before(now.saturating_add(1))
    }

    fn begin(&mut self, after: String) {
        let midnight = u64::try_from(self.number.saturating_mul(SECONDS)).unwrap_or(0);
        self.tail = Tail::since(&self.log, UNIX_EPOCH + Duration::from_secs(midnight));
        self.day = Day {
            after,
            ..Day::default()
        };
    }

    /// Reads on, and says of a reset that was not known.
    fn read(&mut self) -> Result<Option<String>, LogError> {
        let gateway = AccountId::gateway();
        let (day, mut reset) = (&mut self.day, None::<String>);
        self.tail.each(&mut |line| {
            let Ok(row) = serde_json::from_slice::<Row<'_>>(line) else {
                return;
            };
            if *row.timestamp <= *day.after {
                return;
            }
            if row.event.is_none() {
                day.add(&row.model, Nanos(row.nano_usd), &row.usage);
            } else if row.account.as_deref() == Some(gateway.as_str()) {
                let latest = reset.take().unwrap_or_default();
                reset = Some(latest.max(row.timestamp.into_owned()));
            }
        })?;
        Ok(reset)
    }
}

/// The last microsecond before a second, as records have it.
fn before(second: i64) -> String {
    let whole = jiff::Timestamp::from_second(second.saturating_sub(1)).unwrap_or_default();
    let text = whole.to_string();
    format!("{}.999999", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::contract::account;
    use crate::ledger::scratch::{Scratch, bill, noon};
    use crate::ledger::tests::reserve;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn figures(today: &mut Today, millis: u64) -> (i64, u64, u64) {
        let day = today.look(i64::try_from(millis / 1000).unwrap()).unwrap();
        (day.total().0, day.input, day.output)
    }

    #[tokio::test]
    async fn a_day_is_read_from_the_log_and_begins_anew_at_midnight_and_with_a_reset() {
        let (scratch, at) = (Scratch::new(), noon());
        let spec = Arc::new(account("gateway", 1000));
        let (book, _) = scratch.open(&at, &[&spec]);
        let mut bill_of = bill(7);
        (bill_of.model, bill_of.usage.input, bill_of.usage.output) = ("m".into(), 3, 4);
        let mut today = Today::of(&scratch.log());
        let now = || at.load(Ordering::Relaxed);
        assert_eq!(figures(&mut today, now()), (0, 0, 0));
        for _ in 0..2 {
            let held = reserve(&book, &spec, 10).await.unwrap();
            let _ = held.settle(bill_of.clone());
        }
        assert_eq!(figures(&mut today, now()), (14, 6, 8));
        at.fetch_add(5, Ordering::Relaxed);
        book.reset(&spec, "test").await.unwrap();
        assert_eq!(figures(&mut today, now()), (0, 0, 0));
        at.fetch_add(5, Ordering::Relaxed);
        let held = reserve(&book, &spec, 10).await.unwrap();
        let _ = held.settle(bill_of.clone());
        assert_eq!(figures(&mut today, now()), (7, 3, 4));
        let mut again = Today::of(&scratch.log());
        assert_eq!(figures(&mut again, now()), (7, 3, 4), "read anew");
        assert_eq!(again.look(0).unwrap().models["m"], Nanos(7));
        again.clear(Today::instant(i64::try_from(now() / 1000).unwrap() + 1));
        assert_eq!(figures(&mut again, now()).0, 0, "cleared");
        at.fetch_add(86_400_000, Ordering::Relaxed);
        assert_eq!(figures(&mut today, now()), (0, 0, 0), "the next day");
    }

    #[test]
    fn a_midnight_is_written_as_records_are() {
        assert_eq!(before(86_400 * 20_000), "2024-10-03T23:59:59.999999");
        assert!(*"2024-10-04T00:00:00.000000" > *before(86_400 * 20_000));
    }

    #[test]
    fn invented_models_are_not_told_apart_without_end() {
        let mut day = Day::default();
        for number in 0..2 * MODELS {
            day.add(&format!("m{number}"), Nanos(1), &Tokens::default());
        }
        assert_eq!(day.models.len(), MODELS + 1);
        assert_eq!(day.total(), Nanos(1024));
        let mut all = day.clone();
        all.join(&day);
        assert_eq!((all.models.len(), all.total()), (MODELS + 1, Nanos(2048)));
    }
}
