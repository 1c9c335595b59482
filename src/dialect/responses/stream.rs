//! Writing a stream of events.
//!
//! Decides the order in which clients expect them: an answer is begun, then one item after the other
//! is begun, said and ended, then the whole answer is said again. Calls that come while another one
//! is open wait until it ends. For the repetitions all texts are kept, [`LIMIT`] bytes at most: what
//! comes beyond is said as it comes, but missing from the repetitions, which is why such an answer is
//! ended as an incomplete one.

mod part;

use super::output::{self, Called, Head, Names, Status};
use crate::dialect::form::{Answering, Event, EventWriter, Failure, Stop};
use crate::dialect::json::{Members, escape};
use crate::usage::Usage;

/// The most of an answer that is kept, in bytes.
const LIMIT: usize = 16 << 20;

/// The longest id or name of a model that is repeated, in bytes.
const MAX_NAME: usize = 256;

/// Writes a stream.
pub(in crate::dialect) struct Stream {
    id: String,
    model: String,
    created: u64,
    names: Names,
    progress: Progress,
    /// The number of the next event.
    sequence: u64,
    /// The place of the item that is open, or comes next.
    place: u64,
    open: Open,
    /// The open item's own id.
    item: String,
    /// The open part's text, escaped.
    said: Vec<u8>,
    waiting: Vec<Waiting>,
    /// The items that ended.
    items: Vec<u8>,
    limit: usize,
    /// No more is kept.
    full: bool,
    /// Something came too late to be said.
    lost: bool,
    stop: Stop<'static>,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Ahead,
    Underway,
    Over,
}

/// The item that is open.
enum Open {
    Nothing,
    Thought {
        /// Whether its summary began.
        begun: bool,
        signature: Option<(String, bool)>,
    },
    Message {
        /// The parts that ended.
        content: Vec<u8>,
        /// The place of the open part.
        part: u64,
        refusal: bool,
    },
    Call {
        call: u32,
        id: String,
        name: String,
    },
}

/// A call that comes too early.
struct Waiting {
    call: u32,
    id: String,
    name: String,
    arguments: Vec<u8>,
}

impl Stream {
    /// Writes the answer to a request.
    pub(in crate::dialect) fn new(answering: Answering) -> Self {
        Self {
            names: Names::of(&answering.id),
            id: answering.id,
            model: answering.model,
            created: answering.created,
            progress: Progress::Ahead,
            sequence: 0,
            place: 0,
            open: Open::Nothing,
            item: String::new(),
            said: Vec::new(),
            waiting: Vec::new(),
            items: Vec::new(),
            limit: LIMIT,
            full: false,
            lost: false,
            stop: Stop::End,
            usage: None,
        }
    }

    /// Keeps less.
    #[cfg(test)]
    pub(super) fn keeping(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Vec<u8>) {
        if self.progress != Progress::Ahead {
            return;
        }
        self.progress = Progress::Underway;
        if let Some(id) = id {
            self.id = bounded(id);
            self.names = Names::of(id);
        }
        if let Some(model) = model {
            self.model = bounded(model);
        }
        self.response("response.created", Status::InProgress, None, out);
        self.response("response.in_progress", Status::InProgress, None, out);
    }

    /// An event about the whole answer.
    fn response(
        &mut self,
        kind: &str,
        status: Status,
        failure: Option<&Failure>,
        out: &mut Vec<u8>,
    ) {
        let head = Head {
            id: &self.id,
            model: &self.model,
            created: self.created,
            status,
            failure,
            usage: self.usage.as_ref().filter(|_| status != Status::InProgress),
        };
        event(&mut self.sequence, out, kind, |members| {
            output::response(members.key("response"), &head, &self.items);
        });
    }

    /// The open item, as it is by now.
    fn item_event(&mut self, out: &mut Vec<u8>, kind: &str, item: &[u8]) {
        event(&mut self.sequence, out, kind, |members| {
            members.number("output_index", self.place);
            members.key("item").extend_from_slice(item);
        });
    }

    fn call(&mut self, call: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        if let Open::Call { .. } = self.open {
            let size = id.len().saturating_add(name.len());
            self.full |= self.kept().saturating_add(size) > self.limit;
            if !self.full {
                self.waiting.push(Waiting {
                    call,
                    id: id.to_owned(),
                    name: name.to_owned(),
                    arguments: Vec::new(),
                });
            }
            return;
        }
        self.end_item(Status::Completed, out);
        self.begin_call(call, id.to_owned(), name.to_owned(), out);
    }

    fn begin_call(&mut self, call: u32, id: String, name: String, out: &mut Vec<u8>) {
        self.item = self.names.next("fc");
        let mut item = Vec::new();
        let called = Called {
            id: &id,
            name: &name,
        };
        output::call(&mut item, &self.item, Status::InProgress, called, b"");
        self.open = Open::Call { call, id, name };
        self.item_event(out, "response.output_item.added", &item);
    }

