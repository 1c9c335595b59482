//! Whole answers.
//!
//! Decides what of a response is an answer: one that failed without having said anything is none.

use super::answer::{Kind, Response, Said};
use super::output::{self, Called, Head, Names, Status};
use super::signature_of;
use crate::dialect::form::{Answering, Media, Part, Reply};
use crate::dialect::json::escape;
use crate::json::Cursor;

/// Reads a whole answer.
pub(in crate::dialect) fn read_reply(text: &str) -> Option<Reply<'_>> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let response = Response::read(&mut cursor)?;
    response.output.filter(|_| cursor.at_end())?;
    let mut parts = Vec::new();
    let mut calls = 0_u32;
    response.items(|_, mut item| match item.kind {
        Kind::Message => parts.extend(item.content.into_iter().map(|said| match said {
            Said::Text(text) => Part::Text { text, cache: None },
            Said::Refusal(text) => Part::Refusal(text),
        })),
        Kind::Reasoning => {
            let text = item.thoughts();
            let signature = item.encrypted.as_deref().map(signature_of);
            if !text.is_empty() || signature.is_some() {
                parts.push(Part::Reasoning {
                    text,
                    signature,
                    redacted: false,
                });
            }
        }
        Kind::Call => {
            parts.push(Part::ToolCall {
                id: item
                    .call_id
                    .or(item.id)
                    .unwrap_or_else(|| format!("call_{calls}").into()),
                name: item.name,
                arguments: item.arguments,
                signature: None,
            });
            calls = calls.saturating_add(1);
        }
        Kind::Other => {}
    });
    let failed = response.error.is_some() || response.status == Some("failed");
    if failed && parts.is_empty() {
        return None;
    }
    Some(Reply {
        stop: response.stop(calls > 0),
        id: response.id,
        model: response.model,
        parts,
        usage: response.usage,
    })
}

/// Writes a whole answer, a JSON object without white space after it.
pub(in crate::dialect) fn write_reply(reply: &Reply<'_>, answering: &Answering) -> Vec<u8> {
    let id = reply.id.as_deref().unwrap_or(&answering.id);
    let status = Status::of(&reply.stop);
    let head = Head {
        id,
        model: reply.model.as_deref().unwrap_or(&answering.model),
        created: answering.created,
        status,
        failure: None,
        usage: reply.usage.as_ref(),
    };
    let mut out = Vec::with_capacity(1024);
    output::response(&mut out, &head, &items(&reply.parts, id, status));
    out
}

fn items(parts: &[Part<'_>], answer: &str, status: Status) -> Vec<u8> {
    let mut names = Names::of(answer);
    let mut items = Vec::new();
    let mut scratch = Vec::new();
    let mut rest = parts;
    while let Some((first, behind)) = rest.split_first() {
        scratch.clear();
        let length = rest.iter().take_while(|part| is_said(part)).count();
        // Only the last item can be cut short.
        let status = if rest.len() > length.max(1) {
            Status::Completed
        } else {
            status
        };
        let (said, after) = rest.split_at(length);
        rest = if length > 0 { after } else { behind };
        match first {
            Part::Text { .. } | Part::Refusal(_) => {
                output::comma(&mut items);
                contents(&mut scratch, said);
                output::message(&mut items, &names.next("msg"), status, &scratch);
            }
            Part::Reasoning {
                text,
                signature,
                redacted,
            } => {
                output::comma(&mut items);
                escape(&mut scratch, text);
                let text = Some(scratch.as_slice()).filter(|text| !text.is_empty());
                let signature = signature.as_deref().map(|one| (one, *redacted));
                output::thought(&mut items, &names.next("rs"), text, signature);
            }
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => {
                output::comma(&mut items);
                let arguments = if arguments.is_empty() {
                    "{}"
                } else {
                    arguments
                };
                escape(&mut scratch, arguments);
                let called = Called { id, name };
                output::call(&mut items, &names.next("fc"), status, called, &scratch);
            }
            Part::Image(Media::Inline { mime, data }) => {
                output::comma(&mut items);
                output::picture(&mut items, &names.next("ig"), mime, data);
            }
            // No model answers with these, but for sound, which nobody asked for.
            Part::Image(Media::Url(_))
            | Part::Audio(_)
            | Part::Document { .. }
            | Part::ToolResult { .. } => {}
        }
    }
    items
}

const fn is_said(part: &Part<'_>) -> bool {
    matches!(part, Part::Text { .. } | Part::Refusal(_))
}

/// The content of a message.
fn contents(out: &mut Vec<u8>, said: &[Part<'_>]) {
    let mut text = Vec::new();
    for part in said {
        let (refusal, words) = match part {
            Part::Text { text, .. } => (false, text),
            Part::Refusal(text) => (true, text),
            _ => continue,
        };
        text.clear();
        escape(&mut text, words);
        output::comma(out);
        output::part(out, refusal, &text);
    }
}
