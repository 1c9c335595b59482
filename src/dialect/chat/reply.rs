//! Whole answers.
//!
//! Decides which choice counts (the first: no more are asked for) and how an answer in parts is one
//! message: texts are joined, thoughts beside them.

use super::message::{Message, join};
use super::usage::usage;
use crate::dialect::form::{Answering, Part, Reply, Stop, Text};
use crate::dialect::json::{Members, string};
use crate::json::{self, Cursor};
use crate::stream::usage::read as read_usage;
use crate::usage::Usage;

/// Reads a whole answer.
pub(in crate::dialect) fn read_reply(text: &str) -> Option<Reply<'_>> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let mut reply = Reply::default();
    let mut choice = None;
    let mut stated = [None, None];
    cursor.object(|key, value| {
        match key {
            "id" => reply.id = name(value.skip()?),
            "model" => reply.model = name(value.skip()?),
            "usage" => stated[0] = usage_of(value.skip()?),
            "x_groq" => stated[1] = groq_usage(value)?,
            "choices" => value.array(|item| {
                let found = Choice::read(item)?;
                if choice.is_none() {
                    choice = Some(found);
                }
                Some(())
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    let choice = choice.filter(|choice| cursor.at_end() && !choice.failed())?;
    choice
        .message
        .said(&mut |part| join(&mut reply.parts, part));
    let mut calls = 0;
    choice.message.calls(&mut |call| {
        reply.parts.push(Part::ToolCall {
            id: call.id.unwrap_or_else(|| format!("call_{calls}").into()),
            name: call.name.unwrap_or_default(),
            arguments: call.arguments.unwrap_or_default(),
            signature: call.signature,
        });
        calls += 1;
    });
    reply.stop = stop(choice.finish.unwrap_or("stop"), calls > 0);
    reply.usage = stated.into_iter().flatten().next();
    Some(reply)
}

/// A choice of an answer or of a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: u64,
    pub(super) message: Message<'a>,
    pub(super) finish: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

impl<'a> Choice<'a> {
    /// Takes the next value.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let mut choice = Self::default();
        cursor.object(|key, value| {
            match key {
                "index" => choice.index = value.skip()?.parse().unwrap_or(0),
                "message" | "delta" => choice.message = Message::read(value)?,
                "finish_reason" => choice.finish = value.string()?,
                "error" => choice.error = Some(value.skip()?).filter(|raw| *raw != "null"),
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        Some(choice)
    }

    /// Whether the provider broke off: with OpenRouter's word for it, or DeepSeek's.
    pub(super) fn failed(&self) -> bool {
        let broke_off = ["error", "insufficient_system_resource"];
        self.error.is_some() || self.finish.is_some_and(|word| broke_off.contains(&word))
    }
}

/// A name that is not empty.
pub(super) fn name(raw: &str) -> Option<Text<'_>> {
    json::string(raw).filter(|name| !name.is_empty())
}

/// The token counts of a usage that can be believed.
pub(super) fn usage_of(raw: &str) -> Option<Usage> {
    read_usage(raw).ok().flatten()?.usage
}

/// The token counts in Groq's own object.
pub(super) fn groq_usage(cursor: &mut Cursor<'_>) -> Option<Option<Usage>> {
    let mut found = None;
    cursor.object(|key, value| {
        let raw = value.skip()?;
        if key == "usage" {
            found = usage_of(raw);
        }
        Some(())
    })?;
    Some(found)
}

/// What a `finish_reason` says. A plain `stop` with calls (OpenAI's when the tool was chosen by
/// name) is a stop for them: other dialects tell a client so whether it is its turn.
pub(super) fn stop(word: &str, calls: bool) -> Stop<'static> {
    match word {
        "length" | "max_tokens" | "model_length" => Stop::Length,
        "content_filter" => Stop::Filter,
        "tool_calls" | "function_call" => Stop::ToolCalls,
        _ if calls => Stop::ToolCalls,
        _ => Stop::End,
    }
}

/// The `finish_reason` for a stop.
pub(in crate::dialect) const fn finish_reason(stop: &Stop<'_>) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) => "stop",
        Stop::Length => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::Filter => "content_filter",
    }
}

/// Writes a whole answer, a JSON object without white space after it.
pub(in crate::dialect) fn write_reply(reply: &Reply<'_>, answering: &Answering) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut members = Members::open(&mut out);
    members.text("id", reply.id.as_deref().unwrap_or(&answering.id));
    members.text("object", "chat.completion");
    members.number("created", answering.created);
    members.text("model", reply.model.as_deref().unwrap_or(&answering.model));
    members.array("choices", [reply], choice);
    if let Some(stated) = &reply.usage {
        usage(members.key("usage"), stated);
    }
    members.close();
    out
}

fn choice(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let mut choice = Members::open(out);
    choice.number("index", 0);
    let mut message = choice.object("message");
    message.text("role", "assistant");
    let texts = reply.parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(&**text),
        _ => None,
    });
    nullable(&mut message, "content", texts);
    let refusals = reply.parts.iter().filter_map(|part| match part {
        Part::Refusal(text) => Some(&**text),
        _ => None,
    });
    nullable(&mut message, "refusal", refusals);
    let thoughts = reply.parts.iter().filter_map(|part| match part {
        Part::Reasoning { text, .. } if !text.is_empty() => Some(&**text),
        _ => None,
    });
    let thoughts = thoughts.collect::<Vec<_>>();
    if !thoughts.is_empty() {
        message.text("reasoning_content", &thoughts.join("\n\n"));
    }
    details(&mut message, &reply.parts);
    let calls = || reply.parts.iter().filter(|part| is_call(part));
    if calls().next().is_some() {
        message.array("tool_calls", calls(), call);
    }
    message.close();
    choice.raw("logprobs", "null");
    choice.text("finish_reason", finish_reason(&reply.stop));
    choice.close();
}

fn nullable<'t>(members: &mut Members<'_>, key: &str, texts: impl Iterator<Item = &'t str>) {
    let texts = texts.collect::<Vec<_>>();
    match texts.as_slice() {
        [] => members.raw(key, "null"),
        [text] => members.text(key, text),
        texts => members.text(key, &texts.concat()),
    }
}

