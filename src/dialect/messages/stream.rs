//! Streams, as they are written.
//!
//! Decides where blocks begin and end. Anthropic shows one block at a time, others mix them: what
//! cannot be shown yet waits in the order in which it began. A call is over when its arguments are
//! a whole object; then, and at the end, what waited behind it is shown.

use super::failure::write_failure;
use super::usage;
use crate::dialect::form::{Answering, Event, EventWriter, Failure, Stop};
use crate::dialect::json::{Members, string};
use crate::usage::Usage;
use std::collections::VecDeque;

mod block;

use block::{Block, Kind};

/// The most that waits, in bytes.
const MOST_WAITING: usize = 16 << 20;

/// Writes a stream.
pub(in crate::dialect) struct Stream {
    answering: Answering,
    started: bool,
    /// The end or an error was written, after which there is nothing.
    closed: bool,
    /// The first is shown as it comes, once it was begun; the others wait.
    blocks: VecDeque<Block>,
    /// Whether the first of [`Stream::blocks`] was begun.
    begun: bool,
    /// The index of the first of [`Stream::blocks`].
    index: u32,
    /// How much came that had to wait since the last time nothing did.
    waiting: usize,
    /// Whether there was a call.
    calls: bool,
    usage: Usage,
    stop: Stop<'static>,
}

impl Stream {
    pub(in crate::dialect) fn new(answering: Answering) -> Self {
        Self {
            answering,
            started: false,
            closed: false,
            blocks: VecDeque::new(),
            begun: false,
            index: 0,
            waiting: 0,
            calls: false,
            usage: Usage::default(),
            stop: Stop::End,
        }
    }

    fn start(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        event(out, "message_start", |members| {
            let mut message = members.object("message");
            message.text("id", id.unwrap_or(&self.answering.id));
            message.text("type", "message");
            message.text("role", "assistant");
            message.text("model", model.unwrap_or(&self.answering.model));
            message.raw("content", "[]");
            message.raw("stop_reason", "null");
            message.raw("stop_sequence", "null");
            usage::write(message.key("usage"), &self.usage);
            message.close();
        });
    }

    /// Takes more of a text, which goes on with the last block if that is of this kind.
    fn say(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if !self.blocks.back().is_some_and(|last| last.takes(&kind)) {
            self.push(Block::new(kind), out);
        }
        if let Some(last) = self.blocks.len().checked_sub(1) {
            self.more(last, text, out);
        }
    }

    fn push(&mut self, block: Block, out: &mut Vec<u8>) {
        let size = block.size();
        self.blocks.push_back(block);
        self.advance(out);
        if self.blocks.len() > 1 {
            self.wait(size, out);
        }
    }

    /// Counts what has to wait; too much of it is given up.
    fn wait(&mut self, size: usize, out: &mut Vec<u8>) {
        self.waiting += size;
        if self.waiting > MOST_WAITING {
            let failure = Failure {
                message: "The upstream provider's answer cannot be put in order".to_owned(),
                ..Failure::default()
            };
            self.fail(&failure, out);
        }
    }

    /// Takes more of a block.
    fn more(&mut self, at: usize, text: &str, out: &mut Vec<u8>) {
        let Some(block) = self.blocks.get_mut(at) else {
            return;
        };
        block.follow(text);
        if text.is_empty() {
            return;
        }
        if at == 0 {
            delta(out, self.index, block.kind.delta(), text);
            self.advance(out);
        } else {
            block.waiting.push_str(text);
            self.wait(text.len(), out);
        }
    }

    /// Begins the first block, and ends it and those after it as far as they are over.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while let Some(first) = self.blocks.front_mut() {
            if !std::mem::replace(&mut self.begun, true) {
                begin(out, self.index, &first.kind);
                let waited = std::mem::take(&mut first.waiting);
                if !waited.is_empty() {
                    delta(out, self.index, first.kind.delta(), &waited);
                }
            }
            if self.blocks.len() == 1 {
                self.waiting = 0;
                return;
            }
            if !self.blocks[0].is_over() {
                return;
            }
            self.end_first(out);
        }
    }

    /// Ends the first block, which was begun.
    fn end_first(&mut self, out: &mut Vec<u8>) {
        let Some(first) = self.blocks.pop_front() else {
            return;
        };
        if let Some(signature) = &first.signature {
            delta(out, self.index, ("signature_delta", "signature"), signature);
        }
        event(out, "content_block_stop", |members| {
            members.number("index", self.index.into());
        });
        self.begun = false;
        self.index = self.index.saturating_add(1);
    }

    fn reasoning(&mut self, text: &str, signature: Option<&str>, hidden: bool, out: &mut Vec<u8>) {
        match signature {
            Some(data) if hidden => self.push(Block::new(Kind::Redacted(data.to_owned())), out),
            Some(signature) => {
                self.say(Kind::Thinking, text, out);
                if let Some(last) = self.blocks.back_mut() {
                    last.signature = Some(signature.to_owned());
                }
                if self.blocks.len() > 1 {
                    self.wait(signature.len(), out);
                }
            }
            None if text.is_empty() => {}
            None => self.say(Kind::Thinking, text, out),
        }
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.closed = true;
        self.blocks.clear();
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&write_failure(failure, None));
        out.extend_from_slice(b"\n\n");
    }
}

