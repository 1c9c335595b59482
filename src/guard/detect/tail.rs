//! What must wait at the end of a text that goes on: whatever could still become a finding.
//!
//! Decides from where. As little as the rules allow: a word in which no rule can begin does not wait. A run
//! of token characters waits when it has a digit, is long, begins like a keyword, or is being assigned to a
//! telling name; digits wait with what may stand between groups of them. A rule whose pattern does not
//! begin with its keyword may see up to a few letters of a value go.

use super::{Rules, is_token};
use crate::guard::pii::{iban, number};
use crate::guard::redact::OPENING;
use crate::guard::secrets::{Form, LONG};
use std::ops::Range;

/// A run of letters waits from this length.
const WORDY: usize = 20;
/// The longest link that waits.
const LINK: usize = 400;
/// The longest placeholder that is put back.
const PLACEHOLDER: usize = 120;
/// How every canary begins, in lower case.
const CANARY: &[u8] = b"canary_token";

/// What may have to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Keys, tokens, passwords.
    pub secrets: bool,
    /// Personal data.
    pub pii: bool,
    /// Addresses, before it is known that they are some.
    pub contacts: bool,
    /// Words of a system prompt.
    pub leak: bool,
    /// The token of a session.
    pub canary: bool,
    /// Placeholders, to be put back.
    pub placeholders: bool,
}

/// A word that was seen, for the rules that look near it: the rule and the place of the word.
pub(in crate::guard) type Seen = (usize, usize);

impl Rules {
    /// From where `text` must wait, at `from` at the earliest; its length when nothing must. `seen` has the
    /// words that rules look near, and gets those that came since.
    pub(in crate::guard) fn open(
        &self,
        text: &[u8],
        from: usize,
        watched: Watched,
        seen: &mut Vec<Seen>,
    ) -> usize {
        let mut open = text.len();
        if watched.secrets {
            let new = from.saturating_sub(self.phrases.longest())..text.len();
            self.look(text, new, seen);
        }
        let run = run_start(text);
        if run < text.len() && self.run_waits(text, run, watched) {
            open = run;
        }
        if watched.secrets {
            open = open
                .min(self.link(text))
                .min(self.near_open(text, from, seen));
            let begun = self
                .phrases
                .begun(text, |number| self.waits_from_word(number));
            open = open.min(begun.unwrap_or(open));
        }
        if watched.pii {
            open = open.min(number::open(text)).min(iban::open(text));
            open = open.min(address(text, watched.contacts));
        }
        if watched.leak {
            let begun = self.phrases.begun(text, |number| number >= self.near.len());
            open = open.min(begun.unwrap_or(open));
        }
        if watched.placeholders {
            open = open.min(placeholder(text));
        }
        if watched.secrets && open < text.len() && is_token(text[open]) {
            // What waits inside a run of token characters waits with all of it: a rule reads it as one.
            open = run_start(&text[..open]);
        }
        open.max(from)
    }

    /// Notes the words in `range` that rules look near.
    fn look(&self, text: &[u8], range: Range<usize>, seen: &mut Vec<Seen>) {
        let before = seen.len();
        self.phrases.find(text, range, |number, at| {
            if let Some(&rule) = self.near.get(number)
                && !seen[..before].contains(&(rule, at))
            {
                seen.push((rule, at));
            }
        });
    }

    fn run_waits(&self, text: &[u8], run: usize, watched: Watched) -> bool {
        let part = &text[run..];
        if part.iter().any(u8::is_ascii_digit) {
            return watched.secrets || watched.pii || watched.canary;
        }
        if watched.canary && begins_like(part, CANARY) {
            return true;
        }
        watched.secrets
            && (part.len() >= WORDY
                || self.secrets.may_begin(part)
                || self.secrets.is_value(text, run)
                || memchr::memrchr(b'=', part)
                    .is_some_and(|sign| self.secrets.is_value(text, run + sign + 1)))
    }

    /// A link whose host has not ended, or is one that a rule is about.
    fn link(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(LINK);
        let start = text[from..]
            .iter()
            .rposition(|byte| ends_link(*byte))
            .map_or(from, |at| from + at + 1);
        let Some(sign) = memchr::memmem::find(&text[start..], b"://") else {
            return text.len();
        };
        let host = start + sign + 3;
        let mut waits = memchr::memchr(b'/', &text[host..]).is_none();
        self.phrases.find(text, start..text.len(), |number, _| {
            waits |= number < self.near.len()
        });
        if waits { start } else { text.len() }
    }

