//! Errors of providers: OpenAI's form, and those of everybody who is nearly compatible.
//!
//! Decides what of an error a person may read and what kind it is. A body that is no error in JSON
//! is not quoted: it may be a page of HTML.

use crate::dialect::form::{Failure, FailureKind};
use crate::dialect::json::Members;
use crate::json::{Cursor, string};

/// The most of a provider's message that is kept, in bytes.
const MAX_MESSAGE: usize = 300;

/// The most of a provider's code that is kept, in bytes.
const MAX_CODE: usize = 64;

/// What OpenRouter says when the words of the provider behind it are in the metadata.
const RELAYED: &str = "Provider returned error";

/// Reads an error answer.
pub(in crate::dialect) fn read_failure(status: u16, body: &[u8]) -> Failure {
    let mut said = Said::default();
    if let Ok(text) = std::str::from_utf8(body) {
        said.read(text.trim_ascii());
    }
    let kind = match status {
        400..=599 => FailureKind::of_status(status),
        _ => said.kind(),
    };
    let message = match said.message.take() {
        Some(message) => message,
        None => format!("The upstream provider answered with status {status}"),
    };
    Failure {
        message,
        kind,
        code: said.code.or(said.type_name),
    }
}

/// Reads the `error` of a chunk or of a choice.
pub(super) fn of_error(raw: &str) -> Failure {
    let mut said = Said::default();
    said.error(raw);
    let kind = said.kind();
    Failure {
        message: said.message.unwrap_or_else(in_the_middle),
        kind,
        code: said.code.or(said.type_name),
    }
}

/// An answer that ended with an error that says nothing.
pub(super) fn unexplained() -> Failure {
    Failure {
        message: in_the_middle(),
        ..Failure::default()
    }
}

fn in_the_middle() -> String {
    "The upstream provider failed".to_owned()
}

/// Writes an error, as the body of an answer or the data of an event.
pub(in crate::dialect) fn write_failure(failure: &Failure) -> Vec<u8> {
    let mut out = Vec::with_capacity(failure.message.len() + 96);
    let mut members = Members::open(&mut out);
    let mut error = members.object("error");
    error.text("message", &failure.message);
    error.text("type", type_name(failure.kind));
    error.raw("param", "null");
    match &failure.code {
        Some(code) => error.text("code", code),
        None => error.raw("code", "null"),
    }
    error.close();
    members.close();
    out
}

const fn type_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Authentication => "authentication_error",
        FailureKind::Payment => "insufficient_quota",
        FailureKind::Permission => "permission_error",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Invalid | FailureKind::NotFound | FailureKind::TooLarge => {
            "invalid_request_error"
        }
        FailureKind::Overloaded | FailureKind::Timeout | FailureKind::Server => "api_error",
    }
}

/// What an error says.
#[derive(Default)]
struct Said {
    message: Option<String>,
    code: Option<String>,
    type_name: Option<String>,
    status: Option<u16>,
}

impl Said {
    /// The whole body. An array is Google's: its first item counts.
    fn read(&mut self, text: &str) -> Option<()> {
        let mut cursor = Cursor::new(text);
        if cursor.peek()? == b'[' {
            let mut first = None;
            cursor.array(|item| {
                let raw = item.skip()?;
                first.get_or_insert(raw);
                Some(())
            })?;
            cursor = Cursor::new(first?);
        }
        let mut error = None;
        cursor.object(|key, value| {
            let raw = value.skip()?;
            if key == "error" {
                error = Some(raw);
            } else {
                self.member(key, raw);
            }
            Some(())
        })?;
        if let Some(raw) = error {
            self.error(raw);
        }
        Some(())
    }

    /// An error: a string, or an object.
    fn error(&mut self, raw: &str) {
        if let Some(text) = string(raw) {
            self.say(&text);
            return;
        }
        let mut relayed = None;
        Cursor::new(raw).object(|key, value| {
            let raw = value.skip()?;
            match key {
                "metadata" => relayed = relayed_message(raw),
                _ => self.member(key, raw),
            }
            Some(())
        });
        if let (Some(RELAYED), Some(relayed)) = (self.message.as_deref(), relayed) {
            self.say(&relayed);
        }
    }

    fn member(&mut self, key: &str, raw: &str) {
        let text = string(raw).filter(|text| !text.is_empty());
        match key {
            "message" | "msg" => {
                if let Some(text) = text {
                    self.say(&text);
                }
            }
            "detail" => match text {
                Some(text) => self.say(&text),
                None => self.detail(raw),
            },
            "code" => {
                if let Some(code) = text {
                    self.code = Some(bounded(&code, MAX_CODE));
                } else {
                    self.number(raw);
                }
            }
            "type" => self.type_name = text.map(|name| bounded(&name, MAX_CODE)),
            "status_code" => self.number(raw),
            _ => {}
        }
    }

    /// A number in the code's place is a status.
    fn number(&mut self, raw: &str) {
        if let Ok(status) = raw.parse::<u16>() {
            self.status = Some(status);
            self.code.get_or_insert_with(|| raw.to_owned());
        }
    }

    /// FastAPI's list of mistakes: the first counts.
    fn detail(&mut self, raw: &str) {
        let before = self.message.take();
        Cursor::new(raw).array(|item| {
            item.object(|key, value| {
                let raw = value.skip()?;
                if key == "msg" && self.message.is_none() {
                    self.member(key, raw);
                }
                Some(())
            })
        });
        self.message = self.message.take().or(before);
    }

    fn say(&mut self, message: &str) {
        let message = message.trim();
        if !message.is_empty() {
            self.message = Some(bounded(message, MAX_MESSAGE));
        }
    }

    /// The kind, where no status line says it.
    fn kind(&self) -> FailureKind {
        if let Some(status @ 400..=599) = self.status {
            return FailureKind::of_status(status);
        }
        let words = [self.code.as_deref(), self.type_name.as_deref()];
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
            ("timeout", FailureKind::Timeout),
            ("context_length", FailureKind::Invalid),
            ("invalid_request", FailureKind::Invalid),
        ];
        let found = kinds.iter().find(|(word, _)| says(word));
        found.map_or(FailureKind::Server, |(_, kind)| *kind)
    }
}

/// What the provider behind OpenRouter said: its body, as text.
fn relayed_message(metadata: &str) -> Option<String> {
    let mut body = None;
    Cursor::new(metadata).object(|key, value| {
        let raw = value.skip()?;
        if key == "raw" {
            body = string(raw);
        }
        Some(())
    });
    let body = body?;
    let mut said = Said::default();
    if body.trim_start().starts_with(['{', '[']) {
        said.read(&body);
        return said.message;
    }
    (!body.contains('<')).then(|| body.into_owned())
}

fn bounded(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}
