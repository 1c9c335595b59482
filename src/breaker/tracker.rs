//! Everything the breaker knows: the window, the last requests, agents' past, and limits set by hand.
//!
//! Decides the level. A limit that was set by hand holds until the policy states another one for that level; limits
//! that together with the policy's are not in order do not hold.

use super::spike::{Spike, Spikes};
use super::window::{Spent, Window};
use super::{Level, NotAscending, Rules, Standing, Thresholds};
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many of the last requests are shown.
pub const RECENT: usize = 20;

/// A limit that was set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Nano-dollars.
    pub amount: i64,
    /// What the policy said then.
    pub policy: i64,
}

/// Limits that were set by hand, by level.
pub type Limits = BTreeMap<Level, Limit>;

/// What the breaker knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracker {
    window: Window,
    recent: VecDeque<Spent>,
    spikes: Spikes,
    #[serde(default)]
    limits: Limits,
}

impl Tracker {
    /// Counts something that was spent. Says of a spike, if it makes one.
    pub fn spent(&mut self, rules: &Rules, spent: &Spent, now: i64) -> Option<Spike> {
        if self.window.add(&rules.span, spent, now) {
            self.recent.push_back(spent.clone());
            while self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        self.spikes.add(&rules.spikes, spent, now)
    }

    /// How things stand at a moment.
    pub fn standing(&mut self, rules: &Rules, now: i64) -> Standing {
        self.window.advance(&rules.span, now);
        let thresholds = self.thresholds(rules);
        let total = self.window.total();
        Standing {
            level: thresholds.level(total),
            total,
            thresholds,
        }
    }

    /// The thresholds in force.
    pub fn thresholds(&self, rules: &Rules) -> Thresholds {
        let amounts = self.with(rules, &self.limits);
        Thresholds::new(amounts).unwrap_or(rules.thresholds)
    }

    fn with(&self, rules: &Rules, limits: &Limits) -> [Nanos; 4] {
        Level::STEPS.map(|level| {
            let stated = rules.thresholds.of(level).unwrap_or_default();
            let set = limits.get(&level).filter(|limit| limit.policy == stated.0);
            set.map_or(stated, |limit| Nanos(limit.amount))
        })
    }

    /// The limits set by hand once those in `change` are, too.
    ///
    /// # Errors
    /// When the thresholds would not be in order.
    pub fn limited(
        &self,
        rules: &Rules,
        change: &BTreeMap<Level, Nanos>,
    ) -> Result<Limits, NotAscending> {
        let mut limits = self.limits.clone();
        limits.retain(|level, limit| rules.thresholds.of(*level) == Some(Nanos(limit.policy)));
        for (level, amount) in change {
            let policy = rules.thresholds.of(*level).unwrap_or_default().0;
            let amount = amount.0;
            limits.insert(*level, Limit { amount, policy });
        }
        Thresholds::new(self.with(rules, &limits))?;
        Ok(limits)
    }

    /// Puts limits in force that were set by hand.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Limits that were set by hand.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Begins anew at a moment: nothing was spent until then. Agents' past is kept.
    pub fn reset(&mut self, at: i64) {
        self.window.reset(at);
        self.recent.clear();
    }

    /// Forgets what agents were used to, to be told of it again.
    pub fn forget_agents(&mut self) {
        self.spikes = Spikes::default();
    }

    /// What was spent.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// What was spent, for what others say of it.
    pub fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    /// The last requests that count, from the oldest.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Spent> {
        self.recent.iter()
    }

    /// The same without what was spent, for another window.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let mut window = Window::default();
        window.reset(self.window.after());
        Self {
            window,
            limits: self.limits.clone(),
            ..Self::default()
        }
    }
}