    fn near_open(&self, text: &[u8], from: usize, seen: &[Seen]) -> usize {
        let mut open = text.len();
        for &(rule, word) in seen {
            let Some(Form::Near(near)) = self.secrets.rule(rule).map(|rule| &rule.form) else {
                continue;
            };
            if word.saturating_sub(near.before) >= open {
                continue;
            }
            if let (Some(until), Some(begin)) = (&near.until, near.pattern.get()) {
                let limit = (word + begin.longest).min(text.len());
                let head = begin.regex.find_at(&text[..limit], word);
                if let Some(head) = head.filter(|head| head.start() == word) {
                    let ended = until
                        .get()
                        .is_some_and(|until| until.regex.is_match_at(text, head.end()));
                    if !ended && text.len() - word <= LONG {
                        open = open.min(word);
                    }
                    continue;
                }
            }
            if near.region(text, word).end < text.len() || text.len() - word >= near.reach {
                continue;
            }
            let begins = word.saturating_sub(near.before).max(from.min(word));
            match near.open.as_ref().map(|pattern| pattern.get()) {
                None => open = open.min(word),
                Some(Some(pattern)) => {
                    let found = pattern.regex.find_at(text, begins);
                    open = open.min(found.map_or(open, |found| found.start()));
                }
                Some(None) => {}
            }
        }
        open
    }

    /// Whether a rule looks from its word on, so that the word must wait.
    fn waits_from_word(&self, number: usize) -> bool {
        let rule = self
            .near
            .get(number)
            .and_then(|rule| self.secrets.rule(*rule));
        rule.is_some_and(|rule| match &rule.form {
            Form::Near(near) => near.until.is_some() || near.open.is_none(),
            Form::Token { .. } | Form::Assigned { .. } => false,
        })
    }

    /// Where a search for what ends behind `at` must begin.
    pub(in crate::guard) fn start(text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        let from = at.saturating_sub(LINK);
        let space = bytes[from..at].iter().rposition(u8::is_ascii_whitespace);
        let start = space.map_or(from, |space| from + space + 1);
        (0..=start)
            .rev()
            .find(|start| text.is_char_boundary(*start))
            .unwrap_or(0)
    }

    /// How far back the words reach that rules look near, in bytes.
    pub(in crate::guard) fn reach(&self, rule: usize) -> usize {
        match self.secrets.rule(rule).map(|rule| &rule.form) {
            Some(Form::Near(near)) if near.until.is_some() => LONG,
            Some(Form::Near(near)) => near.reach,
            _ => 0,
        }
    }
}

/// Where the run of token characters begins that the text ends with.
fn run_start(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(2 * LONG);
    let before = text[from..].iter().rposition(|byte| !is_token(*byte));
    before.map_or(from, |before| from + before + 1)
}

/// Whether one of the two begins with the other, at a place where a word begins.
fn begins_like(run: &[u8], word: &[u8]) -> bool {
    let shared = run.len().min(word.len());
    run[..shared].eq_ignore_ascii_case(&word[..shared])
}

const fn ends_link(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(
            byte,
            b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
        )
}

/// Where an address of electronic mail may have begun.
fn address(text: &[u8], early: bool) -> usize {
    let from = text.len().saturating_sub(320);
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'\'' | b'-' | b'@')
    };
    let start = text[from..]
        .iter()
        .rposition(|byte| !is_part(*byte))
        .map_or(from, |at| from + at + 1);
    let part = &text[start..];
    let telling = |byte: &u8| {
        *byte == b'@' || early && matches!(byte, b'.' | b'_' | b'+' | b'-' | b'0'..=b'9')
    };
    if part.iter().any(telling) {
        start
    } else {
        text.len()
    }
}

/// Where a placeholder may have begun.
fn placeholder(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(PLACEHOLDER);
    let Some(start) = memchr::memrchr(b'[', &text[from..]).map(|at| from + at) else {
        return text.len();
    };
    let part = &text[start..];
    let opening = OPENING.as_bytes();
    let shared = part.len().min(opening.len());
    let name = part[shared..].iter();
    let waits = part[..shared] == opening[..shared]
        && name
            .clone()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if waits { start } else { text.len() }
}
