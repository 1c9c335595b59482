//! How many tokens a text is.
//!
//! Decides which tokenizer stands for a model and bounds the work of counting. It does not decide
//! whose count is believed, nor what a token costs.

use tiktoken::CoreBpe;

mod body;
mod model;

pub use body::prompt_estimate;
pub use model::{Correction, correction_for, count_for, encoding_for};

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
/// word begins if there is such a place in the last kibibyte of a piece; that changes nothing. Else
/// it is cut between any two characters, and one token is added for it: there the result may differ
/// from the exact count by a few tokens per 64 KiB, which is at most one in a hundred, and usually
/// is above it. The time taken grows with the number of pieces, whatever the text.
pub fn count(text: &str, encoding: Encoding) -> u64 {
    let vocabulary = encoding.vocabulary();
    let mut total = 0_u64;
    let mut rest = text;
    while rest.len() > PIECE {
        let (at, splits_nothing) = cut(rest);
        let (piece, after) = rest.split_at(at);
        let added = tokens(vocabulary, piece) + u64::from(!splits_nothing);
        total = total.saturating_add(added);
        rest = after;
    }
    total.saturating_add(tokens(vocabulary, rest))
}

fn tokens(vocabulary: &CoreBpe, text: &str) -> u64 {
    u64::try_from(vocabulary.count(text)).unwrap_or(u64::MAX)
}

/// Where to cut a text that is longer than a piece: before the last space between two words, which
/// stays with the word after it as the tokenizers have it; else after the last whole character. Says
/// also whether the place is of the first kind.
fn cut(text: &str) -> (usize, bool) {
    let end = (0..=PIECE)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(PIECE);
    let bytes = text.as_bytes();
    let between_words = |at: &usize| {
        bytes[*at] == b' '
            && bytes[at - 1].is_ascii_alphanumeric()
            && bytes[at + 1].is_ascii_alphanumeric()
    };
    match (end - LOOK_BACK..end).rev().find(between_words) {
        Some(at) => (at, true),
        None => (end, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vector {
        text: String,
        cl100k_base: Vec<u32>,
        o200k_base: Vec<u32>,
    }

    fn whole(text: &str, encoding: Encoding) -> u64 {
        tokens(encoding.vocabulary(), text)
    }

    #[test]
    fn every_vector_is_counted_exactly() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../tests/data/tokenizer/vectors.json")).unwrap();
        assert_eq!(vectors.len(), 134);
        for Vector {
            text,
            cl100k_base,
            o200k_base,
        } in vectors
        {
            assert_eq!(
                count(&text, Encoding::Cl100k),
                cl100k_base.len() as u64,
                "{text:?}"
            );
            assert_eq!(
                count(&text, Encoding::O200k),
                o200k_base.len() as u64,
                "{text:?}"
            );
        }
    }

    #[test]
    fn special_tokens_are_plain_text() {
        for encoding in [Encoding::Cl100k, Encoding::O200k] {
            assert!(count("<|endoftext|>", encoding) > 3);
            assert!(count("a<|im_start|>b<|endofprompt|>", encoding) > 8);
        }
        assert_eq!(count("", Encoding::O200k), 0);
    }

    #[test]
    fn long_prose_is_exact_across_pieces() {
        let text = "The year 1999 was not the last one, was it? ".repeat(8_000);
        assert_eq!(count(&text, Encoding::O200k), whole(&text, Encoding::O200k));
        assert_eq!(
            count(&text, Encoding::Cl100k),
            whole(&text, Encoding::Cl100k)
        );
    }

    #[test]
    fn runs_without_a_word_in_them_are_counted_closely() {
        let texts = [
            " ".repeat(200_000),
            "a".repeat(100_000),
            "\n".repeat(100_000),
            "世".repeat(30_000),
            "e\u{301}".repeat(30_000),
            "😀é".repeat(15_000),
        ];
        for text in texts {
            let (counted, exact) = (count(&text, Encoding::O200k), whole(&text, Encoding::O200k));
            let pieces = (text.len() / PIECE) as u64;
            assert!(
                counted >= exact && counted <= exact + 4 * pieces,
                "{counted} for {exact}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn cutting_changes_the_count_by_a_few(
            unit in "[a-zA-Z0-9 .,\\n\u{e9}\u{4e16}]{1,12}",
            more in "\\PC{0,40}",
        ) {
            let mut text = unit.repeat(2 * PIECE / unit.len() + 1);
            text.push_str(&more);
            let (counted, exact) =
                (count(&text, Encoding::O200k), whole(&text, Encoding::O200k));
            prop_assert!(counted.abs_diff(exact) <= 12, "{} for {}", counted, exact);
        }
    }
}
