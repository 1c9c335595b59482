//! A hold in the hands of the request that owns it.
//!
//! Decides that it ends exactly once: settled by value, voided by value, or, when nobody did either,
//! charged in full. A reservation that [`Book::reserve`] has not handed out yet is voided instead:
//! nothing was dispatched.

use super::log::record::{self, Party};
use super::{Book, Grant, Hold};
use crate::budget::Balance;
use crate::budget::account::clamped;
use crate::identity::AttemptId;
use crate::money::Nanos;
use crate::usage::{Bill, CostSource, Course, Usage};
use std::sync::Arc;

/// Money held for one attempt.
#[must_use = "a reservation that is dropped is charged in full"]
#[derive(Debug)]
pub struct Reservation {
    pub(super) book: Arc<Book>,
    pub(super) grant: Grant,
    pub(super) hold: Hold,
    pub(super) party: Arc<Party>,
    pub(super) state: State,
    /// How it went, once that is known.
    pub(super) course: Option<Course>,
    /// Whether a store that several gateways share has granted it.
    pub(super) shared: bool,
}

/// How far a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Held, its record not durable yet.
    Recording,
    /// Handed out: a request may have gone upstream.
    Open,
    /// Settled or voided.
    Ended,
}

/// What settling came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What was charged.
    pub cost: Nanos,
    /// Whether that is more than was held: the bound was wrong, and somebody should know.
    pub over_bound: bool,
    /// State of the first account after the charge.
    pub balance: Balance,
    /// State of the last account after the charge, where gateways share it: what this one has heard of it
    /// may be older.
    pub shared: Option<Balance>,
}

impl Reservation {
    /// What was granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The attempt it is for.
    pub fn id(&self) -> AttemptId {
        self.hold.id
    }

    /// Notes how the attempt went, for its record.
    pub fn went(&mut self, course: Course) {
        self.course = Some(course);
    }

    /// Charges what the attempt cost, in the windows it was admitted in. The record is with the
    /// operating system when this returns, unless the log has failed. A cost below zero counts as
    /// zero; one above the hold is charged as it is.
    pub fn settle(mut self, bill: Bill) -> Settled {
        self.charge(bill)
    }

    /// Gives the hold back. Only with proof that nothing was billed: never dispatched, or an error
    /// that the provider documents as free of charge. `why` says which.
    pub fn void(mut self, why: &'static str) {
        self.release(why);
    }

    fn charge(&mut self, mut bill: Bill) -> Settled {
        self.state = State::Ended;
        bill.cost = clamped(bill.cost);
        let cost = bill.cost;
        let balance = self
            .book
            .end(&self.hold, &self.party, Some(cost), |now, out| {
                record::settle(out, now, &self.party, &bill, self.course.as_ref());
            });
        let granted = |balance: Option<&Balance>| self.granted(balance, cost);
        let (balance, shared) = if self.shared {
            let all = &self.grant.balances;
            (granted(all.first()), Some(granted(all.last())))
        } else {
            (balance, None)
        };
        Settled {
            cost,
            over_bound: cost > self.hold.held,
            balance,
            shared,
        }
    }

    /// An account after a charge, as far as the grant told.
    fn granted(&self, granted: Option<&Balance>, cost: Nanos) -> Balance {
        let granted = granted.copied().unwrap_or_default();
        Balance {
            posted: granted.posted + cost,
            pending: granted.pending - self.hold.held,
            ..granted
        }
    }

    fn release(&mut self, why: &str) {
        self.state = State::Ended;
        self.book.end(&self.hold, &self.party, None, |now, out| {
            record::void(out, now, &self.party, why, self.course.as_ref());
        });
    }
}

/// The bill of an attempt of which nothing is known: all that was held.
pub(super) fn unresolved(party: &Party) -> Bill {
    Bill {
        cost: party.held,
        source: CostSource::Unresolved,
        usage: Usage::default(),
        model: party.model.clone(),
        prices: "".into(),
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.state {
            State::Recording => self.release("never dispatched"),
            State::Open => {
                let bill = unresolved(&self.party);
                self.charge(bill);
            }
            State::Ended => {}
        }
    }
}
