//! One JSON document of an answer: a chunk of a stream, or a whole answer.
//!
//! Decides which of its strings are text that was generated, in OpenAI's dialects as everybody
//! speaks them. Unknown fields and wrong types are skipped: an answer is billed for what can be read
//! in it.

use super::meter::Reading;
use super::tally::{Channel, Tally};
use crate::json::{Cursor, string, unescape};

/// The longest identifier or model name that is kept.
const MAX_NAME: usize = 256;

/// The most of an error message that is kept, in bytes.
const MAX_MESSAGE: usize = 300;

/// How deeply parts of content are followed into each other.
const MAX_PARTS: u32 = 8;

/// What a document is besides its text.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// How many top-level fields there are.
    pub(super) fields: usize,
    /// How many choices; `None` without an array of choices.
    pub(super) choices: Option<usize>,
    /// The raw `usage`, if not null: at the top, in `response`, or in `x_groq`.
    pub(super) usage: Option<&'a str>,
    /// Whether there are top-level fields besides those of an ordinary chunk.
    pub(super) extra: bool,
    /// Whether the event ends a response.
    pub(super) terminal: bool,
}

/// Reads a document into `reading` and `tally`. `None` when it is no JSON object; what was found
/// before that showed stays.
pub(super) fn read<'a>(
    text: &'a str,
    reading: &mut Reading,
    tally: &mut Tally,
) -> Option<Seen<'a>> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let mut seen = Seen::default();
    let mut kind = "";
    let mut delta = None;
    let mut message = None;
    let mut groq = None;
    cursor.object(|key, value| {
        seen.fields += 1;
        match key {
            "choices" => {
                let mut count = 0;
                let array = value.peek()? == b'[';
                value.array(|one| {
                    choice(one, count, reading, tally)?;
                    count += 1;
                    Some(())
                })?;
                seen.choices = array.then(|| usize::try_from(count).unwrap_or(usize::MAX));
            }
            "id" => name(value, &mut reading.id)?,
            "model" => name(value, &mut reading.model)?,
            "created" => number(value, &mut reading.created)?,
            "object" | "system_fingerprint" | "service_tier" | "obfuscation" | "provider" => {
                value.skip()?;
            }
            "usage" => seen.usage = not_null(value.skip()?).or(seen.usage),
            "x_groq" => value.object(|key, value| {
                let raw = value.skip()?;
                if key == "usage" {
                    groq = not_null(raw);
                }
                Some(())
            })?,
            _ => {
                seen.extra = true;
                match key {
                    "error" => error(value, reading)?,
                    "type" => kind = value.string()?.unwrap_or(""),
                    "delta" => delta = value.string()?,
                    "message" => message = value.string()?,
                    "created_at" => number(value, &mut reading.created)?,
                    "response" => response(value, &mut seen, reading)?,
                    "output" => output(value, tally)?,
                    _ => drop(value.skip()?),
                }
            }
        }
        Some(())
    })?;
    if !cursor.at_end() {
        return None;
    }
    seen.usage = seen.usage.or(groq);
    seen.terminal = matches!(
        kind,
        "response.completed" | "response.failed" | "response.incomplete"
    );
    if let (Some(text), Some(channel)) = (delta, delta_channel(kind)) {
        tally.add(0, channel, text);
    }
    if kind == "error" && reading.error.is_none() {
        reading.error = Some(bounded(&unescape(message.unwrap_or("error"))));
    }
    Some(seen)
}

