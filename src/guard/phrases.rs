//! Classes of words, and where their words stand in a text.
//!
//! Decides what counts as a word of a class, in whatever case and with whatever between the words of a
//! phrase. What it means that one stands there is decided by the rules ([`super::structure`]).

mod entry;

use super::view::survey::{Signs, survey};
use entry::{Entry, Ways};

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
    /// The first bytes of anchors with the entries they may be of; sorted.
    keys: Vec<(u32, Vec<u32>)>,
    /// The hashes of all keys, a bit for each.
    filter: Vec<u64>,
}

/// How many bits of a key's hash are used.
const FILTER_BITS: u32 = 16;

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
            let worth = plain.len() >= 5 && plain.bytes().all(|byte| byte.is_ascii_lowercase());
            if worth {
                let reversed: String = plain.chars().rev().collect();
                let rotated: String = plain.bytes().map(|byte| char::from(rotate(byte))).collect();
                entries.extend(Entry::parse(backwards, &format!("{reversed}*")));
                entries.extend(Entry::parse(rot13, &format!("{rotated}*")));
            }
        }
        let mut keys: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut numbered: Vec<(u32, u32)> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Ok(index) = u32::try_from(index) {
                numbered.extend(entry.keys().map(|key| (key, index)));
            }
        }
        numbered.sort_unstable();
        numbered.dedup();
        let mut filter = vec![0_u64; 1 << (FILTER_BITS - 6)];
        for (key, index) in numbered {
            let (row, bit) = bucket(key);
            filter[row] |= bit;
            match keys.last_mut() {
                Some((last, list)) if *last == key => list.push(index),
                _ => keys.push((key, vec![index])),
            }
        }
        Self {
            entries,
            keys,
            filter,
        }
    }

    /// Every word of a folded text in the order of their places, and what else the text shows.
    pub(super) fn read(&self, text: &str, hits: &mut Vec<Hit>) -> Signs {
        let bytes = text.as_bytes();
        let from = hits.len();
        let signs = survey(text, |at| {
            if let Some(first) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
                let key = u32::from_le_bytes(*first) | 0x2020_2020;
                if self.may_hold(key)
                    || self.may_hold(key & 0xFF_FFFF)
                    || self.may_hold(key & 0xFFFF)
                {
                    self.look(text, at, Ways::of(Writing::Words), hits);
                }
            } else {
                self.look(text, at, Ways::of(Writing::Words), hits);
            }
        });
        if let Some(new) = hits.get_mut(from..) {
            new.sort_unstable_by_key(|hit| (hit.start, hit.end, hit.class));
        }
        signs
    }

    /// Every word of a text that has nothing between its words.
    pub(super) fn read_glued(&self, text: &str, hits: &mut Vec<Hit>) {
        let from = hits.len();
        for (at, _) in text.char_indices() {
            self.look(text, at, Ways::of(Writing::Glued), hits);
        }
        if let Some(new) = hits.get_mut(from..) {
            new.sort_unstable_by_key(|hit| (hit.start, hit.end, hit.class));
        }
    }

    /// Whether a word of some class may begin with this text.
    pub(super) fn knows(&self, word: &str) -> bool {
        word.len() >= 4 && entry::key(word.as_bytes(), 4).is_some_and(|key| self.has(key))
    }

    fn has(&self, key: u32) -> bool {
        self.may_hold(key)
            && self
                .keys
                .binary_search_by_key(&key, |(key, _)| *key)
                .is_ok()
    }

    fn may_hold(&self, key: u32) -> bool {
        let (row, bit) = bucket(key);
        self.filter[row] & bit != 0
    }

    fn look(&self, text: &str, at: usize, ways: Ways, hits: &mut Vec<Hit>) {
        let bytes = &text.as_bytes()[at..];
        for length in [2, 3, 4] {
            if bytes.len() < length {
                break;
            }
            let Some(key) = entry::key(bytes, length).filter(|key| self.may_hold(*key)) else {
                continue;
            };
            let Ok(found) = self.keys.binary_search_by_key(&key, |(key, _)| *key) else {
                continue;
            };
            for index in &self.keys[found].1 {
                let entry = &self.entries[*index as usize];
                if let Some((start, end)) = entry.stands(text, at, ways) {
                    hits.push(Hit {
                        class: entry.class,
                        start,
                        end,
                    });
                }
            }
        }
    }
}

/// Whether a word of a file can be looked for.
pub(super) fn is_usable(word: &str) -> bool {
    Entry::parse(0, word).is_some()
}

fn bucket(key: u32) -> (usize, u64) {
    let hash = key.wrapping_mul(0x9E37_79B1) >> (32 - FILTER_BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
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
