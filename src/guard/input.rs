//! Secrets and personal data of a request, taken out before it leaves, and put back into its answer.
//!
//! Decides the new body: placeholders stand where values were, everything else is as it came. The same value
//! has the same placeholder throughout a request, in the order of the body, so that a conversation that grows
//! keeps its beginning. What was taken out lives in a [`Restore`] until the answer has ended, and is wiped then.

use super::Passage;
use super::detect::{About, Rules, Wanted};
use super::finding::{Action, Finding};
use super::redact::Redactor;
use super::screen::Setting;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is done about a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keys, tokens, passwords.
    pub secrets: Setting,
    /// Personal data.
    pub pii: Setting,
    /// Whether mail addresses and telephone numbers are acted upon like other personal data, and not only
    /// told of.
    pub contacts: bool,
}

/// The values that placeholders stand for. They can be asked for by their placeholder only.
#[derive(Default)]
pub struct Restore {
    values: HashMap<String, Zeroizing<String>>,
}

impl Restore {
    /// What a placeholder, with its brackets, stands for.
    pub fn value(&self, placeholder: &str) -> Option<&str> {
        self.values.get(placeholder).map(|value| value.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing to put back.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Restore({})", self.values.len())
    }
}

/// What was found in a request, and what became of it.
#[derive(Debug, Default)]
pub struct Redacted {
    /// The body as it may leave; `None` when it stays as it is.
    pub body: Option<String>,
    /// What was taken out.
    pub restore: Restore,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Whether the request is to be refused.
    pub refused: bool,
}

/// Searches the texts of a request, and takes out of `body` what the options say. `None` when nothing was
/// found.
pub fn redact(
    body: &str,
    passages: &[Passage<'_>],
    rules: &Rules,
    options: Options,
) -> Option<Redacted> {
    let is_on = |setting: Setting| setting != Setting::default();
    let wanted = Wanted {
        secrets: is_on(options.secrets),
        pii: is_on(options.pii),
        leak: false,
    };
    if wanted.is_none() {
        return None;
    }
    let mut order: Vec<&Passage<'_>> = passages.iter().collect();
    order.sort_by_key(|passage| passage.at.start);
    let mut work = Work {
        body,
        out: String::new(),
        from: 0,
        redactor: Redactor::default(),
        counts: Vec::new(),
        restore: Restore::default(),
        options,
    };
    for passage in order {
        work.passage(passage, rules, wanted);
    }
    work.done()
}

struct Work<'b> {
    body: &'b str,
    out: String,
    /// Up to where `out` has the body.
    from: usize,
    redactor: Redactor,
    counts: Vec<(Arc<About>, Action, u32)>,
    restore: Restore,
    options: Options,
}

impl Work<'_> {
    fn passage(&mut self, passage: &Passage<'_>, rules: &Rules, wanted: Wanted) {
        let all = rules.find_again(passage.name(), || passage.text(), wanted);
        let text = if all.is_empty() { "" } else { passage.text() };
        let mut changed = String::new();
        let mut from = 0;
        for found in all.iter() {
            let action = self.outcome(&found.about);
            self.count(&found.about, action);
            if action != Action::Redact {
                continue;
            }
            let value = &text[found.span.clone()];
            let (placeholder, new) = self.redactor.placeholder(&found.about, value);
            changed.push_str(&text[from..found.span.start]);
            changed.push_str(&placeholder);
            from = found.span.end;
            if new {
                let value = Zeroizing::new(value.to_owned());
                self.restore.values.insert(placeholder, value);
            }
        }
        // What overlaps a passage before it was written with that one.
        let fits = passage.at.start >= self.from && passage.at.end <= self.body.len();
        if from == 0 || !fits {
            return;
        }
        changed.push_str(&text[from..]);
        self.out.push_str(&self.body[self.from..passage.at.start]);
        let quoted = serde_json::Value::from(changed).to_string();
        self.out.push_str(&quoted);
        self.from = passage.at.end;
    }

    fn outcome(&self, about: &About) -> Action {
        let setting = match about.control {
            super::finding::Control::Pii if about.contact && !self.options.contacts => {
                return Action::Flag;
            }
            super::finding::Control::Pii => self.options.pii,
            _ => self.options.secrets,
        };
        setting.outcome()
    }

    fn count(&mut self, about: &Arc<About>, action: Action) {
        let known = self
            .counts
            .iter_mut()
            .find(|(known, did, _)| Arc::ptr_eq(known, about) && *did == action);
        match known {
            Some((_, _, count)) => *count = count.saturating_add(1),
            None => self.counts.push((Arc::clone(about), action, 1)),
        }
    }

    fn done(mut self) -> Option<Redacted> {
        if self.counts.is_empty() {
            return None;
        }
        let changed = self.from > 0;
        if changed {
            self.out.push_str(&self.body[self.from..]);
        }
        let counts = self.counts.iter();
        Some(Redacted {
            body: changed.then_some(self.out),
            restore: self.restore,
            refused: counts
                .clone()
                .any(|(_, action, _)| *action == Action::Refuse),
            findings: counts
                .map(|(about, action, count)| about.finding(*action, *count))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Source;

    const KEY: &str = "sk-ant-q7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1";

    fn passages(body: &str) -> Vec<Passage<'_>> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = body[from..].find("\"content\":") {
            let start = from + at + "\"content\":".len();
            let end = start + 1 + body[start + 1..].find('"').unwrap() + 1;
            let inner = &body[start + 1..end - 1];
            found.push(Passage::json(Source::User, inner, start..end));
            from = end;
        }
        found
    }

    fn enforced() -> Options {
        Options {
            secrets: Setting::enforce(Action::Redact),
            pii: Setting::enforce(Action::Redact),
            contacts: false,
        }
    }

    #[test]
    fn values_become_placeholders_and_can_be_put_back() {
        let body = format!(
            r#"{{"messages":[{{"content":"key {KEY} \u00e9"}}, {{"content":"plain\n"}},{{"content":"SSN 123-45-6789, {KEY}"}}]}}"#
        );
        let done = redact(&body, &passages(&body), &Rules::bundled(), enforced()).unwrap();
        assert_eq!(
            done.body.unwrap(),
            r#"{"messages":[{"content":"key [REDACTED_API_KEY_ANTHROPIC_KEY_1] é"}, {"content":"plain\n"},{"content":"SSN [REDACTED_SSN_1], [REDACTED_API_KEY_ANTHROPIC_KEY_1]"}]}"#
        );
        assert_eq!(
            done.restore.value("[REDACTED_API_KEY_ANTHROPIC_KEY_1]"),
            Some(KEY)
        );
        assert_eq!(done.restore.value("[REDACTED_SSN_1]"), Some("123-45-6789"));
        assert_eq!(done.restore.value("[REDACTED_SSN_2]"), None);
        assert_eq!(format!("{:?}", done.restore), "Restore(2)");
        assert!(!done.refused);
    }

    #[test]
    fn a_body_without_findings_is_not_copied() {
        let body = r#"{"content":"hello"}"#;
        assert!(redact(body, &passages(body), &Rules::bundled(), enforced()).is_none());
    }

    #[test]
    fn what_is_observed_or_refused_changes_nothing() {
        let body = format!(r#"{{"content":"{KEY} a@example.com"}}"#);
        let options = Options {
            secrets: Setting::enforce(Action::Refuse),
            pii: Setting::observe(),
            contacts: true,
        };
        let done = redact(&body, &passages(&body), &Rules::bundled(), options).unwrap();
        assert!(done.refused && done.body.is_none() && done.restore.is_empty());
        assert_eq!(done.findings.len(), 2);
    }
}
