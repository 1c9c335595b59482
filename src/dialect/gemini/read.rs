//! Google's answers, whole and as a stream.
//!
//! Decides what the parts of an answer mean in their order, and which ends are which. A stream
//! consists of answers that each say a little more, so both are read in one way.

use super::OURS;
use super::chunk::{Found, chunk};
use crate::dialect::form::{Event, EventReader, Media, Part, Reply, Stop, Text};
use crate::json::Cursor;

/// What a part says.
enum Said<'a> {
    Text(Text<'a>),
    Thought {
        text: Text<'a>,
        signature: Option<Text<'a>>,
    },
    Call {
        call: u32,
        id: Text<'a>,
        name: Text<'a>,
        arguments: Text<'a>,
        signature: Option<Text<'a>>,
    },
    Media(Text<'a>, Text<'a>),
}

/// What a part means depends on those before it.
#[derive(Default)]
struct Parts {
    calls: u32,
    /// Whether the last part was a thought, whose proof may still come.
    thinking: bool,
}

impl Parts {
    fn say<'a>(&mut self, found: Found<'a>, answer: Option<&str>, each: &mut dyn FnMut(Said<'a>)) {
        if found.thought {
            let signature = found.signature.as_deref().map(marked);
            self.thinking = signature.is_none();
            let text = found.text.unwrap_or_default();
            if !text.is_empty() || signature.is_some() {
                each(Said::Thought { text, signature });
            }
            return;
        }
        // Google puts the proof of a thought on what the thought led to.
        if std::mem::take(&mut self.thinking)
            && let Some(signature) = &found.signature
        {
            each(Said::Thought {
                text: Text::default(),
                signature: Some(marked(signature)),
            });
        }
        if let Some(text) = found.text.filter(|text| !text.is_empty()) {
            each(Said::Text(text));
        }
        if let Some((mime, data)) = found.media {
            each(Said::Media(mime, data));
        }
        if let Some(called) = found.call {
            let call = self.calls;
            self.calls = self.calls.saturating_add(1);
            let id = called.id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
                // Must be another one in every answer, for conversations consist of many.
                let of = answer.map_or_else(String::new, |answer| format!("{answer}_"));
                Text::Owned(format!("call_{of}{call}"))
            });
            each(Said::Call {
                call,
                id,
                name: called.name,
                arguments: Text::Borrowed(called.arguments.unwrap_or("{}")),
                signature: found.signature,
            });
        }
    }

    /// Why the answer ends. Whatever is neither complete nor too long was stopped by Google, be it
    /// for its content or because what the model wrote was no proper call.
    const fn stop(&self, finish: Option<&str>) -> Stop<'static> {
        match finish {
            Some(reason) => match reason.as_bytes() {
                b"STOP" if self.calls > 0 => Stop::ToolCalls,
                b"STOP" => Stop::End,
                b"MAX_TOKENS" => Stop::Length,
                _ => Stop::Filter,
            },
            None if self.calls > 0 => Stop::ToolCalls,
            None => Stop::End,
        }
    }
}

fn marked(signature: &str) -> Text<'static> {
    Text::Owned(format!("{OURS}{signature}"))
}

/// Reads a whole answer. Google sends an array where a stream was asked for without events.
pub(in crate::dialect) fn read_reply(text: &str) -> Option<Reply<'_>> {
    let mut cursor = Cursor::new(text);
    let mut chunks = Vec::new();
    if cursor.peek()? == b'[' {
        cursor.array(|value| {
            chunks.push(chunk(value)?);
            Some(())
        })?;
    } else {
        chunks.push(chunk(&mut cursor)?);
    }
    if !cursor.at_end() || chunks.iter().any(|chunk| chunk.failure.is_some()) {
        return None;
    }
    chunks.iter().any(|chunk| chunk.answers).then_some(())?;

    let mut reply = Reply::default();
    let mut parts = Parts::default();
    let (mut finish, mut blocked) = (None, false);
    for chunk in chunks {
        reply.id = reply.id.or(chunk.id);
        reply.model = reply.model.or(chunk.model);
        reply.usage = chunk.usage.or(reply.usage);
        finish = finish.or(chunk.finish);
        blocked |= chunk.blocked;
        for found in chunk.parts {
            let said = &mut reply.parts;
            parts.say(found, reply.id.as_deref(), &mut |one| add(said, one));
        }
    }
    reply.stop = if blocked && finish.is_none() {
        Stop::Filter
    } else {
        parts.stop(finish)
    };
    Some(reply)
}

