//! What is wrong with a settings file, where, and what was probably meant.
//!
//! Decides how a problem reads; not what counts as one. A message never quotes a value that came
//! out of a variable or belongs to a secret.

use std::fmt;
use std::sync::Arc;

/// Whether a problem keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used, but probably does not mean what its author thinks.
    Warning,
}

/// One problem, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1; 0 when the problem is the file itself.
    pub line: usize,
    /// The column, from 1, in characters; 0 when the problem is the file itself.
    pub column: usize,
    /// The path inside the file, such as `cost_routing.agents.agent-1.period`; may be empty.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
}

impl Problem {
    /// An error about a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    /// The same with a path.
    #[must_use]
    pub fn under(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// The same with a suggestion.
    #[must_use]
    pub fn suggesting(self, suggestion: impl Into<String>) -> Self {
        Self {
            suggestion: Some(suggestion.into()),
            ..self
        }
    }

    /// Whether this keeps the file from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `policy.yaml:12:7: error: cost_routing.agents.a.perod: unknown key`, then a `help:` line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n  help: {suggestion}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file: at least one error, and the warnings with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.is_error()).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// What is wrong with one value, before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
}

impl Complaint {
    /// A complaint without a suggestion.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            suggestion: None,
        }
    }

    /// The same with a suggestion.
    #[must_use]
    pub fn suggesting(self, suggestion: impl Into<String>) -> Self {
        Self {
            suggestion: Some(suggestion.into()),
            ..self
        }
    }
}

/// The candidate that `word` was probably meant to be.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let wanted = plain(word);
    let reach = (wanted.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &plain(candidate)),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` for the nearest candidate, else the list of them when it is short.
pub fn did_you_mean(word: &str, candidates: &[&str]) -> Option<String> {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None if candidates.is_empty() || candidates.len() > 24 => None,
        None => Some(format!("one of: {}", candidates.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_like_a_compilers() {
        let mut problem = Problem::of_file("policy.yaml", "unknown key")
            .under("cost_routing.agents.a.perod")
            .suggesting("did you mean `period`?");
        (problem.line, problem.column) = (12, 7);
        assert_eq!(
            problem.to_string(),
            "policy.yaml:12:7: error: cost_routing.agents.a.perod: unknown key\n  help: did you mean `period`?"
        );
        assert_eq!(
            Problem::of_file("x", "cannot be read")
                .warning()
                .to_string(),
            "x: warning: cannot be read"
        );
    }

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let keys = ["period", "hard_cap", "tiers"];
        assert_eq!(nearest("perod", keys), Some("period"));
        assert_eq!(nearest("Hard-Cap", keys), Some("hard_cap"));
        assert_eq!(nearest("teirs", keys), Some("tiers"));
        assert_eq!(nearest("models", keys), None);
        assert_eq!(
            did_you_mean("zzz", &keys).as_deref(),
            Some("one of: period, hard_cap, tiers")
        );
    }
}
