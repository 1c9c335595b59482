//! Writing a stream of text completions.

use super::super::chat::{finish_reason, usage, write_failure};
use super::super::form::{Answering, Event, EventWriter, Stop};
use super::super::json::Members;
use crate::usage::Usage;

/// Writes a stream.
pub(in crate::dialect) struct Chunks {
    answering: Answering,
    /// What every chunk begins with; empty before the first.
    head: Vec<u8>,
    usage: Option<Usage>,
    stopped: bool,
    failed: bool,
}

impl Chunks {
    /// A writer for a stream that has not begun.
    pub(in crate::dialect) const fn new(answering: Answering) -> Self {
        Self {
            answering,
            head: Vec::new(),
            usage: None,
            stopped: false,
            failed: false,
        }
    }

    fn start(&mut self, id: Option<&str>, model: Option<&str>) {
        if !self.head.is_empty() {
            return;
        }
        let answering = &self.answering;
        self.head.extend_from_slice(b"data: ");
        // The object stays open for the rest of each chunk.
        let mut members = Members::open(&mut self.head);
        members.text("id", id.unwrap_or(&answering.id));
        members.text("object", "text_completion");
        members.number("created", answering.created);
        members.text("model", model.unwrap_or(&answering.model));
    }

    fn chunk(&self, text: &str, stop: Option<&Stop<'_>>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(br#","choices":["#);
        let mut choice = Members::open(out);
        choice.text("text", text);
        choice.number("index", 0);
        choice.raw("logprobs", "null");
        match stop {
            Some(stop) => choice.text("finish_reason", finish_reason(stop)),
            None => choice.raw("finish_reason", "null"),
        }
        choice.close();
        out.push(b']');
        if self.answering.include_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn stop(&mut self, stop: &Stop<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.start(None, None);
            self.chunk("", Some(stop), out);
        }
    }
}

impl EventWriter for Chunks {
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            _ if self.failed => {}
            Event::Start { id, model, usage } => {
                self.usage = *usage;
                self.start(id.as_deref(), model.as_deref());
            }
            Event::Text(text) | Event::Refusal(text) => {
                self.start(None, None);
                self.chunk(text, None, out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Stop(stop) => self.stop(stop, out),
            Event::Failed(failure) => {
                self.failed = true;
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&write_failure(failure));
                out.extend_from_slice(b"\n\n");
            }
            Event::Ping => out.extend_from_slice(b": PROCESSING\n\n"),
            Event::Reasoning { .. } | Event::Call { .. } | Event::Arguments { .. } | Event::End => {
            }
        }
    }

    fn finish(&mut self, before: &mut Vec<u8>, after: &mut Vec<u8>) {
        if !self.failed {
            self.stop(&Stop::End, before);
            if let (true, Some(stated)) = (self.answering.include_usage, &self.usage) {
                before.extend_from_slice(&self.head);
                before.extend_from_slice(br#","choices":[],"usage":"#);
                usage(before, stated);
                before.extend_from_slice(b"}\n\n");
            }
        }
        after.extend_from_slice(b"data: [DONE]\n\n");
    }
}
