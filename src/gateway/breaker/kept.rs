//! What the breaker knew a moment ago, beside the spend log: `spend.jsonl.window`.
//!
//! Decides nothing: it saves reading a whole window of the spend log at every start. Where it is missing, damaged
//! or of another window, the spend log says the same.

use super::journal::beside;
use crate::breaker::{Level, Tracker};
use crate::ledger::log::tail::Position;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The only version of the file so far.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// Which window it is of.
    span: String,
    /// How far the spend log was read.
    pub(super) position: Position,
    /// The last line of the journal that is part of it.
    pub(super) journal: u64,
    pub(super) told: Level,
    /// The last level that all gateways together were at.
    pub(super) floor: Level,
    /// When the latest of what was counted was spent.
    pub(super) latest: i64,
    pub(super) tracker: Tracker,
}

impl Kept {
    pub(super) fn new(
        span: String,
        position: Position,
        journal: u64,
        levels: (Level, Level),
        latest: i64,
        tracker: Tracker,
    ) -> Self {
        Self {
            version: VERSION,
            span,
            position,
            journal,
            told: levels.0,
            floor: levels.1,
            latest,
            tracker,
        }
    }

    /// What was kept beside a log, of this window.
    pub(super) fn load(log: &Path, span: &str) -> Option<Self> {
        let path = path(log);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot be read; the window is read from the spend log");
                return None;
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(kept) if kept.version == VERSION && kept.span == span => Some(kept),
            Ok(_) => None,
            Err(_) => {
                let path = path.display();
                tracing::warn!(%path, "is damaged; the window is read from the spend log");
                None
            }
        }
    }

    /// Replaces what is kept.
    pub(super) fn save(&self, log: &Path) -> io::Result<()> {
        let path = path(log);
        let new = beside(&path, &format!(".{}", std::process::id()));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&new, &path)
    }
}

fn path(log: &Path) -> PathBuf {
    beside(log, ".window")
}
