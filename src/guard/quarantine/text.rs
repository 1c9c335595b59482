//! Texts that somebody was struck for, as numbers.

use super::Who;
use crate::secret::KeyDigest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A text that a caller is struck for, or several that are one together.
///
/// It is known by a number that depends on the caller's key, too: whoever reads it in a file or in Redis
/// cannot try out which text it may be, and the same text of somebody else has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Text(u64);

impl Text {
    /// The number of these texts in this order, said by `who` with the key of that digest.
    pub fn of<'t>(
        key: Option<KeyDigest>,
        who: &Who,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let key = key.map(|digest| digest.to_hex()).unwrap_or_default();
        let mut hash =
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
        hash.update(b"weir strike 1\0");
        hash.update(who.to_text().as_bytes());
        for text in texts {
            hash.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into_bytes().into();
        let first = digest.iter().take(8);
        Self(first.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The number of a strike for it.
    pub fn strike(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_another_number_with_every_key_caller_and_cut() {
        let key = |text: &str| Some(KeyDigest::of(text.as_bytes()));
        let (one, other) = (Who::of_caller("one"), Who::of_caller("other"));
        let all = [
            Text::of(key("k"), &one, ["ab", "c"]),
            Text::of(key("k"), &one, ["a", "bc"]),
            Text::of(key("k"), &one, ["abc"]),
            Text::of(key("k"), &other, ["abc"]),
            Text::of(key("l"), &one, ["abc"]),
            Text::of(None, &one, ["abc"]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[2], Text::of(key("k"), &one, ["abc"]));
    }
}
