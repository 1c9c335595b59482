//! Errors in an answer's place.
//!
//! Decides what kind an error is, for no status line says it, and which of OpenAI's words stands for
//! one that has none.

use super::answer::name;
use crate::dialect::form::{Failure, FailureKind, Text};
use crate::json::{Cursor, string};

/// The most of a provider's message that is kept, in bytes.
const MAX_MESSAGE: usize = 300;

/// The most of a provider's code that is kept, in bytes.
const MAX_CODE: usize = 64;

/// Reads an error: an object, an event with one in it, or a text.
pub(super) fn read(raw: &str) -> Failure {
    let mut found = Found::default();
    if let Some(message) = string(raw) {
        found.message = Some(message);
    } else if let Some(inner) = found.read(raw).flatten()
        && found.message.is_none()
    {
        found.read(inner);
    }
    let words = [found.code.as_deref(), found.kind.as_deref()];
    let message = found.message.as_deref().map(str::trim).unwrap_or_default();
    Failure {
        kind: kind(words),
        message: if message.is_empty() {
            "The upstream provider failed".to_owned()
        } else {
            bounded(message, MAX_MESSAGE)
        },
        code: words
            .into_iter()
            .flatten()
            .next()
            .map(|code| bounded(code, MAX_CODE)),
    }
}

#[derive(Default)]
struct Found<'a> {
    message: Option<Text<'a>>,
    code: Option<Text<'a>>,
    kind: Option<Text<'a>>,
}

impl<'a> Found<'a> {
    /// Takes an object; an error within it is given back.
    fn read(&mut self, raw: &'a str) -> Option<Option<&'a str>> {
        let mut inner = None;
        Cursor::new(raw).object(|key, value| {
            match key {
                "message" => self.message = name(value)?,
                "code" if value.peek()? == b'"' => self.code = name(value)?,
                // OpenRouter's are numbers: those of HTTP.
                "code" => {
                    self.code = Some(value.skip()?)
                        .filter(|raw| *raw != "null")
                        .map(Text::from)
                }
                // An event's own type says nothing.
                "type" => self.kind = name(value)?.filter(|kind| kind != "error"),
                "error" => inner = Some(value.skip()?).filter(|raw| raw.starts_with('{')),
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        Some(inner)
    }
}

fn kind(words: [Option<&str>; 2]) -> FailureKind {
    if let Some(status @ 400..=599) = words[0].and_then(|code| code.parse().ok()) {
        return FailureKind::of_status(status);
    }
    let says = |word: &str| words.iter().flatten().any(|text| text.contains(word));
    let kinds = [
        ("rate_limit", FailureKind::RateLimit),
        ("insufficient_quota", FailureKind::Payment),
        ("authentication", FailureKind::Authentication),
        ("invalid_api_key", FailureKind::Authentication),
        ("permission", FailureKind::Permission),
        ("not_found", FailureKind::NotFound),
        ("overloaded", FailureKind::Overloaded),
        ("unavailable", FailureKind::Overloaded),
        ("slow_down", FailureKind::Overloaded),
        ("timeout", FailureKind::Timeout),
        ("context_length", FailureKind::Invalid),
        ("invalid_", FailureKind::Invalid),
        ("policy", FailureKind::Invalid),
        ("image", FailureKind::Invalid),
    ];
    let found = kinds.iter().find(|(word, _)| says(word));
    found.map_or(FailureKind::Server, |(_, kind)| *kind)
}

/// The code that an error has, or the one that OpenAI would have for it.
pub(super) fn code(failure: &Failure) -> &str {
    if let Some(code) = &failure.code {
        return code;
    }
    match failure.kind {
        FailureKind::Invalid | FailureKind::TooLarge => "invalid_prompt",
        FailureKind::RateLimit => "rate_limit_exceeded",
        FailureKind::Payment => "insufficient_quota",
        FailureKind::Overloaded => "server_is_overloaded",
        FailureKind::Authentication
        | FailureKind::Permission
        | FailureKind::NotFound
        | FailureKind::Timeout
        | FailureKind::Server => "server_error",
    }
}

fn bounded(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}