/// A raw value, unless it is null.
pub(super) fn not_null(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

/// Keeps the first name that is not empty.
pub(super) fn name(value: &mut Cursor<'_>, kept: &mut Option<String>) -> Option<()> {
    if kept.is_some() {
        return value.skip().map(drop);
    }
    if let Some(inner) = value.string()?
        && !inner.is_empty()
        && inner.len() <= MAX_NAME
    {
        *kept = Some(unescape(inner).into_owned());
    }
    Some(())
}

fn number(value: &mut Cursor<'_>, kept: &mut Option<u64>) -> Option<()> {
    let raw = value.skip()?;
    if kept.is_none() {
        *kept = raw.parse().ok();
    }
    Some(())
}

/// Notes an error, unless it is null.
pub(super) fn error(value: &mut Cursor<'_>, reading: &mut Reading) -> Option<()> {
    let raw = value.skip()?;
    if raw == "null" {
        return Some(());
    }
    let mut message = string(raw);
    if raw.starts_with('{') {
        Cursor::new(raw).object(|key, value| {
            if key == "message" {
                message = value.string()?.map(unescape);
            } else {
                value.skip()?;
            }
            Some(())
        })?;
    }
    reading.error = Some(bounded(message.as_deref().unwrap_or("error")));
    Some(())
}

fn bounded(message: &str) -> String {
    message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned()
}

/// One choice of chat completions (`delta`, `message`) or of legacy completions (`text`).
fn choice(
    cursor: &mut Cursor<'_>,
    position: u64,
    reading: &mut Reading,
    tally: &mut Tally,
) -> Option<()> {
    let mut index = position;
    cursor.object(|key, value| {
        match key {
            "index" => index = value.skip()?.parse().unwrap_or(position),
            "delta" | "message" => message(value, index, tally)?,
            "text" => parts(value, index, Channel::Content, tally, MAX_PARTS)?,
            "finish_reason" => {
                if value.string()? == Some("error") && reading.error.is_none() {
                    reading.error = Some("error".to_owned());
                }
            }
            "error" => error(value, reading)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })
}

/// A message, or a part of one.
fn message(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    let (mut reasoning, mut reasoning_content, mut details) = (None, None, None);
    cursor.object(|key, value| {
        match key {
            "content" => parts(value, index, Channel::Content, tally, MAX_PARTS)?,
            "reasoning" => reasoning = value.string()?,
            "reasoning_content" => reasoning_content = value.string()?,
            "reasoning_details" => details = Some(value.skip()?),
            "refusal" => parts(value, index, Channel::Refusal, tally, MAX_PARTS)?,
            "tool_calls" => value.array(|call| {
                call.object(|key, value| match key {
                    "function" | "custom" => function(value, index, tally),
                    _ => value.skip().map(drop),
                })
            })?,
            "function_call" => function(value, index, tally)?,
            "audio" => value.object(|key, value| match key {
                "transcript" => parts(value, index, Channel::Transcript, tally, MAX_PARTS),
                _ => value.skip().map(drop),
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    // Some providers say the same reasoning under two or three names.
    let first = reasoning.filter(|text| !text.is_empty());
    let second = reasoning_content.filter(|text| !text.is_empty() && Some(*text) != first);
    for text in [first, second].into_iter().flatten() {
        tally.add(index, Channel::Reasoning, text);
    }
    match details {
        Some(raw) if first.is_none() && second.is_none() => parts(
            &mut Cursor::new(raw),
            index,
            Channel::Reasoning,
            tally,
            MAX_PARTS,
        ),
        _ => Some(()),
    }
}

/// A string, or an array of parts with text in them.
fn parts(
    cursor: &mut Cursor<'_>,
    index: u64,
    channel: Channel,
    tally: &mut Tally,
    depth: u32,
) -> Option<()> {
    let Some(deeper) = depth.checked_sub(1) else {
        return cursor.skip().map(drop);
    };
    match cursor.peek()? {
        b'"' => {
            let inner = cursor.string()??;
            tally.add(index, channel, inner);
            Some(())
        }
        b'[' => cursor.array(|part| parts(part, index, channel, tally, deeper)),
        _ => cursor.object(|key, value| match key {
            "text" | "refusal" | "summary" | "transcript" | "content" => {
                parts(value, index, channel, tally, deeper)
            }
            "thinking" => parts(value, index, Channel::Reasoning, tally, deeper),
            _ => value.skip().map(drop),
        }),
    }
}

fn function(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    cursor.object(|key, value| {
        let channel = match key {
            "name" => Channel::Name,
            "arguments" | "input" => Channel::Arguments,
            _ => return value.skip().map(drop),
        };
        if let Some(inner) = value.string()? {
            tally.add(index, channel, inner);
        }
        Some(())
    })
}

/// The `response` of a responses event.
fn response<'a>(cursor: &mut Cursor<'a>, seen: &mut Seen<'a>, reading: &mut Reading) -> Option<()> {
    cursor.object(|key, value| {
        match key {
            "id" => name(value, &mut reading.id)?,
            "model" => name(value, &mut reading.model)?,
            "created_at" => number(value, &mut reading.created)?,
            "usage" => seen.usage = not_null(value.skip()?).or(seen.usage),
            "error" => error(value, reading)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })
}

/// The text that a responses event adds; `None` for events whose `delta` is no text.
fn delta_channel(kind: &str) -> Option<Channel> {
    let stem = kind.strip_prefix("response.")?.strip_suffix(".delta")?;
    match stem {
        "audio" | "output_audio" => None,
        "refusal" => Some(Channel::Refusal),
        _ if stem.starts_with("reasoning") => Some(Channel::Reasoning),
        _ if stem.contains("transcript") => Some(Channel::Transcript),
        _ if stem.ends_with("arguments") || stem.ends_with("input") || stem.ends_with("code") => {
            Some(Channel::Arguments)
        }
        _ => Some(Channel::Content),
    }
}

/// The `output` items of a whole response.
fn output(cursor: &mut Cursor<'_>, tally: &mut Tally) -> Option<()> {
    cursor.array(|item| {
        item.object(|key, value| match key {
            "content" => parts(value, 0, Channel::Content, tally, MAX_PARTS),
            "summary" => parts(value, 0, Channel::Reasoning, tally, MAX_PARTS),
            "name" => parts(value, 0, Channel::Name, tally, 1),
            "arguments" | "input" | "code" => parts(value, 0, Channel::Arguments, tally, 1),
            _ => value.skip().map(drop),
        })
    })
}
