//! The Model Gateway's scheme: a whole answer's content is signed, and every chunk's with its number.
//!
//! Decides what is signed and whether it is right. It says nothing of who answered whom, what was
//! asked, or where a stream ends: chunks can be left off at the end, and a whole answer can be used again.

use super::Key;
use super::content::{document, python, strings};
use super::events::data_events;
use crate::json;
use std::sync::Arc;

/// The member of a whole answer.
pub(super) const WHOLE: &str = "signature";

/// The members of a chunk.
pub(super) const CHUNK: [&str; 2] = ["x_signature", "x_seq"];

/// The most bytes that the member takes, with its comma.
pub const ROOM: usize = WHOLE.len() + 70;

/// The bytes that are signed for a chunk, of a content given string by string as it stands between
/// JSON quotes.
pub(super) struct Statement(String);

impl Statement {
    /// One whose buffer can be used for many.
    pub(super) const fn new() -> Self {
        Self(String::new())
    }

    /// Puts together what is signed for chunk `seq`. `None` when the choices cannot be read.
    pub(super) fn of(&mut self, choices: &str, seq: u64) -> Option<&str> {
        use std::fmt::Write as _;
        let text = &mut self.0;
        text.clear();
        text.push_str("{\"chunk\":\"");
        strings(choices, &mut |inner| python(inner, text))?;
        // Writing to a string cannot fail.
        let _ = write!(text, "\",\"seq\":{seq}}}");
        Some(text)
    }
}

/// The content of a whole answer. `None` when the choices cannot be read.
pub(super) fn content(choices: &str) -> Option<String> {
    let mut text = String::new();
    strings(choices, &mut |inner| {
        json::pieces(inner, |piece| text.push_str(piece));
    })?;
    Some(text)
}

/// What is wrong with an answer that was signed in this scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is nothing to check.
    #[error("no titan signature: {0}")]
    Unsigned(&'static str),
    /// A chunk without a signature.
    #[error("event {event} is a chunk without x_signature and x_seq: it was put in, or stripped")]
    Stripped {
        /// Its place among the events with data, from 1.
        event: usize,
    },
    /// A chunk is not the next one.
    #[error(
        "event {event} has x_seq {found} where {expected} comes next: chunks were left out, repeated or reordered"
    )]
    Order {
        /// Its place among the events with data, from 1.
        event: usize,
        /// Its number.
        found: String,
        /// The number it should have.
        expected: u64,
    },
    /// No key gives that signature.
    #[error(
        "{place}: the signature does not fit the content: one of them was changed, or the secret is another one"
    )]
    Wrong {
        /// Where.
        place: String,
    },
}

/// What was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The key of the last signature.
    pub key: String,
    /// How many signatures there were.
    pub signatures: u64,
}

/// Whether an answer says that it is signed in this scheme.
pub fn is_signed(events: bool, body: &[u8]) -> bool {
    let mut found = false;
    let mut look = |data: &[u8], name: &str| {
        let text = std::str::from_utf8(data).unwrap_or_default();
        let choices = document(text, &[]).and_then(|found| found.choices);
        found |= choices.is_some() && raw_of(text, name).is_some();
        Ok::<(), ()>(())
    };
    // Looking cannot fail.
    let _ = if events {
        data_events(body, |data| look(data, CHUNK[0]))
    } else {
        look(body, WHOLE)
    };
    found
}

/// Checks a whole answer or, with `events`, a stream.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(keys: &[Arc<Key>], events: bool, body: &[u8]) -> Result<Checked, Flaw> {
    if events {
        stream(keys, body)
    } else {
        whole(keys, body)
    }
}

fn fitting<'k>(keys: &'k [Arc<Key>], text: &[u8], signature: &str) -> Option<&'k Key> {
    let mut keys = keys.iter().map(AsRef::as_ref);
    keys.find(|key: &&Key| key.verifies(text, signature))
}

fn whole(keys: &[Arc<Key>], body: &[u8]) -> Result<Checked, Flaw> {
    let unsigned = Flaw::Unsigned;
    let text = std::str::from_utf8(body).map_err(|_| unsigned("the answer is no text"))?;
    let found = document(text, &[]).ok_or(unsigned("the answer is no JSON object"))?;
    let choices = found.choices.ok_or(unsigned("the answer has no choices"))?;
    let signature = string_of(text, WHOLE).ok_or(unsigned("there is no `signature`"))?;
    let content = content(choices).ok_or(unsigned("the choices cannot be read"))?;
    let key = fitting(keys, content.as_bytes(), &signature).ok_or_else(|| Flaw::Wrong {
        place: "the answer".to_owned(),
    })?;
    Ok(Checked {
        key: key.id().to_owned(),
        signatures: 1,
    })
}

fn stream(keys: &[Arc<Key>], body: &[u8]) -> Result<Checked, Flaw> {
    let mut statement = Statement::new();
    let mut checked = Checked {
        key: String::new(),
        signatures: 0,
    };
    let mut event = 0;
    data_events(body, |data| {
        event += 1;
        let text = std::str::from_utf8(data).unwrap_or_default();
        let Some(choices) = document(text, &[]).and_then(|found| found.choices) else {
            return Ok(());
        };
        let (signature, seq) = (string_of(text, CHUNK[0]), raw_of(text, CHUNK[1]));
        let (Some(signature), Some(seq)) = (signature, seq) else {
            return Err(Flaw::Stripped { event });
        };
        if seq != checked.signatures.to_string() {
            return Err(Flaw::Order {
                event,
                found: seq.chars().take(20).collect(),
                expected: checked.signatures,
            });
        }
        let signed = statement.of(choices, checked.signatures);
        let key = signed.and_then(|text| fitting(keys, text.as_bytes(), &signature));
        let Some(key) = key else {
            let place = format!("event {event}, chunk {seq}");
            return Err(Flaw::Wrong { place });
        };
        key.id().clone_into(&mut checked.key);
        checked.signatures += 1;
        Ok(())
    })?;
    if checked.signatures == 0 {
        return Err(Flaw::Unsigned("there are no chunks"));
    }
    Ok(checked)
}

fn raw_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    json::Cursor::new(text).object(|key, value| {
        let raw = value.skip()?;
        if key == name {
            found = Some(raw);
        }
        Some(())
    })?;
    found
}

fn string_of(text: &str, name: &str) -> Option<String> {
    Some(json::string(raw_of(text, name)?)?.into_owned())
}
