//! One JSON document of an answer in Google's dialect: a chunk of a stream, or a whole answer.
//!
//! Decides which of its strings are text that was generated: text, thoughts, calls and code. What
//! code printed, search results and signatures are not. Unknown fields and wrong types are skipped.

use super::chunk::{error, name, not_null};
use super::meter::Reading;
use super::tally::{Channel, Tally};
use crate::json::Cursor;

/// What a document is besides its text.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// The raw usage, if not null.
    pub(super) usage: Option<&'a str>,
    /// Whether it says that the answer is complete: no other mark of the end will come.
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
    cursor.object(|key, value| {
        match key {
            "candidates" => {
                let mut position = 0;
                value.array(|one| {
                    seen.terminal |= candidate(one, position, tally)?;
                    position += 1;
                    Some(())
                })?;
            }
            "usageMetadata" => seen.usage = not_null(value.skip()?),
            "modelVersion" => name(value, &mut reading.model)?,
            "responseId" => name(value, &mut reading.id)?,
            "promptFeedback" => value.object(|key, value| {
                // A prompt that was refused has no candidates.
                if key == "blockReason" {
                    seen.terminal |= value.string()?.is_some();
                } else {
                    value.skip()?;
                }
                Some(())
            })?,
            "error" => error(value, reading)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    cursor.at_end().then_some(seen)
}

/// One candidate: whether it is complete.
fn candidate(cursor: &mut Cursor<'_>, position: u64, tally: &mut Tally) -> Option<bool> {
    let mut index = position;
    let mut finished = false;
    let mut content = None;
    cursor.object(|key, value| {
        match key {
            "index" => index = value.skip()?.parse().unwrap_or(position),
            "finishReason" => finished = value.string()?.is_some_and(|why| !why.is_empty()),
            "content" => content = Some(value.skip()?),
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if let Some(raw) = content {
        Cursor::new(raw).object(|key, value| match key {
            "parts" => value.array(|part| self::part(part, index, tally)),
            _ => value.skip().map(drop),
        })?;
    }
    Some(finished)
}

fn part(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    let mut text = None;
    let mut channel = Channel::Content;
    cursor.object(|key, value| {
        match key {
            "text" => text = value.string()?,
            "thought" => {
                if value.skip()? == "true" {
                    channel = Channel::Reasoning;
                }
            }
            "functionCall" => value.object(|key, value| {
                match key {
                    "name" => {
                        if let Some(inner) = value.string()? {
                            tally.add(index, Channel::Name, inner);
                        }
                    }
                    "args" => tally.add_value(index, Channel::Arguments, value.skip()?),
                    _ => drop(value.skip()?),
                }
                Some(())
            })?,
            "executableCode" => value.object(|key, value| {
                match value.string()? {
                    Some(inner) if key == "code" => tally.add(index, Channel::Arguments, inner),
                    _ => {}
                }
                Some(())
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if let Some(inner) = text {
        tally.add(index, channel, inner);
    }
    Some(())
}
