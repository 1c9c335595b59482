//! Google's errors.
//!
//! Decides which kind each is: the word it has for itself counts more than the status.

use super::chunk::text;
use crate::dialect::form::{Failure, FailureKind, Text};
use crate::json::Cursor;

/// The longest message, in bytes.
const MESSAGE_LIMIT: usize = 2048;

/// Reads an error answer: an object, or an array with one.
pub(in crate::dialect) fn read_failure(status: u16, body: &[u8]) -> Failure {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut found = None;
    let mut cursor = Cursor::new(text);
    let mut object = |cursor: &mut Cursor<'_>| {
        cursor.object(|key, value| {
            if key == "error" && found.is_none() {
                found = read(value, status)?;
            } else {
                value.skip()?;
            }
            Some(())
        })
    };
    if cursor.peek() == Some(b'[') {
        cursor.array(object);
    } else {
        object(&mut cursor);
    }
    found.unwrap_or_else(|| Failure {
        message: format!("The upstream provider answered with status {status}"),
        kind: FailureKind::of_status(status),
        code: None,
    })
}

/// Reads the value of `error`; `None` within when it is no object. `status` is for when it says
/// nothing of its kind itself.
pub(super) fn read(cursor: &mut Cursor<'_>, status: u16) -> Option<Option<Failure>> {
    if cursor.peek()? != b'{' {
        cursor.skip()?;
        return Some(None);
    }
    let (mut number, mut message, mut word) = (None, Text::default(), None);
    let mut bad_key = false;
    cursor.object(|key, value| {
        match key {
            "code" => number = value.skip()?.parse().ok(),
            "message" => message = text(value)?.unwrap_or_default(),
            "status" => word = text(value)?,
            "details" => value.array(|value| {
                value.object(|key, value| {
                    let raw = value.skip()?;
                    bad_key |= key == "reason" && raw == "\"API_KEY_INVALID\"";
                    Some(())
                })
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    let kind = match word.as_deref() {
        // Google's status for a key that it does not know is that of a bad request.
        _ if bad_key => FailureKind::Authentication,
        Some("RESOURCE_EXHAUSTED") => FailureKind::RateLimit,
        Some("UNAVAILABLE") => FailureKind::Overloaded,
        Some("DEADLINE_EXCEEDED") => FailureKind::Timeout,
        Some("UNAUTHENTICATED") => FailureKind::Authentication,
        Some("PERMISSION_DENIED") => FailureKind::Permission,
        Some("NOT_FOUND") => FailureKind::NotFound,
        Some("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE") => FailureKind::Invalid,
        _ => FailureKind::of_status(number.unwrap_or(status)),
    };
    let end = message.floor_char_boundary(MESSAGE_LIMIT);
    Some(Some(Failure {
        message: message[..end].to_owned(),
        kind,
        code: word.map(Text::into_owned),
    }))
}