impl EventWriter for Stream {
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Start { id, model, usage } => {
                self.usage = usage.unwrap_or(self.usage);
                self.start(id.as_deref(), model.as_deref(), out);
            }
            Event::Ping => {
                out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            Event::Failed(failure) => self.fail(failure, out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Stop(stop) => self.stop = owned(stop),
            Event::End => {}
            Event::Text(text) | Event::Refusal(text) if text.is_empty() => {}
            Event::Arguments { text, .. } if text.is_empty() => {}
            said => {
                self.start(None, None, out);
                self.shown(said, out);
            }
        }
    }

    fn finish(&mut self, before: &mut Vec<u8>, _after: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.start(None, None, before);
        while !self.blocks.is_empty() {
            self.advance(before);
            self.end_first(before);
        }
        event(before, "message_delta", |members| {
            let mut delta = members.object("delta");
            usage::write_stop(&mut delta, &self.stop, self.calls);
            delta.close();
            usage::write(members.key("usage"), &self.usage);
        });
        event(before, "message_stop", |_| {});
        self.closed = true;
    }
}

impl Stream {
    /// Takes an event that says something in a block.
    fn shown(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Text(text) | Event::Refusal(text) => self.say(Kind::Text, text, out),
            Event::Reasoning {
                text,
                signature,
                redacted,
            } => self.reasoning(text, signature.as_deref(), *redacted, out),
            Event::Call { call, id, name, .. } => {
                self.calls = true;
                self.push(Block::call(*call, id, name), out);
            }
            Event::Arguments { call, text } => {
                let known = self.blocks.iter().position(|block| block.is_call(*call));
                if let Some(at) = known {
                    self.more(at, text, out);
                }
            }
            _ => {}
        }
    }
}

/// An event: its name, and an object of that type with what `members` writes.
fn event(out: &mut Vec<u8>, name: &str, members: impl FnOnce(&mut Members<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut object = Members::open(out);
    object.text("type", name);
    members(&mut object);
    object.close();
    out.extend_from_slice(b"\n\n");
}

fn begin(out: &mut Vec<u8>, index: u32, kind: &Kind) {
    event(out, "content_block_start", |members| {
        members.number("index", index.into());
        let mut block = members.object("content_block");
        match kind {
            Kind::Text => {
                block.text("type", "text");
                block.text("text", "");
            }
            Kind::Thinking => {
                block.text("type", "thinking");
                block.text("thinking", "");
                block.text("signature", "");
            }
            Kind::Redacted(data) => {
                block.text("type", "redacted_thinking");
                block.text("data", data);
            }
            Kind::Call { id, name, .. } => {
                block.text("type", "tool_use");
                block.text("id", id);
                block.text("name", name);
                block.raw("input", "{}");
            }
        }
        block.close();
    });
}

/// The event there are most of, written without detours.
fn delta(out: &mut Vec<u8>, index: u32, (kind, key): (&str, &str), text: &str) {
    event(out, "content_block_delta", |members| {
        members.number("index", index.into());
        let mut delta = members.object("delta");
        delta.text("type", kind);
        string(delta.key(key), text);
        delta.close();
    });
}

fn owned(stop: &Stop<'_>) -> Stop<'static> {
    match stop {
        Stop::End => Stop::End,
        Stop::Length => Stop::Length,
        Stop::ToolCalls => Stop::ToolCalls,
        Stop::Sequence(text) => {
            Stop::Sequence(text.as_ref().map(|text| text.clone().into_owned().into()))
        }
        Stop::Filter => Stop::Filter,
    }
}
