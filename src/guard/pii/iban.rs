//! International bank account numbers: by the form of their country and the remainder by 97.

use std::ops::Range;

/// So many characters of one kind, one kind after the other.
type Form = &'static [(usize, u8)];

/// The countries, and what follows their four first characters: so many digits (`n`), capital letters (`a`)
/// or either (`c`).
#[rustfmt::skip]
const COUNTRIES: &[(&[u8; 2], Form)] = &[
    (b"AD", &[(8, b'n'), (12, b'c')]),
    (b"AE", &[(19, b'n')]),
    (b"AL", &[(8, b'n'), (16, b'c')]),
    (b"AT", &[(16, b'n')]),
    (b"AZ", &[(4, b'a'), (20, b'c')]),
    (b"BA", &[(16, b'n')]),
    (b"BE", &[(12, b'n')]),
    (b"BG", &[(4, b'a'), (6, b'n'), (8, b'c')]),
    (b"BH", &[(4, b'a'), (14, b'c')]),
    (b"BI", &[(23, b'n')]),
    (b"BR", &[(23, b'n'), (1, b'a'), (1, b'c')]),
    (b"BY", &[(4, b'c'), (4, b'n'), (16, b'c')]),
    (b"CH", &[(5, b'n'), (12, b'c')]),
    (b"CR", &[(18, b'n')]),
    (b"CY", &[(8, b'n'), (16, b'c')]),
    (b"CZ", &[(20, b'n')]),
    (b"DE", &[(18, b'n')]),
    (b"DJ", &[(23, b'n')]),
    (b"DK", &[(14, b'n')]),
    (b"DO", &[(4, b'c'), (20, b'n')]),
    (b"EE", &[(16, b'n')]),
    (b"EG", &[(25, b'n')]),
    (b"ES", &[(20, b'n')]),
    (b"FI", &[(14, b'n')]),
    (b"FK", &[(2, b'a'), (12, b'n')]),
    (b"FO", &[(14, b'n')]),
    (b"FR", &[(10, b'n'), (11, b'c'), (2, b'n')]),
    (b"GB", &[(4, b'a'), (14, b'n')]),
    (b"GE", &[(2, b'a'), (16, b'n')]),
    (b"GI", &[(4, b'a'), (15, b'c')]),
    (b"GL", &[(14, b'n')]),
    (b"GR", &[(7, b'n'), (16, b'c')]),
    (b"GT", &[(24, b'c')]),
    (b"HN", &[(4, b'a'), (20, b'n')]),
    (b"HR", &[(17, b'n')]),
    (b"HU", &[(24, b'n')]),
    (b"IE", &[(4, b'a'), (14, b'n')]),
    (b"IL", &[(19, b'n')]),
    (b"IQ", &[(4, b'a'), (15, b'n')]),
    (b"IS", &[(22, b'n')]),
    (b"IT", &[(1, b'a'), (10, b'n'), (12, b'c')]),
    (b"JO", &[(4, b'a'), (4, b'n'), (18, b'c')]),
    (b"KW", &[(4, b'a'), (22, b'c')]),
    (b"KZ", &[(3, b'n'), (13, b'c')]),
    (b"LB", &[(4, b'n'), (20, b'c')]),
    (b"LC", &[(4, b'a'), (24, b'c')]),
    (b"LI", &[(5, b'n'), (12, b'c')]),
    (b"LT", &[(16, b'n')]),
    (b"LU", &[(3, b'n'), (13, b'c')]),
    (b"LV", &[(4, b'a'), (13, b'c')]),
    (b"LY", &[(21, b'n')]),
    (b"MC", &[(10, b'n'), (11, b'c'), (2, b'n')]),
    (b"MD", &[(20, b'c')]),
    (b"ME", &[(18, b'n')]),
    (b"MK", &[(3, b'n'), (10, b'c'), (2, b'n')]),
    (b"MN", &[(16, b'n')]),
    (b"MR", &[(23, b'n')]),
    (b"MT", &[(4, b'a'), (5, b'n'), (18, b'c')]),
    (b"MU", &[(4, b'a'), (19, b'n'), (3, b'a')]),
    (b"NI", &[(4, b'a'), (20, b'n')]),
    (b"NL", &[(4, b'a'), (10, b'n')]),
    (b"NO", &[(11, b'n')]),
    (b"OM", &[(3, b'n'), (16, b'c')]),
    (b"PK", &[(4, b'a'), (16, b'c')]),
    (b"PL", &[(24, b'n')]),
    (b"PS", &[(4, b'a'), (21, b'c')]),
    (b"PT", &[(21, b'n')]),
    (b"QA", &[(4, b'a'), (21, b'c')]),
    (b"RO", &[(4, b'a'), (16, b'c')]),
    (b"RS", &[(18, b'n')]),
    (b"RU", &[(14, b'n'), (15, b'c')]),
    (b"SA", &[(2, b'n'), (18, b'c')]),
    (b"SC", &[(4, b'a'), (20, b'n'), (3, b'a')]),
    (b"SD", &[(14, b'n')]),
    (b"SE", &[(20, b'n')]),
    (b"SI", &[(15, b'n')]),
    (b"SK", &[(20, b'n')]),
    (b"SM", &[(1, b'a'), (10, b'n'), (12, b'c')]),
    (b"SO", &[(19, b'n')]),
    (b"ST", &[(21, b'n')]),
    (b"SV", &[(4, b'a'), (20, b'n')]),
    (b"TL", &[(19, b'n')]),
    (b"TN", &[(20, b'n')]),
    (b"TR", &[(6, b'n'), (16, b'c')]),
    (b"UA", &[(6, b'n'), (19, b'c')]),
    (b"VA", &[(18, b'n')]),
    (b"VG", &[(4, b'a'), (16, b'n')]),
    (b"XK", &[(16, b'n')]),
    (b"YE", &[(4, b'a'), (4, b'n'), (18, b'c')]),
];

