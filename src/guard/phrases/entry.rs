//! One word or phrase, and whether it stands at a place.

use super::index::{Key, head};
use crate::guard::view::fold;

/// How many bytes may stand between two words of a phrase.
const GAP: usize = 4;

/// The longest word, in characters.
const LONGEST: usize = 32;

/// The most alternatives of one word.
const MOST: usize = 64;

/// A word of a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Its alternatives, the longest first.
    texts: Vec<Text>,
}

/// One way of writing a word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    pub(super) text: String,
    /// Whether any ending counts.
    pub(super) open: bool,
    pub(super) key: Key,
}

/// A word or phrase of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) class: u8,
    parts: Vec<Part>,
    /// The part that is looked for first: the longest.
    anchor: usize,
}

impl Entry {
    /// A phrase as it stands in a file: words, `*` for any ending, `|` between alternatives of one word;
    /// `None` when there is nothing to look for, or too much.
    pub(super) fn parse(class: u8, phrase: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for word in phrase.split_whitespace() {
            if !word.contains('|') {
                // What is no letter or digit separates, too.
                parts.extend(
                    texts(word)
                        .into_iter()
                        .map(|text| Part { texts: vec![text] }),
                );
                continue;
            }
            let mut alternatives: Vec<Text> = word.split('|').flat_map(texts).collect();
            alternatives.sort_by_key(|text| std::cmp::Reverse(text.text.len()));
            if alternatives.is_empty() || alternatives.len() > MOST {
                return None;
            }
            parts.push(Part {
                texts: alternatives,
            });
        }
        let anchor = (0..parts.len()).min_by_key(|index| parts[*index].cost())?;
        (parts[anchor].cost() < UNUSABLE).then_some(Self {
            class,
            parts,
            anchor,
        })
    }

    /// What is looked for first: the alternatives of the anchor.
    pub(super) fn anchors(&self) -> impl Iterator<Item = &Text> {
        self.parts[self.anchor].texts.iter()
    }

    /// Whether it is one word.
    pub(super) fn is_single(&self) -> bool {
        self.parts.len() == 1
    }

    /// Where it stands when its anchor stands at `anchor`, and `beside` is what stands beside that.
    pub(super) fn stands(
        &self,
        text: &str,
        anchor: (usize, usize),
        beside: Beside,
        glued: bool,
    ) -> Option<(usize, usize)> {
        let (mut start, mut end) = anchor;
        let mut next = beside.next;
        for part in &self.parts[self.anchor + 1..] {
            let (at, head) = next?;
            end = part.end(text, at, head, glued)?;
            next = next_word(text, end, glued);
        }
        let mut before = beside.before;
        for part in self.parts[..self.anchor].iter().rev() {
            start = part.start(text, before?, glued)?;
            before = word_before(text, start, glued);
        }
        Some((start, end))
    }
}

/// What stands beside a word: where words begin, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    before: Option<Before>,
    next: Option<(usize, u64)>,
}

/// The word before another.
#[derive(Clone, Copy, Debug)]
struct Before {
    start: usize,
    end: usize,
    head: u64,
}

impl Beside {
    pub(super) fn of(text: &str, start: usize, end: usize, glued: bool) -> Self {
        Self {
            before: word_before(text, start, glued),
            next: next_word(text, end, glued),
        }
    }
}

fn next_word(text: &str, at: usize, glued: bool) -> Option<(usize, u64)> {
    let at = after_gap(text, at, glued)?;
    Some((at, head(text.as_bytes(), at)))
}

/// Without anything between words nobody knows where the one before begins.
fn word_before(text: &str, at: usize, glued: bool) -> Option<Before> {
    let end = before_gap(text, at, glued)?;
    let mut start = end;
    if !glued {
        let letters = text[..end].chars().rev().take(LONGEST);
        start -= letters
            .take_while(|one| is_word(*one))
            .map(char::len_utf8)
            .sum::<usize>();
    }
    let head = head(text.as_bytes(), start);
    Some(Before { start, end, head })
}

/// The words of a word of a file.
fn texts(word: &str) -> Vec<Text> {
    let folded = fold(word).text.to_ascii_lowercase();
    let mut texts = Vec::new();
    let mut rest = folded.as_str();
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let end = rest.find(|one: char| !is_word(one)).unwrap_or(rest.len());
        let open = rest[end..].starts_with('*');
        texts.push(Text {
            key: Key::of(&rest[..end]),
            text: rest[..end].to_owned(),
            open,
        });
        rest = &rest[end..];
    }
    texts
}

/// What a word costs that cannot be looked for: it is too short.
const UNUSABLE: usize = 1_000_000;

