//! What was spent in a window of time, and by whom.
//!
//! Decides what belongs to the window. A sliding one is kept in [`SLOTS`] slots: what was spent leaves it with its
//! slot, at most one slot's length later than it would by the millisecond, never earlier. A calendar one begins
//! with its period, in a stated zone. The names that are told apart are bounded; the sum is exact all the same.

use crate::budget::period::{Period, PeriodKind};
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Into how many slots a sliding window is divided: five minutes each for a day.
pub const SLOTS: u32 = 288;

/// How many names of a kind are told apart; the rest is `other`.
pub const NAMES: usize = 256;

/// Under which name all others are counted.
pub const OTHER: &str = "other";

/// What is summed up.
#[derive(Clone, Debug, PartialEq)]
pub enum Span {
    /// Always the last so long.
    Sliding(Duration),
    /// The period that it is.
    Calendar(Period),
}

impl Span {
    /// Milliseconds of a slot, at least one.
    fn width(length: Duration) -> i64 {
        let millis = length.as_millis().div_ceil(u128::from(SLOTS)).max(1);
        i64::try_from(millis).unwrap_or(i64::MAX)
    }

    /// Where the slot of a moment begins, in Unix milliseconds.
    pub fn slot(&self, at: i64) -> i64 {
        match self {
            Self::Sliding(length) => {
                let width = Self::width(*length);
                at.div_euclid(width).saturating_mul(width)
            }
            Self::Calendar(period) => period
                .window(at.div_euclid(1000))
                .start
                .saturating_mul(1000),
        }
    }

    /// Where the first slot begins that counts.
    pub fn first(&self, now: i64) -> i64 {
        match self {
            Self::Sliding(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                self.slot(now.saturating_sub(length))
            }
            Self::Calendar(_) => self.slot(now),
        }
    }

    /// Every slot from `from` (one of them) to the one of `now`.
    pub fn slots(&self, from: i64, now: i64) -> Vec<i64> {
        let last = self.slot(now);
        match self {
            Self::Sliding(length) => {
                let width = Self::width(*length);
                let most = usize::try_from(SLOTS).unwrap_or(usize::MAX) + 2;
                let steps = std::iter::successors(Some(last), |slot| slot.checked_sub(width));
                steps.take(most).take_while(|slot| *slot >= from).collect()
            }
            Self::Calendar(_) => vec![last],
        }
    }

    /// How long a slot may be asked for, in seconds: its window and a while.
    pub fn kept(&self, now: i64) -> i64 {
        const LATE: i64 = 3600;
        let length = match self {
            Self::Sliding(length) => i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            Self::Calendar(period) => {
                let window = period.window(now.div_euclid(1000));
                window
                    .end
                    .map_or(400 * 86_400, |end| end - now.div_euclid(1000))
            }
        };
        length.max(0).saturating_add(LATE)
    }

    /// Text that is the same for equal spans.
    pub fn tag(&self) -> String {
        match self {
            Self::Sliding(length) => format!("sliding-{}", length.as_millis()),
            Self::Calendar(period) => period.tag().replace(' ', "-"),
        }
    }

    /// What it is called in answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sliding(_) => "sliding",
            Self::Calendar(period) => match period.kind {
                PeriodKind::None => "all",
                kind => kind.name(),
            },
        }
    }
}

/// Something that was spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// When, in Unix milliseconds.
    #[serde(rename = "time")]
    pub at: i64,
    /// The model that answered.
    pub model: Arc<str>,
    /// The person behind it, or whoever was named.
    pub user: Arc<str>,
    /// The key it came with: its id or a digest, never the key.
    pub key: Arc<str>,
    /// The agent; none where somebody told of it.
    pub agent: Option<Arc<str>>,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// How much.
    #[serde(with = "whole")]
    pub cost: Nanos,
}

/// Nano-dollars as a whole number.
mod whole {
    use crate::money::Nanos;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        amount: &Nanos,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(amount.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Nanos, D::Error> {
        i64::deserialize(deserializer).map(Nanos)
    }
}

/// Kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Models.
    Model,
    /// Users.
    User,
    /// Keys.
    Key,
    /// Agents.
    Agent,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Model, Self::User, Self::Key, Self::Agent];

    const fn at(self) -> usize {
        match self {
            Self::Model => 0,
            Self::User => 1,
            Self::Key => 2,
            Self::Agent => 3,
        }
    }
}

/// A sum and of how many it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How much.
    pub cost: i64,
    /// How many.
    pub count: u64,
}

type Names = HashMap<Arc<str>, Sum>;

/// What was spent in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    sum: Sum,
    input: u64,
    output: u64,
    by: [Names; By::ALL.len()],
}

