//! Warning levels, told once by all gateways together.
//!
//! Decides who tells: whoever sets the key of a level first. The key lives as long as its window, and
//! goes when a reset, a push or a higher limit arms the level again. Which level is passed is decided by
//! whoever asks.

use super::ledger::Fleet;
use super::link::Link;
use crate::budget::tier::Threshold;
use crate::budget::{AccountSpec, Balance};
use crate::identity::AccountId;
use crate::ledger::shared::Away;
use std::sync::PoisonError;

/// How long a key is kept after the end of its window, in seconds: a gateway may look late.
const LATE: i64 = 3600;

/// A window of an account, in which every level is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The account.
    pub account: AccountId,
    /// Tag of its period, and the start of the window in Unix seconds.
    pub window: (String, i64),
    /// Seconds until the window ends; `None` without periods.
    pub left: Option<i64>,
}

impl Once {
    /// The window of an account that `balance` is about.
    pub fn new(spec: &AccountSpec, balance: &Balance, now: i64) -> Self {
        Self {
            account: spec.id.clone(),
            window: (spec.period.tag(), balance.period_start),
            left: balance.period_end.map(|end| end - now),
        }
    }

    fn key(&self, link: &Link, level: Threshold) -> String {
        let state = &link.state_key;
        let prefix = state.strip_suffix("state").unwrap_or(state);
        let (tag, start) = &self.window;
        format!("{prefix}warned:{}:{tag}:{start}:{}", self.account, level.0)
    }
}

impl Fleet {
    /// Takes it on this gateway to tell of the last of `levels`, which are all that are passed. `false`
    /// when another one has told it already.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn claim(&self, once: &Once, levels: &[Threshold]) -> Result<bool, Away> {
        let mut news = false;
        for level in levels {
            let mut command = redis::cmd("SET");
            command.arg(once.key(&self.link, *level)).arg(1).arg("NX");
            if let Some(left) = once.left {
                command.arg("EX").arg(left.max(0) + LATE);
            }
            let set: Option<String> = self.word(&command).await?;
            news = set.is_some();
        }
        Ok(news)
    }

    /// Arms levels again: they are told when they are passed the next time.
    ///
    /// # Errors
    /// [`Away`] when Redis cannot be asked.
    pub async fn arm(&self, once: &Once, levels: &[Threshold]) -> Result<(), Away> {
        for level in levels {
            let mut command = redis::cmd("DEL");
            command.arg(once.key(&self.link, *level));
            let _: i64 = self.word(&command).await?;
        }
        Ok(())
    }

    /// Changes with every push and reset of an account, as far as that was heard.
    pub fn version(&self, spec: &AccountSpec) -> String {
        let mirror = self.link.mirror.lock();
        let mirror = mirror.unwrap_or_else(PoisonError::into_inner);
        mirror.version(spec).unwrap_or_default()
    }

    /// Sends one command. That nobody answers is noticed by whoever asks for money.
    pub(super) async fn word<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, Away> {
        let up = self.link.up().ok_or(Away)?;
        let mut connection = up.connection.clone();
        let said = command.query_async(&mut connection).await;
        said.map_err(|error| {
            tracing::debug!(%error, "Redis was not asked about a budget's warnings");
            Away
        })
    }
}
