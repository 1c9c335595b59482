//! Agents that spend far more in a minute than they ever did.
//!
//! Decides what is far more. Of each agent the last [`HISTORY`] minutes are kept in which it spent anything (minutes
//! of rest say nothing about how busy it is when it is busy), and with `m` the median of them and `d` the median of
//! their distances from `m`, the last sixty seconds are a spike when they are above
//!
//! ```text
//! max(floor, factor * (m + 3 * d))
//! ```
//!
//! for dollars or for tokens. Medians, so that a few wild minutes do not make the next ones normal. An agent with
//! fewer than [`ENOUGH`] such minutes is not judged: its first requests are no spike.

use super::{Action, Spent};
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many busy minutes of an agent are kept.
pub const HISTORY: usize = 60;

/// How many of them it takes to judge.
pub const ENOUGH: usize = 10;

/// How many agents are watched; who has rested for longest is forgotten for a new one.
const AGENTS: usize = 1024;

/// Busy minutes of so long ago, in milliseconds, say nothing any more.
const STALE: i64 = 7 * 86_400_000;

const MINUTE: i64 = 60_000;

/// The part of a minute that its sum moves on by, in milliseconds.
const STEP: i64 = 5_000;

/// When a spike is one, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What happens then.
    pub action: Action,
    /// How many times its usual minute an agent may spend.
    pub factor: u32,
    /// Less in a minute is no spike.
    pub dollars: Nanos,
    /// Fewer tokens in a minute are no spike.
    pub tokens: u64,
    /// How long nothing more is told of the agent, and its requests are refused where they are.
    pub cool_down: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            action: Action::Observe,
            factor: 5,
            dollars: Nanos::usd(1),
            tokens: 500_000,
            cool_down: Duration::from_secs(300),
        }
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Money.
    Dollars,
    /// Input and output tokens.
    Tokens,
}

impl What {
    /// The name in events, metrics and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dollars => "spike.dollars",
            Self::Tokens => "spike.tokens",
        }
    }
}

/// A spike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Whose.
    pub agent: Arc<str>,
    /// Of what.
    pub what: What,
    /// In the last minute: nano-dollars or tokens.
    pub rate: u64,
    /// What would have been none.
    pub limit: u64,
}

/// What was spent in a piece of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    at: i64,
    cost: u64,
    tokens: u64,
}

impl Piece {
    fn add(&mut self, cost: u64, tokens: u64) {
        self.cost = self.cost.saturating_add(cost);
        self.tokens = self.tokens.saturating_add(tokens);
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Agent {
    /// Minutes in which it spent something, from the oldest; the last may not be over.
    minutes: VecDeque<Piece>,
    /// The last sixty seconds, step by step.
    steps: VecDeque<Piece>,
    /// Until when nothing is told.
    #[serde(default)]
    quiet: i64,
}

/// Everybody who is watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spikes {
    agents: HashMap<Arc<str>, Agent>,
}

impl Spikes {
    /// Counts something and says whether that makes a spike. What is older than a minute is history only.
    pub fn add(&mut self, rules: &Rules, spent: &Spent, now: i64) -> Option<Spike> {
        let name = spent
            .agent
            .as_ref()
            .filter(|_| rules.action != Action::Off)?;
        if !self.agents.contains_key(name) && self.agents.len() >= AGENTS {
            self.forget_one();
        }
        let agent = self.agents.entry(Arc::clone(name)).or_default();
        let at = spent.at.min(now);
        let cost = spent.cost.at_least_zero().0.unsigned_abs();
        agent.count(at, cost, spent.input.saturating_add(spent.output));
        if at <= now - MINUTE || now < agent.quiet {
            return None;
        }
        let (what, rate, limit) = agent.judge(rules, now)?;
        let quiet = i64::try_from(rules.cool_down.as_millis()).unwrap_or(i64::MAX);
        agent.quiet = now.saturating_add(quiet);
        Some(Spike {
            agent: Arc::clone(name),
            what,
            rate,
            limit,
        })
    }

    fn forget_one(&mut self) {
        let last = |agent: &Agent| agent.minutes.back().map_or(i64::MIN, |minute| minute.at);
        let agents = self.agents.iter();
        let oldest = agents.min_by_key(|(_, agent)| last(agent));
        if let Some(name) = oldest.map(|(name, _)| Arc::clone(name)) {
            self.agents.remove(&name);
        }
    }
}

impl Agent {
    fn count(&mut self, at: i64, cost: u64, tokens: u64) {
        let minute = at.div_euclid(MINUTE) * MINUTE;
        let step = at.div_euclid(STEP) * STEP;
        for (pieces, at) in [(&mut self.minutes, minute), (&mut self.steps, step)] {
            // Several logs are read one after the other, so it may be of long ago.
            let place = pieces.partition_point(|piece| piece.at < at);
            match pieces.get_mut(place).filter(|piece| piece.at == at) {
                Some(piece) => piece.add(cost, tokens),
                None => pieces.insert(place, Piece { at, cost, tokens }),
            }
        }
        while self.minutes.len() > HISTORY + 2 {
            self.minutes.pop_front();
        }
        let last = self.steps.back().map_or(i64::MIN, |piece| piece.at);
        while self
            .steps
            .front()
            .is_some_and(|piece| piece.at <= last - MINUTE)
        {
            self.steps.pop_front();
        }
    }

    fn judge(&self, rules: &Rules, now: i64) -> Option<(What, u64, u64)> {
        let past = |minute: &&Piece| {
            // The last sixty seconds may reach into the minute before.
            minute.at < now.div_euclid(MINUTE) * MINUTE - MINUTE && minute.at > now - STALE
        };
        let of = |read: fn(&Piece) -> u64, floor: u64| {
            let steps = self.steps.iter().filter(|step| step.at > now - MINUTE);
            let rate = steps.map(read).fold(0, u64::saturating_add);
            if rate <= floor {
                return None;
            }
            let minutes: Vec<u64> = self.minutes.iter().filter(past).map(read).collect();
            let usual = usual(minutes)?;
            let limit = usual.saturating_mul(u64::from(rules.factor)).max(floor);
            (rate > limit).then_some((rate, limit))
        };
        let floor = rules.dollars.at_least_zero().0.unsigned_abs();
        let dollars = of(|piece| piece.cost, floor);
        let tokens = || of(|piece| piece.tokens, rules.tokens);
        dollars
            .map(|(rate, limit)| (What::Dollars, rate, limit))
            .or_else(|| tokens().map(|(rate, limit)| (What::Tokens, rate, limit)))
    }
}

/// The most that is usual among these: `m + 3 * d`. Nothing when they are too few.
fn usual(mut minutes: Vec<u64>) -> Option<u64> {
    if minutes.len() < ENOUGH {
        return None;
    }
    let median = middle(&mut minutes);
    let mut distances: Vec<u64> = minutes.iter().map(|one| one.abs_diff(median)).collect();
    let distance = middle(&mut distances);
    Some(median.saturating_add(distance.saturating_mul(3)))
}

/// The upper median.
fn middle(all: &mut [u64]) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}
