//! What becomes of findings, for all texts of one answer together.

use super::{Options, Watch};
use crate::guard::detect::{About, Found, Rules, Wanted, Watched};
use crate::guard::finding::{Action, Control, Finding, Mode, Severity};
use crate::guard::redact::{OPENING, Redactor};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A name longer than this tells nothing about a value.
const NAME: usize = 64;

/// A change of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) span: Range<usize>,
    pub(super) with: String,
}

/// Judges the texts of one answer.
pub(super) struct Judge {
    pub(super) rules: Arc<Rules>,
    options: Options,
    pub(super) wanted: Wanted,
    pub(super) watched: Watched,
    redactor: Redactor,
    counts: Vec<(Arc<About>, Action, u32)>,
    refused: Option<Control>,
    /// The answer may be changed.
    pub(super) acts: bool,
    too_long: Arc<About>,
    unreadable: Arc<About>,
    canary: Arc<About>,
}

impl Judge {
    pub(super) fn new(rules: Arc<Rules>, options: Options) -> Self {
        let about = |control, rule, severity| Arc::new(About::new(control, rule, severity));
        Self {
            rules,
            wanted: options.wanted(),
            watched: options.watched(),
            acts: options.acts(),
            redactor: Redactor::default(),
            counts: Vec::new(),
            refused: None,
            too_long: about(Control::Secret, "long_run", Severity::Low),
            unreadable: about(Control::Secret, "unreadable_event", Severity::Low),
            canary: about(Control::Canary, "canary", Severity::Critical),
            options,
        }
    }

    pub(super) fn refused(&self) -> Option<Control> {
        self.refused
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let counts = self.counts.iter();
        counts
            .map(|(about, action, count)| about.finding(*action, *count))
            .collect()
    }

    /// A watch for a text that begins.
    pub(super) fn watch(&self) -> Option<Watch> {
        let watches = self
            .options
            .watches
            .as_ref()
            .filter(|_| self.watched.canary);
        watches.map(|watches| watches())
    }

    fn count(&mut self, about: &Arc<About>, action: Action) {
        let same = |(known, did, _): &&mut (Arc<About>, Action, u32)| {
            Arc::ptr_eq(known, about) && *did == action
        };
        match self.counts.iter_mut().find(same) {
            Some((_, _, count)) => *count = count.saturating_add(1),
            None => self.counts.push((Arc::clone(about), action, 1)),
        }
        if action == Action::Refuse {
            self.refused.get_or_insert(about.control);
        }
    }

    /// The token of the session is in the answer.
    pub(super) fn canary(&mut self) {
        let action = match self.options.canary {
            Mode::Enforce => Action::Refuse,
            Mode::Off | Mode::Observe => Action::Flag,
        };
        self.count(&Arc::clone(&self.canary), action);
    }

    /// An event that nobody can read cannot be searched.
    pub(super) fn unreadable(&mut self) {
        let action = if self.acts {
            Action::Refuse
        } else {
            Action::Flag
        };
        self.count(&Arc::clone(&self.unreadable), action);
    }

    /// A text that waited too long: what stands in its place.
    pub(super) fn too_long(&mut self, value: &str) -> Option<String> {
        let about = Arc::clone(&self.too_long);
        let settings = [self.options.secrets, self.options.pii, self.options.leak];
        let action = settings
            .iter()
            .map(|setting| setting.outcome())
            .max()
            .unwrap_or(Action::Flag);
        self.count(&about, action);
        (action == Action::Redact).then(|| self.redactor.placeholder(&about, value).0)
    }

