//! The parts of a word in every form, as numbers that a window over a text is compared with.
//!
//! A text is read as its letters and digits only, without case: that takes separators, spaces and line
//! breaks out of every form at once, those of base64 and hex included. Six bits a letter; a window is the
//! last 20 of them, or the last 12 for the forms that are not encoded.

use std::collections::HashSet;

/// How many letters of an encoded form count as found: 60 bits of base64, 40 of hex.
const LONG: usize = 20;
/// How many letters of the word itself do: 48 bits.
const SHORT: usize = 12;
const LONG_MASK: u128 = (1 << (6 * LONG)) - 1;
const SHORT_MASK: u128 = (1 << (6 * SHORT)) - 1;

/// The number of a letter or digit; `None` for everything else.
pub(super) fn code(letter: char) -> Option<u8> {
    match u8::try_from(letter).ok()? {
        byte @ b'0'..=b'9' => Some(byte - b'0' + 1),
        byte @ b'a'..=b'z' => Some(byte - b'a' + 11),
        byte @ b'A'..=b'Z' => Some(byte - b'A' + 11),
        _ => None,
    }
}

/// The window after one more letter.
pub(super) fn step(window: u128, code: u8) -> u128 {
    (window << 6 | u128::from(code)) & LONG_MASK
}

/// What is looked for.
pub(super) struct Needles {
    short: HashSet<u128>,
    long: HashSet<u128>,
    /// One bit for each value of the last two letters that a needle ends with.
    ends: [u64; 64],
}

impl Needles {
    /// Every part of `secret` (hexadecimal digits and separators), in every form.
    pub(super) fn of(secret: &str) -> Self {
        let mut needles = Self {
            short: HashSet::new(),
            long: HashSet::new(),
            ends: [0; 64],
        };
        let backwards: String = secret.chars().rev().collect();
        for written in [secret, &backwards] {
            needles.add(SHORT, written);
            needles.add(SHORT, &rot13(written));
        }
        let digits: String = secret.chars().filter(char::is_ascii_hexdigit).collect();
        for written in [secret, &backwards, &digits] {
            for form in [written.to_owned(), written.to_uppercase()] {
                needles.add(LONG, &hex(form.as_bytes()));
                for skip in 0..3 {
                    needles.add(LONG, &base64(form.as_bytes(), skip));
                }
            }
        }
        // With its separators written as %2D and %5F, and the rest as it is.
        needles.add(LONG, &secret.replace('-', "2d").replace('_', "5f"));
        needles
    }

    /// Every window of a form.
    fn add(&mut self, length: usize, form: &str) {
        let codes: Vec<u8> = form.chars().filter_map(code).collect();
        let (set, mask) = match length {
            SHORT => (&mut self.short, SHORT_MASK),
            _ => (&mut self.long, LONG_MASK),
        };
        for window in codes.windows(length) {
            let needle = window.iter().fold(0, |needle, code| step(needle, *code)) & mask;
            set.insert(needle);
            let (row, bit) = end(needle);
            self.ends[row] |= bit;
        }
    }

    /// Whether the window ends with a part that is looked for.
    pub(super) fn hold(&self, window: u128) -> bool {
        let (row, bit) = end(window);
        self.ends[row] & bit != 0
            && (self.short.contains(&(window & SHORT_MASK)) || self.long.contains(&window))
    }
}

fn end(window: u128) -> (usize, u64) {
    let low = usize::try_from(window & 0xFFF).unwrap_or_default();
    (low >> 6, 1 << (low & 63))
}

fn rot13(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'm' | b'A'..=b'M' => char::from(byte + 13),
            b'n'..=b'z' | b'N'..=b'Z' => char::from(byte - 13),
            other => char::from(other),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is certain of the base64 of a text that has `bytes` after `skip` others, modulo three.
fn base64(bytes: &[u8], skip: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    // The first letter that holds nothing of the bytes before.
    let first = [0, 4, 2][skip % 3];
    let ends: Vec<usize> = (first..bytes.len() * 8).collect();
    ends.chunks_exact(6)
        .map(|bits| {
            let value = bits.iter().fold(0, |value, at| value << 1 | bit(*at));
            char::from(LETTERS[usize::from(value)])
        })
        .collect()
}
