//! The cost circuit breaker: how much has been spent in a window, and what still runs at that level.
//!
//! Pure: it is told what was spent and when, and says the level. Who asks it and what is refused then is the
//! business of the phases. Beside the levels it watches two things that cost money before a level is reached: an
//! agent that suddenly spends far more than it ever did ([`spike`]), and one that says the same over and over
//! ([`repeat`]).

pub mod repeat;
pub mod rules;
pub mod spike;
pub mod tracker;
pub mod window;

#[cfg(test)]
mod tests;

pub use rules::{Action, Place, Rules};
pub use tracker::Tracker;
pub use window::{Span, Spent};

use crate::money::Nanos;
use serde::{Deserialize, Serialize};

/// How far spending has come.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Below every threshold.
    #[default]
    Ok,
    /// Somebody should know.
    Warning,
    /// Dear models are replaced by a cheaper one.
    Soft,
    /// Only the economy model runs.
    Hard,
    /// Nothing runs.
    Emergency,
}

impl Level {
    /// Every level, from the lowest.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Warning,
        Self::Soft,
        Self::Hard,
        Self::Emergency,
    ];

    /// The levels that have a threshold, from the lowest.
    pub const STEPS: [Self; 4] = [Self::Warning, Self::Soft, Self::Hard, Self::Emergency];

    /// The name in answers, events and settings of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Soft => "SOFT",
            Self::Hard => "HARD",
            Self::Emergency => "EMERGENCY",
        }
    }

    /// The level of that name.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == text)
    }

    /// Its number, from 0.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Soft => 2,
            Self::Hard => 3,
            Self::Emergency => 4,
        }
    }

    /// The level of that number; the highest for a number that none has.
    pub const fn numbered(number: u8) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Warning,
            2 => Self::Soft,
            3 => Self::Hard,
            _ => Self::Emergency,
        }
    }
}

/// Where the levels begin; each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds([Nanos; 4]);

/// Thresholds that are not in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({}) must be more than {} ({})", .0.name(), show(*.1), .2, show(*.3))]
pub struct NotAscending(Level, Nanos, &'static str, Nanos);

fn show(amount: Nanos) -> String {
    format!("${amount}")
}

impl Default for Thresholds {
    fn default() -> Self {
        Self([100, 250, 500, 1000].map(Nanos::usd))
    }
}

impl Thresholds {
    /// Thresholds of the levels from WARNING up.
    ///
    /// # Errors
    /// When one is not above the one before, or the first not above zero.
    pub fn new(amounts: [Nanos; 4]) -> Result<Self, NotAscending> {
        let mut before = ("zero", Nanos::ZERO);
        for (level, amount) in Level::STEPS.into_iter().zip(amounts) {
            if amount <= before.1 {
                return Err(NotAscending(level, amount, before.0, before.1));
            }
            before = (level.name(), amount);
        }
        Ok(Self(amounts))
    }

    /// Where a level begins; nothing for OK.
    pub fn of(&self, level: Level) -> Option<Nanos> {
        let at = usize::from(level.number()).checked_sub(1)?;
        self.0.get(at).copied()
    }

    /// Every level with its threshold, from the lowest.
    pub fn all(&self) -> impl Iterator<Item = (Level, Nanos)> {
        Level::STEPS.into_iter().zip(self.0)
    }

    /// The level of a sum: a threshold belongs to its level.
    pub fn level(&self, total: Nanos) -> Level {
        let reached = self.all().filter(|(_, from)| total >= *from);
        reached.last().map_or(Level::Ok, |(level, _)| level)
    }
}

/// What there is to know about the breaker at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The level.
    pub level: Level,
    /// Spend in the window.
    pub total: Nanos,
    /// Where the levels begin.
    pub thresholds: Thresholds,
}

impl Standing {
    /// Where its level begins; at OK, where WARNING does.
    pub fn threshold(&self) -> Nanos {
        let level = self.level.max(Level::Warning);
        self.thresholds.of(level).unwrap_or_default()
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            level: Level::Ok,
            total: Nanos::ZERO,
            thresholds: Thresholds::default(),
        }
    }
}
