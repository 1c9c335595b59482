//! The verdict on a whole text, as the API Orchestrator's output filter gives it.
//!
//! Decides what is unsafe (a key, or words of a system prompt) and what is only replaced or told of. Which
//! status that becomes is decided by the endpoint.

use super::detect::{About, Rules, Wanted};
use super::finding::{Action, Control, Finding};
use super::redact::Redactor;
use serde::Serialize;
use std::sync::Arc;

/// A finding in the API Orchestrator's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub enum Told {
    /// A key, token or password.
    #[serde(rename = "api_key_leak")]
    ApiKey {
        /// The rule.
        pattern: Arc<str>,
        /// How often it is there.
        count: u32,
    },
    /// Personal data.
    #[serde(rename = "pii_leak")]
    Pii {
        /// The rule.
        pattern: Arc<str>,
        /// How often it is there.
        count: u32,
        /// Whether it was replaced.
        redacted: bool,
        /// There, and true, when it was not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        flagged: bool,
    },
    /// Words of a system prompt.
    #[serde(rename = "prompt_leak_indicator")]
    PromptLeak {
        /// The words.
        indicator: Arc<str>,
    },
}

/// What the filter says about a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the text may be shown, as [`Self::output`] has it.
    pub safe: bool,
    /// The text with keys and personal data replaced.
    pub output: String,
    /// What was found, for the answer.
    pub told: Vec<Told>,
    /// The same for events and the audit.
    pub findings: Vec<Finding>,
}

/// Searches `text` for everything there are rules for.
pub fn filter(rules: &Rules, text: &str) -> Verdict {
    let mut redactor = Redactor::default();
    let mut output = String::with_capacity(text.len());
    let mut from = 0;
    let mut counted: Vec<(Arc<About>, u32)> = Vec::new();
    for found in rules.find(text, Wanted::ALL) {
        match counted
            .iter_mut()
            .find(|(about, _)| Arc::ptr_eq(about, &found.about))
        {
            Some((_, count)) => *count += 1,
            None => counted.push((Arc::clone(&found.about), 1)),
        }
        if replaced(&found.about) {
            output.push_str(&text[from..found.span.start]);
            let value = &text[found.span.clone()];
            output.push_str(&redactor.placeholder(&found.about, value).0);
            from = found.span.end;
        }
    }
    output.push_str(&text[from..]);
    let blocks = |about: &About| matches!(about.control, Control::Secret | Control::Leak);
    Verdict {
        safe: !counted.iter().any(|(about, _)| blocks(about)),
        output,
        told: counted
            .iter()
            .map(|(about, count)| told(about, *count))
            .collect(),
        findings: counted
            .iter()
            .map(|(about, count)| {
                let action = match () {
                    () if blocks(about) => Action::Refuse,
                    () if replaced(about) => Action::Redact,
                    () => Action::Flag,
                };
                about.finding(action, *count)
            })
            .collect(),
    }
}

/// Words of a system prompt cannot be replaced in a way that hides them, and how to reach somebody is told
/// of only.
fn replaced(about: &About) -> bool {
    about.control != Control::Leak && !about.contact
}

fn told(about: &About, count: u32) -> Told {
    let pattern = Arc::clone(&about.rule);
    match about.control {
        Control::Pii => Told::Pii {
            pattern,
            count,
            redacted: !about.contact,
            flagged: about.contact,
        },
        Control::Leak => Told::PromptLeak { indicator: pattern },
        Control::Secret | Control::Injection | Control::Canary => Told::ApiKey { pattern, count },
    }
}
