//! Which bytes of a block are what, a bit for each: bit 0 for the first.

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 64;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The bytes of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// ASCII letters.
    pub(super) letters: u64,
    /// ASCII digits.
    pub(super) digits: u64,
    /// Bytes that are not ASCII.
    pub(super) high: u64,
}

impl Masks {
    /// Eight bytes at a time in one register, without a branch.
    #[inline]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let mut masks = Self::default();
        for (index, bytes) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*bytes);
            let shift = 8 * index;
            masks.letters |= gather(within(word | (ONES * 0x20), b'a', b'z') & !word) << shift;
            masks.digits |= gather(within(word, b'0', b'9') & !word) << shift;
            masks.high |= gather(word) << shift;
        }
        masks
    }
}

/// The top bit of every byte that is between two others; whatever is no ASCII gives anything.
#[inline]
fn within(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !TOPS;
    // Carries into the top bit from `first` on, and from after `last` on.
    let from = low + ONES * u64::from(0x80 - first);
    let after = low + ONES * u64::from(0x7F - last);
    from & !after
}

/// The top bits of eight bytes, in the lowest byte.
#[inline]
fn gather(word: u64) -> u64 {
    ((word & TOPS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_what_it_is_in_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..BLOCK {
                let mut block = [b' '; BLOCK];
                block[at] = byte;
                let bit = |holds: bool| u64::from(holds) << at;
                let expected = Masks {
                    letters: bit(byte.is_ascii_alphabetic()),
                    digits: bit(byte.is_ascii_digit()),
                    high: bit(!byte.is_ascii()),
                };
                assert_eq!(Masks::of(&block), expected, "{byte} at {at}");
            }
        }
        let all = Masks::of(&[b'x'; BLOCK]);
        assert_eq!((all.letters, all.digits, all.high), (u64::MAX, 0, 0));
    }
}
