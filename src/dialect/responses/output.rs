//! A response object and its items, as clients read them.
//!
//! Decides which fields there are: all that the libraries of OpenAI insist on. What the client asked
//! for is not repeated; nobody reads it there. Texts come escaped, so that a stream needs to do it
//! once only.

use super::REDACTED;
use super::failure;
use crate::dialect::form::{Failure, Stop};
use crate::dialect::json::Members;
use crate::usage::Usage;

/// What a response says besides its items.
pub(super) struct Head<'h> {
    pub(super) id: &'h str,
    pub(super) model: &'h str,
    pub(super) created: u64,
    pub(super) status: Status,
    pub(super) failure: Option<&'h Failure>,
    pub(super) usage: Option<&'h Usage>,
}

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// With the reason.
    Incomplete(&'static str),
    Failed,
}

impl Status {
    /// The status of an answer that ended so.
    pub(super) const fn of(stop: &Stop<'_>) -> Self {
        match stop {
            Stop::End | Stop::Sequence(_) | Stop::ToolCalls => Self::Completed,
            Stop::Length => Self::Incomplete("max_output_tokens"),
            Stop::Filter => Self::Incomplete("content_filter"),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// Writes a response; `items` are written already, with the commas between them.
pub(super) fn response(out: &mut Vec<u8>, head: &Head<'_>, items: &[u8]) {
    let mut members = Members::open(out);
    members.text("id", head.id);
    members.text("object", "response");
    members.number("created_at", head.created);
    members.text("status", head.status.name());
    members.flag("background", false);
    match head.failure {
        Some(failure) => {
            let mut error = members.object("error");
            error.text("code", failure::code(failure));
            error.text("message", &failure.message);
            error.close();
        }
        None => members.raw("error", "null"),
    }
    match head.status {
        Status::Incomplete(reason) => {
            let mut details = members.object("incomplete_details");
            details.text("reason", reason);
            details.close();
        }
        _ => members.raw("incomplete_details", "null"),
    }
    members.raw("instructions", "null");
    members.raw("max_output_tokens", "null");
    members.raw("max_tool_calls", "null");
    members.text("model", head.model);
    let output = members.key("output");
    output.push(b'[');
    output.extend_from_slice(items);
    output.push(b']');
    members.flag("parallel_tool_calls", true);
    members.raw("previous_response_id", "null");
    members.raw("reasoning", r#"{"effort":null,"summary":null}"#);
    members.flag("store", false);
    members.raw("temperature", "null");
    members.raw("text", r#"{"format":{"type":"text"}}"#);
    members.text("tool_choice", "auto");
    members.raw("tools", "[]");
    members.raw("top_p", "null");
    members.text("truncation", "disabled");
    match head.usage {
        Some(usage) => counts(members.object("usage"), usage),
        None => members.raw("usage", "null"),
    }
    members.raw("user", "null");
    members.raw("metadata", "{}");
    members.close();
}

fn counts(mut members: Members<'_>, usage: &Usage) {
    members.number("input_tokens", usage.input);
    let mut input = members.object("input_tokens_details");
    input.number("cached_tokens", usage.cache_read);
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    input.number("cache_write_tokens", written);
    input.close();
    members.number("output_tokens", usage.output);
    let mut output = members.object("output_tokens_details");
    output.number("reasoning_tokens", usage.reasoning);
    output.close();
    members.number("total_tokens", usage.total());
    members.close();
}

/// The comma before what follows something.
pub(super) fn comma(items: &mut Vec<u8>) {
    if !items.is_empty() {
        items.push(b',');
    }
}

/// A message with its content, written already.
pub(super) fn message(out: &mut Vec<u8>, id: &str, status: Status, content: &[u8]) {
    let mut item = Members::open(out);
    item.text("id", id);
    item.text("type", "message");
    item.text("status", status.name());
    item.text("role", "assistant");
    let to = item.key("content");
    to.push(b'[');
    to.extend_from_slice(content);
    to.push(b']');
    item.close();
}

/// A part of a message.
pub(super) fn part(out: &mut Vec<u8>, refusal: bool, text: &[u8]) {
    let mut part = Members::open(out);
    if refusal {
        part.text("type", "refusal");
        part.escaped("refusal", text);
    } else {
        part.text("type", "output_text");
        part.raw("annotations", "[]");
        part.raw("logprobs", "[]");
        part.escaped("text", text);
    }
    part.close();
}

/// What was thought, as a summary: the words of a thought itself are nobody's to read here.
pub(super) fn thought(
    out: &mut Vec<u8>,
    id: &str,
    text: Option<&[u8]>,
    signature: Option<(&str, bool)>,
) {
    let mut item = Members::open(out);
    item.text("id", id);
    item.text("type", "reasoning");
    item.array("summary", text, summary);
    if let Some((signature, redacted)) = signature {
        if redacted {
            item.text("encrypted_content", &format!("{REDACTED}{signature}"));
        } else {
            item.text("encrypted_content", signature);
        }
    }
    item.close();
}

/// A part of a summary.
pub(super) fn summary(out: &mut Vec<u8>, text: &[u8]) {
    let mut part = Members::open(out);
    part.text("type", "summary_text");
    part.escaped("text", text);
    part.close();
}

/// The id and the name of a call.
#[derive(Clone, Copy)]
pub(super) struct Called<'c> {
    pub(super) id: &'c str,
    pub(super) name: &'c str,
}

/// A call; `id` is the item's own.
pub(super) fn call(
    out: &mut Vec<u8>,
    id: &str,
    status: Status,
    called: Called<'_>,
    arguments: &[u8],
) {
    let mut item = Members::open(out);
    item.text("id", id);
    item.text("type", "function_call");
    item.text("status", status.name());
    item.escaped("arguments", arguments);
    item.text("call_id", called.id);
    item.text("name", called.name);
    item.close();
}

/// A picture.
pub(super) fn picture(out: &mut Vec<u8>, id: &str, mime: &str, data: &str) {
    let mut item = Members::open(out);
    item.text("id", id);
    item.text("type", "image_generation_call");
    item.text("status", "completed");
    item.text(
        "output_format",
        mime.strip_prefix("image/").unwrap_or("png"),
    );
    item.text("result", data);
    item.close();
}

/// Names the items of an answer, each differently.
pub(super) struct Names {
    stem: String,
    next: u32,
}

impl Names {
    /// For the answer of that id, which may be anything.
    pub(super) fn of(answer: &str) -> Self {
        let plain =
            |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
        let bare = answer.strip_prefix("resp_").unwrap_or(answer);
        Self {
            stem: bare.chars().filter(plain).take(40).collect(),
            next: 0,
        }
    }

    pub(super) fn next(&mut self, prefix: &str) -> String {
        let name = format!("{prefix}_{}_{}", self.stem, self.next);
        self.next = self.next.saturating_add(1);
        name
    }
}
