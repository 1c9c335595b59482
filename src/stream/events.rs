//! The bytes of an event stream: which go on, which wait, which are taken out.

use bytes::Bytes;

use super::book::{Book, Fate};
use super::meter::{Finish, Place};
use super::sse::{self, EVENT_LIMIT, Ended, Reader};

/// The most that is kept of what follows a held `[DONE]`.
const TAIL_LIMIT: usize = 16 << 10;

/// An event stream on its way.
pub(super) struct Events {
    reader: Reader,
    hold: bool,
    insert: bool,
    /// The current event, as far as it has arrived.
    held: Vec<u8>,
    /// The size of the current event in earlier pieces, in bytes; unlike `held` it also counts what
    /// went on.
    size: usize,
    /// What became of the event that ended last.
    last: Fate,
    /// `[DONE]` and all that followed, while it is held.
    done: Option<Vec<u8>>,
}

impl Events {
    pub(super) fn new(strip: bool, insert: bool) -> Self {
        Self {
            reader: Reader::default(),
            hold: strip || insert,
            insert,
            held: Vec::new(),
            size: 0,
            last: Fate::Pass,
            done: None,
        }
    }

    pub(super) const fn at_done(&self) -> bool {
        self.done.is_some()
    }

    /// The memory that is kept, in bytes.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.held.capacity() + self.done.as_ref().map_or(0, Vec::capacity) + self.reader.kept()
    }

    pub(super) fn push(&mut self, piece: Bytes, book: &mut Book) -> Bytes {
        if self.done.is_some() {
            return self.after_done(&piece);
        }
        if !self.hold {
            let mut at = 0;
            while let Some(ended) = self.reader.next(&piece, &mut at) {
                book.event(ended);
            }
            return piece;
        }
        let mut out = Vec::new();
        // What goes on next, and where the current event begins.
        let (mut from, mut event, mut at) = (0, 0, 0);
        while let Some(ended) = self.reader.next(&piece, &mut at) {
            let fate = match ended {
                Ended::LineFeed => self.last,
                ended => book.event(ended),
            };
            // The head of a large event is out already, or would be had it come in pieces.
            let large = self.size + (at - event) > EVENT_LIMIT;
            match fate {
                Fate::Remove if !large => {
                    out.extend_from_slice(&piece[from..event]);
                    self.held.extend_from_slice(&piece[event..at]);
                    out.extend(sse::comments(&self.held));
                    self.held = Vec::new();
                    self.last = Fate::Remove;
                    from = at;
                }
                Fate::Done if !large && self.insert => {
                    let mut done = std::mem::take(&mut self.held);
                    done.extend_from_slice(&piece[event..]);
                    self.done = Some(done);
                    return join(out, &piece, from, event);
                }
                _ => {
                    out.append(&mut self.held);
                    self.last = Fate::Pass;
                }
            }
            self.size = 0;
            event = at;
        }
        self.size = self.size.saturating_add(piece.len() - event);
        if self.size > EVENT_LIMIT {
            out.append(&mut self.held);
            self.held = Vec::new();
            return join(out, &piece, from, piece.len());
        }
        self.held.extend_from_slice(&piece[event..]);
        join(out, &piece, from, event)
    }

    /// Keeps what follows `[DONE]`. Nobody needs it, so when it grows long, because the caller did
    /// not finish, all of it goes on.
    fn after_done(&mut self, piece: &[u8]) -> Bytes {
        let Some(done) = &mut self.done else {
            return Bytes::new();
        };
        done.extend_from_slice(piece);
        if done.len() <= TAIL_LIMIT {
            return Bytes::new();
        }
        self.hold = false;
        Bytes::from(self.done.take().unwrap_or_default())
    }

    pub(super) fn finish(&mut self, book: &mut Book) -> Finish {
        let mut finish = Finish::nothing();
        if let Some(done) = self.done.take() {
            finish.place = Place::Event;
            finish.after = done.into();
            return finish;
        }
        let in_line = self.reader.in_line();
        let large = self.size > EVENT_LIMIT;
        let fate = book.event(self.reader.finish());
        if !self.hold {
            return finish;
        }
        let held = std::mem::take(&mut self.held);
        finish.place = Place::Event;
        match fate {
            _ if large => finish.place = Place::Nowhere,
            Fate::Remove => finish.before = sse::comments(&held).into(),
            Fate::Done => finish.after = held.into(),
            _ => {
                finish.broken = fate == Fate::Broken;
                finish.gap = match (held.is_empty(), in_line) {
                    (true, _) => "",
                    (false, true) => "\n\n",
                    (false, false) => "\n",
                };
                finish.before = held.into();
            }
        }
        if !self.insert || book.is_over() && finish.after.is_empty() {
            finish.place = Place::Nowhere;
        }
        finish
    }
}

/// `out`, followed by a part of `piece`; uncopied when `out` is empty.
fn join(mut out: Vec<u8>, piece: &Bytes, from: usize, to: usize) -> Bytes {
    if out.is_empty() {
        return piece.slice(from..to);
    }
    out.extend_from_slice(&piece[from..to]);
    out.into()
}
