//! JSON without a tree: one strict pass over a whole request body, and a lenient cursor over answers.
//!
//! Decides which bodies Weir is willing to forward: those that every reader understands in the same
//! way. [`object`] refuses what RFC 8259 refuses and what parsers disagree about: duplicate keys,
//! lone surrogates, numbers beyond `f64`, deep nesting. It keeps the top-level fields as spans of
//! the body, so that a rewrite can copy them byte by byte, and notes in passing the few facts about
//! nested parts that a bound needs. It does not decide what the fields mean; that is
//! [`crate::surface`].

mod cursor;
mod scan;
mod text;

use std::borrow::Cow;

pub use cursor::Cursor;
pub use text::{pieces, string, unescape};

/// What a body may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The deepest nesting of objects and arrays, the top-level object being 1.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64 }
    }
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct JsonError {
    /// What is wrong; never a part of the body.
    pub reason: &'static str,
    /// Where, in bytes from the start of the body.
    pub at: usize,
}

impl JsonError {
    const fn new(reason: &'static str, at: usize) -> Self {
        Self { reason, at }
    }
}

/// One top-level field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The key, escapes decoded.
    pub key: Cow<'a, str>,
    /// The key as it was written, quotes included.
    pub raw_key: &'a str,
    /// The value as it was written.
    pub value: &'a str,
}

/// A checked object: its top-level fields in the order they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object<'a> {
    fields: Vec<Field<'a>>,
    length: usize,
    messages: Option<usize>,
    media_parts: usize,
    other_tools: usize,
}

impl<'a> Object<'a> {
    /// The raw text of a field's value; `None` when there is no such field. JSON `null` is a value.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|field| field.key == key)
            .map(|field| field.value)
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// How long the whole text was, in bytes.
    pub fn text_len(&self) -> usize {
        self.length
    }

    /// How many objects the array `messages` holds; `None` when it is absent or no array.
    pub fn messages(&self) -> Option<usize> {
        self.messages
    }

    /// How many parts of messages are not text: images, files, sound, whatever is unknown, and
    /// references to earlier sound (`audio` of an assistant message). Their tokens cannot be told
    /// from the length of the body.
    pub fn media_parts(&self) -> usize {
        self.media_parts
    }

    /// How many objects in `tools` have a `type` other than `function` and `custom` (or none): the
    /// provider runs those itself, for a fee.
    pub fn other_tools(&self) -> usize {
        self.other_tools
    }
}

/// Checks `body` and finds its top-level fields.
///
/// # Errors
/// [`JsonError`] when the body is not one JSON object that every reader understands in the same way.
pub fn object(body: &[u8], limits: Limits) -> Result<Object<'_>, JsonError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| JsonError::new("invalid UTF-8", error.valid_up_to()))?;
    scan::Scan::new(text, limits).run()
}

#[cfg(test)]
mod tests;
