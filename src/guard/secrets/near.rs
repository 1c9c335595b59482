//! Patterns that are only looked for near a word: keys of many lines, arguments of commands, links.

use super::{Form, Hit, Secrets};
use crate::guard::detect::{Compiled, Pattern};
use std::ops::Range;

/// The longest that is looked for by its beginning and its end, in bytes.
pub(in crate::guard) const LONG: usize = 16 << 10;

/// A pattern near a word.
pub(in crate::guard) struct Near {
    /// The words, in lower case.
    pub words: Vec<String>,
    /// What is looked for, or how it begins.
    pub pattern: Pattern,
    /// How far before the word it may begin.
    pub before: usize,
    /// How far behind the word's start it may end.
    pub reach: usize,
    /// In how many lines.
    pub lines: usize,
    /// Its end, if the pattern is only how it begins.
    pub until: Option<Pattern>,
    /// The least between the two.
    pub shortest: usize,
    /// What must wait, at the end of a text that goes on.
    pub open: Option<Pattern>,
}

impl Near {
    /// Where to look for it when one of its words is at `word`.
    pub(in crate::guard) fn region(&self, text: &[u8], word: usize) -> Range<usize> {
        let end = word.saturating_add(self.reach).min(text.len());
        let mut lines = memchr::memchr_iter(b'\n', &text[word..end]);
        let last = lines.nth(self.lines.saturating_sub(1));
        word.saturating_sub(self.before)..last.map_or(end, |last| word + last)
    }
}

impl Secrets {
    /// Searches near the places where words of the rule called `number` are, which are in order.
    pub(in crate::guard) fn near(
        &self,
        text: &[u8],
        number: usize,
        words: &[usize],
        out: &mut Vec<Hit>,
    ) {
        let Some(Form::Near(near)) = self.rules.get(number).map(|rule| &rule.form) else {
            return;
        };
        let Some(pattern) = near.pattern.get() else {
            return;
        };
        if let Some(until) = near.until.as_ref().and_then(Pattern::get) {
            self.long(text, number, (pattern, until), near.shortest, words, out);
            return;
        }
        let mut regions = words.iter().map(|word| near.region(text, *word)).peekable();
        while let Some(mut region) = regions.next() {
            while let Some(next) = regions.next_if(|next| next.start <= region.end) {
                region.end = region.end.max(next.end);
            }
            let limit = region.end;
            let mut at = region.start;
            while let Some(found) = pattern.regex.find_at(&text[..limit], at) {
                at = found.end().max(at + 1);
                // An end of the text that is none proves nothing.
                if found.end() < limit || limit == text.len() {
                    self.take(text, number, &pattern.regex, found.range(), limit, out);
                }
                if at > limit {
                    break;
                }
            }
        }
    }

    /// Searches for what has a beginning and an end.
    fn long(
        &self,
        text: &[u8],
        number: usize,
        (begin, until): (&Compiled, &Compiled),
        shortest: usize,
        words: &[usize],
        out: &mut Vec<Hit>,
    ) {
        let mut from = 0;
        // Up to where no end was found.
        let mut endless = 0;
        for &word in words {
            if word < from {
                continue;
            }
            let limit = word.saturating_add(begin.longest).min(text.len());
            let Some(head) = begin
                .regex
                .find_at(&text[..limit], word)
                .filter(|head| head.start() == word)
            else {
                continue;
            };
            let limit = head.end().saturating_add(LONG).min(text.len());
            let search = head.end().max(endless);
            let tail = until.regex.find_at(&text[..limit], search.min(limit));
            let end = match tail {
                Some(tail) if tail.start() < head.end() + shortest => {
                    from = tail.end();
                    continue;
                }
                Some(tail) => tail.end(),
                None => {
                    endless = limit.saturating_sub(until.longest);
                    let body = text[head.end()..limit].iter();
                    let length = body.take_while(|byte| is_body(**byte)).count();
                    if length < shortest {
                        continue;
                    }
                    head.end() + length
                }
            };
            from = end;
            self.judge(text, number, word..end, word..end, out);
        }
    }
}

/// What a key of many lines consists of.
const fn is_body(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'+' | b'/' | b'=' | b'\n' | b'\r' | b'\\' | b' ' | b':' | b',' | b'-'
        )
}
