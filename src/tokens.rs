//! How many tokens a text is.
//!
//! Decides which tokenizer stands for a model and bounds the work of counting. It does not decide
//! whose count is believed, nor what a token costs.

use tiktoken::CoreBpe;

mod body;
mod model;

pub use body::prompt_estimate;
pub use model::{Correction, correction_for, encoding_for};

/// A tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// OpenAI's `cl100k_base` (GPT-4, GPT-3.5).
    Cl100k,
    /// OpenAI's `o200k_base` (GPT-4o and later).
    O200k,
}

/// The longest text that is counted in one go, in bytes.
pub const PIECE: usize = 64 * 1024;

/// How far before the end of a piece a good place to cut is looked for, in bytes.
const LOOK_BACK: usize = 1024;

impl Encoding {
    /// The name that OpenAI gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
        }
    }

    fn vocabulary(self) -> &'static CoreBpe {
        tiktoken::get_encoding(self.name()).expect("both vocabularies are compiled in")
    }
}

/// Reads the vocabularies into memory, so that the first request does not wait for it. Counting
/// works without it.
pub fn warm() {
    for encoding in [Encoding::Cl100k, Encoding::O200k] {
        encoding.vocabulary();
    }
}

/// How many tokens `text` is. Special tokens such as `<|endoftext|>` are plain text.
///
/// Exact up to [`PIECE`] bytes. A longer text is counted in pieces of at most that size, cut where a
/// word begins if there is such a place in the last kibibyte, else between characters. A cut can
/// split one word, so each adds a token to the sum: the result is within a few tokens per 64 KiB of
/// the exact count, and not below it by more than that. The time taken is linear in the number of
/// pieces, whatever the text.
pub fn count(text: &str, encoding: Encoding) -> u64 {
    let vocabulary = encoding.vocabulary();
    let mut total = 0_u64;
    let mut rest = text;
    while rest.len() > PIECE {
        let (piece, after) = rest.split_at(cut(rest));
        total = total
            .saturating_add(tokens(vocabulary, piece))
            .saturating_add(1);
        rest = after;
    }
    total.saturating_add(tokens(vocabulary, rest))
}

fn tokens(vocabulary: &CoreBpe, text: &str) -> u64 {
    u64::try_from(vocabulary.count(text)).unwrap_or(u64::MAX)
}

/// Where to cut a text that is longer than a piece: before the last space that follows a word, so
/// that the space stays with the word after it; else at the last whole character.
fn cut(text: &str) -> usize {
    let end = (0..=PIECE)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(PIECE);
    let bytes = text.as_bytes();
    let begins_word = |at: &usize| {
        bytes[*at] == b' ' && bytes[at - 1].is_ascii_alphanumeric() && bytes[at + 1] != b' '
    };
    (end - LOOK_BACK..end)
        .rev()
        .find(begins_word)
        .unwrap_or(end)
}
