//! Whole answers.

use super::ask::input;
use super::usage::{self, Counts};
use crate::dialect::form::{Answering, Part, Reply, Text};
use crate::dialect::json::Members;
use crate::json::{Cursor, unescape};
use std::borrow::Cow;

/// Reads a whole answer; `None` for what is no message.
pub(in crate::dialect) fn read_reply(text: &str) -> Option<Reply<'_>> {
    let mut reply = Reply::default();
    let mut counts = Counts::default();
    let (mut reason, mut sequence, mut content) = (None, None, None);
    Cursor::new(text).object(|key, value| {
        match key {
            "id" => reply.id = value.string()?.map(unescape),
            "model" => reply.model = value.string()?.map(unescape),
            "content" => content = Some(value.skip()?),
            "stop_reason" => reason = value.string()?,
            "stop_sequence" => sequence = value.string()?,
            "usage" => counts.read(value.skip()?)?,
            _ => {
                value.skip()?;
            }
        }
        Some(())
    })?;
    let content = content.filter(|raw| raw.starts_with('['))?;
    Cursor::new(content).array(|block| {
        let block = Block::read(block.skip()?)?;
        reply.parts.extend(block.part());
        Some(())
    })?;
    reply.stop = usage::stop(reason.unwrap_or_default(), sequence);
    reply.usage = counts.usage();
    Some(reply)
}

/// A block of an answer: the members that say something, as they were written.
#[derive(Default)]
pub(super) struct Block<'a> {
    pub(super) kind: &'a str,
    pub(super) text: &'a str,
    pub(super) thinking: &'a str,
    pub(super) signature: &'a str,
    pub(super) data: &'a str,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) input: &'a str,
}

impl<'a> Block<'a> {
    pub(super) fn read(raw: &'a str) -> Option<Self> {
        let mut block = Self::default();
        Cursor::new(raw).object(|key, value| {
            let place = match key {
                "type" => &mut block.kind,
                "text" => &mut block.text,
                "thinking" => &mut block.thinking,
                "signature" => &mut block.signature,
                "data" => &mut block.data,
                "id" => &mut block.id,
                "name" => &mut block.name,
                "input" => {
                    block.input = value.skip()?;
                    return Some(());
                }
                _ => return value.skip().map(drop),
            };
            *place = value.string()?.unwrap_or_default();
            Some(())
        })?;
        Some(block)
    }

    /// What it says; nothing for blocks of tools that the provider ran itself.
    fn part(&self) -> Option<Part<'a>> {
        Some(match self.kind {
            "text" => Part::Text {
                text: unescape(self.text),
                cache: None,
            },
            "thinking" => Part::Reasoning {
                text: unescape(self.thinking),
                signature: non_empty(self.signature),
                redacted: false,
            },
            "redacted_thinking" => Part::Reasoning {
                text: Cow::Borrowed(""),
                signature: non_empty(self.data),
                redacted: true,
            },
            "tool_use" => Part::ToolCall {
                id: unescape(self.id),
                name: unescape(self.name),
                arguments: Cow::Borrowed(self.input),
                signature: None,
            },
            _ => return None,
        })
    }
}

/// A text that says something, unescaped.
pub(super) fn non_empty(inner: &str) -> Option<Text<'_>> {
    (!inner.is_empty()).then(|| unescape(inner))
}

/// Writes a whole answer, a JSON object without white space after it. Pictures and sound have no
/// place in it.
pub(in crate::dialect) fn write_reply(reply: &Reply<'_>, answering: &Answering) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut members = Members::open(&mut out);
    members.text("id", reply.id.as_deref().unwrap_or(&answering.id));
    members.text("type", "message");
    members.text("role", "assistant");
    members.text("model", reply.model.as_deref().unwrap_or(&answering.model));
    members.array(
        "content",
        reply.parts.iter().filter(|part| shown(part)),
        write_part,
    );
    let calls = reply
        .parts
        .iter()
        .any(|part| matches!(part, Part::ToolCall { .. }));
    usage::write_stop(&mut members, &reply.stop, calls);
    usage::write(members.key("usage"), &reply.usage.unwrap_or_default());
    members.close();
    out
}

/// Whether a part of an answer has a block.
fn shown(part: &Part<'_>) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => !text.is_empty(),
        Part::Reasoning {
            text, signature, ..
        } => !text.is_empty() || signature.is_some(),
        Part::ToolCall { .. } => true,
        Part::Image(_) | Part::Document { .. } | Part::Audio(_) | Part::ToolResult { .. } => false,
    }
}

fn write_part(out: &mut Vec<u8>, part: &Part<'_>) {
    let mut members = Members::open(out);
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => {
            members.text("type", "text");
            members.text("text", text);
        }
        Part::Reasoning {
            signature: Some(data),
            redacted: true,
            ..
        } => {
            members.text("type", "redacted_thinking");
            members.text("data", data);
        }
        Part::Reasoning {
            text, signature, ..
        } => {
            members.text("type", "thinking");
            members.text("thinking", text);
            members.text("signature", signature.as_deref().unwrap_or_default());
        }
        Part::ToolCall {
            id,
            name,
            arguments,
            ..
        } => {
            members.text("type", "tool_use");
            members.text("id", id);
            members.text("name", name);
            input(members.key("input"), arguments);
        }
        Part::Image(_) | Part::Document { .. } | Part::Audio(_) | Part::ToolResult { .. } => {}
    }
    members.close();
}
