//! Reading a stream of events.
//!
//! Decides what is new in an event. A stream says everything several times: piece by piece, then
//! whole, then whole again with all that is around it. What did not come in pieces is taken from
//! where it is said next.

use super::answer::{Item, Kind, Response, Said, name, text};
use super::{failure, signature_of};
use crate::dialect::form::{Event, EventReader, Failure, Text};
use crate::json::Cursor;

/// The most items of one answer that are told apart.
const MAX_ITEMS: usize = 1024;

/// The longest id that an item is known by, in bytes.
const MAX_ID: usize = 256;

/// Reads a stream.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Events {
    started: bool,
    /// Nothing follows that counts.
    over: bool,
    items: Vec<Known>,
    calls: u32,
    /// Whether the last that was said is a thought without a proof, so that what is thought next
    /// has to be set off.
    thinking: bool,
}

/// An item that began.
#[derive(Debug)]
struct Known {
    /// Its place in the output.
    place: Option<u64>,
    id: Option<String>,
    kind: Kind,
    /// The ordinal, if it is a call.
    call: u32,
    /// Which of its parts were said. Those beyond the 64th share a bit.
    said: u64,
    /// Whether its thoughts come as a summary.
    summary: Option<bool>,
    done: bool,
}

/// The fields of an event.
#[derive(Default)]
struct Fields<'e> {
    kind: &'e str,
    place: Option<u64>,
    part: u64,
    id: Option<Text<'e>>,
    /// `delta`, or the whole in its place.
    text: Option<Text<'e>>,
    item: Option<&'e str>,
    response: Option<&'e str>,
    error: Option<&'e str>,
}

impl<'e> Fields<'e> {
    fn read(data: &'e str) -> Option<Self> {
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return None;
        }
        let mut fields = Self::default();
        cursor.object(|key, value| {
            match key {
                "type" => fields.kind = value.string()?.unwrap_or_default(),
                "output_index" => fields.place = value.skip()?.parse().ok(),
                "content_index" | "summary_index" => {
                    fields.part = value.skip()?.parse().unwrap_or(0);
                }
                "item_id" => fields.id = name(value)?,
                "delta" | "text" | "refusal" | "arguments" => {
                    fields.text = text(value)?.or(fields.text.take());
                }
                "item" => fields.item = Some(value.skip()?),
                "response" => fields.response = Some(value.skip()?),
                "error" => fields.error = Some(value.skip()?).filter(|raw| *raw != "null"),
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        cursor.at_end().then_some(fields)
    }
}

impl EventReader for Events {
    fn read<'e>(&mut self, data: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
        if data == "[DONE]" {
            emit(Event::End);
            return;
        }
        let Some(fields) = Fields::read(data).filter(|_| !self.over) else {
            return;
        };
        match fields.kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(&mut response(&fields), emit);
            }
            "response.output_item.added" => self.added(&fields, emit),
            "response.output_item.done" => {
                if let Some(item) = item(&fields) {
                    self.whole(fields.place, item, emit);
                }
            }
            "response.output_text.delta" | "response.refusal.delta" => self.say(fields, true, emit),
            "response.output_text.done" | "response.refusal.done" => self.say(fields, false, emit),
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.think(fields, true, emit);
            }
            "response.reasoning_text.done" | "response.reasoning_summary_text.done" => {
                self.think(fields, false, emit);
            }
            "response.function_call_arguments.delta" => self.argue(fields, true, emit),
            "response.function_call_arguments.done" => self.argue(fields, false, emit),
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => self.end(&fields, emit),
            "error" => self.fail(failure::read(fields.error.unwrap_or(data)), emit),
            "" => {
                if let Some(raw) = fields.error {
                    self.fail(failure::read(raw), emit);
                }
            }
            _ => {}
        }
    }
}

fn response<'e>(fields: &Fields<'e>) -> Response<'e> {
    let raw = fields.response.unwrap_or("{}");
    Response::read(&mut Cursor::new(raw)).unwrap_or_default()
}

