//! Counting the text of an answer as it comes, with bounded memory.

use crate::json;

/// The most text that is kept before it is counted.
const LIMIT: usize = 8 << 10;

/// Which of an answer's texts a piece belongs to. Tokens never span two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Content,
    Reasoning,
    Refusal,
    Name,
    Arguments,
    Transcript,
}

/// The count of an answer's own text.
#[derive(Debug)]
pub(super) struct Tally {
    count: fn(&str) -> u64,
    text: String,
    current: Option<(u64, Channel)>,
    tokens: u64,
    some: bool,
    /// The beginning of the first choice's content, and how much of it is wanted, in bytes.
    kept: String,
    wanted: usize,
}

impl Tally {
    pub(super) const fn new(count: fn(&str) -> u64) -> Self {
        Self {
            count,
            text: String::new(),
            current: None,
            tokens: 0,
            some: false,
            kept: String::new(),
            wanted: 0,
        }
    }

    /// Keeps so many bytes of the first choice's content.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.wanted = bytes;
    }

    /// What was kept.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.kept)
    }

    /// Takes in a string (the text between its JSON quotes) of a choice.
    pub(super) fn add(&mut self, choice: u64, channel: Channel, inner: &str) {
        if inner.is_empty() {
            return;
        }
        self.some = true;
        if self.current != Some((choice, channel)) {
            self.flush();
            self.current = Some((choice, channel));
        }
        if choice == 0 && channel == Channel::Content && self.kept.len() < self.wanted {
            json::pieces(inner, |piece| {
                let room = self.wanted.saturating_sub(self.kept.len());
                self.kept
                    .push_str(&piece[..piece.floor_char_boundary(room)]);
            });
        }
        json::pieces(inner, |piece| self.push(piece));
    }

    /// Takes in a whole JSON value: all of it but the white space between its parts. Null and empty
    /// containers are no text.
    pub(super) fn add_value(&mut self, choice: u64, channel: Channel, raw: &str) {
        let idle = |byte: u8| byte.is_ascii_whitespace() || b"{}[]".contains(&byte);
        if raw == "null" || raw.bytes().all(idle) {
            return;
        }
        let mut rest = raw.trim_ascii_start();
        while let Some(first) = rest.bytes().next() {
            let length = if first == b'"' {
                json::Cursor::new(rest).skip().map_or(rest.len(), str::len)
            } else {
                let ends = |byte: u8| byte == b'"' || byte.is_ascii_whitespace();
                rest.bytes().position(ends).unwrap_or(rest.len())
            };
            let (run, behind) = rest.split_at(length);
            self.add(choice, channel, run);
            rest = behind.trim_ascii_start();
        }
    }

    /// Counts bytes that could not be read, at four to a token.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_add(bytes.div_ceil(4));
    }

    /// Whether there was any text.
    pub(super) const fn any(&self) -> bool {
        self.some
    }

    /// Counts what is still kept.
    pub(super) fn flush(&mut self) {
        if !self.text.is_empty() {
            self.tokens = self.tokens.saturating_add((self.count)(&self.text));
            self.text.clear();
        }
    }

    /// Tokens counted so far, without what is still kept.
    pub(super) const fn tokens(&self) -> u64 {
        self.tokens
    }

    fn push(&mut self, mut piece: &str) {
        while self.text.len() + piece.len() > LIMIT {
            let cut = piece.floor_char_boundary(LIMIT - self.text.len());
            self.text.push_str(&piece[..cut]);
            piece = &piece[cut..];
            self.flush_words();
        }
        self.text.push_str(piece);
    }

    /// Counts the kept text up to its last white space, if there is any in its second half, so that
    /// no word is counted in two parts.
    fn flush_words(&mut self) {
        let half = self.text.ceil_char_boundary(self.text.len() / 2);
        match self.text[half..].rfind(char::is_whitespace) {
            Some(at) if half + at > 0 => {
                let rest = self.text.split_off(half + at);
                self.flush();
                self.text.push_str(&rest);
            }
            _ => self.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> u64 {
        assert!(text.len() <= LIMIT);
        text.split_whitespace().count() as u64
    }

    #[test]
    fn long_text_is_counted_word_by_word_whatever_the_pieces() {
        let text = "some words of text ".repeat(5000);
        for step in [1, 7, 4096, 100_000] {
            let mut tally = Tally::new(words);
            for part in text.as_bytes().chunks(step) {
                tally.add(0, Channel::Content, std::str::from_utf8(part).unwrap());
            }
            tally.flush();
            assert_eq!(tally.tokens(), 20_000, "{step}");
        }
    }

    #[test]
    fn text_without_white_space_is_counted_all_the_same() {
        let mut tally = Tally::new(|text| text.chars().count() as u64);
        tally.add(0, Channel::Content, &"ü€\\n".repeat(10_000));
        tally.flush();
        assert_eq!(tally.tokens(), 30_000);
    }

    #[test]
    fn the_beginning_of_the_first_choices_content_is_kept_where_that_is_wanted() {
        let mut tally = Tally::new(words);
        tally.add(0, Channel::Content, "nothing");
        assert_eq!(tally.take(), "");
        tally.keep(7);
        for (choice, channel, text) in [
            (0, Channel::Reasoning, "hm"),
            (0, Channel::Content, "a\\u00fc"),
            (1, Channel::Content, "other"),
            (0, Channel::Content, "bcdüef"),
        ] {
            tally.add(choice, channel, text);
        }
        assert_eq!(tally.take(), "aübcd");
    }

    #[test]
    fn a_value_counts_without_the_space_between_its_parts() {
        let size = |raw: &str| {
            let mut tally = Tally::new(|text| text.len() as u64);
            tally.add_value(0, Channel::Arguments, raw);
            tally.flush();
            (tally.tokens(), tally.any())
        };
        let tight = r#"{"a b":[1,true,"c\"d e"],"f":{}}"#;
        let wide = "{ \"a b\" :\r\n [ 1 ,\ttrue, \"c\\\"d e\" ], \"f\": { }\n}";
        let expected = tight.len() as u64 - 1;
        assert_eq!(
            (size(tight), size(wide)),
            ((expected, true), (expected, true))
        );
        for none in ["{}", "{ }", "[]", "null", "[\n{ }]", ""] {
            assert_eq!(size(none), (0, false), "{none}");
        }
        assert_eq!(size("\"cut"), (4, true));
    }

    #[test]
    fn texts_of_two_choices_are_not_glued_together() {
        let mut tally = Tally::new(words);
        for (choice, text) in [(0, "one"), (1, "two"), (0, "three")] {
            tally.add(choice, Channel::Content, text);
        }
        tally.add(0, Channel::Reasoning, "four");
        tally.flush();
        assert_eq!((tally.tokens(), tally.any()), (4, true));
    }
}
