//! A response and its items, as a provider wrote them.
//!
//! Decides nothing about what they mean. Nothing is refused for its type; items and parts of kinds
//! that nobody asked for are left out.

use crate::dialect::form::{Stop, Text};
use crate::json::{self, Cursor, unescape};
use crate::stream::usage::read as read_usage;
use crate::usage::Usage;

/// A response: the whole answer, or what an event says of it.
#[derive(Default)]
pub(super) struct Response<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) status: Option<&'a str>,
    /// The items as they came.
    pub(super) output: Option<&'a str>,
    pub(super) usage: Option<Usage>,
    /// The error, unless it is null.
    pub(super) error: Option<&'a str>,
    /// Why it is incomplete.
    incomplete: Option<&'a str>,
}

impl<'a> Response<'a> {
    /// Takes the next value.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let mut response = Self::default();
        cursor.object(|key, value| {
            match key {
                "id" => response.id = name(value)?,
                "model" => response.model = name(value)?,
                "status" => response.status = value.string()?,
                "output" => response.output = Some(value.skip()?),
                "usage" => response.usage = usage(value.skip()?),
                "error" => response.error = Some(value.skip()?).filter(|raw| *raw != "null"),
                "incomplete_details" => value.object(|key, value| {
                    match key {
                        "reason" => response.incomplete = value.string()?,
                        _ => drop(value.skip()?),
                    }
                    Some(())
                })?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        Some(response)
    }

    /// Hands its items to `each`, with their places.
    pub(super) fn items(&self, mut each: impl FnMut(u64, Item<'a>)) {
        let mut place = 0;
        Cursor::new(self.output.unwrap_or("[]")).array(|value| {
            each(place, Item::read(value)?);
            place += 1;
            Some(())
        });
    }

    /// Why it ended, if `calls` were made. An answer that broke off is not a complete one.
    pub(super) fn stop(&self, calls: bool) -> Stop<'static> {
        match (self.status, self.incomplete) {
            (_, Some("content_filter")) => Stop::Filter,
            (_, Some("max_output_tokens")) | (Some("incomplete" | "failed" | "cancelled"), _) => {
                Stop::Length
            }
            _ if calls => Stop::ToolCalls,
            _ => Stop::End,
        }
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    #[default]
    Other,
}

/// An item of the output.
#[derive(Default)]
pub(super) struct Item<'a> {
    pub(super) kind: Kind,
    pub(super) id: Option<Text<'a>>,
    pub(super) call_id: Option<Text<'a>>,
    pub(super) name: Text<'a>,
    pub(super) arguments: Text<'a>,
    pub(super) summary: Vec<Said<'a>>,
    pub(super) content: Vec<Said<'a>>,
    pub(super) encrypted: Option<Text<'a>>,
}

/// A part of a message or of a thought.
pub(super) enum Said<'a> {
    Text(Text<'a>),
    Refusal(Text<'a>),
}

impl<'a> Item<'a> {
    /// Takes the next value.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let mut item = Self::default();
        cursor.object(|key, value| {
            match key {
                "type" => {
                    item.kind = match value.string()? {
                        Some("message") => Kind::Message,
                        Some("reasoning") => Kind::Reasoning,
                        Some("function_call") => Kind::Call,
                        _ => Kind::Other,
                    }
                }
                "id" => item.id = name(value)?,
                "call_id" => item.call_id = name(value)?,
                "name" => item.name = text(value)?.unwrap_or_default(),
                // Some give the object itself.
                "arguments" if value.peek()? == b'{' => item.arguments = value.skip()?.into(),
                "arguments" => item.arguments = text(value)?.unwrap_or_default(),
                "encrypted_content" => item.encrypted = name(value)?,
                "summary" => item.summary = parts(value)?,
                "content" => item.content = parts(value)?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        Some(item)
    }

    /// What was thought: the thoughts themselves, else their summary.
    pub(super) fn thoughts(&mut self) -> Text<'a> {
        let whole = if self.content.is_empty() {
            std::mem::take(&mut self.summary)
        } else {
            std::mem::take(&mut self.content)
        };
        let mut texts: Vec<_> = whole
            .into_iter()
            .map(|said| match said {
                Said::Text(text) | Said::Refusal(text) => text,
            })
            .collect();
        match texts.len() {
            0 | 1 => texts.pop().unwrap_or_default(),
            _ => texts.join("\n\n").into(),
        }
    }
}

fn parts<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<Said<'a>>> {
    let mut parts = Vec::new();
    cursor.array(|value| {
        let (mut said, mut refused) = (None, None);
        value.object(|key, value| {
            match key {
                "text" => said = text(value)?,
                "refusal" => refused = text(value)?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        parts.extend(refused.map(Said::Refusal).or(said.map(Said::Text)));
        Some(())
    })?;
    Some(parts)
}

/// A string, unescaped; `None` within when it is something else.
pub(super) fn text<'a>(value: &mut Cursor<'a>) -> Option<Option<Text<'a>>> {
    Some(value.string()?.map(unescape))
}

/// A string that is not empty.
pub(super) fn name<'a>(value: &mut Cursor<'a>) -> Option<Option<Text<'a>>> {
    Some(json::string(value.skip()?).filter(|name| !name.is_empty()))
}

/// The token counts of a usage that can be believed.
fn usage(raw: &str) -> Option<Usage> {
    read_usage(raw).ok().flatten()?.usage
}