    /// What becomes of a finding: the change it makes, if any.
    pub(super) fn found(&mut self, text: &str, found: &Found) -> Option<Edit> {
        let about = &found.about;
        let setting = match about.control {
            Control::Secret => self.options.secrets,
            Control::Pii => self.options.pii,
            Control::Leak => self.options.leak,
            Control::Canary | Control::Injection => return None,
        };
        let told = about.contact && !self.options.contacts;
        let action = if told {
            Action::Flag
        } else {
            setting.outcome()
        };
        self.count(about, action);
        (action == Action::Redact).then(|| Edit {
            with: self
                .redactor
                .placeholder(about, &text[found.span.clone()])
                .0,
            span: found.span.clone(),
        })
    }

    /// The placeholders in `range` of a text, with what they stood for.
    pub(super) fn restored(&self, text: &str, range: Range<usize>, nested: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        let Some(restore) = &self.options.restore else {
            return edits;
        };
        let mut at = range.start;
        while let Some(found) = text[at..range.end].find(OPENING) {
            let start = at + found;
            at = start + OPENING.len();
            let Some(length) = text[start..range.end].find(']') else {
                break;
            };
            let end = start + length + 1;
            if let Some(value) = restore.value(&text[start..end]) {
                let with = if nested {
                    inner_json(value)
                } else {
                    value.to_owned()
                };
                edits.push(Edit {
                    span: start..end,
                    with,
                });
                at = end;
            }
        }
        edits
    }

    /// Judges a text that is complete; `name` is what it is called. `None` when it stays as it is.
    pub(super) fn whole(&mut self, name: &str, text: &str, nested: bool) -> Option<String> {
        let text = if nested {
            unnested(text)
        } else {
            Cow::Borrowed(text)
        };
        if let Some(mut watch) = self.watch()
            && watch(&text)
        {
            self.canary();
        }
        let mut edits = self.restored(&text, 0..text.len(), nested);
        if !self.wanted.is_none() {
            let bare = !text.is_empty() && text.len() < 4096 && !text.contains(char::is_whitespace);
            let named = bare && !name.is_empty() && name.len() <= NAME;
            let (shift, searched) = if named {
                (name.len() + 1, Cow::Owned(format!("{name}={text}")))
            } else {
                (0, Cow::Borrowed(&*text))
            };
            for mut found in self.rules.find(&searched, self.wanted) {
                if found.span.end <= shift {
                    continue;
                }
                found.span = found.span.start.saturating_sub(shift)..found.span.end - shift;
                edits.extend(self.found(&text, &found));
            }
        }
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|edit| edit.span.start);
        let mut changed = String::with_capacity(text.len());
        let mut from = 0;
        for edit in edits {
            if edit.span.start >= from {
                changed.push_str(&text[from..edit.span.start]);
                changed.push_str(&edit.with);
                from = edit.span.end;
            }
        }
        changed.push_str(&text[from..]);
        Some(changed)
    }
}

/// A text as it stands between the quotation marks of a JSON string.
fn inner_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted
        .trim_start_matches('"')
        .strip_suffix('"')
        .unwrap_or_default()
        .to_owned()
}

/// JSON in which printable characters are not escaped: `\u0073` is `s`.
pub(super) fn unnested(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u00") {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let code = escape.get(2..6).filter(|_| escape.starts_with("\\u"));
        let letter = code
            .and_then(|code| u8::from_str_radix(code, 16).ok())
            .map(char::from);
        let length = match letter {
            Some(letter) if matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\') => {
                plain.push(letter);
                6
            }
            _ => {
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                plain.push_str(&escape[..length]);
                length
            }
        };
        rest = &escape[length..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_within_json_are_undone_where_they_are_not_needed() {
        assert_eq!(
            unnested(r#"{"a":"\u0073k-\n\u0022\u00e9\\u0073"}"#),
            r#"{"a":"sk-\n\u0022\u00e9\\u0073"}"#
        );
        assert_eq!(unnested("plain"), "plain");
        assert_eq!(unnested("\\u00"), "\\u00");
        assert_eq!(inner_json("a\"b\n"), "a\\\"b\\n");
        assert_eq!(inner_json("\"\""), "\\\"\\\"");
    }
}
