//! Strings and numbers as they are written in JSON: finding their end, checking them, reading them.
//!
//! Decides nothing about structure. Everything here works on byte offsets into text that is known
//! to be UTF-8.

use std::borrow::Cow;

use super::JsonError;

const BLOCK: usize = 32;

/// Whether a byte ends a run of plain characters inside a string.
const fn special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Which bytes of a block are special, as a mask: bit 0 for the first byte.
///
/// There is no branch between the bytes, so that the compiler can use vector instructions: this is
/// what decides the cost of a long prompt.
#[inline]
fn special_mask(block: &[u8; BLOCK]) -> u32 {
    let mut flags = [0_u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(special(*byte));
    }
    let words = flags.as_chunks::<8>().0;
    let any = words
        .iter()
        .fold(0, |any, word| any | u64::from_le_bytes(*word));
    if any == 0 {
        return 0;
    }
    let mut mask = 0;
    for word in words.iter().rev() {
        // Gathers the lowest bits of the eight bytes in the topmost byte.
        let bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask = mask << 8 | bits;
    }
    u32::try_from(mask).unwrap_or(u32::MAX)
}

/// Checks the string whose opening quote is just before `at`: the offset after its closing quote,
/// and whether it contains escapes.
pub(super) fn check_string(bytes: &[u8], mut at: usize) -> Result<(usize, bool), JsonError> {
    let mut escaped = false;
    loop {
        let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) else {
            return check_string_end(bytes, at, escaped);
        };
        let mut mask = special_mask(block);
        let start = at;
        at += BLOCK;
        while mask != 0 {
            let found = start + mask.trailing_zeros() as usize;
            match bytes[found] {
                b'"' => return Ok((found + 1, escaped)),
                b'\\' => {
                    escaped = true;
                    let next = check_escape(bytes, found)?;
                    // What the escape consists of is no special byte of its own.
                    match u32::try_from(next - start).map(|behind| u32::MAX.checked_shl(behind)) {
                        Ok(Some(rest)) => mask &= rest,
                        _ => {
                            at = next;
                            break;
                        }
                    }
                }
                _ => return Err(JsonError::new("control character in a string", found)),
            }
        }
    }
}

/// [`check_string`] for what is shorter than a block.
fn check_string_end(
    bytes: &[u8],
    mut at: usize,
    mut escaped: bool,
) -> Result<(usize, bool), JsonError> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = check_escape(bytes, at)?;
            }
            Some(0..0x20) => return Err(JsonError::new("control character in a string", at)),
            Some(_) => at += 1,
            None => return Err(JsonError::new("unterminated string", at)),
        }
    }
}

/// Checks the escape whose backslash is at `at`: the offset after it.
#[inline]
fn check_escape(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(bytes, at + 2) {
            None => Err(JsonError::new("invalid \\u escape", at)),
            Some(0xD800..=0xDBFF) => match (bytes.get(at + 6..at + 8), hex4(bytes, at + 8)) {
                (Some(b"\\u"), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
                _ => Err(JsonError::new("lone surrogate in a string", at)),
            },
            Some(0xDC00..=0xDFFF) => Err(JsonError::new("lone surrogate in a string", at)),
            Some(_) => Ok(at + 6),
        },
        _ => Err(JsonError::new("invalid escape in a string", at)),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let mut value = 0;
    for digit in bytes.get(at..at + 4)? {
        value = value * 16 + char::from(*digit).to_digit(16)?;
    }
    Some(value)
}

/// Checks the number that starts at `at`: the offset after it. Numbers that are infinite as an
/// `f64` are refused: the next reader would read something else than the one before.
pub(super) fn check_number(text: &str, start: usize) -> Result<usize, JsonError> {
    let bytes = text.as_bytes();
    let invalid = |at| JsonError::new("invalid number", at);
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut at = match bytes.get(whole) {
        Some(b'0') => whole + 1,
        Some(b'1'..=b'9') => digits(whole),
        _ => return Err(invalid(whole)),
    };
    if bytes.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return Err(invalid(end));
        }
        at = end;
    }
    let mut risky = at - start > 300;
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(at + 1 + sign);
        if end == at + 1 + sign {
            return Err(invalid(end));
        }
        at = end;
        risky = true;
    }
    if risky && !text[start..at].parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(JsonError::new("number out of range", start));
    }
    Ok(at)
}

/// The end of a string that nobody checked, whose opening quote is just before `at`: the offset of
/// its closing quote. Accepts any escape and any control character.
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) else {
            return string_end_bytewise(bytes, at);
        };
        let mut mask = special_mask(block);
        let start = at;
        at += BLOCK;
        while mask != 0 {
            let bit = mask.trailing_zeros();
            let found = start + bit as usize;
            mask &= mask - 1;
            match bytes[found] {
                b'"' => return Some(found),
                b'\\' if bit == 31 => at += 1,
                b'\\' => mask &= !(2 << bit),
                _ => {}
            }
        }
    }
}

fn string_end_bytewise(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Hands the characters of a string (the text between its quotes) to `each`, run by run, escapes
/// decoded. What is no valid escape becomes U+FFFD.
pub fn pieces(inner: &str, mut each: impl FnMut(&str)) {
    let bytes = inner.as_bytes();
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[from..]) {
        let at = from + found;
        if at > from {
            each(&inner[from..at]);
        }
        let (character, next) = escape(bytes, at);
        each(character.encode_utf8(&mut [0; 4]));
        // An invalid escape may have been cut inside a character.
        from = (next..=bytes.len())
            .find(|&at| inner.is_char_boundary(at))
            .unwrap_or(bytes.len());
    }
    if from < bytes.len() {
        each(&inner[from..]);
    }
}

/// The character that the escape at `at` stands for, and the offset after it.
fn escape(bytes: &[u8], at: usize) -> (char, usize) {
    let simple = |character| (character, at + 2);
    match bytes.get(at + 1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(byte @ (b'"' | b'\\' | b'/')) => simple(char::from(*byte)),
        Some(b'u') => match hex4(bytes, at + 2) {
            Some(high @ 0xD800..=0xDBFF) => {
                match (bytes.get(at + 6..at + 8), hex4(bytes, at + 8)) {
                    (Some(b"\\u"), Some(low @ 0xDC00..=0xDFFF)) => {
                        let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                        (char::from_u32(code).unwrap_or('\u{FFFD}'), at + 12)
                    }
                    _ => ('\u{FFFD}', at + 6),
                }
            }
            Some(code) => (char::from_u32(code).unwrap_or('\u{FFFD}'), at + 6),
            None => ('\u{FFFD}', at + 2),
        },
        _ => ('\u{FFFD}', (at + 2).min(bytes.len())),
    }
}

/// The characters of a string (the text between its quotes), escapes decoded; borrowed when there
/// are none.
pub fn unescape(inner: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut decoded = String::with_capacity(inner.len());
    pieces(inner, |piece| decoded.push_str(piece));
    Cow::Owned(decoded)
}

/// The string that `raw` (a whole JSON value) is, or `None` when it is of another type.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    Some(unescape(inner))
}
