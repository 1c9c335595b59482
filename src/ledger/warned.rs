//! Who hears of warning levels that were passed.
//!
//! Decides that nothing is lost before somebody listens. It is told while the account is locked: whoever
//! listens does not ask for balances.

use crate::budget::warn::Passed;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What is kept for somebody who does not listen yet.
const KEPT: usize = 4096;

/// Somebody who listens.
pub(super) type Listener = Box<dyn Fn(&Passed) + Send + Sync>;

/// The way to whoever listens.
#[derive(Default)]
pub(super) struct Warned {
    listener: OnceLock<Listener>,
    early: Mutex<Vec<Passed>>,
}

impl fmt::Debug for Warned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warned")
    }
}

impl Warned {
    /// Tells of a level, if one was passed.
    pub(super) fn tell(&self, passed: Option<Passed>) {
        let Some(passed) = passed else { return };
        if let Some(listener) = self.listener.get() {
            return listener(&passed);
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have come meanwhile.
        match self.listener.get() {
            Some(listener) => listener(&passed),
            None if early.len() < KEPT => early.push(passed),
            None => {}
        }
    }

    /// Tells `listener` from now on, and what was passed before. Only the first one is told.
    pub(super) fn listen(&self, listener: Listener) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        for passed in early.drain(..) {
            listener(&passed);
        }
        // There is one gateway to a book.
        let _ = self.listener.set(listener);
    }
}
