//! Holds whose end is not recorded yet.
//!
//! Decides that an end is told to the store that gateways share only once its record is with the
//! operating system. Were it told before, a process killed in between would leave a log in which the hold
//! is still open: the next process charges that in full, while what the store took for free has been
//! granted to somebody else. Until then the hold counts as open, also when the store is told anew.

use super::log::record::Party;
use crate::identity::AttemptId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Holds that have ended here, and not yet in the log.
#[derive(Debug, Default)]
pub(super) struct Ending(Mutex<HashMap<AttemptId, Arc<Party>>>);

impl Ending {
    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Arc<Party>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hold has ended, with its accounts still locked.
    pub(super) fn begin(&self, party: Arc<Party>) {
        self.lock().insert(party.id, party);
    }

    /// The end of a hold is recorded.
    pub(super) fn recorded(&self, id: AttemptId) {
        self.lock().remove(&id);
    }

    /// Whether the end of a hold is not recorded yet.
    pub(super) fn has(&self, id: AttemptId) -> bool {
        self.lock().contains_key(&id)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Party>> {
        self.lock().values().map(Arc::clone).collect()
    }
}
