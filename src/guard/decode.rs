//! Encodings undone: base64, hex, percent signs, entities, escapes, numbers, Morse.
//!
//! Decides what is text in an encoding. What decodes to no text is left alone, and known by its first few
//! bytes, so that pictures and keys cost next to nothing. What comes out is never longer than what went
//! in.

mod escapes;
mod numbers;
mod runs;

use super::view::survey::Signs;

/// The texts that are encoded in a text, with their places. One text for each kind, its pieces in order.
pub(super) fn decode(text: &str, signs: &Signs) -> Vec<(usize, String)> {
    let mut decoded = Vec::new();
    decoded.extend(escapes::unescaped(text));
    decoded.extend(runs::decoded(text, &signs.dense));
    decoded.extend(numbers::decoded(text, &signs.digits));
    decoded.extend(numbers::morse(text, &signs.symbols));
    decoded
}

/// Whether bytes look like something to read: letters and blanks for the most part.
fn is_text(bytes: &[u8]) -> bool {
    let bad = bytes
        .iter()
        .filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
        .count();
    let text = String::from_utf8_lossy(bytes);
    let broken = text.matches('\u{FFFD}').count();
    let letters = text
        .chars()
        .filter(|one| one.is_alphabetic() || *one == ' ')
        .count();
    // A cut character at the end is none of its fault.
    bad == 0 && broken <= 1 && letters * 10 >= text.chars().count() * 7
}

#[cfg(test)]
mod tests;
