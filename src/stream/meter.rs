//! The meter of one answer.
//!
//! Decides what an answer says about itself and which of its bytes may go on now. It does not
//! decide what is charged, nor what is put in: that is the caller's, between [`Meter::finish`] and
//! [`Finish::with`].
//!
//! Bytes are held back only where a change may have to be made: with neither option set, everything
//! goes on at once and untouched. Otherwise a stream's current event is held until it is complete
//! (clients can do nothing with less), and `data: [DONE]` until [`Meter::finish`]; of a JSON answer
//! the closing brace is held.

use bytes::Bytes;

use super::book::{Book, Tongue};
use super::events::Events;
use super::whole::Whole;

use crate::money::Nanos;
use crate::usage::Usage;
use crate::wire::Dialect;

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// One JSON object.
    Json,
    /// Server-sent events.
    EventStream,
}

/// What a meter does besides reading.
#[derive(Clone, Copy, Debug)]
pub struct MeterOptions {
    /// What the answer is written in.
    pub dialect: Dialect,
    /// Take the usage-only chunk out of a stream: the client did not ask for it. Only OpenAI's
    /// dialects have one; the others always pass as they are, whatever is set here and below.
    pub strip_usage_chunk: bool,
    /// Hold back the end of the answer, so that something can be put before it: an event before
    /// `data: [DONE]`, or a member before the closing brace.
    pub insert_before_done: bool,
    /// Counts the tokens of a text.
    pub count: fn(&str) -> u64,
    /// Keep so many bytes of the answer's text, for [`Meter::take_text`].
    pub keep: usize,
}

impl Default for MeterOptions {
    /// Reads only, and counts four bytes as a token.
    fn default() -> Self {
        Self {
            dialect: Dialect::Chat,
            strip_usage_chunk: false,
            insert_before_done: false,
            count: |text| u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX),
            keep: 0,
        }
    }
}

/// What an answer said about itself. Complete after [`Meter::finish`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The answer's identifier.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// When the answer was created, in Unix seconds, as the provider says.
    pub created: Option<u64>,
    /// The token counts of the last usage that could be believed.
    pub usage: Option<Usage>,
    /// Whether the output in that usage is not to be counted on: it was only begun when the answer
    /// broke off. The other counts hold.
    pub output_open: bool,
    /// The provider's own total in that usage.
    pub total_tokens: Option<u64>,
    /// What OpenRouter charges, by that usage; `None` when it says nothing believable. Zero is a
    /// price.
    pub cost: Option<Nanos>,
    /// What the upstream provider charges, by that usage.
    pub upstream_cost: Option<Nanos>,
    /// Whether the upstream provider bills an account of the client's own: then [`Self::cost`] is
    /// OpenRouter's fee only, and [`Self::upstream_cost`] comes on top.
    pub is_byok: bool,
    /// Whether a usage was ignored because it cannot be true.
    pub usage_invalid: bool,
    /// Our own count of all that was generated: text, reasoning, refusals, tool calls,
    /// transcripts. Up to 8 KiB behind until [`Meter::finish`].
    pub own_output: u64,
    /// Whether anything was generated.
    pub saw_content: bool,
    /// Whether the answer said that it is complete.
    pub done: bool,
    /// The last error the answer carried, at most 300 bytes of the provider's words: not for logs
    /// before secrets are redacted.
    pub error: Option<String>,
    /// Bytes that arrived.
    pub bytes: u64,
}

/// Where something may be put into an answer, at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the answer is no JSON object, its end is out already, or nothing was to be put in.
    Nowhere,
    /// A whole event with its empty line.
    Event,
    /// A member of the JSON object, `"key":value` without a comma.
    Member,
}

/// The end of an answer: what was held back, around the place for something more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// What may be put between [`Self::before`] and [`Self::after`]; [`Self::with`] does it.
    pub place: Place,
    /// What comes first.
    pub before: Bytes,
    /// What comes last: `data: [DONE]`, the closing brace, or nothing.
    pub after: Bytes,
    /// What must stand between `before` and something put in: what an unfinished event lacks, or a
    /// comma.
    pub(super) gap: &'static str,
    /// `before` is a part of an event that cannot be read. It goes on when nothing is put in; else
    /// it is discarded, as the standard tells clients to.
    pub(super) broken: bool,
}

impl Finish {
    pub(super) const fn nothing() -> Self {
        Self {
            place: Place::Nowhere,
            before: Bytes::new(),
            after: Bytes::new(),
            gap: "",
            broken: false,
        }
    }

