//! Values that are assigned to a telling name: `github_token: "..."`.

use super::{Form, Hit, Secrets};
use crate::guard::detect::is_token;
use std::ops::Range;

/// How many places of a run may be the start of a value.
const STARTS: usize = 8;
/// What may stand between the sign and the value.
const GAP: usize = 5;
/// How much of a name may follow the word that tells.
const MORE: usize = 20;
/// How much before that word belongs to the name.
const BEFORE: usize = 50;

impl Secrets {
    /// Searches a run for values that are assigned to a name.
    pub(super) fn assigned(&self, text: &[u8], run: &Range<usize>, out: &mut Vec<Hit>) {
        let mut tried = 0;
        let mut try_at = |start: usize| {
            if tried < STARTS
                && let Some(name) = name_before(text, start)
            {
                tried += 1;
                self.value(text, &name, start, out);
            }
        };
        // `123456:AAbb...`: what stands before a colon belongs to the value.
        if let Some(colon) = run.start.checked_sub(1)
            && matches!(text[colon], b':' | b'%')
        {
            let before = text[..colon].iter().rev();
            let length = before.take(40).take_while(|byte| is_token(**byte)).count();
            if length > 0 && length < 40 {
                try_at(colon - length);
            }
        }
        try_at(run.start);
        for sign in memchr::memchr_iter(b'=', &text[run.clone()]).take(STARTS) {
            let start = run.start + sign + 1;
            if start < run.end && text[start] != b'=' {
                try_at(start);
            }
        }
    }

    /// Searches at the start of a value whose name is in `name`.
    fn value(&self, text: &[u8], name: &Range<usize>, start: usize, out: &mut Vec<Hit>) {
        let from = name
            .end
            .saturating_sub(MORE + self.longest_name)
            .max(name.start);
        self.names.each(&text[from..name.end], |found, rules| {
            let found = from + found.start..from + found.end;
            if name.end - found.end > MORE {
                return;
            }
            for &number in rules {
                let Some(Form::Assigned { cased, value, .. }) =
                    self.rules.get(number).map(|rule| &rule.form)
                else {
                    continue;
                };
                if *cased && !is_cased(&text[found.clone()]) {
                    continue;
                }
                let Some(pattern) = value.get() else {
                    continue;
                };
                let end = start
                    .saturating_add(pattern.longest)
                    .saturating_add(2)
                    .min(text.len());
                let groups = pattern.regex.captures(&text[start..end]);
                if let Some(groups) = groups
                    && let Some(inner) = groups.get(1)
                {
                    let whole = name.start..start + groups.get_match().end();
                    let span = start + inner.start()..start + inner.end();
                    self.judge(text, number, whole, span, out);
                }
            }
        });
    }

    /// Whether something is being assigned to a telling name at `start`.
    pub(in crate::guard) fn is_value(&self, text: &[u8], start: usize) -> bool {
        name_before(text, start).is_some_and(|name| {
            let from = name
                .end
                .saturating_sub(MORE + self.longest_name)
                .max(name.start);
            let mut tells = false;
            self.names.each(&text[from..name.end], |found, _| {
                tells |= name.end - (from + found.end) <= MORE;
            });
            tells
        })
    }
}

/// The name to which something is assigned at `start`, with all that may belong to it.
fn name_before(text: &[u8], start: usize) -> Option<Range<usize>> {
    let mut at = start;
    let mut equals = None;
    while at > 0 && start - at < GAP && is_gap(text[at - 1]) {
        at -= 1;
        if text[at] == b'=' {
            equals = Some(at);
        }
    }
    let sign = match text[..at] {
        [.., b'|', b'|'] => at - 2,
        [.., b'=', b'>'] => at - 2,
        [.., b'>' | b',' | b':'] => at - 1,
        _ => equals?,
    };
    // More of the same sign: `::`, `:=`, `?=`.
    let mut end = sign;
    while end > 0 && sign - end < 3 && matches!(text[end - 1], b':' | b'?') {
        end -= 1;
    }
    let mut quotes = 0;
    while end > 0
        && quotes < 3
        && matches!(text[end - 1], b'\'' | b'"' | b' ' | b'\t' | b'\r' | b'\n')
    {
        end -= 1;
        quotes += 1;
    }
    let most = MORE + BEFORE + 40;
    let name = text[..end].iter().rev().take(most);
    let length = name.take_while(|byte| is_name(**byte)).count();
    (length > 0).then(|| end - length..end)
}

const fn is_gap(byte: u8) -> bool {
    matches!(
        byte,
        b'`' | b'\'' | b'"' | b' ' | b'\t' | b'\r' | b'\n' | b'='
    )
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b' ' | b'\t')
}

/// Whether a word is written as `word`, `Word` or `WORD`.
fn is_cased(word: &[u8]) -> bool {
    let upper = |part: &[u8]| part.iter().any(u8::is_ascii_uppercase);
    let lower = |part: &[u8]| part.iter().any(u8::is_ascii_lowercase);
    !upper(word) || !lower(word) || !upper(&word[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, value: &str) -> Option<String> {
        let start = text.find(value).unwrap();
        let name = name_before(text.as_bytes(), start)?;
        Some(text[name].to_owned())
    }

    #[test]
    fn the_name_before_a_value_is_found() {
        for (text, expected) in [
            ("api_key=VALUE", "api_key"),
            ("api_key = 'VALUE", "api_key"),
            ("\"api_key\": \"VALUE\"", "api_key"),
            ("api.key := `VALUE", "api.key"),
            ("key => VALUE", "key"),
            ("key ?= VALUE", "key"),
            ("a || VALUE", "a"),
            ("set, the key,VALUE", " the key"),
        ] {
            assert_eq!(name(text, "VALUE").as_deref(), Some(expected), "{text}");
        }
        assert_eq!(name("the VALUE", "VALUE"), None);
        assert_eq!(name("=VALUE", "VALUE"), None);
        assert_eq!(name("VALUE", "VALUE"), None);
    }
}
