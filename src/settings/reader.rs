//! Typed reading of a YAML tree that collects every problem and remembers where values came from.
//!
//! Decides how keys are asked for, how defaults and variables apply, and what is reported. What a
//! section contains is decided by whoever reads it: a key that nobody asked for is unknown, so the
//! list of known keys cannot disagree with the code that reads them.

mod section;

pub use section::Section;

use super::environment::Environment;
use super::expand::{Expanded, expand};
use super::origin::{Fact, Origin};
use super::problem::{Complaint, Problem, Problems, Severity};
use super::yaml::{self, Entry, Kind, Mark, Node};
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
        Section::new(self, String::new(), Mark::START, &[], true)
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
    /// The reader of the file.
    pub fn reader(&self) -> &'r Reader<'r> {
        self.reader
    }

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

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// Whether this is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.node.kind, Kind::Mapping(_))
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
        Section::new(self.reader, self.path, self.at, entries, open)
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

    /// The text as it was written, variables and all; reports a list or mapping.
    pub fn written(&self) -> Option<&'r str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.error(Complaint::new(format!(
                    "must be a single value, is {}",
                    self.node.describe()
                )));
                None
            }
        }
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
