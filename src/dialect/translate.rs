//! Which reader and which writer work together: a request on its way out, an answer on its way back.

use super::form::{
    Answering, Conversation, EventReader, EventWriter, Failure, Inexpressible, Writing,
};
use super::{chat, completions, gemini, messages, responses};
use crate::json::Object;
use crate::stream::sse::{Ended, Reader};
use crate::stream::{AnswerKind, Finish};
use crate::wire::Dialect;
use bytes::Bytes;

/// The largest whole answer that is translated, in bytes.
const LARGEST: usize = 64 << 20;

/// Says a checked request of dialect `from` in dialect `to`.
///
/// # Errors
/// The client's field that `to` cannot express, or that cannot be read.
pub fn request(
    from: Dialect,
    to: Dialect,
    object: &Object<'_>,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    let conversation = read(from, object)?;
    match to {
        Dialect::Chat => chat::write_request(&conversation, writing),
        Dialect::Responses => responses::write_request(&conversation, writing),
        Dialect::Messages => messages::write_request(&conversation, writing),
        Dialect::Gemini => gemini::write_request(&conversation, writing),
        Dialect::Completions | Dialect::Embeddings => Err(cannot(from)),
    }
}

fn read<'a>(from: Dialect, object: &Object<'a>) -> Result<Conversation<'a>, Inexpressible> {
    match from {
        Dialect::Chat => chat::read_request(object),
        Dialect::Completions => completions::read_request(object),
        Dialect::Responses => responses::read_request(object),
        Dialect::Messages => messages::read_request(object),
        Dialect::Gemini | Dialect::Embeddings => Err(cannot(from)),
    }
}

fn cannot(from: Dialect) -> Inexpressible {
    let field = if from == Dialect::Embeddings {
        "input"
    } else {
        "model"
    };
    Inexpressible::Field(
        field.to_owned(),
        "is served by a provider that has no such API",
    )
}

/// What a provider's error in dialect `from` says.
pub fn failure(from: Dialect, status: u16, body: &[u8]) -> Failure {
    match from {
        Dialect::Messages => messages::read_failure(status, body),
        Dialect::Gemini => gemini::read_failure(status, body),
        Dialect::Chat | Dialect::Completions | Dialect::Responses | Dialect::Embeddings => {
            chat::read_failure(status, body)
        }
    }
}

/// Says the answer of a provider in the client's dialect.
pub struct Translator {
    from: Dialect,
    to: Dialect,
    answering: Answering,
    shape: Shape,
    finished: bool,
}

enum Shape {
    Whole(Vec<u8>),
    Events {
        split: Reader,
        reader: Box<dyn EventReader>,
        writer: Box<dyn EventWriter>,
        ended: bool,
    },
}

impl Translator {
    /// A translator for an answer that has not begun. `None` for dialects without one.
    pub fn new(from: Dialect, to: Dialect, kind: AnswerKind, answering: Answering) -> Option<Self> {
        let shape = match kind {
            AnswerKind::Json => Shape::Whole(Vec::new()),
            AnswerKind::EventStream => Shape::Events {
                split: Reader::default(),
                reader: reader(from)?,
                writer: writer(to, &answering)?,
                ended: false,
            },
        };
        Some(Self {
            from,
            to,
            answering,
            shape,
            finished: false,
        })
    }

    /// Takes what arrived and gives what can be said of it by now.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        match &mut self.shape {
            Shape::Whole(body) => {
                if body.len() + piece.len() <= LARGEST {
                    body.extend_from_slice(piece);
                }
                Bytes::new()
            }
            Shape::Events {
                split,
                reader,
                writer,
                ended,
            } => {
                let mut out = Vec::with_capacity(piece.len());
                let mut at = 0;
                while let Some(found) = split.next(piece, &mut at) {
                    event(found, reader.as_mut(), writer.as_mut(), ended, &mut out);
                }
                Bytes::from(out)
            }
        }
    }

    /// Whether the answer said that it is complete, so that [`Translator::finish`] may be called
    /// before the upstream closes.
    pub fn at_end(&self) -> bool {
        matches!(self.shape, Shape::Events { ended: true, .. })
    }

    /// Whether [`Translator::finish`] was called.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Ends the answer, which is `complete` or broke off. The place is where metadata of chat
    /// completions may go.
    ///
    /// # Errors
    /// A whole answer that cannot be read.
    pub fn finish(&mut self, complete: bool) -> Result<Finish, Failure> {
        self.finished = true;
        match &mut self.shape {
            Shape::Whole(body) => {
                let body = std::mem::take(body);
                let text = String::from_utf8(body).unwrap_or_default();
                whole(self.from, self.to, &text, &self.answering).map(Finish::of_object)
            }
            Shape::Events {
                split,
                reader,
                writer,
                ended,
            } => {
                let mut before = Vec::new();
                let mut after = Vec::new();
                event(
                    split.finish(),
                    reader.as_mut(),
                    writer.as_mut(),
                    ended,
                    &mut before,
                );
                if complete || *ended {
                    writer.finish(&mut before, &mut after);
                }
                Ok(Finish::of_events(before, after, writer.takes_chunk()))
            }
        }
    }
}

fn event(
    found: Ended<'_>,
    reader: &mut dyn EventReader,
    writer: &mut dyn EventWriter,
    ended: &mut bool,
    out: &mut Vec<u8>,
) {
    let Ended::Data(data) = found else { return };
    let Ok(text) = std::str::from_utf8(data.trim_ascii()) else {
        return;
    };
    if text.is_empty() || *ended {
        return;
    }
    reader.read(text, &mut |event| {
        if *ended {
            return;
        }
        *ended = matches!(event, super::form::Event::End);
        writer.write(&event, out);
    });
}

fn whole(
    from: Dialect,
    to: Dialect,
    text: &str,
    answering: &Answering,
) -> Result<Vec<u8>, Failure> {
    let reply = match from {
        Dialect::Chat => chat::read_reply(text),
        Dialect::Responses => responses::read_reply(text),
        Dialect::Messages => messages::read_reply(text),
        Dialect::Gemini => gemini::read_reply(text),
        Dialect::Completions | Dialect::Embeddings => None,
    };
    let reply = reply.ok_or_else(|| Failure {
        message: "The upstream provider's answer cannot be read".to_owned(),
        ..Failure::default()
    })?;
    Ok(match to {
        Dialect::Completions => completions::write_reply(&reply, answering),
        Dialect::Responses => responses::write_reply(&reply, answering),
        Dialect::Messages => messages::write_reply(&reply, answering),
        Dialect::Chat | Dialect::Gemini | Dialect::Embeddings => {
            chat::write_reply(&reply, answering)
        }
    })
}

fn reader(from: Dialect) -> Option<Box<dyn EventReader>> {
    match from {
        Dialect::Chat => Some(Box::new(chat::Events::default())),
        Dialect::Responses => Some(Box::new(responses::Events::default())),
        Dialect::Messages => Some(Box::new(messages::Events::default())),
        Dialect::Gemini => Some(Box::new(gemini::Events::default())),
        Dialect::Completions | Dialect::Embeddings => None,
    }
}

fn writer(to: Dialect, answering: &Answering) -> Option<Box<dyn EventWriter>> {
    let answering = answering.clone();
    match to {
        Dialect::Chat => Some(Box::new(chat::Chunks::new(answering))),
        Dialect::Completions => Some(Box::new(completions::Chunks::new(answering))),
        Dialect::Responses => Some(Box::new(responses::Stream::new(answering))),
        Dialect::Messages => Some(Box::new(messages::Stream::new(answering))),
        Dialect::Gemini | Dialect::Embeddings => None,
    }
}
