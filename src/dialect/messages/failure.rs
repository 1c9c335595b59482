//! Errors, as Anthropic words them.
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

/// Reads an error answer. Its own word for the kind is more exact than the status; without a known
/// one the status says it.
pub(in crate::dialect) fn read_failure(status: u16, body: &[u8]) -> Failure {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut said = Said::default();
    let mut error = None;
    Cursor::new(text).object(|key, value| {
        let raw = value.skip()?;
        if key == "error" {
            error = Some(raw);
        }
        Some(())
    });
    said.read(error.unwrap_or_default());
    let kind = match (said.kind(), status) {
        (Some(kind), _) => kind,
        (None, 400..=599) => FailureKind::of_status(status),
        (None, _) => FailureKind::Server,
    };
    Failure {
        message: said
            .message
            .unwrap_or_else(|| format!("The upstream provider answered with status {status}")),
        kind,
        code: said.code,
    }
}

/// Reads the `error` of an event.
pub(super) fn of_event(raw: &str) -> Failure {
    let mut said = Said::default();
    said.read(raw);
    Failure {
        kind: said.kind().unwrap_or_default(),
        message: said
            .message
            .unwrap_or_else(|| "The upstream provider failed".to_owned()),
        code: said.code,
    }
}

/// Writes an error, as the body of an answer or the data of an event.
pub fn write_failure(failure: &Failure, request_id: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(failure.message.len() + 96);
    let mut members = Members::open(&mut out);
    members.text("type", "error");
    let mut error = members.object("error");
    error.text("type", type_name(failure.kind));
    error.text("message", &failure.message);
    error.close();
    if let Some(id) = request_id {
        members.text("request_id", id);
    }
    members.close();
    out
}

const fn type_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Invalid => "invalid_request_error",
        FailureKind::Authentication => "authentication_error",
        FailureKind::Payment => "billing_error",
        FailureKind::Permission => "permission_error",
        FailureKind::NotFound => "not_found_error",
        FailureKind::TooLarge => "request_too_large",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::Timeout => "timeout_error",
        FailureKind::Server => "api_error",
    }
}

/// What an error says.
#[derive(Default)]
struct Said {
    message: Option<String>,
    type_name: Option<String>,
    code: Option<String>,
}

impl Said {
    fn read(&mut self, raw: &str) -> Option<()> {
        if raw.starts_with('"') {
            self.message = bounded(raw, MAX_MESSAGE);
            return Some(());
        }
        Cursor::new(raw).object(|key, value| {
            let raw = value.skip()?;
            match key {
                "message" => self.message = bounded(raw, MAX_MESSAGE),
                "type" => self.type_name = bounded(raw, MAX_CODE),
                "code" => self.code = bounded(raw, MAX_CODE),
                _ => {}
            }
            Some(())
        })
    }

    fn kind(&self) -> Option<FailureKind> {
        Some(match self.type_name.as_deref()? {
            "invalid_request_error" => FailureKind::Invalid,
            "authentication_error" => FailureKind::Authentication,
            "billing_error" => FailureKind::Payment,
            "permission_error" => FailureKind::Permission,
            "not_found_error" => FailureKind::NotFound,
            "request_too_large" => FailureKind::TooLarge,
            "rate_limit_error" => FailureKind::RateLimit,
            "overloaded_error" => FailureKind::Overloaded,
            "timeout_error" => FailureKind::Timeout,
            "api_error" => FailureKind::Server,
            _ => return None,
        })
    }
}

/// The beginning of a string, at most so many bytes; `None` for what is no string or is empty.
fn bounded(raw: &str, most: usize) -> Option<String> {
    let text = string(raw)?;
    let text = text.trim();
    let end = text.floor_char_boundary(most);
    (end > 0).then(|| text[..end].to_owned())
}
