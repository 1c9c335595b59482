//! One account: what is posted, what is held, and in which window.
//!
//! A pure state machine. It decides how a hold becomes a charge, what a turn of the period, a push
//! and a reset do, and what is left. It knows no clock, no lock and no log; [`crate::ledger`] calls
//! it under a lock and records what it did.

mod kept;
mod standing;
mod watch;

pub use kept::Kept;

use super::AccountSpec;
use super::period::Window;
use crate::identity::AttemptId;
use crate::money::{MAX_AMOUNT, Nanos};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use watch::Watch;

/// The state of one account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The spec last adopted, so that an unchanged one is recognised by its address.
    seen: Option<Arc<AccountSpec>>,
    opened: bool,
    /// [`super::period::Period::tag`] of the period that `window` belongs to; empty when unknown.
    tag: String,
    /// How often that has changed, as a store says that several gateways share; 0 without one.
    turn: u64,
    window: Window,
    posted: Nanos,
    pending: Nanos,
    /// The part of `posted` that this process's own records have charged; only grows in a window.
    charged: Nanos,
    /// The part of `posted` that other processes' records have charged.
    elsewhere: Nanos,
    /// What is posted besides charges, where a store that several gateways share has said so.
    based: Option<Based>,
    /// Open holds of the current window.
    open: usize,
    pushed: Option<Pushed>,
    /// Windows that are over and still have open holds.
    earlier: BTreeMap<i64, Earlier>,
    holds: HashMap<AttemptId, Held>,
    watch: Watch,
}

/// A budget set from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The limit in force.
    pub total: Nanos,
    /// The policy's own limit at that time; once the policy says something else, it wins again.
    pub policy: Nanos,
    /// When, in Unix milliseconds: the later of two pushes wins.
    pub at: u64,
}

/// A window that is over and still has open holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// What was posted in it, charges that arrived since included.
    pub posted: Nanos,
    /// What this process's own records have charged in it.
    pub charged: Nanos,
    /// How many holds are still open.
    pub open: usize,
}

/// What is posted in a window besides charges: opening spend, and what pushes and resets made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Based {
    /// Which of two statements is the later one; 0 when nobody has changed it.
    pub version: u64,
    /// The amount, below zero after a reset.
    pub amount: Nanos,
}

/// A hold that has become a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The hold as it was.
    pub held: Held,
    /// Everything that this process's own records have charged in its window by now.
    pub total: Nanos,
    /// How often the account's period had changed, where a shared store counts that.
    pub turn: u64,
}

/// One open hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The money held.
    pub amount: Nanos,
    /// Start of the window it was admitted in.
    pub window: i64,
}

/// What adopting a spec changed, for the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The account was seen for the first time and its opening spend posted.
    pub opened: bool,
    /// The period is another one than before, or its next window has begun.
    pub period: bool,
}

/// Brings an amount into `0..=MAX_AMOUNT`.
pub fn clamped(amount: Nanos) -> Nanos {
    amount.clamp(Nanos::ZERO, MAX_AMOUNT)
}

