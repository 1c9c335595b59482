//! Classes of words, and where their words stand in a text.
//!
//! Decides what counts as a word of a class, in whatever case and with whatever between the words of a
//! phrase. What it means that one stands there is decided by the rules ([`super::structure`]).

mod entry;
mod index;

use super::view::survey::{Signs, survey};
use entry::{Beside, Entry};
use index::Index;

/// The most classes, those of a user's own file included.
pub(super) const MOST_CLASSES: usize = 128;

/// A set of classes, a bit for each.
pub(super) type Classes = u128;

/// A word of a class in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The class, by its number.
    pub(super) class: u8,
    /// Where it begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// How words stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// With something between them.
    Words,
    /// One after the other without anything between.
    Glued,
}

/// All words, ready to be looked for.
#[derive(Debug)]
pub(super) struct Lexicon {
    entries: Vec<Entry>,
    index: Index,
}

impl Lexicon {
    /// From words with the numbers of their classes. Words of the classes in `keys` are also looked for
    /// backwards and in ROT13; those count for the classes `backwards` and `rot13`.
    pub(super) fn new(words: &[(u8, String)], keyed: Classes, backwards: u8, rot13: u8) -> Self {
        let mut entries = Vec::new();
        for (class, word) in words {
            entries.extend(Entry::parse(*class, word));
        }
        for (_, word) in words.iter().filter(|(class, _)| keyed >> class & 1 == 1) {
            let plain = word.trim_end_matches('*');
            if plain.len() >= 5 && plain.bytes().all(|byte| byte.is_ascii_lowercase()) {
                let reversed: String = plain.chars().rev().collect();
                let rotated: String = plain.bytes().map(|byte| char::from(rotate(byte))).collect();
                entries.extend(Entry::parse(backwards, &format!("{reversed}*")));
                entries.extend(Entry::parse(rot13, &format!("{rotated}*")));
            }
        }
        let index = Index::new(&entries);
        Self { entries, index }
    }

    /// Every word of a folded text in the order of their places, and what else the text shows.
    pub(super) fn read(&self, text: &str, hits: &mut Vec<Hit>) -> Signs {
        let bytes = text.as_bytes();
        let from = hits.len();
        let signs = survey(text, |at| {
            let head = index::head(bytes, at);
            if self.index.may_hold(head) {
                self.look(text, at, head, Writing::Words, hits);
            }
        });
        if let Some(new) = hits.get_mut(from..) {
            // Nearly all are in order, which this sort makes use of.
            new.sort_by_key(|hit| (hit.start, hit.end, hit.class));
        }
        signs
    }

    /// Every word of a text that has nothing between its words.
    pub(super) fn read_glued(&self, text: &str, hits: &mut Vec<Hit>) {
        let from = hits.len();
        for (at, _) in text.char_indices() {
            let head = index::head(text.as_bytes(), at);
            self.look(text, at, head, Writing::Glued, hits);
        }
        if let Some(new) = hits.get_mut(from..) {
            new.sort_unstable_by_key(|hit| (hit.start, hit.end, hit.class));
        }
    }

    /// Whether a word of some class may begin with this text.
    pub(super) fn knows(&self, word: &str) -> bool {
        let head = index::head(word.as_bytes(), 0);
        word.len() >= 4 && self.index.anchors(head).next().is_some()
    }

    fn look(&self, text: &str, at: usize, head: u64, writing: Writing, hits: &mut Vec<Hit>) {
        let glued = writing == Writing::Glued;
        for anchor in self.index.anchors(head) {
            if !glued && !anchor.ends(head) {
                continue;
            }
            let Some(end) = anchor.text.stands(text, at, glued) else {
                continue;
            };
            let mut alone = anchor.alone;
            while alone != 0 {
                let class = u8::try_from(alone.trailing_zeros()).unwrap_or(u8::MAX);
                alone &= alone - 1;
                let start = at;
                hits.push(Hit { class, start, end });
            }
            if anchor.entries.is_empty() {
                continue;
            }
            let beside = Beside::of(text, at, end, glued);
            for entry in &anchor.entries {
                let entry = &self.entries[*entry as usize];
                if let Some((start, end)) = entry.stands(text, (at, end), beside, glued) {
                    let class = entry.class;
                    hits.push(Hit { class, start, end });
                }
            }
        }
    }
}

/// Whether a word of a file can be looked for.
pub(super) fn is_usable(word: &str) -> bool {
    Entry::parse(0, word).is_some()
}

/// ROT13 of an ASCII letter.
pub(super) fn rotate(byte: u8) -> u8 {
    match byte {
        b'a'..=b'm' | b'A'..=b'M' => byte + 13,
        b'n'..=b'z' | b'N'..=b'Z' => byte - 13,
        other => other,
    }
}

#[cfg(test)]
mod tests;
