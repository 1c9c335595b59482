//! Where something could be at all: runs of the characters that tokens are made of, and places full of digits.
//!
//! Ordinary text has few of either, so that only these places are looked at closely. Decides nothing about
//! what stands there. The masks are made without a branch between the bytes, so that the compiler can use
//! vector instructions: this is what decides the cost of a long text.

use crate::guard::view::survey::masks::{BLOCK, gather, gather_few};
use std::ops::Range;

/// The shortest run that is told of.
pub(in crate::guard) const SHORTEST: usize = 10;

/// A run of letters only is told of from this length.
pub(in crate::guard) const WORDY: usize = 20;

/// How many digits a place must have, within about a hundred bytes.
const DIGITS: u32 = 7;

/// Whether tokens are made of this character.
#[inline]
pub(in crate::guard) const fn is_token(byte: u8) -> bool {
    (byte | 0x20).wrapping_sub(b'a') < 26
        || byte.wrapping_sub(b'-') < 13
        || (byte == b'_') | (byte == b'+') | (byte == b'=') | (byte == b'~')
}

/// The tokens and the digits of a text, a bit for each byte.
struct Masks {
    token: Vec<u64>,
    digit: Vec<u64>,
}

#[inline]
fn block_masks(block: &[u8; BLOCK]) -> (u64, u64) {
    let mut tokens = [0_u8; BLOCK];
    let mut digits = [0_u8; BLOCK];
    for ((token, digit), &byte) in tokens.iter_mut().zip(&mut digits).zip(block) {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let middle = byte.wrapping_sub(b'-') < 13;
        let other = (byte == b'_') | (byte == b'+') | (byte == b'=') | (byte == b'~');
        *token = u8::from(letter | middle | other);
        *digit = u8::from(byte.wrapping_sub(b'0') < 10);
    }
    (gather(&tokens), gather_few(&digits))
}

impl Masks {
    fn of(text: &[u8]) -> Self {
        let words = text.len().div_ceil(BLOCK);
        let mut masks = Self {
            token: Vec::with_capacity(words),
            digit: Vec::with_capacity(words),
        };
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        for block in blocks {
            masks.add(block);
        }
        if !rest.is_empty() {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            masks.add(&block);
        }
        masks
    }

    fn add(&mut self, block: &[u8; BLOCK]) {
        let (token, digit) = block_masks(block);
        self.token.push(token);
        self.digit.push(digit);
    }
}

/// What could be worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Place {
    /// A whole run of token characters: at least [`SHORTEST`] with a digit, or at least [`WORDY`].
    Run(Range<usize>),
    /// A stretch with many digits.
    Digits(Range<usize>),
}

/// Tells `each` of the places in `range` of `text`, in no particular order. A run that goes on beyond the
/// range is cut there.
pub(in crate::guard) fn places(text: &[u8], range: Range<usize>, mut each: impl FnMut(Place)) {
    let Some(part) = text.get(range.clone()) else {
        return;
    };
    let shift = range.start;
    if part.len() <= 2 * BLOCK {
        few(part, |place| each(moved(place, shift)));
        return;
    }
    let masks = Masks::of(part);
    runs(part, &masks, |place| each(moved(place, shift)));
    dense(part.len(), &masks.digit, |place| each(moved(place, shift)));
}

fn moved(place: Place, by: usize) -> Place {
    let moved = |range: Range<usize>| range.start + by..range.end + by;
    match place {
        Place::Run(range) => Place::Run(moved(range)),
        Place::Digits(range) => Place::Digits(moved(range)),
    }
}

/// [`places`] for a short text.
fn few(part: &[u8], mut each: impl FnMut(Place)) {
    let (mut start, mut has_digit, mut digits) = (0, false, 0);
    for at in 0..=part.len() {
        let byte = part.get(at).copied().unwrap_or(b' ');
        if is_token(byte) {
            let digit = byte.is_ascii_digit();
            has_digit |= digit;
            digits += u32::from(digit);
            continue;
        }
        if at - start >= SHORTEST && (has_digit || at - start >= WORDY) {
            each(Place::Run(start..at));
        }
        (start, has_digit) = (at + 1, false);
    }
    if digits >= DIGITS {
        each(Place::Digits(0..part.len()));
    }
}

