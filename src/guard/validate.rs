//! The API Orchestrator's validation of inputs: its limits, what it blocks and what it strips.
//!
//! Decides what is said about one message. Differs from the original where that was wrong: what it
//! strips is stripped until nothing is left to strip, and only then looked at, so that stripping cannot
//! put an attack together; and four of its patterns, which are as common in questions as in attacks, do
//! not count inside a question about the matter. Who is blocked for how long is not decided here.

mod strip;

use regex::{Regex, RegexSet};
use std::sync::LazyLock;

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in characters.
    pub message: usize,
    /// The most turns of a session.
    pub turns: usize,
    /// The longest system prompt, in characters.
    pub system: usize,
}

impl Default for Limits {
    /// The original's.
    fn default() -> Self {
        Self {
            message: 4000,
            turns: 50,
            system: 2000,
        }
    }
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self {
        message: usize::MAX,
        turns: usize::MAX,
        system: usize::MAX,
    };
}

/// A pattern that blocks a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its name, as in the rules of the guard.
    pub name: &'static str,
    /// The pattern, as the original wrote it.
    pub pattern: &'static str,
}

/// What is said about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How long the message was, in characters.
    pub input_length: usize,
    /// The message without what was stripped; empty when it is over a limit.
    pub sanitized: String,
    /// The patterns that block it.
    pub blocked: Vec<Blocked>,
    /// What was stripped.
    pub warnings: Vec<String>,
    /// Why it is not valid, for its sender.
    pub errors: Vec<String>,
    /// Whether it may pass.
    pub valid: bool,
}

/// The original's patterns. The last column says whether a question about the matter is harmless.
const PATTERNS: [(&str, &str, bool); 12] = [
    (
        "ignore_instructions",
        r"ignore\s+(all\s+|your\s+)?instructions",
        false,
    ),
    (
        "reveal_prompt",
        r"reveal\s+your\s+(instructions|config|prompt|system)",
        false,
    ),
    (
        "act_unrestricted",
        r"act\s+as\s+(an?\s+)?unrestricted",
        false,
    ),
    (
        "jailbreak_mode",
        r"you\s+are\s+now\s+in\s+(developer|DAN|jailbreak)\s+mode",
        false,
    ),
    ("ignore_above", r"ignore\s+everything\s+above", false),
    (
        "disregard_rules",
        r"disregard\s+(your\s+|all\s+)?(rules|guidelines|instructions)",
        false,
    ),
    (
        "forget_instructions",
        r"forget\s+(all\s+|previous\s+)?instructions",
        false,
    ),
    (
        "override_instructions",
        r"override\s+(my\s+)?instructions",
        false,
    ),
    (
        "bypass_security",
        r"bypass\s+(security|rules|filters|content\s+policy)",
        true,
    ),
    ("execute_code", r"execute\s+(code|commands?|shell)", true),
    ("sudo_rm", r"sudo\s+rm\s+-rf", true),
    ("drop_table", r"drop\s+table", true),
];

/// What the original means and does not find: more than one word between verb and object.
const MEANT: [(usize, &str); 4] = [
    (0, r"ignore\s+(?:\w+\s+){0,4}instructions"),
    (2, r"act\s+as\s+(?:\w+\s+){0,3}unrestricted"),
    (
        5,
        r"disregard\s+(?:\w+\s+){0,4}(?:rules|guidelines|instructions)",
    ),
    (6, r"forget\s+(?:\w+\s+){0,4}instructions"),
];

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let originals = PATTERNS.iter().map(|(_, pattern, _)| *pattern);
    let meant = MEANT.iter().map(|(_, pattern)| *pattern);
    RegexSet::new(
        originals
            .chain(meant)
            .map(|pattern| format!("(?i){pattern}")),
    )
    .expect("the patterns above are valid")
});

static SINGLE: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let single = |(_, pattern, _): &(&str, &str, bool)| Regex::new(&format!("(?i){pattern}"));
    PATTERNS
        .iter()
        .map(single)
        .collect::<Result<_, _>>()
        .expect("the patterns above are valid")
});

/// What makes a sentence a question about a matter, or a report of it, instead of an order.
static ASKED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:how\s+(?:do|does|did|can|could|would|should|to|are|is)|what|why|when|where|which|whether|explain|describe|difference|meaning|tutorial|documentation|error|fails?|failed|example|difficult|prevent|avoid|protect|detect|without)\b",
    )
    .expect("the pattern above is valid")
});

/// Looks at one message of a session that has had `turns` turns, this one included.
pub fn input(message: &str, turns: usize, limits: &Limits) -> Report {
    let input_length = message.chars().count();
    let mut report = Report {
        input_length,
        sanitized: String::new(),
        blocked: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
        valid: false,
    };
    if input_length > limits.message {
        report.errors.push(format!(
            "Message is too long: {input_length} characters, at most {}",
            limits.message
        ));
    }
    if turns > limits.turns {
        report.errors.push(format!(
            "Session has too many turns: {turns}, at most {}",
            limits.turns
        ));
    }
    if !report.errors.is_empty() {
        return report;
    }
    let stripped = strip::strip(message);
    report.warnings = stripped.warnings();
    if stripped.endless {
        report
            .errors
            .push("Message hides what is stripped inside itself too often".to_owned());
    }
    report.blocked = blocked(&stripped.text);
    if !report.blocked.is_empty() {
        let names: Vec<&str> = report.blocked.iter().map(|blocked| blocked.name).collect();
        report
            .errors
            .push(format!("Blocked pattern detected: {}", names.join(", ")));
    }
    report.sanitized = stripped.text;
    report.valid = report.errors.is_empty();
    report
}

/// Looks at a system prompt: why it is refused; empty when it is not.
pub fn system_prompt(prompt: &str, limits: &Limits) -> Vec<String> {
    let mut errors = Vec::new();
    let length = prompt.chars().count();
    if prompt.trim().is_empty() {
        errors.push("System prompt is empty".to_owned());
    }
    if length > limits.system {
        errors.push(format!(
            "System prompt is too long: {length} characters, at most {}",
            limits.system
        ));
    }
    errors
}

/// The patterns that block a text, as its reader sees it.
fn blocked(text: &str) -> Vec<Blocked> {
    let read = super::view::fold(text).text;
    let mut found = [false; PATTERNS.len()];
    for index in SET.matches(&read) {
        match index.checked_sub(PATTERNS.len()) {
            Some(meant) => found[MEANT[meant].0] = true,
            None => found[index] = true,
        }
    }
    PATTERNS
        .iter()
        .enumerate()
        .filter(|(index, (_, _, asked))| found[*index] && !(*asked && only_asked(*index, &read)))
        .map(|(_, (name, pattern, _))| Blocked { name, pattern })
        .collect()
}

/// Whether the pattern stands in questions only: something that asks about it comes before, in the same
/// sentence.
fn only_asked(index: usize, text: &str) -> bool {
    SINGLE[index].find_iter(text).take(64).all(|found| {
        let before = &text[..found.start()];
        let from = before
            .rfind(['.', '!', '?', '\n', ';'])
            .map_or(0, |at| at + 1);
        // The start of a sentence is all that is looked at.
        let head = &before[from..];
        let end = (0..=head.len().min(400))
            .rev()
            .find(|at| head.is_char_boundary(*at))
            .unwrap_or(0);
        ASKED.is_match(&head[..end])
    })
}

#[cfg(test)]
mod tests;
