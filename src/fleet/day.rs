//! What each gateway has settled today, so that all of them together can be shown.
//!
//! Decides that everybody writes its own figures only, always whole, so that writing them again changes
//! nothing; and that figures from before the last reset do not count. Nothing is decided about money
//! here. Beside them stands the Model Gateway's own key, `titan:cost:YYYYMMDD`: dollars by model.

use super::ledger::Fleet;
use crate::ledger::day::Day;
use crate::ledger::shared::Away;
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long figures are kept, in seconds.
const KEPT: i64 = 3 * 86_400;

/// The field that says when the last reset was; the others are ids of logs.
const RESET: &str = "reset";

/// The figures of one gateway.
#[derive(Serialize, Deserialize)]
struct Figures {
    after: String,
    models: BTreeMap<String, i64>,
    input: u64,
    output: u64,
}

impl Figures {
    fn of(day: &Day) -> Self {
        let models = day.models.iter();
        Self {
            after: day.after.clone(),
            models: models.map(|(name, cost)| (name.clone(), cost.0)).collect(),
            input: day.input,
            output: day.output,
        }
    }

    fn day(self) -> Day {
        let models = self.models.into_iter();
        Day {
            after: self.after,
            models: models.map(|(name, nanos)| (name, Nanos(nanos))).collect(),
            input: self.input,
            output: self.output,
        }
    }
}

/// What others have said of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// When the day was last begun anew, as records have it.
    pub reset: Option<String>,
    /// Their figures.
    pub days: Vec<Day>,
}

/// Makes sense of the fields of a day. Figures that count from before the last reset are old.
fn others(fields: BTreeMap<String, String>, own: &str) -> Others {
    let reset = fields.get(RESET).cloned();
    let of = |(name, text): (String, String)| {
        let figures: Figures = (name != own && name != RESET)
            .then(|| serde_json::from_str(&text).ok())
            .flatten()?;
        let old = reset.as_ref().is_some_and(|reset| figures.after < *reset);
        (!old).then(|| figures.day())
    };
    let days = fields.into_iter().filter_map(of).collect();
    Others { reset, days }
}

impl Fleet {
    fn day_key(&self, date: &str) -> String {
        let state = &self.link.state_key;
        let prefix = state.strip_suffix("state").unwrap_or(state);
        format!("{prefix}day:{date}")
    }

    /// What others have settled on the day `date`, such as `2025-01-31`.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn others(&self, date: &str) -> Result<Others, Away> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.day_key(date));
        let fields = self.word(&command).await?;
        Ok(others(fields, self.link.log_id()))
    }

    /// Says what this gateway has settled.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn tell_day(&self, date: &str, own: &Day) -> Result<(), Away> {
        let Ok(text) = serde_json::to_string(&Figures::of(own)) else {
            return Ok(());
        };
        self.put(&self.day_key(date), &[(self.link.log_id(), &text)])
            .await
    }

    /// Says that the day begins anew after `instant`.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn reset_day(&self, date: &str, instant: &str) -> Result<(), Away> {
        self.put(&self.day_key(date), &[(RESET, instant)]).await
    }

    /// Writes what all have settled under the Model Gateway's own key.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked, or may not be told.
    pub async fn tell_titan(&self, date: &str, all: &Day) -> Result<(), Away> {
        let key = format!("titan:cost:{}", date.replace('-', ""));
        let mut command = redis::cmd("HGETALL");
        command.arg(&key);
        let there: BTreeMap<String, String> = self.word(&command).await?;
        let costs = all.models.iter();
        let costs: BTreeMap<&str, String> = costs
            .map(|(name, cost)| (name.as_str(), cost.to_string()))
            .collect();
        let names = |name: &&String| !costs.contains_key(name.as_str());
        let gone: BTreeSet<&String> = there.keys().filter(names).collect();
        if !gone.is_empty() {
            let mut command = redis::cmd("HDEL");
            command.arg(&key).arg(gone);
            let _: i64 = self.word(&command).await?;
        }
        let news = costs
            .iter()
            .filter(|(name, cost)| there.get(**name) != Some(cost));
        let news: Vec<(&str, &str)> = news.map(|(name, cost)| (*name, cost.as_str())).collect();
        if news.is_empty() {
            return Ok(());
        }
        self.put(&key, &news).await
    }

    async fn put(&self, key: &str, fields: &[(&str, &str)]) -> Result<(), Away> {
        let mut command = redis::cmd("HSET");
        command.arg(key);
        for (name, value) in fields {
            command.arg(*name).arg(*value);
        }
        let _: i64 = self.word(&command).await?;
        let mut command = redis::cmd("EXPIRE");
        let _: i64 = self.word(command.arg(key).arg(KEPT)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(after: &str, nanos: i64) -> String {
        let day = Day {
            after: after.into(),
            models: BTreeMap::from([("m".to_owned(), Nanos(nanos))]),
            input: 1,
            output: 2,
        };
        serde_json::to_string(&Figures::of(&day)).unwrap()
    }

    #[test]
    fn own_figures_old_ones_and_nonsense_do_not_count() {
        let fields = [
            ("own".to_owned(), text("2025-01-31T10", 1)),
            ("old".to_owned(), text("2025-01-31T08", 2)),
            ("new".to_owned(), text("2025-01-31T09", 4)),
            ("odd".to_owned(), "{".to_owned()),
            (RESET.to_owned(), "2025-01-31T09".to_owned()),
        ];
        let found = others(BTreeMap::from(fields), "own");
        assert_eq!(found.reset.as_deref(), Some("2025-01-31T09"));
        let [day] = found.days.as_slice() else {
            panic!("one of them counts");
        };
        assert_eq!((day.total(), day.input, day.output), (Nanos(4), 1, 2));
    }
}
