//! Who is in quarantine, for everything in the process that asks or strikes.
//!
//! Decides what is waited for. To ask costs a look into memory. A strike counts at once in this process; it is
//! on the disk, and counted together with those of the other gateways, before [`Quarantine::strike`] answers,
//! as far as disk and Redis answer in time. Without Redis each gateway counts what it sees; the counts are put
//! together when Redis is back, and nothing that was counted is lost by that.

use super::audit::Audit;
use super::journal::Journal;
use crate::fleet::Wards;
use crate::fleet::connect::Connector;
use crate::guard::audit::{Entry, Event};
use crate::guard::finding::Severity;
use crate::guard::quarantine::{Cells, Lift, Quarantined, Record, Strike, Struck, Text, Who};
use crate::identity::KeyId;
use crate::ledger::log::Clock;
use crate::settings::QuarantineRules;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
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
    audit: Arc<Audit>,
    shared: OnceLock<Arc<Wards>>,
}

impl Quarantine {
    /// One that is in memory only.
    pub fn in_memory(rules: QuarantineRules, clock: Clock) -> Self {
        Self {
            cells: Arc::new(Cells::new(rules)),
            clock,
            journal: None,
            audit: Arc::new(Audit::off()),
            shared: OnceLock::new(),
        }
    }

    /// One that is kept in the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or the system gives no thread.
    pub fn open(rules: QuarantineRules, clock: Clock, path: &Path) -> io::Result<Self> {
        let mut quarantine = Self::in_memory(rules, clock);
        let journal = Journal::open(path, &quarantine.cells, &quarantine.clock)?;
        quarantine.journal = Some(Arc::new(journal));
        Ok(quarantine)
    }

    /// The same, with every quarantine told to `audit`.
    #[must_use]
    pub fn audited(self, audit: Arc<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// Begins to share quarantines with other gateways.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn share(
        &self,
        connector: Connector,
        settings: &crate::settings::Redis,
    ) -> io::Result<Arc<Wards>> {
        let journal = self.journal.clone();
        // What was heard is kept, too: Redis may forget it.
        let heard = move |who: &Who, record: Record| {
            if let Some(journal) = &journal {
                journal.note(who, record);
            }
        };
        let (cells, clock) = (Arc::clone(&self.cells), self.clock.clone());
        let wards = Wards::start(connector, settings, cells, clock, Box::new(heard))?;
        // Whoever is set first stays.
        let _ = self.shared.set(Arc::clone(&wards));
        Ok(wards)
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
        self.strike_as(who, reason, fastrand::u64(..)).await
    }

    /// The same for a text that may come again with every turn of a conversation: it strikes once for as long
    /// as that counts. `None` when it has done so; then nobody is told and nothing is written.
    pub async fn strike_once(&self, who: &Who, reason: &'static str, text: Text) -> Option<Struck> {
        let id = text.strike();
        if self.cells.has_struck(who, id, self.clock.millis()) {
            tracing::debug!(
                caller = who.masked(),
                reason,
                "a text that has struck before"
            );
            return None;
        }
        Some(self.strike_as(who, reason, id).await)
    }

    async fn strike_as(&self, who: &Who, reason: &'static str, id: u64) -> Struck {
        let before = self.check(who);
        let (alone, record) = self.count(who, reason, id);
        let struck = match self.shared.get() {
            Some(wards) => self.together(wards, who, &record).await.unwrap_or(alone),
            None => alone,
        };
        self.told(who, reason, before, struck);
        self.keep(who).await;
        struck
    }

    /// What a strike has led to, counted together with those of the other gateways.
    async fn together(&self, wards: &Wards, who: &Who, record: &Record) -> Option<Struck> {
        let sum = wards.add(who, record).await?;
        let now = self.clock.millis();
        self.cells.merge(who, &sum, now);
        let record = self.cells.record(who)?;
        let struck = self.cells.struck(&record, now);
        if struck == Struck::Quarantined(Quarantined::Permanent) {
            // That it is for good outlives the strikes.
            wards.tell_later(who);
        }
        Some(struck)
    }

    /// Puts what is known of a caller on the disk.
    async fn keep(&self, who: &Who) {
        if let (Some(journal), Some(record)) = (&self.journal, self.cells.record(who)) {
            self.await_disk(journal.write(who, record)).await;
        }
    }

    /// Tells the audit of a quarantine that was not there before.
    fn told(&self, who: &Who, reason: &'static str, before: Option<Quarantined>, struck: Struck) {
        let Struck::Quarantined(now) = struck else {
            return;
        };
        let kind = |state: Quarantined| match state {
            Quarantined::Temporary { .. } => "temporary",
            Quarantined::Permanent => "permanent",
        };
        if before.map(kind) == Some(kind(now)) {
            return;
        }
        let severity = match now {
            Quarantined::Temporary { .. } => Severity::High,
            Quarantined::Permanent => Severity::Critical,
        };
        let mut entry = Entry::new(Event::Quarantine, severity, "quarantined");
        entry.who = Some(*who);
        let entry = entry.with("type", kind(now)).with("reason", reason);
        self.audit.record(entry.with("remaining", now.remaining()));
    }

    /// Counts a strike where nothing can be waited for, such as inside a stream. It is kept soon after.
    pub fn strike_soon(&self, who: &Who, reason: &'static str) -> Struck {
        let before = self.check(who);
        let (struck, record) = self.count(who, reason, fastrand::u64(..));
        self.told(who, reason, before, struck);
        if let Some(journal) = &self.journal {
            journal.note(who, record);
        }
        if let Some(wards) = self.shared.get() {
            wards.tell_later(who);
        }
        struck
    }

    fn count(&self, who: &Who, reason: &'static str, id: u64) -> (Struck, Record) {
        let at = self.clock.millis();
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
        if let Some(wards) = self.shared.get() {
            // Heard or not: what is not said now is said later.
            let _ = wards.add(who, &record).await;
        }
        self.keep(who).await;
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
        if let Some(wards) = self.shared.get() {
            wards.close();
        }
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

#[cfg(test)]
mod tests;
