//! Walking through JSON that somebody else wrote, taking what is there.
//!
//! For answers of providers: nothing is refused for its type, and nothing is built. A walk ends
//! with `None` where the text is no JSON; what was read until then stays read.

use std::borrow::Cow;

use super::text;

/// The deepest nesting that is skipped.
const DEPTH: u32 = 128;

/// A position in JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `text`.
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The first byte of the next value; `None` at the end of the text.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Where it is, in bytes: at the next value, after [`Self::peek`].
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing but white space is left.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Walks through the next value if it is an object, and skips it if it is not. `each` gets every
    /// key and must take exactly its value.
    pub fn object(&mut self, mut each: impl FnMut(&str, &mut Self) -> Option<()>) -> Option<()> {
        if self.peek()? != b'{' {
            self.skip()?;
            return Some(());
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.key()?;
            each(&key, self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Walks through the next value if it is an array, and skips it if it is not. `each` must take
    /// exactly one value.
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.peek()? != b'[' {
            self.skip()?;
            return Some(());
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// The next value's text between its quotes if it is a string, escapes as they were written;
    /// skips it if it is not.
    pub fn string(&mut self) -> Option<Option<&'a str>> {
        if self.peek()? != b'"' {
            self.skip()?;
            return Some(None);
        }
        self.quoted().map(Some)
    }

    /// Skips the next value: its text.
    pub fn skip(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.skip_container()?,
            _ => self.skip_word()?,
        }
        self.text.get(start..self.at)
    }

    fn key(&mut self) -> Option<Cow<'a, str>> {
        if self.peek()? != b'"' {
            return None;
        }
        let key = text::unescape(self.quoted()?);
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(key)
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let end = text::string_end(self.text.as_bytes(), start)?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// Skips numbers and literals.
    fn skip_word(&mut self) -> Option<()> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') =
            bytes.get(self.at)
        {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Skips a container without checking what stands between its brackets, only that they match.
    fn skip_container(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        // One bit per open container, 1 for an object.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            match bytes.get(self.at)? {
                b'"' => {
                    self.at = text::string_end(bytes, self.at + 1)? + 1;
                    continue;
                }
                byte @ (b'{' | b'[') => {
                    if depth == DEPTH {
                        return None;
                    }
                    depth += 1;
                    open = open << 1 | u128::from(*byte == b'{');
                }
                byte @ (b'}' | b']') => {
                    if (open & 1 == 1) != (*byte == b'}') {
                        return None;
                    }
                    open >>= 1;
                    depth -= 1;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_skipped_whole() {
        let text = r#" {"a":[1,{"b":"]}\""},null], "k\u0065y" : "v\n" , "c":-1.5e3} "#;
        let mut cursor = Cursor::new(text);
        let mut found = None;
        let mut skipped = Vec::new();
        let done = cursor.object(|key, value| {
            if key == "key" {
                found = value.string()?;
            } else {
                skipped.push(value.skip()?);
            }
            Some(())
        });
        assert!(done.is_some() && cursor.at_end());
        assert_eq!(found, Some("v\\n"));
        assert_eq!(skipped, [r#"[1,{"b":"]}\""},null]"#, "-1.5e3"]);
    }

    #[test]
    fn text_that_is_no_json_ends_the_walk() {
        for text in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":[}",
            "[1 2]",
            "{\"a\":\"x\\",
            "{1:2}",
            "[,]",
        ] {
            let mut cursor = Cursor::new(text);
            let walked = match text.as_bytes().first() {
                Some(b'[') => cursor.array(|value| value.skip().map(drop)),
                _ => cursor.object(|_, value| value.skip().map(drop)),
            };
            assert_eq!(walked, None, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Cursor::new(&deep).skip(), None);
    }
}
