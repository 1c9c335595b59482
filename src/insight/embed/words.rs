//! What is known of words: which stand in every text, which ask for the same, which scripts have no
//! spaces.
//!
//! The lists are in `words.txt`, written for this crate: English first, then what is most common in
//! German, French, Spanish and Portuguese.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What is known of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It stands in every text.
    Stop,
    /// It stands in many prompts and means this.
    Concept(u64),
    /// Nothing.
    Other,
}

static KNOWN: LazyLock<HashMap<&'static str, Word>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    let lines = include_str!("words.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (concept, line) in (1_u64..).zip(lines) {
        let (words, meaning) = match line.strip_prefix("- ") {
            Some(words) => (words, Word::Stop),
            None => (line, Word::Concept(concept)),
        };
        for word in words.split_whitespace() {
            known.entry(word).or_insert(meaning);
            known.entry(stem(word)).or_insert(meaning);
        }
    }
    known
});

/// What is known of a word in lower case.
pub(super) fn find(word: &str) -> Word {
    let known = KNOWN.get(word).or_else(|| KNOWN.get(stem(word)));
    known.copied().unwrap_or(Word::Other)
}

/// A word without its ending, as far as four letters are left.
pub(super) fn stem(word: &str) -> &str {
    for ending in ["ing", "ies", "es", "ed", "s"] {
        if let Some(stem) = word.strip_suffix(ending)
            && stem.len() >= 4
        {
            return stem;
        }
    }
    word
}

/// Whether a character belongs to a script that puts no spaces between words.
pub(super) fn is_spaceless(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0x9fff | 0xac00..=0xd7af
            | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff
    )
}

/// Whether a character is written above, below or around the letter before it.
pub(super) fn is_mark(character: char) -> bool {
    unicode_normalization::char::is_combining_mark(character)
}
