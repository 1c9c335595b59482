//! One JSON document of an answer in Anthropic's dialect: an event of a stream, or a whole answer.
//!
//! Decides which of its strings are text that was generated: what the model wrote, thought and asked
//! tools for. What tools answered, signatures and citations are not. Unknown fields and wrong types
//! are skipped.

use super::chunk::{error, name, not_null};
use super::meter::Reading;
use super::tally::{Channel, Tally};
use super::usage::messages::Counts;
use crate::json::Cursor;

/// Reads a document into `reading`, `tally` and `counts`: whether it ends the answer. `None` when
/// it is no JSON object; what was found before that showed stays.
pub(super) fn read(
    text: &str,
    reading: &mut Reading,
    tally: &mut Tally,
    counts: &mut Counts,
) -> Option<bool> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let mut kind = "";
    let mut index = 0;
    let (mut piece, mut usage, mut started) = (None, None, None);
    cursor.object(|key, value| {
        match key {
            "type" => kind = value.string()?.unwrap_or(""),
            "index" => index = value.skip()?.parse().unwrap_or(0),
            "delta" | "content_block" => piece = Some(value.skip()?),
            "message" => message(value, reading, tally, &mut started)?,
            "usage" => usage = not_null(value.skip()?),
            "error" => error(value, reading)?,
            "id" => name(value, &mut reading.id)?,
            "model" => name(value, &mut reading.model)?,
            "content" => blocks(value, tally)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if !cursor.at_end() {
        return None;
    }
    if let Some(raw) = piece {
        block(&mut Cursor::new(raw), index, tally)?;
    }
    for (raw, first) in [(started, true), (usage, false)] {
        let Some(raw) = raw else { continue };
        match counts.take(raw, first) {
            Ok(false) => {}
            Ok(true) => {
                reading.usage = counts.usage();
                reading.output_open = !counts.is_final();
            }
            Err(()) => reading.usage_invalid = true,
        }
    }
    if kind == "error" && reading.error.is_none() {
        reading.error = Some("error".to_owned());
    }
    Some(kind == "message_stop")
}

/// The `message` that a stream starts with.
fn message<'a>(
    cursor: &mut Cursor<'a>,
    reading: &mut Reading,
    tally: &mut Tally,
    usage: &mut Option<&'a str>,
) -> Option<()> {
    cursor.object(|key, value| {
        match key {
            "id" => name(value, &mut reading.id)?,
            "model" => name(value, &mut reading.model)?,
            "usage" => *usage = not_null(value.skip()?),
            "content" => blocks(value, tally)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })
}

/// The blocks of a message.
fn blocks(cursor: &mut Cursor<'_>, tally: &mut Tally) -> Option<()> {
    let mut index = 0;
    cursor.array(|one| {
        block(one, index, tally)?;
        index += 1;
        Some(())
    })
}

/// A block, or what is added to one. A tool's result has none of these fields but `content`, which
/// is text of the model only in the summary of a compaction: there it is a string.
fn block(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    let mut summary = None;
    let mut kind = "";
    cursor.object(|key, value| {
        let channel = match key {
            "text" => Channel::Content,
            "thinking" => Channel::Reasoning,
            "name" => Channel::Name,
            "partial_json" => Channel::Arguments,
            "input" => {
                tally.add_value(index, Channel::Arguments, value.skip()?);
                return Some(());
            }
            "content" => {
                summary = value.string()?;
                return Some(());
            }
            "type" => {
                kind = value.string()?.unwrap_or("");
                return Some(());
            }
            _ => return value.skip().map(drop),
        };
        if let Some(inner) = value.string()? {
            tally.add(index, channel, inner);
        }
        Some(())
    })?;
    if let Some(inner) = summary.filter(|_| kind.starts_with("compaction")) {
        tally.add(index, Channel::Content, inner);
    }
    Some(())
}
