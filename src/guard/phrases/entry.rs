//! One word or phrase, and whether it stands at a place.

use super::Writing;
use crate::guard::view::fold;

/// How many bytes may stand between two words of a phrase.
const GAP: usize = 4;

/// The most alternatives of one word.
const MOST: usize = 64;

/// A word of a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Its alternatives, the longest first.
    texts: Vec<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    text: String,
    /// Whether any ending counts.
    open: bool,
}

/// A word or phrase of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) class: u8,
    parts: Vec<Part>,
    /// The part that is looked for first: the longest.
    anchor: usize,
}

/// How words are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    glued: bool,
}

impl Ways {
    pub(super) fn of(writing: Writing) -> Self {
        Self {
            glued: writing == Writing::Glued,
        }
    }
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
        let shortest = |part: &Part| part.texts.last().map_or(0, |text| text.text.len());
        let anchor = (0..parts.len()).max_by_key(|index| shortest(&parts[*index]))?;
        (shortest(&parts[anchor]) >= 2).then_some(Self {
            class,
            parts,
            anchor,
        })
    }

    /// What the anchor may begin with: four bytes, or all when it has fewer.
    pub(super) fn keys(&self) -> impl Iterator<Item = u32> {
        let texts = &self.parts[self.anchor].texts;
        texts.iter().filter_map(|text| key(text.text.as_bytes(), 4))
    }

    /// Where it stands when its anchor begins at `at`.
    pub(super) fn stands(&self, text: &str, at: usize, ways: Ways) -> Option<(usize, usize)> {
        if !ways.glued && !ends_before(text, at) {
            return None;
        }
        let mut end = self.parts[self.anchor].end(text, at, ways)?;
        for part in &self.parts[self.anchor + 1..] {
            end = part.end(text, after_gap(text, end, ways)?, ways)?;
        }
        let mut start = at;
        for part in self.parts[..self.anchor].iter().rev() {
            start = part.start(text, before_gap(text, start, ways)?, ways)?;
        }
        Some((start, end))
    }
}

/// The first bytes of a text as a number, ASCII letters without case: `most` of them, or as many as there
/// are. Fewer bytes never give the number that more bytes give.
pub(super) fn key(bytes: &[u8], most: usize) -> Option<u32> {
    let mut first = [0; 4];
    let length = bytes.len().min(most).min(4);
    first
        .get_mut(..length)?
        .copy_from_slice(bytes.get(..length)?);
    let without_case = 0x2020_2020_u32.checked_shr(32 - 8 * u32::try_from(length).ok()?)?;
    Some(u32::from_le_bytes(first) | without_case)
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
            text: rest[..end].to_owned(),
            open,
        });
        rest = &rest[end..];
    }
    texts
}

impl Part {
    fn end(&self, text: &str, at: usize, ways: Ways) -> Option<usize> {
        self.texts.iter().find_map(|one| one.end(text, at, ways))
    }

    fn start(&self, text: &str, end: usize, ways: Ways) -> Option<usize> {
        self.texts.iter().find_map(|one| one.start(text, end, ways))
    }
}

impl Text {
    /// Where it ends when it begins at `at`.
    fn end(&self, text: &str, at: usize, ways: Ways) -> Option<usize> {
        let end = at + self.text.len();
        let there = text.as_bytes().get(at..end)?;
        if !there.eq_ignore_ascii_case(self.text.as_bytes()) || !text.is_char_boundary(end) {
            return None;
        }
        if ways.glued || begins_at(text, end) {
            return Some(end);
        }
        if !self.open {
            return None;
        }
        let rest = &text[end..];
        let ending = rest.chars().take(24).take_while(|one| is_word(*one));
        Some(end + ending.map(char::len_utf8).sum::<usize>())
    }

    /// Where it begins when it ends at `end`.
    fn start(&self, text: &str, end: usize, ways: Ways) -> Option<usize> {
        let mut start = end.checked_sub(self.text.len())?;
        if self.open && !ways.glued {
            start = text[..end]
                .char_indices()
                .rev()
                .take(32)
                .take_while(|(_, one)| is_word(*one))
                .last()?
                .0;
        }
        let there = text.as_bytes().get(start..start + self.text.len())?;
        let same = there.eq_ignore_ascii_case(self.text.as_bytes()) && text.is_char_boundary(start);
        (same && (ways.glued || ends_before(text, start))).then_some(start)
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
fn after_gap(text: &str, at: usize, ways: Ways) -> Option<usize> {
    if ways.glued {
        return Some(at);
    }
    let rest = &text[at..];
    let mut near = rest.char_indices().take(GAP + 1);
    let gap = near.find(|(_, one)| is_word(*one))?.0;
    (gap <= GAP).then_some(at + gap)
}

/// Where the word before ends.
fn before_gap(text: &str, at: usize, ways: Ways) -> Option<usize> {
    if ways.glued {
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
