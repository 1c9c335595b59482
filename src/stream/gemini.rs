//! One document of an answer in Google's dialect: every event of a stream is a whole answer with a
//! part of the text, and with the usage so far.
//!
//! Decides what it says about usage: thoughts and what tools used come on top of the other counts.

use super::chunk::{self, Seen};
use super::meter::Reading;
use super::tally::{Channel, Tally};
use super::usage::set;
use crate::json::Cursor;
use crate::usage::Usage;

/// Reads a document, or a list of them. `None` when it is neither.
pub(super) fn read<'a>(
    text: &'a str,
    reading: &mut Reading,
    tally: &mut Tally,
) -> Option<Seen<'a>> {
    let mut cursor = Cursor::new(text);
    let mut seen = Seen {
        extra: true,
        ..Seen::default()
    };
    match cursor.peek()? {
        b'{' => document(&mut cursor, reading, tally, &mut seen)?,
        b'[' => cursor.array(|one| document(one, reading, tally, &mut seen))?,
        _ => return None,
    }
    cursor.at_end().then_some(seen)
}

fn document(
    cursor: &mut Cursor<'_>,
    reading: &mut Reading,
    tally: &mut Tally,
    seen: &mut Seen<'_>,
) -> Option<()> {
    cursor.object(|key, value| {
        seen.fields += 1;
        match key {
            "candidates" => value.array(|one| candidate(one, tally, seen))?,
            "usageMetadata" => match usage(value.skip()?) {
                Some(usage) => reading.usage = usage.or(reading.usage),
                None => reading.usage_invalid = true,
            },
            "modelVersion" => chunk::name(value, &mut reading.model)?,
            "responseId" => chunk::name(value, &mut reading.id)?,
            "promptFeedback" => value.object(|key, value| {
                // A prompt that was refused gets no candidates: that is the whole answer.
                seen.terminal |= key == "blockReason";
                value.skip().map(drop)
            })?,
            "error" => chunk::error(value, reading)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })
}

fn candidate(cursor: &mut Cursor<'_>, tally: &mut Tally, seen: &mut Seen<'_>) -> Option<()> {
    let mut index = 0;
    let mut content = None;
    cursor.object(|key, value| {
        match key {
            "index" => index = value.skip()?.parse().unwrap_or(0),
            "content" => content = Some(value.skip()?),
            "finishReason" => {
                let reason = value.string()?.unwrap_or_default();
                seen.terminal |= !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED";
            }
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    Cursor::new(content.unwrap_or("null")).object(|key, value| match key {
        "parts" => value.array(|one| part(one, index, tally)),
        _ => value.skip().map(drop),
    })
}

fn part(cursor: &mut Cursor<'_>, index: u64, tally: &mut Tally) -> Option<()> {
    let (mut text, mut thought) = (None, false);
    cursor.object(|key, value| {
        match key {
            "text" => text = value.string()?,
            "thought" => thought = value.skip()? == "true",
            "functionCall" => value.object(|key, value| {
                match key {
                    "name" => {
                        if let Some(name) = value.string()? {
                            tally.add(index, Channel::Name, name);
                        }
                    }
                    "args" => tally.add(index, Channel::Arguments, value.skip()?),
                    _ => drop(value.skip()?),
                }
                Some(())
            })?,
            "executableCode" => value.object(|key, value| match key {
                "code" => {
                    if let Some(code) = value.string()? {
                        tally.add(index, Channel::Arguments, code);
                    }
                    Some(())
                }
                _ => value.skip().map(drop),
            })?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if let Some(text) = text {
        let channel = if thought {
            Channel::Reasoning
        } else {
            Channel::Content
        };
        tally.add(index, channel, text);
    }
    Some(())
}

/// Reads `usageMetadata`. `Some(None)` when it has no counts, `None` when it is not to be believed.
fn usage(raw: &str) -> Option<Option<Usage>> {
    if raw == "null" {
        return Some(None);
    }
    if !raw.starts_with('{') {
        return None;
    }
    let (mut prompt, mut cached, mut tools) = (None, None, None);
    let (mut candidates, mut thoughts) = (None, None);
    Cursor::new(raw).object(|key, value| {
        let raw = value.skip()?;
        match key {
            "promptTokenCount" => set(&mut prompt, raw),
            "cachedContentTokenCount" => set(&mut cached, raw),
            "toolUsePromptTokenCount" => set(&mut tools, raw),
            "candidatesTokenCount" => set(&mut candidates, raw),
            "thoughtsTokenCount" => set(&mut thoughts, raw),
            _ => Some(()),
        }
    })?;
    if prompt.is_none() && candidates.is_none() && thoughts.is_none() {
        return Some(None);
    }
    let reasoning = thoughts.unwrap_or(0);
    let input = prompt.unwrap_or(0).saturating_add(tools.unwrap_or(0));
    Some(Some(Usage {
        input: input.max(cached.unwrap_or(0)),
        cache_read: cached.unwrap_or(0),
        output: candidates.unwrap_or(0).saturating_add(reasoning),
        reasoning,
        ..Usage::default()
    }))
}
