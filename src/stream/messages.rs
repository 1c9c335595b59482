//! One document of an answer in Anthropic's dialect: an event of a stream, or a whole message.
//!
//! Decides what it says about usage. Counts of a stream are cumulative: what is stated replaces what
//! was stated before, what is not stays. The output count at the beginning of a stream is a
//! placeholder and counts for nothing.

use super::chunk::{self, Seen};
use super::meter::Reading;
use super::tally::{Channel, Tally};
use super::usage::{price, set};
use crate::json::Cursor;
use crate::usage::Usage;

/// The counts as they were stated so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
    output: Option<u64>,
    searches: Option<u64>,
}

/// Reads a document. `None` when it is no JSON object.
pub(super) fn read<'a>(
    text: &'a str,
    reading: &mut Reading,
    tally: &mut Tally,
    counts: &mut Counts,
) -> Option<Seen<'a>> {
    let mut cursor = Cursor::new(text);
    if cursor.peek()? != b'{' {
        return None;
    }
    let mut seen = Seen {
        extra: true,
        ..Seen::default()
    };
    let (mut kind, mut index, mut stated, mut started) = ("", 0, None, None);
    cursor.object(|key, value| {
        seen.fields += 1;
        match key {
            "type" => kind = value.string()?.unwrap_or_default(),
            "index" => index = value.skip()?.parse().unwrap_or(0),
            "id" => chunk::name(value, &mut reading.id)?,
            "model" => chunk::name(value, &mut reading.model)?,
            "usage" => stated = Some(value.skip()?),
            "content" => blocks(value, tally)?,
            "content_block" | "delta" => block(value, index, tally)?,
            "error" => chunk::error(value, reading)?,
            "message" => value.object(|key, value| {
                match key {
                    "id" => chunk::name(value, &mut reading.id)?,
                    "model" => chunk::name(value, &mut reading.model)?,
                    "usage" => started = Some(value.skip()?),
                    "content" => blocks(value, tally)?,
                    _ => drop(value.skip()?),
                }
                Some(())
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if !cursor.at_end() {
        return None;
    }
    for (raw, last) in [(started, false), (stated, true)] {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            continue;
        };
        let mut new = counts.clone();
        match new.take(raw, last, reading) {
            Some(()) => {
                *counts = new;
                reading.usage = Some(counts.usage());
            }
            None => reading.usage_invalid = true,
        }
    }
    seen.terminal = kind == "message_stop";
    Some(seen)
}

impl Counts {
    /// Takes a `usage` in. `None` when it is not to be believed.
    fn take(&mut self, raw: &str, last: bool, reading: &mut Reading) -> Option<()> {
        if !raw.starts_with('{') {
            return None;
        }
        let mut placeholder = None;
        Cursor::new(raw).object(|key, value| match key {
            "input_tokens" => set(&mut self.input, value.skip()?),
            "cache_read_input_tokens" => set(&mut self.cache_read, value.skip()?),
            "cache_creation_input_tokens" => set(&mut self.cache_write, value.skip()?),
            "output_tokens" if last => set(&mut self.output, value.skip()?),
            "output_tokens" => set(&mut placeholder, value.skip()?),
            "cache_creation" => value.object(|key, value| {
                let raw = value.skip()?;
                match key {
                    "ephemeral_5m_input_tokens" => set(&mut self.write_5m, raw),
                    "ephemeral_1h_input_tokens" => set(&mut self.write_1h, raw),
                    _ => Some(()),
                }
            }),
            "server_tool_use" => value.object(|key, value| {
                let raw = value.skip()?;
                match key {
                    "web_search_requests" => set(&mut self.searches, raw),
                    _ => Some(()),
                }
            }),
            "cost" => {
                reading.cost = price(value.skip()?);
                Some(())
            }
            _ => value.skip().map(drop),
        })?;
        Some(())
    }

    /// The counts in Weir's convention: cached tokens are inside the input.
    fn usage(&self) -> Usage {
        let write_1h = self.write_1h.unwrap_or(0);
        let both = self.write_5m.unwrap_or(0).saturating_add(write_1h);
        let written = self.cache_write.unwrap_or(0).max(both);
        let read = self.cache_read.unwrap_or(0);
        Usage {
            input: self
                .input
                .unwrap_or(0)
                .saturating_add(read)
                .saturating_add(written),
            cache_read: read,
            cache_write: written - write_1h,
            cache_write_1h: write_1h,
            output: self.output.unwrap_or(0),
            searches: self.searches.unwrap_or(0),
            ..Usage::default()
        }
    }
}

/// An array of blocks, or a text in place of it.
fn blocks(cursor: &mut Cursor<'_>, tally: &mut Tally) -> Option<()> {
    match cursor.peek()? {
        b'"' => {
            tally.add(0, Channel::Content, cursor.string()??);
            Some(())
        }
        _ => {
            let mut index = 0;
            cursor.array(|one| {
                block(one, index, tally)?;
                index += 1;
                Some(())
            })
        }
    }
}

/// A block, or what a delta adds to one. Its index keeps the texts of blocks apart. What a tool of
/// the provider found (`content`) is input, not output.
fn block(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    cursor.object(|key, value| {
        let channel = match key {
            "text" => Channel::Content,
            "thinking" => Channel::Reasoning,
            "partial_json" => Channel::Arguments,
            "name" => Channel::Name,
            "input" => {
                let raw = value.skip()?;
                if raw.len() > 2 {
                    tally.add(index, Channel::Arguments, raw);
                }
                return Some(());
            }
            _ => return value.skip().map(drop),
        };
        if let Some(inner) = value.string()? {
            tally.add(index, channel, inner);
        }
        Some(())
    })
}