/// What was spent, slot by slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    slots: BTreeMap<i64, Slot>,
    /// The sums over all slots.
    all: Slot,
    /// What others have spent, by slot and by who they are.
    others: BTreeMap<i64, HashMap<String, i64>>,
    /// What was spent until then does not count.
    after: i64,
}

impl Window {
    /// Counts something. What is too old for the window, or was spent before it was begun anew, is none of it.
    pub fn add(&mut self, span: &Span, spent: &Spent, now: i64) -> bool {
        self.advance(span, now);
        // A clock that is ahead does not keep anything for longer.
        let slot = span.slot(spent.at.min(now));
        if spent.at <= self.after || slot < span.first(now) {
            return false;
        }
        let cost = spent.cost.at_least_zero().0;
        let agent = spent.agent.clone();
        let names = [
            Some(Arc::clone(&spent.model)),
            Some(Arc::clone(&spent.user)),
            Some(Arc::clone(&spent.key)),
            agent,
        ];
        let names = std::array::from_fn(|at| {
            let name: &Arc<str> = names[at].as_ref()?;
            let known = &self.all.by[at];
            let room = known.len() < NAMES || known.contains_key(name);
            Some(if room { Arc::clone(name) } else { OTHER.into() })
        });
        self.all.add(cost, spent, &names);
        self.slots.entry(slot).or_default().add(cost, spent, &names);
        true
    }

    /// Lets go of what has left the window.
    pub fn advance(&mut self, span: &Span, now: i64) {
        let first = span.first(now);
        while let Some(oldest) = self.slots.first_entry()
            && *oldest.key() < first
        {
            let slot = oldest.remove();
            self.all.take(&slot);
        }
        while let Some(oldest) = self.others.first_entry()
            && *oldest.key() < first
        {
            oldest.remove();
        }
    }

    /// Everything that counts, as far as it was advanced.
    pub fn total(&self) -> Nanos {
        let others = self.others.values().flat_map(HashMap::values);
        others.fold(Nanos(self.all.sum.cost), |sum, cost| sum + Nanos(*cost))
    }

    /// What was counted here.
    pub fn own(&self) -> Sum {
        self.all.sum
    }

    /// Input and output tokens counted here.
    pub fn tokens(&self) -> (u64, u64) {
        (self.all.input, self.all.output)
    }

    /// What was counted here by slot, from the oldest.
    pub fn by_slot(&self) -> impl Iterator<Item = (i64, Nanos)> {
        let slots = self.slots.iter();
        slots.map(|(slot, spent)| (*slot, Nanos(spent.sum.cost)))
    }

    /// The sums by name, the largest first.
    pub fn by(&self, by: By) -> Vec<(Arc<str>, Nanos)> {
        let names = self.all.by[by.at()].iter();
        let mut sums: Vec<(Arc<str>, Nanos)> = names
            .map(|(name, sum)| (Arc::clone(name), Nanos(sum.cost)))
            .collect();
        sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sums
    }

    /// Hears what somebody else has spent in a slot. That never becomes less, until all begins anew.
    pub fn hear(&mut self, slot: i64, who: &str, cost: Nanos) {
        let slot = self.others.entry(slot).or_default();
        let known = slot.entry(who.to_owned()).or_default();
        *known = (*known).max(cost.0);
    }

    /// Begins anew: what was spent until `at` does not count any more, whoever spent it.
    pub fn reset(&mut self, at: i64) {
        *self = Self {
            after: at.max(self.after),
            ..Self::default()
        };
    }

    /// Until when nothing counts; 0 when it was never begun anew.
    pub fn after(&self) -> i64 {
        self.after
    }
}

type Named = [Option<Arc<str>>; By::ALL.len()];

impl Slot {
    fn add(&mut self, cost: i64, spent: &Spent, names: &Named) {
        self.sum.add(cost);
        self.input = self.input.saturating_add(spent.input);
        self.output = self.output.saturating_add(spent.output);
        for (sums, name) in self.by.iter_mut().zip(names) {
            if let Some(name) = name {
                sums.entry(Arc::clone(name)).or_default().add(cost);
            }
        }
    }

    /// Takes away what is part of it.
    fn take(&mut self, part: &Self) {
        self.sum.take(part.sum);
        self.input = self.input.saturating_sub(part.input);
        self.output = self.output.saturating_sub(part.output);
        for (sums, parts) in self.by.iter_mut().zip(&part.by) {
            for (name, part) in parts {
                if let Some(sum) = sums.get_mut(name) {
                    sum.take(*part);
                    if sum.count == 0 {
                        sums.remove(name);
                    }
                }
            }
        }
    }
}

impl Sum {
    fn add(&mut self, cost: i64) {
        self.cost = self.cost.saturating_add(cost);
        self.count = self.count.saturating_add(1);
    }

    fn take(&mut self, part: Self) {
        self.cost = self.cost.saturating_sub(part.cost).max(0);
        self.count = self.count.saturating_sub(part.count);
    }
}
