//! How much a character of a text says, by Shannon.

/// Bits per character.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(in crate::guard) struct Bits(f64);

impl Bits {
    /// Reads a number of at least 0 and below 8.
    pub(in crate::guard) fn parse(text: &str) -> Option<Self> {
        let bits: f64 = text.parse().ok()?;
        (0.0..8.0).contains(&bits).then_some(Self(bits))
    }

    /// What the bytes of a text have on average.
    pub(in crate::guard) fn of(text: &[u8]) -> Self {
        let mut counts = [0_u32; 256];
        for &byte in text {
            counts[usize::from(byte)] = counts[usize::from(byte)].saturating_add(1);
        }
        let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
        let bits = counts.iter().filter(|count| **count > 0).map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        });
        Self(bits.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_characters_say_more() {
        assert_eq!(Bits::of(b"aaaa"), Bits::parse("0").unwrap());
        assert_eq!(Bits::of(b"abab"), Bits::parse("1").unwrap());
        assert_eq!(Bits::of(b"abcdefgh"), Bits::parse("3.0").unwrap());
        assert!(Bits::of(b"abc") < Bits::parse("2").unwrap());
        assert_eq!(Bits::parse("-1"), None);
        assert_eq!(Bits::parse("NaN"), None);
    }
}
