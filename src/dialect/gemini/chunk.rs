//! The fields of an answer, or of one event of a stream.
//!
//! Decides nothing about what they mean together. Google runs tools of its own only when it is asked
//! to, which nobody here does; what such parts say is left out. So are candidates but the first:
//! nobody asks for more.

use super::failure;
use crate::dialect::form::{Failure, Text};
use crate::json::{Cursor, unescape};
use crate::stream::usage::gemini::read as read_usage;
use crate::usage::Usage;

/// An answer, or what one event of a stream adds to it.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) parts: Vec<Found<'a>>,
    pub(super) finish: Option<&'a str>,
    /// Whether the prompt was refused.
    pub(super) blocked: bool,
    pub(super) usage: Option<Usage>,
    /// Whether this is an answer at all.
    pub(super) answers: bool,
    pub(super) failure: Option<Failure>,
}

/// A part as Google has it: fields beside each other.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) text: Option<Text<'a>>,
    pub(super) thought: bool,
    pub(super) signature: Option<Text<'a>>,
    pub(super) call: Option<Called<'a>>,
    pub(super) media: Option<(Text<'a>, Text<'a>)>,
}

#[derive(Default)]
pub(super) struct Called<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Text<'a>,
    pub(super) arguments: Option<&'a str>,
}

/// Reads an answer, or one event of a stream; `None` where it is no JSON.
pub(super) fn chunk<'a>(cursor: &mut Cursor<'a>) -> Option<Chunk<'a>> {
    let mut chunk = Chunk::default();
    cursor.object(|key, value| {
        match key {
            "candidates" => {
                chunk.answers = true;
                let mut first = true;
                value.array(|value| {
                    if std::mem::take(&mut first) {
                        candidate(value, &mut chunk)
                    } else {
                        value.skip().map(drop)
                    }
                })?;
            }
            "promptFeedback" => {
                chunk.answers = true;
                value.object(|key, value| {
                    let raw = value.skip()?;
                    chunk.blocked |= key == "blockReason" && raw != "null";
                    Some(())
                })?;
            }
            "usageMetadata" => {
                let stated = read_usage(value.skip()?).ok().flatten();
                chunk.usage = stated.and_then(|stated| stated.usage);
            }
            "responseId" => chunk.id = text(value)?.filter(|id| !id.is_empty()),
            "modelVersion" => chunk.model = text(value)?.filter(|model| !model.is_empty()),
            "error" => chunk.failure = failure::read(value, 500)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    Some(chunk)
}

fn candidate<'a>(cursor: &mut Cursor<'a>, chunk: &mut Chunk<'a>) -> Option<()> {
    cursor.object(|key, value| {
        match key {
            "content" => value.object(|key, value| {
                if key != "parts" {
                    return value.skip().map(drop);
                }
                value.array(|value| {
                    chunk.parts.push(part(value)?);
                    Some(())
                })
            })?,
            "finishReason" => chunk.finish = value.string()?,
            _ => drop(value.skip()?),
        }
        Some(())
    })
}

fn part<'a>(cursor: &mut Cursor<'a>) -> Option<Found<'a>> {
    let mut found = Found::default();
    cursor.object(|key, value| {
        match key {
            "text" => found.text = text(value)?,
            "thought" => found.thought = value.skip()? == "true",
            "thoughtSignature" => {
                found.signature = text(value)?.filter(|signature| !signature.is_empty());
            }
            "functionCall" => {
                let mut called = Called::default();
                value.object(|key, value| {
                    match key {
                        "id" => called.id = text(value)?,
                        "name" => called.name = text(value)?.unwrap_or_default(),
                        "args" => {
                            called.arguments = Some(value.skip()?).filter(|raw| *raw != "null")
                        }
                        _ => drop(value.skip()?),
                    }
                    Some(())
                })?;
                // Without a name there is nothing that could be called.
                found.call = Some(called).filter(|called| !called.name.is_empty());
            }
            "inlineData" => {
                let (mut mime, mut data) = (None, None);
                value.object(|key, value| {
                    match key {
                        "mimeType" => mime = text(value)?,
                        "data" => data = text(value)?,
                        _ => drop(value.skip()?),
                    }
                    Some(())
                })?;
                found.media = mime.zip(data);
            }
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    Some(found)
}

/// A string, unescaped; `None` within when it is something else.
pub(super) fn text<'a>(value: &mut Cursor<'a>) -> Option<Option<Text<'a>>> {
    Some(value.string()?.map(unescape))
}
