//! Which bytes of a block are what, a bit for each: bit 0 for the first.

/// How many bytes are looked at together.
pub(in crate::guard) const BLOCK: usize = 64;

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
    /// There is no branch between the bytes, so that the compiler can use vector instructions.
    #[inline]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let mut letters = [0; BLOCK];
        let mut digits = [0; BLOCK];
        let mut high = [0; BLOCK];
        let flags = letters.iter_mut().zip(&mut digits).zip(&mut high);
        for (((letter, digit), high), byte) in flags.zip(block) {
            *letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
            *digit = u8::from(byte.wrapping_sub(b'0') < 10);
            *high = byte >> 7;
        }
        Self {
            letters: gather(&letters),
            digits: gather_few(&digits),
            high: gather_few(&high),
        }
    }
}

/// The bits of flags that are 0 or 1, the first one lowest.
#[inline]
pub(in crate::guard) fn gather(flags: &[u8; BLOCK]) -> u64 {
    let mut mask = 0;
    for word in flags.as_chunks::<8>().0.iter().rev() {
        let bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask = mask << 8 | bits;
    }
    mask
}

/// The same of flags of which most blocks have none.
#[inline]
pub(in crate::guard) fn gather_few(flags: &[u8; BLOCK]) -> u64 {
    if flags.iter().fold(0, |any, flag| any | flag) == 0 {
        0
    } else {
        gather(flags)
    }
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
