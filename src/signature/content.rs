//! The text of a chat answer or of one of its chunks, as it is written there.
//!
//! Decides what the `titan` scheme takes for content: of every choice, in order, `message.content` (a
//! chunk's `delta.content`), else `text`. A list of parts is the text of its parts; anything else, such
//! as a tool call, has no content. Where a key stands twice the last one counts, as it does for the
//! parsers of Python and JavaScript.

use crate::json::{self, Cursor};
use std::fmt::Write as _;

/// What an object of an answer holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The array of choices; `None`: it is no answer and no chunk.
    pub(super) choices: Option<&'a str>,
    /// Whether it has members of the names that were asked about.
    pub(super) taken: bool,
}

/// Looks at an object; `None` when it is none. `names` are those that are going to be put in.
pub(super) fn document<'a>(text: &'a str, names: &[&str]) -> Option<Document<'a>> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let mut found = Document::default();
    cursor.object(|key, value| {
        let raw = value.skip()?;
        if key == "choices" {
            found.choices = raw.starts_with('[').then_some(raw);
        }
        found.taken |= names.contains(&key);
        Some(())
    })?;
    cursor.at_end().then_some(found)
}

/// The same object without the members of these names, and with `member` at its end.
pub(super) fn with_member(text: &str, names: &[&str], member: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + member.len() + 2);
    out.push('{');
    let mut cursor = Cursor::new(text);
    cursor.object(|key, value| {
        let raw = value.skip()?;
        if !names.contains(&key) {
            // A text into memory: there is nothing to fail.
            let _ = write!(out, "{}:{raw},", serde_json::Value::from(key));
        }
        Some(())
    })?;
    out.push_str(member);
    out.push('}');
    Some(out)
}

/// Hands every string of the content, the text between its quotes, to `each`.
pub(super) fn strings<'a>(choices: &'a str, each: &mut impl FnMut(&'a str)) -> Option<()> {
    Cursor::new(choices).array(|one| choice(one.skip()?, each))
}

fn choice<'a>(raw: &'a str, each: &mut impl FnMut(&'a str)) -> Option<()> {
    let (mut message, mut text) = (None, None);
    Cursor::new(raw).object(|key, value| {
        let raw = value.skip()?;
        match key {
            "message" | "delta" => message = Some(raw),
            "text" => text = Some(raw),
            _ => {}
        }
        Some(())
    })?;
    let mut content = None;
    if let Some(message) = message.filter(|raw| raw.starts_with('{')) {
        content = member(message, "content")?;
    }
    let spoken = |raw: &&str| raw.starts_with(['"', '[']);
    match content.filter(spoken).or(text) {
        Some(raw) if raw.starts_with('[') => Cursor::new(raw).array(|part| {
            let raw = part.skip()?;
            if raw.starts_with('{') {
                inner(member(raw, "text")?, each);
            }
            Some(())
        }),
        raw => {
            inner(raw, each);
            Some(())
        }
    }
}

/// The last member of that name.
fn member<'a>(raw: &'a str, name: &str) -> Option<Option<&'a str>> {
    let mut found = None;
    Cursor::new(raw).object(|key, value| {
        let raw = value.skip()?;
        if key == name {
            found = Some(raw);
        }
        Some(())
    })?;
    Some(found)
}

fn inner<'a>(raw: Option<&'a str>, each: &mut impl FnMut(&'a str)) {
    let quoted = raw.and_then(|raw| raw.strip_prefix('"')?.strip_suffix('"'));
    if let Some(inner) = quoted {
        each(inner);
    }
}

/// Appends a string, given as it stands between JSON quotes, as Python's `json.dumps` writes it: what is
/// no printable ASCII becomes `\uXXXX`, one for each unit of UTF-16.
pub(super) fn python(inner: &str, out: &mut String) {
    let bytes = inner.as_bytes();
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| plain(byte)).count();
        out.push_str(&inner[at..at + run]);
        at += run;
        let Some(byte) = bytes.get(at) else { return };
        if *byte != b'\\' {
            let Some(character) = inner[at..].chars().next() else {
                return;
            };
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| escaped(*unit, out));
            at += character.len_utf8();
            continue;
        }
        let digits = inner.get(at + 2..at + 6);
        match (bytes.get(at + 1), digits) {
            (Some(b'u'), Some(digits)) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                escaped(u16::from_str_radix(digits, 16).unwrap_or_default(), out);
                at += 6;
            }
            _ => {
                // An escape of one letter; whatever else it is becomes what other readers make of it.
                let end = (at + 2..=bytes.len()).find(|end| inner.is_char_boundary(*end));
                let end = end.unwrap_or(bytes.len());
                json::pieces(&inner[at..end], |piece| {
                    piece.encode_utf16().for_each(|unit| escaped(unit, out));
                });
                at = end;
            }
        }
    }
}

/// One unit of UTF-16 inside a JSON string of ASCII.
fn escaped(unit: u16, out: &mut String) {
    let ascii = u8::try_from(unit).ok().filter(u8::is_ascii).map(char::from);
    match ascii {
        Some('"') => out.push_str("\\\""),
        Some('\\') => out.push_str("\\\\"),
        Some('\n') => out.push_str("\\n"),
        Some('\r') => out.push_str("\\r"),
        Some('\t') => out.push_str("\\t"),
        Some('\u{8}') => out.push_str("\\b"),
        Some('\u{c}') => out.push_str("\\f"),
        Some(character @ ' '..='~') => out.push(character),
        // Writing to a string cannot fail.
        _ => drop(write!(out, "\\u{unit:04x}")),
    }
}