    fn argue(&mut self, call: u32, text: &str, out: &mut Vec<u8>) {
        if matches!(&self.open, Open::Call { call: open, .. } if *open == call) {
            self.delta(out, "response.function_call_arguments.delta", None, text);
            return;
        }
        self.full |= self.kept().saturating_add(text.len()) > self.limit;
        match self.waiting.iter_mut().find(|one| one.call == call) {
            Some(one) if !self.full => escape(&mut one.arguments, text),
            // Its item ended: there is no place left to say it.
            _ => self.lost = true,
        }
    }

    /// Ends what is open, and says the calls that waited for it.
    fn end_item(&mut self, status: Status, out: &mut Vec<u8>) {
        self.end_one(status, out);
        for one in std::mem::take(&mut self.waiting) {
            self.begin_call(one.call, one.id, one.name, out);
            if !one.arguments.is_empty() {
                self.said = one.arguments;
                let kind = "response.function_call_arguments.delta";
                self.of_part(out, kind, None, |members, said| {
                    members.escaped("delta", said);
                });
            }
            self.end_one(status, out);
        }
    }

    fn end_one(&mut self, status: Status, out: &mut Vec<u8>) {
        // Clients parse the arguments of a call.
        if matches!(self.open, Open::Call { .. }) && self.said.is_empty() && !self.full {
            self.delta(out, "response.function_call_arguments.delta", None, "{}");
        }
        self.end_part(out);
        let status = if self.full {
            Status::Incomplete("max_output_tokens")
        } else {
            status
        };
        let mut item = Vec::new();
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => return,
            Open::Message { content, .. } => {
                output::message(&mut item, &self.item, status, &content);
            }
            Open::Thought { begun, signature } => {
                if begun {
                    self.end_summary(out);
                }
                let text = begun.then_some(self.said.as_slice());
                let signature = signature.as_ref().map(|(text, hidden)| (&**text, *hidden));
                output::thought(&mut item, &self.item, text, signature);
            }
            Open::Call { id, name, .. } => {
                let kind = "response.function_call_arguments.done";
                self.of_part(out, kind, None, |members, said| {
                    members.escaped("arguments", said);
                    members.text("name", &name);
                });
                let called = Called {
                    id: &id,
                    name: &name,
                };
                output::call(&mut item, &self.item, status, called, &self.said);
            }
        }
        self.said.clear();
        self.item_event(out, "response.output_item.done", &item);
        self.place += 1;
        if self.items.len() <= self.limit {
            output::comma(&mut self.items);
            self.items.append(&mut item);
        } else {
            self.full = true;
        }
    }
}

impl EventWriter for Stream {
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.progress == Progress::Over {
            return;
        }
        if let Event::Start { id, model, usage } = event {
            self.usage = usage.or(self.usage);
            return self.begin(id.as_deref(), model.as_deref(), out);
        }
        match event {
            Event::Ping => return out.extend_from_slice(b": ping\n\n"),
            Event::Start { .. } | Event::End => return,
            _ => self.begin(None, None, out),
        }
        match event {
            Event::Text(text) | Event::Refusal(text) if text.is_empty() => {}
            Event::Text(text) => self.say(text, false, out),
            Event::Refusal(text) => self.say(text, true, out),
            Event::Reasoning {
                text,
                signature,
                redacted,
            } => self.think(text, signature.as_ref(), *redacted, out),
            Event::Call { call, id, name, .. } => self.call(*call, id, name, out),
            Event::Arguments { text, .. } if text.is_empty() => {}
            Event::Arguments { call, text } => self.argue(*call, text, out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Stop(stop) => {
                self.stop = match stop {
                    Stop::Length => Stop::Length,
                    Stop::Filter => Stop::Filter,
                    Stop::End | Stop::Sequence(_) | Stop::ToolCalls => Stop::End,
                }
            }
            Event::Failed(failure) => {
                self.response("response.failed", Status::Failed, Some(failure), out);
                self.progress = Progress::Over;
            }
            Event::Start { .. } | Event::Ping | Event::End => {}
        }
    }

    fn finish(&mut self, before: &mut Vec<u8>, _after: &mut Vec<u8>) {
        if self.progress == Progress::Over {
            return;
        }
        self.begin(None, None, before);
        self.end_item(Status::of(&self.stop), before);
        let status = match Status::of(&self.stop) {
            Status::Completed if self.full || self.lost => Status::Incomplete("max_output_tokens"),
            status => status,
        };
        let kind = match status {
            Status::Incomplete(_) => "response.incomplete",
            _ => "response.completed",
        };
        self.response(kind, status, None, before);
        self.progress = Progress::Over;
    }
}

/// One server-sent event.
fn event(sequence: &mut u64, out: &mut Vec<u8>, kind: &str, rest: impl FnOnce(&mut Members<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut members = Members::open(out);
    members.text("type", kind);
    members.number("sequence_number", *sequence);
    *sequence += 1;
    rest(&mut members);
    members.close();
    out.extend_from_slice(b"\n\n");
}

fn bounded(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME)].to_owned()
}
