//! Requests in and out, answers and streams both ways, and whatever anybody may send.

mod asked;
mod hostile;
mod reasoning;
mod replies;
mod requests;
mod streams;

use serde_json::Value;

use super::{read_request, write_request};
use crate::dialect::form::{Conversation, Inexpressible, Part, Role, Turn, Writing};
use crate::json::{Limits, object};

fn writing(model: &str) -> Writing<'_> {
    Writing {
        model,
        fallbacks: &[],
        max_tokens: None,
        default_max_tokens: 4096,
        max_tokens_field: "max_tokens",
    }
}

/// Reads a request and hands the conversation to `then`.
fn read<T>(request: &Value, then: impl FnOnce(Conversation<'_>) -> T) -> Result<T, Inexpressible> {
    let text = request.to_string();
    let object = object(text.as_bytes(), Limits::default()).unwrap();
    read_request(&object).map(then)
}

/// The field by which a request is refused.
fn refused(request: &Value) -> String {
    match read(request, |conversation| format!("{conversation:?}")) {
        Err(Inexpressible::Field(field, _)) => field,
        other => panic!("{other:?}"),
    }
}

/// The conversation as a request to a model that knows nothing special.
fn ask(conversation: &Conversation<'_>) -> Result<Value, Inexpressible> {
    ask_of("claude-haiku-4-5", conversation)
}

fn ask_of(model: &str, conversation: &Conversation<'_>) -> Result<Value, Inexpressible> {
    let out = write_request(conversation, &writing(model))?;
    Ok(serde_json::from_slice(&out).unwrap())
}

fn text(text: &str) -> Part<'_> {
    Part::Text {
        text: text.into(),
        cache: None,
    }
}

fn turn<'a>(role: Role, parts: Vec<Part<'a>>) -> Turn<'a> {
    Turn { role, parts }
}

/// A conversation of a single question.
fn question() -> Conversation<'static> {
    Conversation {
        turns: vec![turn(Role::User, vec![text("hi")])],
        ..Conversation::default()
    }
}
