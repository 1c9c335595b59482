//! One mapping of a file: its keys, asked for one by one.

use super::{Reader, Value, unset};
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Complaint, Severity, did_you_mean};
use crate::settings::yaml::{Entry, Mark};
use std::cell::RefCell;

/// A mapping whose keys are asked for one by one. When it goes out of scope it reports the keys
/// that nobody asked for.
pub struct Section<'r> {
    reader: &'r Reader<'r>,
    path: String,
    at: Mark,
    entries: &'r [Entry],
    asked: RefCell<Vec<&'static str>>,
    open: bool,
}

impl<'r> Section<'r> {
    /// A section whose key is at `at`. A section that is not `open` reports no unknown keys.
    pub(super) fn new(
        reader: &'r Reader<'r>,
        path: String,
        at: Mark,
        entries: &'r [Entry],
        open: bool,
    ) -> Self {
        Self {
            reader,
            path,
            at,
            entries,
            asked: RefCell::default(),
            open,
        }
    }

    /// The reader of the file.
    pub fn reader(&self) -> &'r Reader<'r> {
        self.reader
    }

    /// The path inside the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of a key of this section.
    pub fn path_of(&self, key: &str) -> String {
        let simple = !key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        match (self.path.as_str(), simple) {
            ("", true) => key.to_owned(),
            ("", false) => format!("{key:?}"),
            (path, true) => format!("{path}.{key}"),
            (path, false) => format!("{path}.{key:?}"),
        }
    }

    fn wrap(&self, entry: &'r Entry) -> Value<'r> {
        self.reader
            .value(&entry.value, entry.mark, self.path_of(&entry.key))
    }

    /// The value of a key; an empty value counts as absent.
    pub fn get(&self, key: &'static str) -> Option<Value<'r>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then(|| self.wrap(entry))
    }

    /// A section inside this one; an empty one when it is absent.
    pub fn section(&self, key: &'static str) -> Section<'r> {
        match self.get(key) {
            Some(value) => value.section(),
            None => Section::new(self.reader, self.path_of(key), self.at, &[], true),
        }
    }

    /// All entries, for a mapping whose keys are names; none of them is unknown then.
    pub fn entries(&mut self) -> Vec<(&'r str, Value<'r>)> {
        self.open = false;
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.wrap(entry)))
            .collect()
    }

    /// Entries that nobody has asked for so far, which are no longer unknown then.
    pub fn rest(&mut self) -> Vec<(&'r str, Value<'r>)> {
        self.open = false;
        let asked = self.asked.borrow();
        let unasked = self
            .entries
            .iter()
            .filter(|entry| !asked.contains(&entry.key.as_str()));
        unasked
            .map(|entry| (entry.key.as_str(), self.wrap(entry)))
            .collect()
    }

    /// Reports an error about this section as a whole, at its key.
    pub fn error(&self, complaint: Complaint) {
        self.reader
            .report(Severity::Error, self.at, &self.path, complaint);
    }

    /// Reports a warning about this section as a whole, at its key.
    pub fn warn(&self, complaint: Complaint) {
        self.reader
            .report(Severity::Warning, self.at, &self.path, complaint);
    }

    /// The value of a key and where it comes from, without recording it as in force.
    pub fn resolve<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<(T, Origin)> {
        let value = self.get(key)?;
        Some((value.read(read)?, value.origin()))
    }

    /// The value of a key if it is there, recorded as in force.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (value, origin) = self.resolve(key, read)?;
        let shown = origin.cover(show(&value));
        self.reader.fact(self.path_of(key), shown, origin);
        Some(value)
    }

    /// The value of a key, else its default; recorded as in force.
    pub fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.optional(key, read, &show).unwrap_or_else(|| {
            self.reader
                .fact(self.path_of(key), show(&default), Origin::Default);
            default
        })
    }

    /// The value of a key that must be there; reports its absence.
    pub fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let there = self
            .entries
            .iter()
            .any(|entry| entry.key == key && !entry.value.is_null());
        if !there && self.open {
            self.error(Complaint::new(format!("`{key}` is missing")));
        }
        self.optional(key, read, show)
    }

    /// A secret, if there is one; recorded by its length only. A variable that is not set is a
    /// warning, and no secret.
    pub fn secret(&self, key: &'static str) -> Option<Secret> {
        let value = self.get(key)?;
        let expanded = value.expanded()?;
        if !expanded.missing.is_empty() {
            let message = format!("the secret is empty{}", unset(&expanded.missing));
            value.warn(
                Complaint::new(message)
                    .suggesting("set the variable, in the environment or in .env"),
            );
        }
        let text = expanded.text.trim();
        self.reader
            .fact(self.path_of(key), masked(text), value.origin());
        (!text.is_empty()).then(|| Secret::new(text.to_owned()))
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let asked = self.asked.borrow();
        for entry in self.entries {
            if !asked.contains(&entry.key.as_str()) {
                let complaint = Complaint {
                    message: "unknown key".into(),
                    suggestion: did_you_mean(&entry.key, &asked),
                };
                self.reader.report(
                    Severity::Error,
                    entry.mark,
                    &self.path_of(&entry.key),
                    complaint,
                );
            }
        }
    }
}
