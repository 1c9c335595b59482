//! Judging what a model has said, before a caller reads it.
//!
//! Decides which parts of an answer are judged: every text, what it thought, and the arguments of every tool
//! that it calls, for a secret is one wherever it stands.

use crate::guard::detect::Rules;
use crate::guard::filter::{Told, filter};
use crate::guard::finding::{Action, Control, Finding, Severity};
use crate::guard::session::Tokens;
use serde_json::Value;
use std::sync::Arc;

/// What is said about an answer.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Whether it may be shown, but for a token in it.
    pub safe: bool,
    /// Whether it holds a token of its session.
    pub leaked: bool,
    /// Whether something in it was replaced.
    pub redacted: bool,
    /// Its text as it may be shown.
    pub output: String,
    /// What was found, as callers read it.
    pub told: Value,
    /// The same for events and the audit.
    pub findings: Vec<Finding>,
}

/// The finding that a token is.
pub(super) fn leak() -> Finding {
    Finding {
        control: Control::Canary,
        rule: Arc::from("canary_token"),
        severity: Severity::Critical,
        action: Action::Refuse,
        count: 1,
    }
}

/// Judges one text.
pub(super) fn text(rules: &Rules, text: &str, tokens: Option<&Tokens>) -> Verdict {
    let mut all = All::new(rules, tokens);
    let output = all.text(text);
    all.end(output)
}

/// Judges the parts of an answer in Anthropic's form, and replaces in them what may not be shown.
pub(super) fn parts(rules: &Rules, parts: &mut [Value], tokens: Option<&Tokens>) -> Verdict {
    let mut all = All::new(rules, tokens);
    let mut texts = Vec::new();
    for part in parts {
        for name in ["thinking", "input", "content"] {
            if let Some(value) = part.get_mut(name) {
                all.value(value);
            }
        }
        if let Some(value) = part.get_mut("text")
            && let Some(text) = value.as_str()
        {
            let shown = all.text(text);
            texts.push(shown.clone());
            *value = Value::String(shown);
        }
    }
    // A token or a key that is spread over several parts is one all the same.
    let whole = texts.concat();
    if texts.len() > 1 {
        let shown = all.text(&whole);
        // Nothing can be replaced that is spread over several.
        all.safe &= shown == whole;
    }
    all.end(whole)
}

struct All<'a> {
    rules: &'a Rules,
    tokens: Option<&'a Tokens>,
    safe: bool,
    leaked: bool,
    redacted: bool,
    told: Vec<Told>,
    findings: Vec<Finding>,
}

impl<'a> All<'a> {
    fn new(rules: &'a Rules, tokens: Option<&'a Tokens>) -> Self {
        Self {
            rules,
            tokens,
            safe: true,
            leaked: false,
            redacted: false,
            told: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Judges a text, and gives it as it may be shown.
    fn text(&mut self, text: &str) -> String {
        self.leaked |= self.tokens.is_some_and(|tokens| tokens.found_in(text));
        let verdict = filter(self.rules, text);
        self.safe &= verdict.safe;
        self.redacted |= verdict.output != text;
        for told in verdict.told {
            if !self.told.contains(&told) {
                self.told.push(told);
            }
        }
        self.findings.extend(verdict.findings);
        verdict.output
    }

    /// Judges every text in a value: names of fields, too.
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    // A name cannot be replaced; what it holds counts.
                    let shown = self.text(name);
                    self.safe &= shown == *name;
                    self.value(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn end(self, output: String) -> Verdict {
        Verdict {
            safe: self.safe,
            leaked: self.leaked,
            redacted: self.redacted,
            output,
            told: serde_json::to_value(&self.told).unwrap_or_default(),
            findings: self.findings,
        }
    }
}