/// Whether it is a call.
pub(super) const fn is_call(part: &Part<'_>) -> bool {
    matches!(part, Part::ToolCall { .. })
}

/// Thoughts with the proof that makes them good for the next request, in OpenRouter's words; nothing
/// when there is no proof.
pub(super) fn details(members: &mut Members<'_>, parts: &[Part<'_>]) {
    let signed = || {
        parts.iter().filter_map(|part| match part {
            Part::Reasoning {
                text,
                signature: Some(signature),
                redacted,
            } => Some((&**text, &**signature, *redacted)),
            _ => None,
        })
    };
    if signed().next().is_some() {
        let signed = signed().zip(0..);
        members.array("reasoning_details", signed, |out, (one, index)| {
            detail(out, one, index);
        });
    }
}

/// One thought with its proof; the text is that of the whole thought.
pub(super) fn detail(
    out: &mut Vec<u8>,
    (text, signature, redacted): (&str, &str, bool),
    index: u64,
) {
    let mut detail = Members::open(out);
    if redacted {
        detail.text("type", "reasoning.encrypted");
        detail.text("data", signature);
    } else {
        detail.text("type", "reasoning.text");
        detail.text("text", text);
        detail.text("signature", signature);
    }
    detail.number("index", index);
    detail.close();
}

/// Writes a call; anything else is no call and writes `null`.
fn call(out: &mut Vec<u8>, part: &Part<'_>) {
    let Part::ToolCall {
        id,
        name,
        arguments,
        signature,
    } = part
    else {
        return out.extend_from_slice(b"null");
    };
    let mut call = Members::open(out);
    call.text("id", id);
    call.text("type", "function");
    let mut function = call.object("function");
    function.text("name", name);
    string(function.key("arguments"), arguments);
    function.close();
    extra_content(&mut call, signature.as_deref());
    call.close();
}

/// Google's proof of a call, where Google's own compatible API has it.
pub(super) fn extra_content(call: &mut Members<'_>, signature: Option<&str>) {
    if let Some(signature) = signature {
        let mut extra = call.object("extra_content");
        let mut google = extra.object("google");
        google.text("thought_signature", signature);
        google.close();
        extra.close();
    }
}
