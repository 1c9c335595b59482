//! Streams, as they are read.
//!
//! Decides what an event says. Usage is cumulative: what a later event names replaces what an
//! earlier one said.

use super::failure;
use super::reply::{Block, non_empty};
use super::usage::{self, Counts};
use crate::dialect::form::{Event, EventReader, Text};
use crate::json::{Cursor, unescape};
use std::borrow::Cow;

/// The most blocks that may be open at a time; Anthropic opens one.
const MAX_OPEN: usize = 64;

/// Reads a stream.
#[derive(Default)]
pub(in crate::dialect) struct Events {
    started: bool,
    counts: Counts,
    /// Calls whose block is open.
    open: Vec<Open>,
    /// The ordinal of the next call.
    calls: u32,
}

/// A call whose arguments may still come.
struct Open {
    /// The index of its block.
    block: u64,
    call: u32,
    /// The arguments that came with the block's start, for providers that send no more.
    input: String,
    /// Whether more arguments came.
    said: bool,
}

/// The members of an event, as they were written.
#[derive(Default)]
struct Members<'e> {
    kind: &'e str,
    index: u64,
    message: &'e str,
    block: &'e str,
    delta: &'e str,
    usage: &'e str,
    error: &'e str,
}

impl<'e> Members<'e> {
    fn read(data: &'e str) -> Option<Self> {
        let mut members = Self::default();
        Cursor::new(data).object(|key, value| {
            match key {
                "type" => members.kind = value.string()?.unwrap_or_default(),
                "index" => members.index = value.skip()?.parse().unwrap_or_default(),
                "message" => members.message = value.skip()?,
                "content_block" => members.block = value.skip()?,
                "delta" => members.delta = value.skip()?,
                "usage" => members.usage = value.skip()?,
                "error" => members.error = value.skip()?,
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        })?;
        Some(members)
    }
}

impl EventReader for Events {
    fn read<'e>(&mut self, data: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(event) = Members::read(data) else {
            return;
        };
        match event.kind {
            "ping" => emit(Event::Ping),
            "error" => emit(Event::Failed(failure::of_event(event.error))),
            "message_start" => self.start(event.message, emit),
            kind => {
                if !self.started {
                    self.start("", emit);
                }
                match kind {
                    "content_block_start" => self.block_start(&event, emit),
                    "content_block_delta" => self.block_delta(&event, emit),
                    "content_block_stop" => self.block_stop(event.index, emit),
                    "message_delta" => self.message_delta(&event, emit),
                    "message_stop" => emit(Event::End),
                    _ => {}
                }
            }
        }
    }
}

impl Events {
    fn start<'e>(&mut self, message: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
        let (mut id, mut model) = (None, None);
        Cursor::new(message).object(|key, value| {
            match key {
                "id" => id = value.string()?.map(unescape),
                "model" => model = value.string()?.map(unescape),
                "usage" => self.counts.read(value.skip()?)?,
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        });
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::Start {
                id,
                model,
                usage: self.counts.usage(),
            });
        }
    }

    fn block_start<'e>(&mut self, event: &Members<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(block) = Block::read(event.block) else {
            return;
        };
        match block.kind {
            "text" => say(block.text, emit, Event::Text),
            "thinking" => think(block.thinking, block.signature, emit),
            "redacted_thinking" => emit(Event::Reasoning {
                text: Cow::Borrowed(""),
                signature: non_empty(block.data),
                redacted: true,
            }),
            "tool_use" => {
                let call = self.calls;
                self.calls = self.calls.saturating_add(1);
                emit(Event::Call {
                    call,
                    id: unescape(block.id),
                    name: unescape(block.name),
                    signature: None,
                });
                self.open.retain(|open| open.block != event.index);
                if self.open.len() >= MAX_OPEN {
                    self.open.remove(0);
                }
                self.open.push(Open {
                    block: event.index,
                    call,
                    input: block.input.to_owned(),
                    said: false,
                });
            }
            _ => {}
        }
    }

    fn block_delta<'e>(&mut self, event: &Members<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(delta) = Delta::read(event.delta) else {
            return;
        };
        match delta.kind {
            "text_delta" => say(delta.text, emit, Event::Text),
            "thinking_delta" => think(delta.thinking, "", emit),
            "signature_delta" => think("", delta.signature, emit),
            "input_json_delta" => {
                let open = self.open.iter_mut().find(|open| open.block == event.index);
                // A block that is not known is a tool of the provider's own.
                if let Some(open) = open {
                    let call = open.call;
                    open.said |= !delta.json.is_empty();
                    say(delta.json, emit, |text| Event::Arguments { call, text });
                }
            }
            _ => {}
        }
    }

    /// The end of a block. A call without any arguments has an empty object of them.
    fn block_stop<'e>(&mut self, index: u64, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(at) = self.open.iter().position(|open| open.block == index) else {
            return;
        };
        let open = self.open.remove(at);
        if !open.said {
            let text = if open.input.starts_with('{') {
                Cow::Owned(open.input)
            } else {
                Cow::Borrowed("{}")
            };
            emit(Event::Arguments {
                call: open.call,
                text,
            });
        }
    }

    fn message_delta<'e>(&mut self, event: &Members<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let (mut reason, mut sequence) = (None, None);
        Cursor::new(event.delta).object(|key, value| {
            match key {
                "stop_reason" => reason = value.string()?,
                "stop_sequence" => sequence = value.string()?,
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        });
        if let Some(reason) = reason {
            emit(Event::Stop(usage::stop(reason, sequence)));
        }
        self.counts.read(event.usage);
        if let Some(usage) = self.counts.usage() {
            emit(Event::Usage(usage));
        }
    }
}

/// A `delta` of a block, its texts as they were written.
#[derive(Default)]
struct Delta<'e> {
    kind: &'e str,
    text: &'e str,
    thinking: &'e str,
    signature: &'e str,
    json: &'e str,
}

impl<'e> Delta<'e> {
    fn read(raw: &'e str) -> Option<Self> {
        let mut delta = Self::default();
        Cursor::new(raw).object(|key, value| {
            let place = match key {
                "type" => &mut delta.kind,
                "text" => &mut delta.text,
                "thinking" => &mut delta.thinking,
                "signature" => &mut delta.signature,
                "partial_json" => &mut delta.json,
                _ => return value.skip().map(drop),
            };
            *place = value.string()?.unwrap_or_default();
            Some(())
        })?;
        Some(delta)
    }
}

fn say<'e>(
    inner: &'e str,
    emit: &mut dyn FnMut(Event<'e>),
    event: impl FnOnce(Text<'e>) -> Event<'e>,
) {
    if !inner.is_empty() {
        emit(event(unescape(inner)));
    }
}

fn think<'e>(thinking: &'e str, signature: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
    if !thinking.is_empty() || !signature.is_empty() {
        emit(Event::Reasoning {
            text: unescape(thinking),
            signature: non_empty(signature),
            redacted: false,
        });
    }
}
