//! Who is in quarantine, for everything in the process that asks or strikes.
//!
//! Decides what is waited for. To ask costs a look into memory. A strike counts at once in this process; it is
//! on the disk, and counted together with those of the other gateways, before [`Quarantine::strike`] answers,
//! as far as disk and Redis answer in time. Without Redis each gateway counts what it sees; the counts are put
//! together when Redis is back, and nothing that was counted is lost by that.

use super::journal::Journal;
use crate::guard::quarantine::{Cells, Lift, Quarantined, Record, Rules, Strike, Struck, Who};
use crate::identity::KeyId;
use crate::ledger::log::Clock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a strike waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What lifting a quarantine has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// The quarantine that there was.
    pub before: Option<Quarantined>,
    /// The one that there still is: a temporary one is not what keeps a caller out for good.
    pub after: Option<Quarantined>,
}

/// Callers in quarantine.
pub struct Quarantine {
    cells: Arc<Cells>,
    clock: Clock,
    journal: Option<Arc<Journal>>,
}

impl Quarantine {
    /// One that is in memory only.
    pub fn in_memory(rules: Rules, clock: Clock) -> Self {
        Self {
            cells: Arc::new(Cells::new(rules)),
            clock,
            journal: None,
        }
    }

    /// One that is kept in the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or the system gives no thread.
    pub fn open(rules: Rules, clock: Clock, path: &Path) -> io::Result<Self> {
        let mut quarantine = Self::in_memory(rules, clock);
        let journal = Journal::open(path, &quarantine.cells, &quarantine.clock)?;
        quarantine.journal = Some(Arc::new(journal));
        Ok(quarantine)
    }

    /// Whether a caller is in quarantine. A look into memory.
    pub fn check(&self, who: &Who) -> Option<Quarantined> {
        if self.cells.is_quiet() {
            return None;
        }
        self.cells.check(who, self.clock.millis())
    }

    /// The same for whoever uses this key; nobody without one is in quarantine.
    pub fn check_key(&self, key: Option<&KeyId>) -> Option<Quarantined> {
        if self.cells.is_quiet() {
            return None;
        }
        self.check(&Who::of_key(key?))
    }

    /// Counts a strike, and says what it led to once it is kept. `reason` is one of a closed set.
    ///
    /// Only what the caller itself wrote may be a reason: never the text of a tool or a document.
    pub async fn strike(&self, who: &Who, reason: &'static str) -> Struck {
        let (struck, record) = self.count(who, reason);
        let written = self
            .journal
            .as_ref()
            .map(|journal| journal.write(who, record));
        if let Some(written) = written {
            self.await_disk(written).await;
        }
        struck
    }

    /// Counts a strike where nothing can be waited for, such as inside a stream. It is kept soon after.
    pub fn strike_soon(&self, who: &Who, reason: &'static str) -> Struck {
        let (struck, record) = self.count(who, reason);
        if let Some(journal) = &self.journal {
            journal.note(who, record);
        }
        struck
    }

    fn count(&self, who: &Who, reason: &'static str) -> (Struck, Record) {
        let at = self.clock.millis();
        let id = fastrand::u64(..);
        let (struck, record) = self.cells.strike(who, Strike { at, id });
        tracing::warn!(caller = who.masked(), reason, outcome = ?struck, "strike");
        (struck, record)
    }

    async fn await_disk(&self, written: tokio::sync::oneshot::Receiver<()>) {
        if !matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(()))) {
            tracing::error!("a strike is not on the disk yet");
        }
    }

    /// Lifts a quarantine.
    pub async fn lift(&self, who: &Who, lift: Lift) -> Lifted {
        let now = self.clock.millis();
        let (before, record) = self.cells.lift(who, lift, now);
        if let Some(journal) = &self.journal {
            self.await_disk(journal.write(who, record)).await;
        }
        Lifted {
            before,
            after: self.cells.check(who, now),
        }
    }

    /// How many callers are in quarantine: for a while, and for good.
    pub fn held(&self) -> (usize, usize) {
        self.cells.held(self.clock.millis())
    }

    /// Waits until everything is kept. Nothing may be struck any more.
    pub fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}
