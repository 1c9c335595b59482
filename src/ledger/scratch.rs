//! Real files for tests: a log in a directory of its own.

use super::Book;
use super::contract::NOON;
use super::log::{Clock, LogError, LogOptions, Recovery};
use crate::budget::AccountSpec;
use crate::money::Nanos;
use crate::usage::{Bill, CostSource, Usage};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of its own, gone afterwards.
pub(crate) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-ledger-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("spend.jsonl")
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.log(), text).unwrap();
    }

    pub(crate) fn read(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// Everything that is with the operating system at this moment: what a `kill -9` leaves.
    pub(crate) fn killed(&self) -> Self {
        let copy = Self::new();
        for entry in std::fs::read_dir(&self.0).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.0.join(entry.file_name())).unwrap();
        }
        copy
    }

    pub(crate) fn open(
        &self,
        at: &Arc<AtomicU64>,
        specs: &[&Arc<AccountSpec>],
    ) -> (Arc<Book>, Recovery) {
        self.try_open(at, specs).unwrap()
    }

    pub(crate) fn try_open(
        &self,
        at: &Arc<AtomicU64>,
        specs: &[&Arc<AccountSpec>],
    ) -> Result<(Arc<Book>, Recovery), LogError> {
        let at = Arc::clone(at);
        let mut options = LogOptions::at(self.log());
        options.clock = Clock::new(move || at.load(Ordering::Relaxed));
        let specs: Vec<_> = specs.iter().map(|spec| Arc::clone(spec)).collect();
        Book::open(options, &specs)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn noon() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(NOON))
}

pub(crate) fn bill(cost: i64) -> Bill {
    Bill {
        cost: Nanos(cost),
        source: CostSource::Provider,
        usage: Usage {
            input: 7,
            output: 5,
            reasoning: 2,
            ..Usage::default()
        },
        model: "m/\"one\"".into(),
        prices: "2025-01".into(),
    }
}