impl Account {
    /// An account that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `spec` is the very one adopted last: then [`Account::adopt`] has nothing to do.
    pub fn knows(&self, spec: &Arc<AccountSpec>) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen, spec))
    }

    /// Takes over what the policy says of the account: posts its opening spend the first time, moves
    /// to another period if that changed (what is posted and held stays so, in the new window).
    pub fn adopt(&mut self, spec: &Arc<AccountSpec>, now: i64) -> Changes {
        let mut changes = Changes::default();
        let tag = spec.period.tag();
        if self.tag == tag {
            self.window.end = spec.period.window(self.window.start).end;
        } else {
            changes.period = self.opened && !self.tag.is_empty();
            self.change_period(tag, spec.period.window(now));
        }
        if !self.opened {
            changes.opened = true;
            self.open(spec.opening);
        }
        self.seen = Some(Arc::clone(spec));
        self.watch(spec, !changes.opened);
        changes
    }

    /// Posts the spend to begin with, the first time.
    pub fn open(&mut self, opening: Nanos) {
        if !std::mem::replace(&mut self.opened, true) {
            self.posted = clamped(self.posted + opening);
        }
    }

    /// Goes over to windows of another period. Everything posted and held counts in the new one.
    pub fn change_period(&mut self, tag: String, window: Window) {
        self.tag = tag;
        self.window = window;
        self.earlier.clear();
        self.pending = Nanos::ZERO;
        self.open = self.holds.len();
        for held in self.holds.values_mut() {
            held.window = window.start;
            self.pending += held.amount;
        }
    }

    /// Goes over to another period, or on in the same one, as a record says.
    pub fn enter(&mut self, tag: String, start: i64) {
        if self.tag == tag {
            self.roll_to(start);
        } else {
            self.change_period(tag, Window { start, end: None });
        }
    }

    /// Whether a push is kept that the policy has overtaken: its own limit is another one now. Such
    /// a push has no effect under that policy, and should end so that it has none under a later one.
    pub fn overtaken(&self, spec: &AccountSpec) -> bool {
        self.pushed
            .is_some_and(|pushed| pushed.policy != spec.limit)
    }

    /// Ends a push.
    pub fn end_push(&mut self) {
        self.pushed = None;
    }

    /// Begins the window that `now` falls in, if that is a later one, and says whether it did. A
    /// clock that went back never reopens an earlier window.
    pub fn roll(&mut self, spec: &AccountSpec, now: i64) -> bool {
        let over = self.window.end.is_some_and(|end| now >= end);
        let window = over.then(|| spec.period.window(now));
        let next = window.filter(|window| window.start > self.window.start);
        if let Some(window) = next {
            self.advance(window);
        }
        next.is_some()
    }

    /// Begins the window that starts at `start` unless that one or a later one has begun: how a
    /// record says which window was current.
    pub fn roll_to(&mut self, start: i64) {
        if start > self.window.start {
            let end = self
                .seen
                .as_ref()
                .and_then(|spec| spec.period.window(start).end);
            self.advance(Window { start, end });
        }
    }

    fn advance(&mut self, window: Window) {
        if self.open > 0 {
            let over = Earlier {
                posted: self.posted,
                charged: self.charged,
                open: self.open,
            };
            self.earlier.insert(self.window.start, over);
        }
        self.window = window;
        self.posted = Nanos::ZERO;
        self.charged = Nanos::ZERO;
        self.elsewhere = Nanos::ZERO;
        self.based = None;
        self.pending = Nanos::ZERO;
        self.open = 0;
        // Nothing is passed in a window that has just begun.
        self.look();
    }

    /// Holds `amount` in the current window and says which that is. An id that is held already is
    /// left as it is.
    pub fn hold(&mut self, id: AttemptId, amount: Nanos) -> i64 {
        self.hold_in(id, amount, self.window.start);
        self.window.start
    }

    /// Holds `amount` in the window that starts at `start`, which may be over.
    pub fn hold_in(&mut self, id: AttemptId, amount: Nanos, start: i64) {
        let amount = clamped(amount);
        let held = Held {
            amount,
            window: start,
        };
        if self.holds.contains_key(&id) {
            return;
        }
        self.holds.insert(id, held);
        if start == self.window.start {
            self.pending += amount;
            self.open += 1;
        } else {
            self.earlier.entry(start).or_default().open += 1;
        }
    }

    /// Turns a hold into a charge, in the window it was admitted in. `None`, and no charge, when
    /// there is no such hold (any more).
    pub fn settle(&mut self, id: AttemptId, actual: Nanos) -> Option<Charged> {
        self.end(id, actual, true)
    }

    /// The same, as the record of another process says.
    pub fn settle_elsewhere(&mut self, id: AttemptId, actual: Nanos) -> Option<Charged> {
        self.end(id, actual, false)
    }

    fn end(&mut self, id: AttemptId, actual: Nanos, own: bool) -> Option<Charged> {
        let held = self.holds.remove(&id)?;
        let actual = clamped(actual);
        let mine = if own { actual } else { Nanos::ZERO };
        let mut total = mine;
        if held.window == self.window.start {
            self.pending -= held.amount;
            self.open = self.open.saturating_sub(1);
            self.posted = clamped(self.posted + actual);
            self.charged = clamped(self.charged + mine);
            self.elsewhere = clamped(self.elsewhere + actual - mine);
            total = self.charged;
        } else if let Some(over) = self.earlier.get_mut(&held.window) {
            over.posted = clamped(over.posted + actual);
            over.charged = clamped(over.charged + mine);
            over.open = over.open.saturating_sub(1);
            total = over.charged;
            if over.open == 0 {
                self.earlier.remove(&held.window);
            }
        }
        let turn = self.turn;
        Some(Charged { held, total, turn })
    }

    /// Gives a hold back without a charge.
    pub fn void(&mut self, id: AttemptId) -> Option<Held> {
        self.settle(id, Nanos::ZERO).map(|charged| charged.held)
    }

    /// Adds spend to the current window without a hold: rows of a log that knew none.
    pub fn post(&mut self, amount: Nanos) {
        self.posted = clamped(self.posted + clamped(amount));
        self.charged = clamped(self.charged + clamped(amount));
    }

    /// Counts what own records have charged as charged elsewhere: they were another process's.
    pub fn disown(&mut self) -> Nanos {
        let charged = std::mem::take(&mut self.charged);
        self.elsewhere = clamped(self.elsewhere + charged);
        charged
    }

    /// Counts `amount` of what was charged elsewhere as charged by own records.
    pub fn own(&mut self, amount: Nanos) {
        self.charged = clamped(self.charged + amount);
        self.elsewhere = clamped(self.elsewhere - amount);
    }

    /// Takes over what a shared store says of [`Account::charged`].
    pub fn set_charged(&mut self, charged: Nanos) {
        self.charged = charged;
    }

    /// What own records have charged in the current window.
    pub fn charged(&self) -> Nanos {
        self.charged
    }

    /// What is posted in the current window besides charges.
    pub fn based(&self) -> Based {
        self.based.unwrap_or(Based {
            version: 0,
            amount: self.posted - self.charged - self.elsewhere,
        })
    }

    /// Takes over what a shared store says is posted besides charges.
    pub fn rebase(&mut self, based: Based) {
        self.based = Some(based);
    }

    /// The push in force.
    pub fn pushed(&self) -> Option<Pushed> {
        self.pushed
    }

    /// Sets the limit, the spend of the current window, or both; holds stay.
    pub fn push(&mut self, total: Option<Pushed>, spent: Option<Nanos>) {
        self.pushed = total.or(self.pushed);
        self.posted = spent.map_or(self.posted, clamped);
    }

    /// Forgets the spend of the current window and says what it was; holds stay.
    pub fn reset(&mut self) -> Nanos {
        std::mem::take(&mut self.posted)
    }

    /// Tag of the period in force; empty for an account that nobody has adopted.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// How often the period has changed, as a shared store says; 0 when none has said so.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Notes how often the period has changed; 0 says nothing.
    pub fn set_turn(&mut self, turn: u64) {
        if turn > 0 {
            self.turn = turn;
        }
    }

    /// The current window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// An open hold.
    pub fn held(&self, id: AttemptId) -> Option<Held> {
        self.holds.get(&id).copied()
    }

    /// Every open hold, earlier windows included.
    pub fn holds(&self) -> impl Iterator<Item = (AttemptId, Held)> + '_ {
        self.holds.iter().map(|(id, held)| (*id, *held))
    }
}
