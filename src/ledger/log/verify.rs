//! Checking a log without opening it.
//!
//! Decides whether every record of every segment is whole and linked, and adds up what they say. It
//! changes nothing and stops a chain at its first damage.

use super::LogError;
use super::chain::Cursor;
use super::line::Action;
use super::segment::Family;
use crate::identity::AttemptId;
use crate::money::Nanos;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files read.
    pub segments: usize,
    /// Valid records, those of the Execwall OR Gate included.
    pub records: u64,
    /// Settled in all records, resets not counted, by agent.
    pub settled: BTreeMap<String, Nanos>,
    /// Settlements, rows of the Execwall OR Gate included.
    pub settlements: u64,
    /// The sum of what they cost.
    pub cost: Nanos,
    /// Settlements that charged a whole hold because nothing was known.
    pub unresolved: u64,
    /// What those charged.
    pub unresolved_cost: Nanos,
    /// Reservations without an end.
    pub open: usize,
    /// Bytes of a torn end, which the next start cuts off.
    pub torn_bytes: u64,
    /// The first damage, if there is any.
    pub damage: Option<Damage>,
    /// Whether each attempt is open.
    attempts: HashMap<AttemptId, bool>,
}

impl Summary {
    /// Whether nothing is damaged. A torn end is what a sudden end leaves, and does no harm.
    pub fn is_sound(&self) -> bool {
        self.damage.is_none()
    }

    /// Whether an attempt is open; `None` when no record names it.
    pub fn is_open(&self, id: AttemptId) -> Option<bool> {
        self.attempts.get(&id).copied()
    }
}

/// A damaged line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where the line begins.
    pub at: u64,
    /// What is wrong.
    pub reason: &'static str,
}

/// Checks every segment of the log at `path`.
///
/// # Errors
/// [`LogError::Io`] when a file cannot be read; damage is part of the summary.
pub fn verify(path: &Path) -> Result<Summary, LogError> {
    let mut summary = Summary::default();
    // Whether each attempt is open; a record of another chain may end it before it is read.
    let mut attempts = HashMap::new();
    for (name, files) in Family::of(path).list()? {
        let mut cursor = Cursor::new(&name);
        let paths = files.all();
        for (index, path) in paths.iter().enumerate() {
            let bytes = std::fs::read(path).map_err(LogError::io(path))?;
            summary.segments += 1;
            let newest = index + 1 == paths.len();
            let mut sink = |entry: super::line::Entry| {
                summary.records += 1;
                let mut add = |agent: &str, cost| {
                    *summary.settled.entry(agent.to_owned()).or_default() += cost;
                    summary.settlements += 1;
                    summary.cost += cost;
                };
                match entry.action {
                    Action::Intent(party) => {
                        attempts.entry(party.id).or_insert(true);
                    }
                    // Charged twice, by two processes that started at once: it counts once.
                    Action::Settle {
                        id,
                        cost,
                        agent,
                        unresolved,
                    } if attempts.insert(id, false) != Some(false) => {
                        add(agent.as_str(), cost);
                        if unresolved {
                            summary.unresolved += 1;
                            summary.unresolved_cost += cost;
                        }
                    }
                    Action::Void { id } => {
                        attempts.insert(id, false);
                    }
                    Action::LegacySpend {
                        agent: Some(agent),
                        cost,
                    } => add(agent.as_str(), cost),
                    _ => {}
                }
            };
            match cursor.read(path, 0, &bytes, newest, &mut sink) {
                Ok(read) => summary.torn_bytes += read.tail,
                Err(LogError::Damaged { path, at, reason }) => {
                    summary.damage.get_or_insert(Damage { path, at, reason });
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    summary.open = attempts.values().filter(|open| **open).count();
    summary.attempts = attempts;
    Ok(summary)
}
