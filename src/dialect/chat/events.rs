//! Reading a stream of chunks.
//!
//! Decides what a chunk says that may be half of one dialect and half of another: where calls
//! begin, what is said twice, when the provider failed. Choices other than the first were not asked
//! for and say nothing.

use super::failure;
use super::message::Call;
use super::reply::{Choice, groq_usage, name, stop, usage_of};
use crate::dialect::form::{Event, EventReader, Part, Text};
use crate::json::Cursor;
use crate::usage::Usage;

/// The most calls of one answer that are told apart.
const MAX_CALLS: usize = 1024;

/// Reads a stream.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Events {
    started: bool,
    stopped: bool,
    failed: bool,
    calls: Vec<Known>,
}

/// A call that began.
#[derive(Debug)]
struct Known {
    index: Option<u64>,
    id: Option<String>,
}

/// What a chunk consists of.
#[derive(Default)]
struct Chunk<'e> {
    id: Option<Text<'e>>,
    model: Option<Text<'e>>,
    choices: usize,
    choice: Option<Choice<'e>>,
    usage: Option<Usage>,
    error: Option<&'e str>,
}

impl<'e> Chunk<'e> {
    fn read(data: &'e str) -> Option<Self> {
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return None;
        }
        let mut chunk = Self::default();
        cursor.object(|key, value| {
            match key {
                "id" => chunk.id = name(value.skip()?),
                "model" => chunk.model = name(value.skip()?),
                "usage" => chunk.usage = usage_of(value.skip()?).or(chunk.usage),
                "x_groq" => chunk.usage = chunk.usage.or(groq_usage(value)?),
                "error" => chunk.error = Some(value.skip()?).filter(|raw| *raw != "null"),
                "choices" => value.array(|item| {
                    let choice = Choice::read(item)?;
                    chunk.choices += 1;
                    if choice.index == 0 && chunk.choice.is_none() {
                        chunk.choice = Some(choice);
                    }
                    Some(())
                })?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        cursor.at_end().then_some(chunk)
    }
}

impl EventReader for Events {
    fn read<'e>(&mut self, data: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
        if data == "[DONE]" {
            emit(Event::End);
            return;
        }
        if let (false, Some(chunk)) = (self.failed, Chunk::read(data)) {
            self.chunk(chunk, emit);
        }
    }
}

impl Events {
    fn chunk<'e>(&mut self, chunk: Chunk<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        // Azure begins with a chunk that is about the prompt and has no answer's id.
        if !self.started && (chunk.choices > 0 || chunk.usage.is_some()) {
            self.started = true;
            emit(Event::Start {
                id: chunk.id,
                model: chunk.model,
                usage: None,
            });
        }
        let choice = chunk.choice.unwrap_or_default();
        choice.message.said(&mut |part| {
            if let Some(event) = event(part) {
                emit(event);
            }
        });
        choice.message.calls(&mut |call| self.call(call, emit));
        self.finish(&choice, chunk.error, emit);
        if let Some(usage) = chunk.usage {
            emit(Event::Usage(usage));
        }
        if let Some(raw) = chunk.error.or(choice.error) {
            self.failed = true;
            emit(Event::Failed(failure::of_error(raw)));
        } else if choice.failed() {
            self.failed = true;
            emit(Event::Failed(failure::unexplained()));
        }
    }

    /// OpenRouter repeats the reason in the chunk with the usage: it counts once.
    fn finish<'e>(
        &mut self,
        choice: &Choice<'e>,
        error: Option<&str>,
        emit: &mut dyn FnMut(Event<'e>),
    ) {
        let word = choice.finish.filter(|word| !word.is_empty());
        if let (Some(word), false, None, false) = (word, self.stopped, error, choice.failed()) {
            self.stopped = true;
            emit(Event::Stop(stop(word, !self.calls.is_empty())));
        }
    }

    fn call<'e>(&mut self, call: Call<'e>, emit: &mut dyn FnMut(Event<'e>)) {
        let known = self.known(&call);
        if known.is_none() && self.calls.len() >= MAX_CALLS {
            return;
        }
        let place = known.unwrap_or(self.calls.len());
        let Ok(ordinal) = u32::try_from(place) else {
            return;
        };
        if known.is_none() {
            self.calls.push(Known {
                index: call.index,
                id: call.id.as_deref().map(str::to_owned),
            });
            emit(Event::Call {
                call: ordinal,
                id: call.id.unwrap_or_else(|| format!("call_{ordinal}").into()),
                name: call.name.unwrap_or_default(),
                signature: call.signature,
            });
        }
        if let Some(text) = call.arguments {
            emit(Event::Arguments {
                call: ordinal,
                text,
            });
        }
    }

    /// The call that this is a piece of; `None` when it is a new one.
    fn known(&self, call: &Call<'_>) -> Option<usize> {
        let same_id = |known: &Known| call.id.as_deref() == known.id.as_deref();
        match (call.index, &call.id) {
            (Some(index), id) => {
                let place = self
                    .calls
                    .iter()
                    .rposition(|known| known.index == Some(index))?;
                // Some number every call 0; then a name with another id is another call.
                let other = id.is_some() && call.name.is_some() && !same_id(&self.calls[place]);
                (!other).then_some(place)
            }
            (None, Some(_)) => self.calls.iter().rposition(same_id),
            (None, None) if call.name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        }
    }
}

fn event(part: Part<'_>) -> Option<Event<'_>> {
    match part {
        Part::Text { text, .. } => Some(Event::Text(text)),
        Part::Reasoning {
            text,
            signature,
            redacted,
        } => Some(Event::Reasoning {
            text,
            signature,
            redacted,
        }),
        Part::Refusal(text) => Some(Event::Refusal(text)),
        _ => None,
    }
}