fn runs(part: &[u8], masks: &Masks, mut each: impl FnMut(Place)) {
    let word = |index: usize| masks.token.get(index).copied().unwrap_or(0);
    let mut behind = 0;
    for index in 0..masks.token.len() {
        let wide = u128::from(word(index)) | u128::from(word(index + 1)) << 64;
        let two = wide & wide >> 1;
        let four = two & two >> 2;
        let eight = four & four >> 4;
        let ten = eight & two >> 8;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let begins = ten as u64;
        // Where no token stands just before.
        let mut starts = begins & !(word(index) << 1 | behind);
        behind = word(index) >> 63;
        while starts != 0 {
            let start = index * BLOCK + starts.trailing_zeros() as usize;
            starts &= starts - 1;
            let end = run_end(&masks.token, start).min(part.len());
            if end - start >= WORDY || any(&masks.digit, start..end) {
                each(Place::Run(start..end));
            }
        }
    }
}

/// Where the run that `start` is in ends.
fn run_end(mask: &[u64], start: usize) -> usize {
    let mut index = start / BLOCK;
    let first = mask.get(index).copied().unwrap_or(0) >> (start % BLOCK);
    let ones = first.trailing_ones() as usize;
    if ones < BLOCK - start % BLOCK {
        return start + ones;
    }
    loop {
        index += 1;
        let ones = mask.get(index).copied().unwrap_or(0).trailing_ones() as usize;
        if ones < BLOCK {
            return index * BLOCK + ones;
        }
    }
}

fn any(mask: &[u64], range: Range<usize>) -> bool {
    let (first, last) = (range.start / BLOCK, (range.end - 1) / BLOCK);
    (first..=last).any(|index| {
        let mut word = mask.get(index).copied().unwrap_or(0);
        if index == first {
            word &= u64::MAX << (range.start % BLOCK);
        }
        if index == last {
            word &= u64::MAX >> (BLOCK - 1 - (range.end - 1) % BLOCK);
        }
        word != 0
    })
}

/// The stretches of neighbouring blocks with many digits, and a block around them.
fn dense(length: usize, digits: &[u64], mut each: impl FnMut(Place)) {
    let mut open: Option<Range<usize>> = None;
    let mut before = 0;
    for (index, word) in digits.iter().enumerate() {
        let here = word.count_ones();
        if before + here >= DIGITS {
            let start = index.saturating_sub(2) * BLOCK;
            let end = ((index + 2) * BLOCK).min(length);
            match &mut open {
                Some(range) if range.end >= start => range.end = end,
                _ => {
                    if let Some(range) = open.replace(start..end) {
                        each(Place::Digits(range));
                    }
                }
            }
        }
        before = here;
    }
    if let Some(range) = open {
        each(Place::Digits(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &[u8]) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        few(text, |place| {
            if let Place::Run(range) = place {
                runs.push(range);
            }
        });
        runs
    }

    #[test]
    fn words_are_no_runs_and_tokens_are() {
        let text = b"an extraordinary word, x1234567890 and abcdefghijklmnopqrstuvwxyz";
        assert_eq!(plain(text), [23..34, 39..65]);
        assert!(plain(b"extraordinary 123456789 a-b").is_empty());
    }

    proptest! {
        #[test]
        fn blocks_see_what_bytes_see(text in "([a-z]{1,30}|[0-9a-z/+=_.~-]{1,90}|[ ,;\"é]{1,70}){0,12}") {
            let bytes = text.as_bytes();
            let masks = Masks::of(bytes);
            for (at, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(masks.token[at / BLOCK] >> (at % BLOCK) & 1 == 1, is_token(*byte));
                prop_assert_eq!(masks.digit[at / BLOCK] >> (at % BLOCK) & 1 == 1, byte.is_ascii_digit());
            }
            let mut found = Vec::new();
            runs(bytes, &masks, |place| {
                if let Place::Run(range) = place {
                    found.push(range);
                }
            });
            prop_assert_eq!(found, plain(bytes));
        }

        #[test]
        fn seven_digits_close_together_are_never_missed(
            before in "[a-z ]{0,200}",
            digits in "([0-9][ -]?){7,20}",
            after in "[a-z ]{0,200}",
        ) {
            let text = format!("{before}{digits}{after}");
            let mut covered = false;
            places(text.as_bytes(), 0..text.len(), |place| {
                if let Place::Digits(range) = place {
                    covered |= range.start <= before.len() && range.end >= before.len() + digits.len();
                }
            });
            prop_assert!(covered);
        }
    }
}
