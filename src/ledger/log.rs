//! The spend log: the append-only record of truth that every balance is a projection of.
//!
//! Decides what is durable when, what a damaged file means, and how records look. It does not decide
//! what a record does to a balance (that is `ledger/projection.rs`). `docs/accounting.md` has the
//! format field by field.
//!
//! One process writes one *chain* of segments: `spend.jsonl` belongs to whoever holds the lock beside
//! it, a second process beside a live first one writes a chain of its own. `writer` appends,
//! `segment` finds and reads files, `record` and `line` are the two directions of the format.

pub(super) mod chain;
mod identity;
pub(super) mod line;
pub(super) mod record;
pub(super) mod segment;
pub mod tail;
pub(super) mod verify;
pub(super) mod writer;

pub use crate::settings::Durability;
pub use identity::{identity, known_identity, place};
pub use verify::{Damage, Summary, verify};

use crate::money::Nanos;
use crate::settings::SpendLog;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells the time to the ledger, in Unix milliseconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that asks `now` for Unix milliseconds.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now, in Unix milliseconds.
    pub fn millis(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(|| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Where and how the log is written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The active segment; rotated ones are put beside it.
    pub path: PathBuf,
    /// When a hold counts as recorded.
    pub durability: Durability,
    /// The least time between two syncs to the disk.
    pub group_commit: Duration,
    /// A segment larger than this, in bytes, is rotated away.
    pub segment_size: u64,
    /// The time for everything that brings none of its own.
    pub clock: Clock,
}

impl LogOptions {
    /// A log at `path` with the default settings, by the system's clock.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let settings = SpendLog::default();
        Self {
            path: path.into(),
            durability: settings.durability,
            group_commit: settings.group_commit,
            segment_size: settings.segment_bytes,
            clock: Clock::default(),
        }
    }
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The segment that this process writes.
    pub segment: PathBuf,
    /// Records read, those of the Execwall OR Gate included.
    pub records: u64,
    /// Records that the Execwall OR Gate wrote.
    pub legacy: u64,
    /// Bytes of an invalid tail that were cut off the active segment.
    pub cut_bytes: u64,
    /// Reservations that nobody ended, charged at their hold.
    pub orphans: usize,
    /// What they were charged.
    pub orphaned: Nanos,
    /// Chains of other processes that are alive; their open reservations stay held.
    pub live: usize,
}

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A record in the middle is damaged; nothing is guessed.
    #[error("{}: damaged at byte {at}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged line begins.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An earlier write or sync failed; nothing is written any more.
    #[error("the spend log failed earlier and takes no more records")]
    Poisoned,
    /// The store that gateways share cannot be reached.
    #[error("the shared store of budgets cannot be reached")]
    Away,
    /// An amount below zero or beyond [`crate::money::MAX_AMOUNT`].
    #[error("an amount must be between 0 and {} dollars", crate::money::MAX_AMOUNT)]
    AmountOutOfRange,
}

impl LogError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