/// Words that are everywhere: a phrase is looked for by another of its words, if it has one.
const COMMON: &str = "a about all an and any are as at be been before but by can code do does each every \
    first following for from get give given has have how i if in into is it its make may \
    message model must my never new next no not now of on one only or other out should so \
    text that the their them then there these they this to up use user was way we were \
    what when which who will with without would you your end let open mode request answer \
    output token tokens input chat name files data say known know provide print load add \
    start re here set like run see";

impl Part {
    /// How often its words are met where the phrase is not: fewer and longer words are better.
    fn cost(&self) -> usize {
        let cost = |text: &Text| match text.text.len() {
            0 | 1 => UNUSABLE,
            2 | 3 if text.open => UNUSABLE,
            _ if COMMON.split(' ').any(|word| word == text.text) => 1000,
            2 => 900,
            3 => 60,
            4 => 20,
            5 => 10,
            6 => 6,
            7 => 4,
            _ => 3,
        };
        self.texts.iter().map(cost).sum()
    }

    fn end(&self, text: &str, at: usize, head: u64, glued: bool) -> Option<usize> {
        let mut fitting = self.texts.iter().filter(|one| one.key.fits(head));
        fitting.find_map(|one| one.end(text, at, glued))
    }

    fn start(&self, text: &str, before: Before, glued: bool) -> Option<usize> {
        let Before { start, end, head } = before;
        // Among characters that are words by themselves the word may begin later.
        if glued || !head.to_le_bytes()[0].is_ascii() {
            return self.texts.iter().find_map(|one| one.start(text, end));
        }
        let mut fitting = self.texts.iter().filter(|one| one.key.fits(head));
        let whole = |one: &Text| one.end(text, start, glued) == Some(end);
        fitting.any(whole).then_some(start)
    }
}

impl Text {
    /// Where it ends when it begins at `at`, where no word goes on.
    pub(super) fn stands(&self, text: &str, at: usize, glued: bool) -> Option<usize> {
        let end = self.end(text, at, glued)?;
        (glued || ends_before(text, at)).then_some(end)
    }

    /// Where it ends when it begins at `at`.
    fn end(&self, text: &str, at: usize, glued: bool) -> Option<usize> {
        let end = at + self.text.len();
        let there = text.as_bytes().get(at..end)?;
        let same = there.eq_ignore_ascii_case(self.text.as_bytes());
        if !same || !text.is_char_boundary(end) {
            return None;
        }
        if glued || begins_at(text, end) {
            return Some(end);
        }
        if !self.open {
            return None;
        }
        let rest = &text[end..];
        let ending = rest.chars().take(LONGEST).take_while(|one| is_word(*one));
        Some(end + ending.map(char::len_utf8).sum::<usize>())
    }

    /// Where it begins when it ends at `end`, whatever stands before it.
    fn start(&self, text: &str, end: usize) -> Option<usize> {
        let start = end.checked_sub(self.text.len())?;
        let there = text.as_bytes().get(start..end)?;
        let same = there.eq_ignore_ascii_case(self.text.as_bytes());
        (same && text.is_char_boundary(start)).then_some(start)
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || (!character.is_ascii() && character.is_alphanumeric())
}

/// Whether a script puts no blanks between words.
fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3041..=0x30FF | 0x3400..=0x9FFF
        | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// Whether no word goes on across a place, as far as one can tell from both sides of it.
fn apart(before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return true;
    };
    !is_word(before) || !is_word(after) || is_unspaced(before) || is_unspaced(after)
}

/// Whether nothing of a word that begins at `at` stands before it.
fn ends_before(text: &str, at: usize) -> bool {
    if let Some(before) = at
        .checked_sub(1)
        .and_then(|before| text.as_bytes().get(before))
        && before.is_ascii()
    {
        return !before.is_ascii_alphanumeric()
            || text[at..].chars().next().is_some_and(is_unspaced);
    }
    apart(text[..at].chars().next_back(), text[at..].chars().next())
}

/// Whether nothing of a word that ends at `at` stands behind it.
fn begins_at(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at) {
        None => true,
        Some(byte) if byte.is_ascii() && !byte.is_ascii_alphanumeric() => true,
        Some(_) => apart(text[..at].chars().next_back(), text[at..].chars().next()),
    }
}

/// Where the next word of a phrase begins.
fn after_gap(text: &str, at: usize, glued: bool) -> Option<usize> {
    if glued {
        return Some(at);
    }
    let rest = &text[at..];
    let mut near = rest.char_indices().take(GAP + 1);
    let gap = near.find(|(_, one)| is_word(*one))?.0;
    (gap <= GAP).then_some(at + gap)
}

/// Where the word before ends.
fn before_gap(text: &str, at: usize, glued: bool) -> Option<usize> {
    if glued {
        return Some(at);
    }
    for (start, character) in text[..at].char_indices().rev() {
        let end = start + character.len_utf8();
        if at - end > GAP {
            return None;
        }
        if is_word(character) {
            return Some(end);
        }
    }
    None
}
