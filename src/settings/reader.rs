//! Typed reading of a YAML tree that collects every problem and remembers where values came from.
//!
//! Decides how keys are asked for, how defaults and variables apply, and what is reported. What a
//! section contains is decided by whoever reads it: a key that nobody asked for is unknown, so the
//! list of known keys cannot disagree with the code that reads them.

use super::environment::Environment;
use super::expand::{Expanded, expand};
use super::origin::{Fact, Origin, masked};
use super::problem::{Complaint, Problem, Problems, Severity, did_you_mean};
use super::yaml::{self, Entry, Kind, Mark, Node};
use crate::secret::Secret;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// One file being read.
pub struct Reader<'a> {
    file: Arc<str>,
    /// The variables that values may name.
    pub environment: &'a Environment,
    journal: RefCell<Journal>,
}

#[derive(Default)]
struct Journal {
    problems: Vec<Problem>,
    told: HashSet<Problem>,
    facts: Vec<Fact>,
}

/// What a reader has to say in the end.
pub struct Findings {
    /// The settings in force, in the order they were read.
    pub facts: Vec<Fact>,
    /// Warnings only; errors make the whole an error.
    pub warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of the file called `file`.
    pub fn new(file: &str, environment: &'a Environment) -> Self {
        Self {
            file: file.into(),
            environment,
            journal: RefCell::default(),
        }
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Parses the text; faults become problems. Nothing when the text is no YAML.
    pub fn parse(&self, text: &str) -> Option<Node> {
        let parsed = yaml::parse(text);
        for fault in parsed.faults {
            self.report(
                Severity::Error,
                fault.mark,
                "",
                Complaint::new(fault.message),
            );
        }
        parsed.root
    }

    /// The top level of the file as a section; an empty one when the file holds nothing.
    pub fn root<'r>(&'r self, node: &'r Node) -> Section<'r> {
        self.value(node, node.mark, String::new()).section()
    }

    /// A section of a file that is not there: every key has its default.
    pub fn absent(&self) -> Section<'_> {
        Section {
            reader: self,
            path: String::new(),
            at: Mark::START,
            entries: &[],
            asked: RefCell::default(),
            open: true,
        }
    }

    fn value<'r>(&'r self, node: &'r Node, at: Mark, path: String) -> Value<'r> {
        Value {
            reader: self,
            node,
            path,
            at,
        }
    }

    /// Records a setting in force.
    pub fn fact(&self, path: impl Into<String>, value: impl Into<String>, origin: Origin) {
        let fact = Fact {
            path: path.into(),
            value: value.into(),
            origin,
        };
        self.journal.borrow_mut().facts.push(fact);
    }

    /// Records that an environment variable has a value that cannot be used.
    pub fn report_variable(&self, name: &str, complaint: Complaint) {
        let mut problem = Problem::of_file("environment", complaint.message).under(name);
        problem.suggestion = complaint.suggestion;
        self.journal.borrow_mut().problems.push(problem);
    }

    /// Records a problem at a place of the file.
    pub fn report(&self, severity: Severity, at: Mark, path: &str, complaint: Complaint) {
        let problem = Problem {
            severity,
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message: complaint.message,
            suggestion: complaint.suggestion,
        };
        let mut journal = self.journal.borrow_mut();
        // An alias is read once for every use; its problem is told once.
        if journal.told.insert(problem.clone()) {
            journal.problems.push(problem);
        }
    }

    /// What was found.
    ///
    /// # Errors
    /// All problems, in the order of the file, when at least one is an error.
    pub fn finish(self) -> Result<Findings, Problems> {
        let Journal {
            mut problems,
            facts,
            ..
        } = self.journal.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if problems.iter().any(Problem::is_error) {
            return Err(Problems(problems));
        }
        Ok(Findings {
            facts,
            warnings: problems,
        })
    }
}

/// A value that is there.
#[derive(Clone)]
pub struct Value<'r> {
    reader: &'r Reader<'r>,
    node: &'r Node,
    path: String,
    at: Mark,
}

impl<'r> Value<'r> {
    /// The path inside the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports an error at this value.
    pub fn error(&self, complaint: Complaint) {
        self.reader
            .report(Severity::Error, self.node.mark, &self.path, complaint);
    }

    /// Reports a warning at this value.
    pub fn warn(&self, complaint: Complaint) {
        self.reader
            .report(Severity::Warning, self.node.mark, &self.path, complaint);
    }

    /// This value as a section; reports it and gives an empty one when it is something else.
    pub fn section(self) -> Section<'r> {
        let (entries, open): (&[Entry], bool) = match &self.node.kind {
            Kind::Mapping(entries) => (entries, true),
            _ if self.node.is_null() => (&[], true),
            _ => {
                self.error(Complaint::new(format!(
                    "must be a mapping, is {}",
                    self.node.describe()
                )));
                (&[], false)
            }
        };
        Section {
            reader: self.reader,
            path: self.path,
            at: self.at,
            entries,
            asked: RefCell::default(),
            open,
        }
    }

    /// The elements of a list; reports anything else and gives none.
    pub fn list(&self) -> Vec<Value<'r>> {
        let Kind::List(items) = &self.node.kind else {
            if !self.node.is_null() {
                self.error(Complaint::new(format!(
                    "must be a list, is {}",
                    self.node.describe()
                )));
            }
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, node)| {
                self.reader
                    .value(node, node.mark, format!("{}[{index}]", self.path))
            })
            .collect()
    }

    /// The text with its variables filled in; reports a list or mapping.
    pub fn expanded(&self) -> Option<Expanded> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_null() => {
                Some(expand(text, self.reader.environment))
            }
            _ => {
                self.error(Complaint::new(format!(
                    "must be a single value, is {}",
                    self.node.describe()
                )));
                None
            }
        }
    }

    /// The text through `read`; reports what `read` complains about.
    pub fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, Complaint>) -> Option<T> {
        let expanded = self.expanded()?;
        match read(&expanded.text) {
            Ok(value) => Some(value),
            Err(mut complaint) => {
                if !expanded.missing.is_empty() {
                    complaint.message.push_str(&unset(&expanded.missing));
                }
                self.error(complaint);
                None
            }
        }
    }

    /// Where this value comes from.
    pub fn origin(&self) -> Origin {
        let variables = match &self.node.kind {
            Kind::Scalar { text, .. } => expand(text, self.reader.environment).variables,
            _ => Vec::new(),
        };
        Origin::File {
            file: Arc::clone(&self.reader.file),
            line: self.node.mark.line,
            column: self.node.mark.column,
            variables,
        }
    }
}

fn unset(variables: &[String]) -> String {
    let names: Vec<String> = variables
        .iter()
        .map(|name| format!("${{{name}}}"))
        .collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!(" ({} {verb} not set)", names.join(", "))
}

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
            None => Section {
                reader: self.reader,
                path: self.path_of(key),
                at: self.at,
                entries: &[],
                asked: RefCell::default(),
                open: true,
            },
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
