//! Token counts and the ends of answers, in Anthropic's words and in Weir's.
//!
//! Anthropic's `input_tokens` leaves out what was read from the cache or written to it; Weir counts
//! that as input, too.

use crate::dialect::form::Stop;
use crate::dialect::json::Members;
use crate::json::{Cursor, unescape};
use crate::usage::Usage;

/// Counts as Anthropic names them; `None` for what was not said. A later object replaces what it
/// names and leaves the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    written: Option<u64>,
    read: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    said: bool,
}

impl Counts {
    /// Reads a `usage` object; whatever is no count says nothing.
    pub(super) fn read(&mut self, raw: &str) -> Option<()> {
        Cursor::new(raw).object(|key, value| {
            match key {
                "input_tokens" => self.count(value.skip()?, |counts| &mut counts.input),
                "output_tokens" => self.count(value.skip()?, |counts| &mut counts.output),
                "cache_creation_input_tokens" => {
                    self.count(value.skip()?, |counts| &mut counts.written);
                }
                "cache_read_input_tokens" => self.count(value.skip()?, |counts| &mut counts.read),
                "cache_creation" => value.object(|key, value| {
                    let raw = value.skip()?;
                    match key {
                        "ephemeral_5m_input_tokens" => {
                            self.count(raw, |counts| &mut counts.written_5m);
                        }
                        "ephemeral_1h_input_tokens" => {
                            self.count(raw, |counts| &mut counts.written_1h);
                        }
                        _ => {}
                    }
                    Some(())
                })?,
                "output_tokens_details" => value.object(|key, value| {
                    let raw = value.skip()?;
                    if key == "thinking_tokens" {
                        self.count(raw, |counts| &mut counts.thinking);
                    }
                    Some(())
                })?,
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        })
    }

    fn count(&mut self, raw: &str, place: fn(&mut Self) -> &mut Option<u64>) {
        if let Ok(count) = raw.parse() {
            *place(self) = Some(count);
            self.said = true;
        }
    }

    /// What was said so far; `None` for nothing.
    pub(super) fn usage(&self) -> Option<Usage> {
        if !self.said {
            return None;
        }
        let hour = self.written_1h.unwrap_or(0);
        let written = self
            .written
            .unwrap_or_else(|| self.written_5m.unwrap_or(0).saturating_add(hour));
        let cache_write_1h = hour.min(written);
        let cache_read = self.read.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        Some(Usage {
            input: self
                .input
                .unwrap_or(0)
                .saturating_add(written)
                .saturating_add(cache_read),
            cache_read,
            cache_write: written - cache_write_1h,
            cache_write_1h,
            output,
            reasoning: self.thinking.unwrap_or(0).min(output),
            ..Usage::default()
        })
    }
}

/// Writes a `usage` object.
pub(super) fn write(out: &mut Vec<u8>, usage: &Usage) {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    let cached = usage.cache_read.saturating_add(written);
    let mut members = Members::open(out);
    members.number("input_tokens", usage.input.saturating_sub(cached));
    members.number("cache_creation_input_tokens", written);
    members.number("cache_read_input_tokens", usage.cache_read);
    let mut creation = members.object("cache_creation");
    creation.number("ephemeral_5m_input_tokens", usage.cache_write);
    creation.number("ephemeral_1h_input_tokens", usage.cache_write_1h);
    creation.close();
    members.number("output_tokens", usage.output);
    if usage.reasoning > 0 {
        let mut details = members.object("output_tokens_details");
        details.number("thinking_tokens", usage.reasoning);
        details.close();
    }
    members.close();
}

/// Why an answer ended, of `stop_reason` and `stop_sequence` as they were written between their
/// quotes. A turn that Anthropic pauses for tools of its own is as long as it gets here.
pub(super) fn stop<'a>(reason: &str, sequence: Option<&'a str>) -> Stop<'a> {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::ToolCalls,
        "stop_sequence" => Stop::Sequence(sequence.map(unescape)),
        "refusal" => Stop::Filter,
        _ => Stop::End,
    }
}

/// Writes `stop_reason` and `stop_sequence`. An answer that ends with calls waits for their results,
/// whatever word its provider had for that.
pub(super) fn write_stop(members: &mut Members<'_>, stop: &Stop<'_>, calls: bool) {
    let reason = match stop {
        Stop::End if calls => "tool_use",
        Stop::End => "end_turn",
        Stop::Length => "max_tokens",
        Stop::ToolCalls => "tool_use",
        Stop::Sequence(_) => "stop_sequence",
        Stop::Filter => "refusal",
    };
    members.text("stop_reason", reason);
    match stop {
        Stop::Sequence(Some(sequence)) => members.text("stop_sequence", sequence),
        _ => members.raw("stop_sequence", "null"),
    }
}
