//! Spend on its way to the console: the batch that is on offer, and how much waits behind it.

use crate::ledger::log::LogError;
use crate::ledger::log::tail::{Position, Settlement, Tail};
use std::path::Path;

/// Settlements after the last that the console has.
pub(super) struct Spend {
    /// After what it has.
    stored: Tail,
    /// After the batch.
    offered: Tail,
    batch: Vec<Settlement>,
    /// At the end of the log as it was last seen, and how many settlements are between.
    end: Tail,
    waiting: u64,
}

impl Spend {
    /// Everything after `position` in the log.
    pub(super) fn after(log: &Path, position: Position) -> Self {
        let stored = Tail::after(log, position);
        Self {
            offered: stored.clone(),
            batch: Vec::new(),
            end: stored.clone(),
            waiting: 0,
            stored,
        }
    }

    /// Looks for a batch of at most `most`, and for the end of the log.
    pub(super) async fn look(mut self, most: usize) -> Result<Self, String> {
        let looked = tokio::task::spawn_blocking(move || {
            self.offered = self.stored.clone();
            self.batch = self.offered.read(most)?;
            // After the batch, so that everything in it is counted.
            self.waiting += self.end.skip()?;
            Ok::<_, LogError>(self)
        });
        match looked.await {
            Ok(Ok(spend)) => Ok(spend),
            Ok(Err(error)) => Err(format!("the spend log cannot be read: {error}")),
            Err(_) => Err("the spend log was not read to an end".to_owned()),
        }
    }

    /// The settlements on offer, in their order.
    pub(super) fn batch(&self) -> &[Settlement] {
        &self.batch
    }

    /// Where the console stands once it has them.
    pub(super) fn next(&self) -> Position {
        self.offered.position()
    }

    /// The console has the batch.
    pub(super) fn delivered(&mut self) {
        let count = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        self.waiting = self.waiting.saturating_sub(count);
        self.stored = self.offered.clone();
        self.batch.clear();
    }

    /// Settlements that the console does not have.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }
}