/// The longest, with a space after every four characters.
const LONGEST: usize = 42;

/// How far a text is one.
enum Progress {
    /// It ends here.
    Complete(usize),
    /// All of the text, as far as it goes.
    SoFar,
}

/// Follows the form of the number that begins at `start`.
fn follow(text: &[u8], start: usize) -> Option<Progress> {
    let country = text.get(start..start + 2)?;
    let (_, form) = COUNTRIES.iter().find(|(name, _)| *name == country)?;
    let kinds = [(2, b'n')].into_iter().chain(form.iter().copied());
    let mut kinds = kinds.flat_map(|(count, kind)| std::iter::repeat_n(kind, count));
    let (mut at, mut taken) = (start + 2, 2);
    let mut kind = kinds.next();
    let mut remainder = Remainder::default();
    while let Some(expected) = kind {
        let Some(&byte) = text.get(at) else {
            return Some(Progress::SoFar);
        };
        if taken % 4 == 0 && matches!(byte, b' ' | b'-') && !matches!(text[at - 1], b' ' | b'-') {
            at += 1;
            continue;
        }
        let fits = match expected {
            b'n' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_uppercase(),
            _ => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
        };
        if !fits {
            return None;
        }
        if taken >= 4 {
            remainder.add(byte);
        }
        (at, taken, kind) = (at + 1, taken + 1, kinds.next());
    }
    for &byte in text.get(start..start + 4)? {
        remainder.add(byte);
    }
    (remainder.0 == 1).then_some(Progress::Complete(at))
}

/// The remainder by 97 of what was read, letters being two digits.
#[derive(Default)]
struct Remainder(u32);

impl Remainder {
    fn add(&mut self, byte: u8) {
        self.0 = match byte {
            b'0'..=b'9' => self.0 * 10 + u32::from(byte - b'0'),
            _ => self.0 * 100 + u32::from(byte.wrapping_sub(b'A')) + 10,
        } % 97;
    }
}

/// The number that begins at `start`, of which two letters and two digits are known to be there.
pub(super) fn at(text: &[u8], start: usize) -> Option<Range<usize>> {
    if start
        .checked_sub(1)
        .is_some_and(|before| text[before].is_ascii_alphanumeric())
    {
        return None;
    }
    let Progress::Complete(end) = follow(text, start)? else {
        return None;
    };
    let more = text.get(end).is_some_and(u8::is_ascii_alphanumeric);
    (!more).then_some(start..end)
}

/// Where at the end of a text a number may have begun.
pub(in crate::guard) fn open(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(LONGEST);
    let is_part = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_uppercase() || matches!(byte, b' ' | b'-')
    };
    let start = text[from..]
        .iter()
        .rposition(|byte| !is_part(*byte))
        .map_or(from, |at| from + at + 1);
    let pairs = (start..text.len().saturating_sub(1)).filter(|at| {
        text[*at].is_ascii_uppercase()
            && !at
                .checked_sub(1)
                .is_some_and(|before| text[before].is_ascii_alphanumeric())
    });
    let mut begun = pairs.filter(|at| match follow(text, *at) {
        Some(Progress::SoFar) => true,
        Some(Progress::Complete(end)) => end == text.len(),
        None => false,
    });
    begun.next().unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_iban(text: &str) -> bool {
        at(text.as_bytes(), 0) == Some(0..text.len())
    }

    #[test]
    fn numbers_are_known_by_country_form_and_remainder() {
        for text in [
            "GB29 NWBK 6016 1331 9268 19",
            "DE89370400440532013000",
            "NO93 8601 1117 947",
            "MT84-MALT-0110-0001-2345-MTLC-AST0-01S",
        ] {
            assert!(is_iban(text), "{text}");
        }
        for text in [
            "GB29 NWBK 6016 1331 9268 18",
            "DE8937040044053201300",
            "ZZ93 8601 1117 947",
            "GB29  NWBK 6016 1331 9268 19",
            "gb29nwbk60161331926819",
            "DE893704004405320130001",
        ] {
            assert!(!is_iban(text), "{text}");
        }
    }

    #[test]
    fn a_number_that_has_begun_waits() {
        for (text, expected) in [
            ("to GB29 NW", 3),
            ("to GB", 3),
            ("to GBX", 6),
            ("to gb29", 7),
            ("GB29 NWBK 6016 1331 9268 19", 0),
            ("GB29 NWBK 6016 1331 9268 19.", 28),
        ] {
            assert_eq!(open(text.as_bytes()), expected, "{text}");
        }
    }
}
