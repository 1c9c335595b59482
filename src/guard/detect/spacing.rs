//! Escapes of white space and quotation marks, as they stand in JSON and in code, seen through.
//!
//! Decides what rules read in their place: what they stand for, which ends a word. JSON is written into strings of
//! JSON, so that a text may have them whose own escapes were undone.

use std::borrow::Cow;

/// A text as rules read it.
pub(in crate::guard) fn spaced(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut spaced = String::with_capacity(text.len());
    Spacing::default().push(text, &mut spaced);
    Cow::Owned(spaced)
}

/// Undoes the escapes of white space and quotation marks in JSON, so that they end a word for the rules. The
/// text keeps its length: `\n` becomes a blank and the end of a line.
#[derive(Default)]
pub(in crate::guard) struct Spacing {
    /// The text so far ends with the first half of an escape.
    half: bool,
}

impl Spacing {
    /// Adds a piece.
    pub(in crate::guard) fn push(&mut self, piece: &str, to: &mut String) {
        if !self.half && !piece.contains('\\') {
            to.push_str(piece);
            return;
        }
        for letter in piece.chars() {
            if !std::mem::take(&mut self.half) {
                self.half = letter == '\\';
                to.push(letter);
                continue;
            }
            let plain = match letter {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '"' => '"',
                _ => {
                    to.push(letter);
                    continue;
                }
            };
            to.pop();
            to.push(' ');
            to.push(plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_word_is_seen_through_its_escape_however_that_is_cut() {
        let json = r#"{"a":"x\ny\\nz\"w\tv\u000a"}"#;
        let expected = "{\"a\":\"x \ny\\\\nz \"w \tv\\u000a\"}";
        for at in 0..=json.len() {
            let (mut spacing, mut text) = (Spacing::default(), String::new());
            spacing.push(&json[..at], &mut text);
            spacing.push(&json[at..], &mut text);
            assert_eq!(text, expected, "{at}");
            assert_eq!(text.len(), json.len());
        }
    }
}
