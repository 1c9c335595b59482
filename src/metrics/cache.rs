//! Series by name, found without a lock.
//!
//! The registry's own lookup hashes every label of every family under a lock. Here one lookup gives
//! all the series of a name. The map is copied when it grows, which it does a bounded number of times.

use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept for each name.
pub(super) struct Cache<T> {
    known: ArcSwap<HashMap<Box<str>, Arc<T>>>,
    growing: Mutex<()>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self {
            known: ArcSwap::default(),
            growing: Mutex::default(),
        }
    }
}

impl<T> Cache<T> {
    /// What is kept for `name`, if there is something.
    pub(super) fn find(&self, name: &str) -> Option<Arc<T>> {
        self.known.load().get(name).map(Arc::clone)
    }

    /// What is kept for `name`; what `make` gives when there is nothing yet.
    pub(super) fn get(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(found) = self.find(name) {
            return found;
        }
        let _turn = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(name) {
            return found;
        }
        let made = Arc::new(make());
        let mut grown = HashMap::clone(&self.known.load());
        grown.insert(name.into(), Arc::clone(&made));
        self.known.store(Arc::new(grown));
        made
    }
}
