//! What gateways spend in the window of the cost breaker, and the level they are at.
//!
//! Decides how that is kept: for every slot of the window a hash with a field for each gateway, beside it the last
//! level that was told and what was changed by hand. All of it is gone a while after it is of no more use. Nothing
//! is decided about money here.

use super::ledger::Fleet;
use crate::ledger::shared::Away;
use crate::money::Nanos;
use std::collections::BTreeMap;

/// How long changes made by hand are kept, in seconds.
const KEPT: i64 = 400 * 86_400;

/// A gateway, what it has spent in a slot, and since when that counts.
type Share = (String, Nanos, i64);

/// Makes sense of a field: what was spent, and since when that counts.
fn share(who: String, text: &str) -> Option<Share> {
    let (cost, after) = text.split_once('@')?;
    Some((who, Nanos(cost.parse().ok()?), after.parse().ok()?))
}

impl Fleet {
    fn breaker_key(&self, name: &str) -> String {
        let state = &self.link.state_key;
        let prefix = state.strip_suffix("state").unwrap_or(state);
        format!("{prefix}breaker:{name}")
    }

    /// Says what this gateway has spent in a slot of the window `tag`, and since when that counts.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_tell(
        &self,
        tag: &str,
        slot: i64,
        (cost, after): (i64, i64),
        kept: i64,
    ) -> Result<(), Away> {
        let key = self.breaker_key(&format!("{tag}:{slot}"));
        let mut command = redis::cmd("HSET");
        command.arg(&key).arg(self.link.log_id());
        let _: i64 = self.word(command.arg(format!("{cost}@{after}"))).await?;
        let mut command = redis::cmd("EXPIRE");
        let _: i64 = self.word(command.arg(&key).arg(kept)).await?;
        Ok(())
    }

    /// What others have spent in a slot.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_others(&self, tag: &str, slot: i64) -> Result<Vec<Share>, Away> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.breaker_key(&format!("{tag}:{slot}")));
        let fields: BTreeMap<String, String> = self.word(&command).await?;
        let own = self.link.log_id();
        let others = fields.into_iter().filter(|(who, _)| who != own);
        Ok(others.filter_map(|(who, text)| share(who, &text)).collect())
    }

    /// Puts the level there, and gives the one that was.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_level(
        &self,
        tag: &str,
        level: &str,
        kept: i64,
    ) -> Result<Option<String>, Away> {
        self.set_level(tag, level, kept, &["GET"]).await
    }

    /// Puts the level there if there is none, else gives the one that is there.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_begin(
        &self,
        tag: &str,
        level: &str,
        kept: i64,
    ) -> Result<Option<String>, Away> {
        self.set_level(tag, level, kept, &["NX", "GET"]).await
    }

    async fn set_level(
        &self,
        tag: &str,
        level: &str,
        kept: i64,
        how: &[&str],
    ) -> Result<Option<String>, Away> {
        let mut command = redis::cmd("SET");
        command.arg(self.breaker_key(&format!("{tag}:level")));
        command.arg(level).arg("EX").arg(kept).arg(how);
        self.word(&command).await
    }

    /// Says what was changed by hand.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_say(&self, what: &str, text: &str) -> Result<(), Away> {
        let key = self.breaker_key("said");
        let mut command = redis::cmd("HSET");
        let _: i64 = self.word(command.arg(&key).arg(what).arg(text)).await?;
        let mut command = redis::cmd("EXPIRE");
        let _: i64 = self.word(command.arg(&key).arg(KEPT)).await?;
        Ok(())
    }

    /// What was changed by hand.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn breaker_said(&self) -> Result<BTreeMap<String, String>, Away> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.breaker_key("said"));
        self.word(&command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_nobodys_share() {
        let of = |text| share("a".into(), text);
        assert_eq!(of("12@5"), Some(("a".into(), Nanos(12), 5)));
        for text in ["", "12", "@", "x@5", "12@", "1.5@5"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
