//! Texts that are to be kept: without the secrets and the personal data in them.
//!
//! Decides that all of it is replaced, addresses of people included, whatever the policy says about texts
//! that pass. The rules are those that Weir brings.

use super::detect::{Found, Rules, Wanted};
use super::redact::Redactor;
use super::{Passage, Source, plant};
use crate::json::Cursor;
use std::borrow::Cow;

/// What is replaced.
const WANTED: Wanted = Wanted {
    secrets: true,
    pii: true,
    leak: false,
};

/// The deepest nesting that is looked into; what is deeper is left out as a whole.
const DEPTH: usize = 100;

/// A prompt and its answer, in which the same value has the same placeholder.
#[derive(Default)]
pub struct Stored {
    redactor: Redactor,
}

impl Stored {
    /// A text as it may be kept.
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let found = Rules::bundled().find(text, WANTED);
        self.without(text, &found)
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// A text without what was found in it; `None` when that is nothing.
    fn without(&mut self, text: &str, found: &[Found]) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for one in found {
            let value = &text[one.span.clone()];
            out.push_str(&text[from..one.span.start]);
            out.push_str(&self.redactor.placeholder(&one.about, value).0);
            from = one.span.end;
        }
        out.push_str(&text[from..]);
        Some(out)
    }

    /// A JSON value as it may be kept: every string in it is searched. `None` when it is none.
    pub fn json<'t>(&mut self, raw: &'t str) -> Option<Cow<'t, str>> {
        let mut strings = Vec::new();
        walk(&mut Cursor::new(raw), raw, &mut strings, 0)?;
        let rules = Rules::bundled();
        let mut changed = Vec::new();
        for string in strings {
            let found = rules.find_again(string.name(), || string.text(), WANTED);
            let clean = (!found.is_empty()).then(|| self.without(string.text(), &found));
            if let Some(clean) = clean.flatten() {
                changed.push((string.at, clean));
            }
        }
        if changed.is_empty() {
            return Some(Cow::Borrowed(raw));
        }
        Some(Cow::Owned(plant::replaced(raw, &changed)))
    }
}

fn walk<'t>(
    cursor: &mut Cursor<'t>,
    whole: &'t str,
    strings: &mut Vec<Passage<'t>>,
    depth: usize,
) -> Option<()> {
    if depth > DEPTH {
        return None;
    }
    match cursor.peek()? {
        b'"' => {
            let inner = cursor.string()??;
            let start = inner.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
            let at = start.saturating_sub(1)..start + inner.len() + 1;
            // Whoever said it: all of it is kept.
            strings.push(Passage::json(Source::User, inner, at));
            Some(())
        }
        b'[' => cursor.array(|element| walk(element, whole, strings, depth + 1)),
        b'{' => cursor.object(|_, value| walk(value, whole, strings, depth + 1)),
        _ => cursor.skip().map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_no_secret_whatever_it_is_written_in() {
        let mut stored = Stored::default();
        let key = format!("sk-ant-{}", "a1B2c3D4e5F6g7H8i9J0k1L2");
        let raw = format!(
            r#"[{{"role":"user","content":"my key is \u0073k-ant-{} and 4111 1111 1111 1111"}}]"#,
            &key[7..]
        );
        let kept = stored.json(&raw).unwrap();
        assert!(
            !kept.contains(&key[7..]) && !kept.contains("4111"),
            "{kept}"
        );
        assert!(
            kept.contains("[REDACTED_API_KEY_ANTHROPIC_KEY_1]"),
            "{kept}"
        );
        let answer = stored.text(&key).into_owned();
        assert_eq!(answer, "[REDACTED_API_KEY_ANTHROPIC_KEY_1]");
    }

    #[test]
    fn what_has_none_is_kept_as_it_is() {
        let mut stored = Stored::default();
        let raw = r#"{"a": ["x", 3, null], "b": "\u00e4"}"#;
        assert!(matches!(stored.json(raw), Some(Cow::Borrowed(_))));
        assert_eq!(stored.json("[1,"), None);
        let deep = "[".repeat(200);
        assert_eq!(stored.json(&deep), None);
    }
}
