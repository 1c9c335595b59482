//! Writing a stream of chunks.
//!
//! Decides what every chunk carries, so that the strictest client takes it, and when the usage
//! comes: last, and only for a client that asked. Nothing is built for an event but its bytes.

use super::failure::write_failure;
use super::reply::{detail, extra_content, finish_reason};
use super::usage::usage;
use crate::dialect::form::{Answering, Event, EventWriter, Stop};
use crate::dialect::json::Members;
use crate::usage::Usage;

/// The end of a stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment, for clients that wait.
const ALIVE: &[u8] = b": PROCESSING\n\n";

/// Writes a stream.
pub(in crate::dialect) struct Chunks {
    answering: Answering,
    /// What every chunk begins with; empty before the first.
    head: Vec<u8>,
    usage: Option<Usage>,
    /// The thought since the last proof: a proof is good only together with its text.
    thought: String,
    proofs: u64,
    calls: bool,
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
            thought: String::new(),
            proofs: 0,
            calls: false,
            stopped: false,
            failed: false,
        }
    }

    /// Writes the first chunk, with the role, unless it is out.
    fn start(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Vec<u8>) {
        if !self.head.is_empty() {
            return;
        }
        let answering = &self.answering;
        self.head.extend_from_slice(b"data: ");
        // The object stays open for the rest of each chunk.
        let mut members = Members::open(&mut self.head);
        members.text("id", id.unwrap_or(&answering.id));
        members.text("object", "chat.completion.chunk");
        members.number("created", answering.created);
        members.text("model", model.unwrap_or(&answering.model));
        self.delta(out, |delta| {
            delta.text("role", "assistant");
            delta.text("content", "");
        });
    }

    fn delta(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Members<'_>)) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
        let mut delta = Members::open(out);
        write(&mut delta);
        delta.close();
        out.extend_from_slice(br#","logprobs":null,"finish_reason":null}]"#);
        self.end(out);
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.answering.include_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn stop(&mut self, stop: &Stop<'_>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(
            br#","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":""#,
        );
        out.extend_from_slice(finish_reason(stop).as_bytes());
        out.extend_from_slice(b"\"}]");
        self.end(out);
    }

    fn reasoning(&mut self, text: &str, proof: Option<(&str, bool)>, out: &mut Vec<u8>) {
        self.thought.push_str(text);
        let index = self.proofs;
        let whole = if proof.is_some() {
            self.proofs += 1;
            std::mem::take(&mut self.thought)
        } else {
            String::new()
        };
        self.delta(out, |delta| {
            if !text.is_empty() {
                delta.text("reasoning_content", text);
            }
            if let Some((signature, redacted)) = proof {
                delta.array("reasoning_details", [()], |out, ()| {
                    detail(out, (&whole, signature, redacted), index);
                });
            }
        });
    }
}

impl EventWriter for Chunks {
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            _ if self.failed => return,
            Event::Start { id, model, usage } => {
                self.usage = *usage;
                return self.start(id.as_deref(), model.as_deref(), out);
            }
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            Event::Ping => return out.extend_from_slice(ALIVE),
            Event::Failed(failure) => {
                self.failed = true;
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&write_failure(failure));
                return out.extend_from_slice(b"\n\n");
            }
            Event::End => return,
            _ => self.start(None, None, out),
        }
        match event {
            Event::Text(text) => self.delta(out, |delta| delta.text("content", text)),
            Event::Refusal(text) => self.delta(out, |delta| delta.text("refusal", text)),
            Event::Reasoning {
                text,
                signature,
                redacted,
            } => {
                let proof = signature.as_deref().map(|proof| (proof, *redacted));
                self.reasoning(text, proof, out);
            }
            Event::Call {
                call,
                id,
                name,
                signature,
            } => {
                self.calls = true;
                self.delta(out, |delta| {
                    delta.array("tool_calls", [()], |out, ()| {
                        let mut item = Members::open(out);
                        item.number("index", u64::from(*call));
                        item.text("id", id);
                        item.text("type", "function");
                        let mut function = item.object("function");
                        function.text("name", name);
                        function.text("arguments", "");
                        function.close();
                        extra_content(&mut item, signature.as_deref());
                        item.close();
                    });
                });
            }
            Event::Arguments { call, text } => self.delta(out, |delta| {
                delta.array("tool_calls", [()], |out, ()| {
                    let mut item = Members::open(out);
                    item.number("index", u64::from(*call));
                    let mut function = item.object("function");
                    function.text("arguments", text);
                    function.close();
                    item.close();
                });
            }),
            Event::Stop(stop) => self.stop(stop, out),
            _ => {}
        }
    }

    fn finish(&mut self, before: &mut Vec<u8>, after: &mut Vec<u8>) {
        if !self.failed {
            self.start(None, None, before);
            let stop = if self.calls {
                Stop::ToolCalls
            } else {
                Stop::End
            };
            self.stop(&stop, before);
            if let (true, Some(stated)) = (self.answering.include_usage, &self.usage) {
                before.extend_from_slice(&self.head);
                before.extend_from_slice(br#","choices":[],"usage":"#);
                usage(before, stated);
                before.extend_from_slice(b"}\n\n");
            }
        }
        after.extend_from_slice(DONE);
    }

    fn takes_chunk(&self) -> bool {
        true
    }
}
