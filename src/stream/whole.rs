//! The bytes of a JSON answer: passed on as they come, but for the brace that closes it.

use bytes::Bytes;

use super::book::Book;
use super::meter::{Finish, Place};
use super::sparse::Sparse;

/// The largest answer that is kept to be read at its end.
const KEEP_LIMIT: usize = 16 << 20;

/// The most white space that is held with the closing brace.
const HOLD_LIMIT: usize = 4 << 10;

/// A JSON answer on its way.
pub(super) struct Whole {
    insert: bool,
    /// The answer so far, while it is small enough.
    kept: Kept,
    bytes: u64,
    /// A `}` that may be the last, and white space after it.
    held: Bytes,
}

/// What was kept of an answer. Most arrive in one piece and are never copied.
enum Kept {
    Nothing,
    One(Bytes),
    Copy(Vec<u8>),
    TooMuch,
    /// Of an answer that is mostly arrays of numbers: the rest.
    Sparse(Sparse),
}

impl Whole {
    /// `sparse` when nothing in an array of the answer has to be read.
    pub(super) fn new(insert: bool, sparse: bool) -> Self {
        Self {
            insert,
            kept: if sparse {
                Kept::Sparse(Sparse::default())
            } else {
                Kept::Nothing
            },
            bytes: 0,
            held: Bytes::new(),
        }
    }

    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        self.keep(&piece);
        if !self.insert || piece.is_empty() {
            return piece;
        }
        let last = piece.iter().rposition(|byte| !byte.is_ascii_whitespace());
        match last {
            None if self.held.is_empty() => piece,
            None if self.held.len() + piece.len() <= HOLD_LIMIT => {
                self.held = join(&self.held, &piece);
                Bytes::new()
            }
            None => join(&std::mem::take(&mut self.held), &piece),
            Some(at) if piece[at] == b'}' && piece.len() - at <= HOLD_LIMIT => {
                let before = std::mem::replace(&mut self.held, piece.slice(at..));
                join(&before, &piece.slice(..at))
            }
            Some(_) => join(&std::mem::take(&mut self.held), &piece),
        }
    }

    fn keep(&mut self, piece: &Bytes) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if piece.is_empty() {
            return;
        }
        if let Kept::Sparse(sparse) = &mut self.kept {
            sparse.push(piece);
            return;
        }
        let kept = std::mem::replace(&mut self.kept, Kept::TooMuch);
        self.kept = match kept {
            _ if self.bytes > KEEP_LIMIT as u64 => Kept::TooMuch,
            Kept::Nothing => Kept::One(piece.clone()),
            Kept::One(first) => Kept::Copy([&first, &piece[..]].concat()),
            Kept::Copy(mut copy) => {
                copy.extend_from_slice(piece);
                Kept::Copy(copy)
            }
            Kept::TooMuch | Kept::Sparse(_) => Kept::TooMuch,
        };
    }

    pub(super) fn finish(&mut self, book: &mut Book) -> Finish {
        let kept = match std::mem::replace(&mut self.kept, Kept::Nothing) {
            Kept::Sparse(sparse) => Kept::Copy(sparse.finish()),
            kept => kept,
        };
        let body: &[u8] = match &kept {
            Kept::Nothing => b"",
            Kept::One(piece) => piece,
            Kept::Copy(copy) => copy,
            Kept::TooMuch | Kept::Sparse(_) => {
                book.unread(self.bytes);
                b""
            }
        };
        let document = if body.is_empty() {
            None
        } else {
            book.answer(body)
        };
        let mut finish = Finish::nothing();
        finish.after = std::mem::take(&mut self.held);
        if let Some(document) = document
            && !finish.after.is_empty()
        {
            finish.place = Place::Member;
            finish.gap = if document.empty { "" } else { "," };
        }
        finish
    }
}

fn join(first: &Bytes, second: &Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.clone(),
        (_, true) => first.clone(),
        _ => Bytes::from([&first[..], &second[..]].concat()),
    }
}