fn item<'e>(fields: &Fields<'e>) -> Option<Item<'e>> {
    Item::read(&mut Cursor::new(fields.item?))
}

impl Events {
    fn start<'e>(&mut self, response: &mut Response<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::Start {
                id: response.id.take(),
                model: response.model.take(),
                usage: None,
            });
        }
    }

    fn fail<'e>(&mut self, failure: Failure, emit: &mut dyn FnMut(Event<'e>)) {
        self.over = true;
        emit(Event::Failed(failure));
    }

    /// The item at a place, or with that id where no place is given; a new one if there is none
    /// yet. `None` when there are too many.
    fn known(&mut self, place: Option<u64>, id: Option<&str>, kind: Kind) -> Option<&mut Known> {
        let same = |known: &Known| match place {
            Some(_) => known.place == place,
            None => id.is_none() || known.id.as_deref() == id,
        };
        let found = self
            .items
            .iter()
            .rposition(|known| same(known) && known.kind == kind);
        let at = match found {
            Some(at) => at,
            None if self.items.len() >= MAX_ITEMS => return None,
            None => {
                self.items.push(Known {
                    place,
                    id: id.filter(|id| id.len() <= MAX_ID).map(str::to_owned),
                    kind,
                    call: self.calls,
                    said: 0,
                    summary: None,
                    done: false,
                });
                self.items.len() - 1
            }
        };
        self.items.get_mut(at)
    }

    fn added<'e>(&mut self, fields: &Fields<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(item) = item(fields) else { return };
        self.start(&mut Response::default(), emit);
        if item.kind == Kind::Call {
            self.call(fields.place, item, emit);
        } else if item.kind != Kind::Other {
            self.known(fields.place, item.id.as_deref(), item.kind);
        }
    }

    /// Begins a call, unless it began before; its ordinal.
    fn call<'e>(
        &mut self,
        place: Option<u64>,
        item: Item<'e>,
        emit: &mut dyn FnMut(Event<'e>),
    ) -> Option<u32> {
        let before = self.items.len();
        let ordinal = self.calls;
        let call = self.known(place, item.id.as_deref(), Kind::Call)?.call;
        if self.items.len() > before {
            self.calls = self.calls.saturating_add(1);
            self.thinking = false;
            emit(Event::Call {
                call,
                id: item
                    .call_id
                    .or(item.id)
                    .unwrap_or_else(|| format!("call_{ordinal}").into()),
                name: item.name,
                signature: None,
            });
        }
        Some(call)
    }

    fn say<'e>(&mut self, mut fields: Fields<'e>, delta: bool, emit: &mut dyn FnMut(Event<'e>)) {
        let refusal = fields.kind.starts_with("response.refusal");
        let Some(text) = fields.text.take() else {
            return;
        };
        self.start(&mut Response::default(), emit);
        let known = self.known(fields.place, fields.id.as_deref(), Kind::Message);
        if known.is_some_and(|known| known.takes(fields.part, delta)) && !text.is_empty() {
            self.thinking = false;
            emit(if refusal {
                Event::Refusal(text)
            } else {
                Event::Text(text)
            });
        }
    }

    /// Some say thoughts and their summary; the first counts.
    fn think<'e>(&mut self, mut fields: Fields<'e>, delta: bool, emit: &mut dyn FnMut(Event<'e>)) {
        let summary = fields.kind.contains("summary");
        let Some(text) = fields.text.take().filter(|text| !text.is_empty()) else {
            return;
        };
        self.start(&mut Response::default(), emit);
        let Some(known) = self.known(fields.place, fields.id.as_deref(), Kind::Reasoning) else {
            return;
        };
        if *known.summary.get_or_insert(summary) != summary {
            return;
        }
        let new = !known.has(fields.part);
        if known.takes(fields.part, delta) {
            self.thought(text, new, emit);
        }
    }

    fn thought<'e>(&mut self, text: Text<'e>, new: bool, emit: &mut dyn FnMut(Event<'e>)) {
        if std::mem::replace(&mut self.thinking, true) && new {
            emit(thought("\n\n".into(), None));
        }
        emit(thought(text, None));
    }

    fn argue<'e>(&mut self, mut fields: Fields<'e>, delta: bool, emit: &mut dyn FnMut(Event<'e>)) {
        let Some(text) = fields.text.take().filter(|text| !text.is_empty()) else {
            return;
        };
        // A call that did not begin has no name: its end says both.
        let Some(at) = self.items.iter().rposition(|known| {
            known.kind == Kind::Call
                && match fields.place {
                    Some(_) => known.place == fields.place,
                    None => known.id.as_deref() == fields.id.as_deref(),
                }
        }) else {
            return;
        };
        let known = &mut self.items[at];
        if known.takes(0, delta) {
            emit(Event::Arguments {
                call: known.call,
                text,
            });
        }
    }

    /// An item that is said whole: what of it was not said before.
    fn whole<'e>(
        &mut self,
        place: Option<u64>,
        mut item: Item<'e>,
        emit: &mut dyn FnMut(Event<'e>),
    ) {
        if item.kind == Kind::Other {
            return;
        }
        self.start(&mut Response::default(), emit);
        if item.kind == Kind::Call {
            let arguments = std::mem::take(&mut item.arguments);
            let id = item.id.clone();
            let Some(call) = self.call(place, item, emit) else {
                return;
            };
            let known = self.known(place, id.as_deref(), Kind::Call);
            if known.is_some_and(|known| known.takes(0, false)) && !arguments.is_empty() {
                emit(Event::Arguments {
                    call,
                    text: arguments,
                });
            }
            return;
        }
        let Some(known) = self.known(place, item.id.as_deref(), item.kind) else {
            return;
        };
        if std::mem::replace(&mut known.done, true) {
            return;
        }
        if item.kind == Kind::Reasoning {
            let said = known.said != 0;
            let text = item.thoughts();
            if !said && !text.is_empty() {
                self.thought(text, true, emit);
            }
            if let Some(encrypted) = &item.encrypted {
                self.thinking = false;
                emit(thought(Text::default(), Some(signature_of(encrypted))));
            }
            return;
        }
        let mut unsaid = Vec::new();
        for (part, said) in (0..).zip(item.content) {
            if known.takes(part, false) {
                unsaid.push(said);
            }
        }
        for said in unsaid {
            self.thinking = false;
            emit(match said {
                Said::Text(text) => Event::Text(text),
                Said::Refusal(text) => Event::Refusal(text),
            });
        }
    }

    fn end<'e>(&mut self, fields: &Fields<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let mut response = response(fields);
        self.start(&mut response, emit);
        if self.items.is_empty() {
            response.items(|place, item| self.whole(Some(place), item, emit));
        }
        if let Some(usage) = response.usage {
            emit(Event::Usage(usage));
        }
        match (fields.kind, response.error) {
            ("response.failed" | "response.cancelled", None) => {
                self.fail(failure::read("{}"), emit);
            }
            (_, Some(error)) => self.fail(failure::read(error), emit),
            _ => emit(Event::Stop(response.stop(self.calls > 0))),
        }
        self.over = true;
        emit(Event::End);
    }
}

impl Known {
    const fn bit(part: u64) -> u64 {
        if part < 63 { 1 << part } else { 1 << 63 }
    }

    const fn has(&self, part: u64) -> bool {
        self.said & Self::bit(part) != 0
    }

    /// Whether a piece of a part, or the whole of it, is new; from now on the whole is not.
    const fn takes(&mut self, part: u64, delta: bool) -> bool {
        let new = delta || !self.has(part);
        self.said |= Self::bit(part);
        new
    }
}

const fn thought<'e>(text: Text<'e>, signature: Option<Text<'e>>) -> Event<'e> {
    Event::Reasoning {
        text,
        signature,
        redacted: false,
    }
}
