//! One text in all its views.
//!
//! A text without signs of a disguise is gone through once. A view is made only of the places where a sign
//! was, and never holds more than those, so that all of them together stay in proportion to the text.

use super::Rules;
use super::file::Seen;
use crate::guard::decode;
use crate::guard::known::Weight;
use crate::guard::phrases::{Classes, Hit};
use crate::guard::score::Fired;
use crate::guard::view::survey::Signs;
use crate::guard::view::{disguise, fold, hidden};
use std::borrow::Cow;

/// How many encodings inside each other are undone.
const LAYERS: usize = 2;

/// How many unseen characters are too many.
const UNSEEN: usize = 8;
/// How many letters of other alphabets within Latin words are.
const LOOKALIKES: usize = 3;

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The length of the folded text.
    pub(super) length: usize,
    /// The words of the text itself.
    pub(super) hits: Vec<Hit>,
    /// The rules that it meets in any view.
    pub(super) fired: Vec<Fired>,
    /// How the folded text begins and ends, as far as a word may reach into its neighbours.
    pub(super) head: Box<str>,
    pub(super) tail: Box<str>,
}

/// How much of a text's beginning and end may be a part of a word with what stands beside it, in bytes.
const SEAM: usize = 48;

impl Weight for Reading {
    fn weight(&self) -> usize {
        self.hits.len() + self.fired.len()
    }
}

impl Rules {
    /// Reads a text in all its views.
    pub(super) fn read(&self, text: &str) -> Reading {
        let mut reading = Reading::default();
        self.layer(text, 0, 0, &mut reading);
        reading
    }

    /// A text, or what was encoded in one; `offset` is where it stands in the whole.
    fn layer(&self, text: &str, depth: usize, offset: usize, reading: &mut Reading) {
        let mut folded = Cow::Borrowed(text);
        if !text.is_ascii() {
            let fold = fold(text);
            if fold.unseen > 0 && depth < LAYERS {
                self.unseen(text, fold.unseen, depth, offset, reading);
            }
            if fold.mixed >= LOOKALIKES {
                self.tell(Seen::Lookalikes, offset, reading);
            }
            folded = Cow::Owned(fold.text);
        }
        let mut hits = Vec::new();
        let signs = self.lexicon.read(&folded, &mut hits);
        self.meet(&folded, &hits, offset, reading);
        self.disguises(&folded, &hits, &signs, offset, reading);
        if depth < LAYERS {
            let before = reading.fired.len();
            for (at, decoded) in decode::decode(&folded, &signs) {
                self.layer(&decoded, depth + 1, offset + at, reading);
            }
            if adds(&reading.fired, before) {
                self.tell(Seen::Encoded, offset, reading);
            }
        }
        if depth == 0 {
            reading.length = folded.len();
            reading.hits = hits;
            reading.head = folded[..folded.floor_char_boundary(SEAM)].into();
            let from = folded.len().saturating_sub(SEAM);
            reading.tail = folded[folded.ceil_char_boundary(from)..].into();
        }
    }

    fn unseen(&self, text: &str, count: usize, depth: usize, offset: usize, reading: &mut Reading) {
        if count >= UNSEEN {
            self.tell(Seen::Unseen, offset, reading);
        }
        let hidden = hidden(text);
        if hidden.len() >= 4 {
            self.tell(Seen::Hidden, offset, reading);
            self.layer(&hidden, depth + 1, offset, reading);
        }
    }

    /// Adds the rules that the words of a text meet.
    fn meet(&self, text: &str, hits: &[Hit], offset: usize, reading: &mut Reading) {
        if hits.is_empty() {
            return;
        }
        self.structure.meet(text, hits, offset, &mut reading.fired);
        let classes: Classes = hits.iter().fold(0, |all, hit| all | 1 << hit.class);
        for pattern in &self.patterns {
            if pattern.beside & classes == 0 {
                continue;
            }
            let mut done = 0;
            for hit in hits {
                if pattern.beside >> hit.class & 1 == 0 || hit.start < done {
                    continue;
                }
                let from = boundary(text, hit.start.saturating_sub(pattern.reach).max(done));
                let to = boundary(text, hit.end + pattern.reach);
                if let Some(found) = text.get(from..to).and_then(|near| pattern.regex.find(near)) {
                    reading.fired.push(Fired {
                        at: offset + from + found.start(),
                        rule: pattern.rule,
                    });
                }
                done = to;
            }
        }
    }

    fn disguises(
        &self,
        text: &str,
        hits: &[Hit],
        signs: &Signs,
        offset: usize,
        reading: &mut Reading,
    ) {
        let before = reading.fired.len();
        let mut views: Vec<(usize, String)> = Vec::new();
        if let Some(place) = span(hits, self.backwards) {
            views.extend(disguise::backwards(text, place));
        }
        if let Some(place) = span(hits, self.rot13) {
            views.push(disguise::rotated(text, place));
        }
        let mut glued: Vec<(usize, String)> = Vec::new();
        for place in &signs.spaced {
            disguise::spaced(text, place, &mut views, &mut glued);
        }
        for place in &signs.mixed {
            disguise::digits(text, place, |word| self.lexicon.knows(word), &mut views);
        }
        for place in &signs.dense {
            disguise::long_words(text, place, &mut glued);
        }
        for (at, view) in &views {
            let mut hits = Vec::new();
            self.lexicon.read(view, &mut hits);
            self.meet(view, &hits, offset + at, reading);
        }
        for (at, view) in &glued {
            let mut hits = Vec::new();
            self.lexicon.read_glued(view, &mut hits);
            self.meet(view, &hits, offset + at, reading);
        }
        if adds(&reading.fired, before) {
            self.tell(Seen::Disguised, offset, reading);
        }
    }

    fn tell(&self, seen: Seen, at: usize, reading: &mut Reading) {
        let rules = self.seen.iter().filter(|(what, _)| *what == seen);
        reading
            .fired
            .extend(rules.map(|(_, rule)| Fired { at, rule: *rule }));
    }
}

/// Whether a view met a rule that what came before it did not: it holds its surroundings, too.
fn adds(fired: &[Fired], before: usize) -> bool {
    let (old, new) = fired.split_at(before);
    new.iter()
        .any(|new| old.iter().all(|old| old.rule != new.rule))
}

/// From the first to the last word of some classes.
fn span(hits: &[Hit], classes: Classes) -> Option<std::ops::Range<usize>> {
    let mut of = hits.iter().filter(|hit| classes >> hit.class & 1 == 1);
    let first = of.next()?;
    let last = of.next_back().unwrap_or(first);
    Some(first.start..last.end)
}

/// The place, or the next one after it, where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len())
}