    /// The end of a JSON object: its last brace is held, so that a member can be put in.
    pub(crate) fn of_object(object: Vec<u8>) -> Self {
        let mut before = Bytes::from(object);
        let after = before.split_off(before.len().saturating_sub(1));
        Self {
            place: Place::Member,
            gap: if before.len() <= 1 { "" } else { "," },
            before,
            after,
            broken: false,
        }
    }

    /// The end of a stream of whole events.
    pub(crate) fn of_events(before: Vec<u8>, after: Vec<u8>, takes_chunk: bool) -> Self {
        Self {
            place: if takes_chunk {
                Place::Event
            } else {
                Place::Nowhere
            },
            before: before.into(),
            after: after.into(),
            gap: "",
            broken: false,
        }
    }

    /// All that was held back, with `last` (which must fit [`Self::place`]) in its place; `None` to
    /// put nothing in. What has no place is left out.
    #[must_use]
    pub fn with(self, last: Option<&[u8]>) -> Bytes {
        let last = last.filter(|_| self.place != Place::Nowhere);
        let parts: [&[u8]; 4] = match last {
            None if self.after.is_empty() => return self.before,
            None if self.before.is_empty() => return self.after,
            None => [&self.before, b"", b"", &self.after],
            Some(last) if self.broken => [b"", b"", last, &self.after],
            Some(last) => [&self.before, self.gap.as_bytes(), last, &self.after],
        };
        Bytes::from(parts.concat())
    }
}

enum Framing {
    Events(Box<Events>),
    Whole(Box<Whole>),
}

/// Reads one answer while it passes.
pub struct Meter {
    framing: Framing,
    book: Book,
    finished: bool,
}

impl Meter {
    /// A meter for an answer that has not begun.
    pub fn new(kind: AnswerKind, options: MeterOptions) -> Self {
        let MeterOptions {
            strip_usage_chunk,
            insert_before_done,
            count,
            dialect,
            keep,
        } = options;
        let tongue = Tongue::of(dialect);
        let change = tongue.is_openai();
        let (strip, insert) = (change && strip_usage_chunk, change && insert_before_done);
        let framing = match kind {
            AnswerKind::EventStream => Framing::Events(Box::new(Events::new(strip, insert))),
            AnswerKind::Json => {
                let sparse = tongue.is_mute();
                Framing::Whole(Box::new(Whole::new(insert, sparse)))
            }
        };
        let book = Book::new(tongue, strip, count, keep);
        Self {
            framing,
            book,
            finished: false,
        }
    }

    /// Takes what arrived and returns what may be passed on now: the same bytes, uncopied, unless
    /// something was taken out or was held back before. Empty when there is nothing to pass on yet.
    ///
    /// After [`Self::finish`] everything goes on unread.
    #[must_use]
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.book.reading.bytes = self.book.reading.bytes.saturating_add(size);
        if self.finished {
            return piece;
        }
        let out = match &mut self.framing {
            Framing::Events(events) => events.push(piece, &mut self.book),
            Framing::Whole(whole) => whole.push(piece),
        };
        self.book.update();
        out
    }

    /// Whether `data: [DONE]` has arrived and is held back. It is time to call [`Self::finish`]:
    /// the upstream may leave the connection open for long, and the client waits for that line.
    pub fn at_done(&self) -> bool {
        match &self.framing {
            Framing::Events(events) => !self.finished && events.at_done(),
            Framing::Whole(_) => false,
        }
    }

    /// Whether [`Self::finish`] was called.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// What was learned so far.
    pub fn reading(&self) -> &Reading {
        &self.book.reading
    }

    /// The beginning of the first choice's text, as far as it was to be kept and has arrived.
    pub fn take_text(&mut self) -> String {
        self.book.text_kept()
    }

    /// Ends the reading, at [`Self::at_done`], at the end of the answer or where it broke off: reads
    /// what is left, after which [`Self::reading`] is complete, and gives back what was held.
    /// Nothing more is held when called again.
    pub fn finish(&mut self) -> Finish {
        if std::mem::replace(&mut self.finished, true) {
            return Finish::nothing();
        }
        let finish = match &mut self.framing {
            Framing::Events(events) => events.finish(&mut self.book),
            Framing::Whole(whole) => whole.finish(&mut self.book),
        };
        self.book.finish();
        finish
    }
}

#[cfg(test)]
mod tests;
