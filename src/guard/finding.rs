//! What the guard says: what was found by which rule, and what is to become of it.
//!
//! A finding never holds the text that was found.

use std::sync::Arc;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Control {
    /// Text that tries to take the instructions over.
    Injection,
    /// The token of a session's system prompt, in an answer.
    Canary,
    /// Keys, tokens, passwords.
    Secret,
    /// Personal data.
    Pii,
    /// Words of a system prompt, in an answer.
    Leak,
}

impl Control {
    /// The name in events, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Injection => "injection",
            Self::Canary => "canary",
            Self::Secret => "secret",
            Self::Pii => "pii",
            Self::Leak => "leak",
        }
    }
}

/// How seriously a control is taken, by policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is looked for.
    #[default]
    Off,
    /// Findings are told and nothing is changed.
    Observe,
    /// Findings are acted upon.
    Enforce,
}

/// What becomes of a text with a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It passes; the finding is told.
    Flag,
    /// What was found is replaced.
    Redact,
    /// The request, or its answer, is refused.
    Refuse,
}

impl Action {
    /// The name in events, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flagged",
            Self::Redact => "redacted",
            Self::Refuse => "refused",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a line.
    Low,
    /// Worth a look.
    Medium,
    /// Worth an alert.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The name in events, logs and the audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Something that was found. Never the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub control: Control,
    /// The rule, by its name in the files.
    pub rule: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// What becomes of it.
    pub action: Action,
    /// How often it is there.
    pub count: u32,
}
