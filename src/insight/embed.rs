//! A text as a vector, so that texts alike are near each other, without any model.
//!
//! Decides which features of a text count and how much: its words and pieces of words, each hashed to one
//! of 384 places with a sign. Words that every prompt has count little; words that
//! ask for the same (`explain`, `describe`) share a feature besides their own. It knows nothing of
//! meaning beyond that list, so `k8s` is not near `Kubernetes`; a model's embedding may be set instead.
//!
//! The same text gives the same vector, bit for bit, on every machine: only additions, products,
//! quotients and square roots, always in the same order. What is compared with what is decided in
//! [`crate::insight`]; vectors of different names are never compared.

pub mod model;
pub mod text;
pub mod vector;
mod words;

use unicode_normalization::UnicodeNormalization as _;
use vector::Vector;
use words::Word;

/// Numbers in a vector.
pub const DIMENSIONS: usize = 384;

/// The name of these vectors. It changes when the same text gives another vector.
pub const NAME: &str = "weir-ngram-1";

/// Bytes of a text that count: so many from its beginning and from its end.
const HEAD: usize = 24 << 10;
const TAIL: usize = 8 << 10;

/// Characters of a word without end, such as a key or a picture in base64, that are one word.
const LONGEST: usize = 32;

/// How much a word counts that stands in every text.
const STOP: f32 = 0.1;
/// How much a word counts that stands in every prompt.
const COMMON: f32 = 0.15;
/// How much it counts that such a word, or one with the same meaning, is there at all.
const CONCEPT: f32 = 1.3;
/// How much the pieces of a word count beside the word.
const PIECES: f32 = 1.4;
/// How many characters a piece has; a word begins and ends with one that is no letter.
const PIECE: usize = 3;
/// How much one character counts, and two that stand side by side, in scripts without spaces.
const SIGN: f32 = 0.5;
const SIGNS: f32 = 1.0;

/// Features of different kinds are different features.
#[derive(Clone, Copy)]
enum Kind {
    Word = 1,
    Piece,
    Concept,
    Sign,
    Signs,
}

/// The vector of a text, of length 1; `None` for a text without a letter or digit.
pub fn embed(text: &str) -> Option<Vector> {
    let mut features = Features::default();
    let (head, tail) = ends(text);
    features.read(head);
    features.read(tail);
    features.vector()
}

/// The parts of a text that count.
fn ends(text: &str) -> (&str, &str) {
    if text.len() <= HEAD + TAIL {
        return (text, "");
    }
    let head = text.floor_char_boundary(HEAD);
    let tail = text.ceil_char_boundary(text.len() - TAIL);
    (&text[..head], &text[tail..])
}

/// What was found in a text: each feature as often as it was met.
#[derive(Default)]
struct Features {
    found: Vec<(u64, f32)>,
}

impl Features {
    fn read(&mut self, text: &str) {
        let plain: String = text.nfkc().flat_map(char::to_lowercase).collect();
        // A mark is part of its word: Devanagari and others write vowels so.
        for word in plain.split(|c: char| !c.is_alphanumeric() && !words::is_mark(c)) {
            let mut rest = word;
            while let Some(first) = rest.chars().next() {
                let spaceless = words::is_spaceless(first);
                let end = rest
                    .char_indices()
                    .enumerate()
                    .find(|(nth, (_, c))| {
                        words::is_spaceless(*c) != spaceless || (!spaceless && *nth == LONGEST)
                    })
                    .map_or(rest.len(), |(_, (at, _))| at);
                let (run, after) = rest.split_at(end);
                if spaceless {
                    self.signs(run);
                } else {
                    self.word(run);
                }
                rest = after;
            }
        }
    }

    /// Characters of a script without spaces.
    fn signs(&mut self, run: &str) {
        let mut before: Option<u64> = None;
        for sign in run.chars() {
            let hash = hash(Kind::Sign, [u64::from(u32::from(sign))]);
            self.found.push((hash, SIGN));
            if let Some(before) = before {
                let pair = self::hash(Kind::Signs, [before, hash]);
                self.found.push((pair, SIGNS));
            }
            before = Some(hash);
        }
    }

    fn word(&mut self, word: &str) {
        let mut letters = [0_u64; LONGEST + 2];
        let mut count = 1;
        for (place, letter) in letters[1..=LONGEST].iter_mut().zip(word.chars()) {
            *place = u64::from(u32::from(letter));
            count += 1;
        }
        // The zeros before and after say where a word begins and ends.
        let framed = &letters[..=count];
        let known = words::find(word);
        let weight = match known {
            Word::Stop => STOP,
            Word::Concept(concept) => {
                self.found.push((hash(Kind::Concept, [concept]), CONCEPT));
                COMMON
            }
            Word::Other => length_weight(count - 1),
        };
        let stem = words::stem(word).chars().map(|c| u64::from(u32::from(c)));
        self.found.push((hash(Kind::Word, stem), weight));
        if !matches!(known, Word::Stop) {
            self.pieces(framed, weight);
        }
    }

    fn pieces(&mut self, framed: &[u64], weight: f32) {
        // The more pieces, the less each: a long word may count more than a short one, not by as much.
        let count = framed.len().saturating_sub(PIECE - 1);
        let each = PIECES * weight / small(count).max(1.0).sqrt().sqrt();
        for piece in framed.windows(PIECE) {
            let feature = hash(Kind::Piece, piece.iter().copied());
            self.found.push((feature, each));
        }
    }

    /// The sum of all features, each by the square root of how often it was met.
    fn vector(mut self) -> Option<Vector> {
        self.found
            .sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut sum = [0.0_f32; DIMENSIONS];
        for same in self.found.chunk_by(|a, b| a.0 == b.0) {
            let (feature, weight) = same[0];
            let amount = weight * small(same.len()).sqrt();
            let place = usize::try_from((feature >> 1) % 384).unwrap_or_default();
            sum[place] += if feature & 1 == 1 { amount } else { -amount };
        }
        Vector::unit(sum.to_vec())
    }
}

/// Longer words say more.
fn length_weight(letters: usize) -> f32 {
    (small(letters.min(12)) / 6.0).sqrt()
}

/// A count as a weight. Counts here are below 2^16; one that is not counts as that.
fn small(count: usize) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX))
}

/// FNV-1a over numbers, stirred at the end so that every bit depends on all of them.
fn hash(kind: Kind, parts: impl IntoIterator<Item = u64>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ (kind as u64);
    for part in parts {
        hash = (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 32;
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