/// Adds what was said; texts that follow each other are one.
fn add<'a>(parts: &mut Vec<Part<'a>>, said: Said<'a>) {
    match (said, parts.last_mut()) {
        (Said::Text(more), Some(Part::Text { text, .. })) => text.to_mut().push_str(&more),
        (Said::Text(text), _) => parts.push(Part::Text { text, cache: None }),
        (
            Said::Thought {
                text: more,
                signature: proof,
            },
            Some(Part::Reasoning {
                text,
                signature: signature @ None,
                ..
            }),
        ) => {
            text.to_mut().push_str(&more);
            *signature = proof;
        }
        (Said::Thought { text, signature }, _) => parts.push(Part::Reasoning {
            text,
            signature,
            redacted: false,
        }),
        (
            Said::Call {
                id,
                name,
                arguments,
                signature,
                ..
            },
            _,
        ) => parts.push(Part::ToolCall {
            id,
            name,
            arguments,
            signature,
        }),
        (Said::Media(mime, data), _) => {
            if mime.starts_with("image/") {
                parts.push(Part::Image(Media::Inline { mime, data }));
            } else if mime.starts_with("audio/") {
                parts.push(Part::Audio(Media::Inline { mime, data }));
            }
        }
    }
}

/// Reads a stream. Its end is not said by Google: it is where the stream ends.
#[derive(Default)]
pub(in crate::dialect) struct Events {
    started: bool,
    stopped: bool,
    id: Option<String>,
    parts: Parts,
}

impl EventReader for Events {
    fn read<'e>(&mut self, data: &'e str, emit: &mut dyn FnMut(Event<'e>)) {
        let mut cursor = Cursor::new(data);
        let Some(chunk) = chunk(&mut cursor).filter(|_| cursor.at_end()) else {
            return;
        };
        if let Some(failure) = chunk.failure {
            emit(Event::Failed(failure));
            return;
        }
        if !chunk.answers && chunk.usage.is_none() {
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.id = chunk.id.as_deref().map(str::to_owned);
            emit(Event::Start {
                id: chunk.id,
                model: chunk.model,
                usage: chunk.usage,
            });
        }
        for found in chunk.parts {
            self.parts
                .say(found, self.id.as_deref(), &mut |said| event(said, emit));
        }
        if let Some(usage) = chunk.usage {
            emit(Event::Usage(usage));
        }
        let stop = match chunk.finish {
            Some(_) => Some(self.parts.stop(chunk.finish)),
            None => chunk.blocked.then_some(Stop::Filter),
        };
        if let Some(stop) = stop
            && !std::mem::replace(&mut self.stopped, true)
        {
            emit(Event::Stop(stop));
        }
    }
}

fn event<'e>(said: Said<'e>, emit: &mut dyn FnMut(Event<'e>)) {
    match said {
        Said::Text(text) => emit(Event::Text(text)),
        Said::Thought { text, signature } => emit(Event::Reasoning {
            text,
            signature,
            redacted: false,
        }),
        Said::Call {
            call,
            id,
            name,
            arguments,
            signature,
        } => {
            emit(Event::Call {
                call,
                id,
                name,
                signature,
            });
            emit(Event::Arguments {
                call,
                text: arguments,
            });
        }
        // No event of a stream is a picture.
        Said::Media(..) => {}
    }
}
