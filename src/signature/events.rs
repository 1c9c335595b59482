//! Signing the chunks of a stream while it passes, in the `titan` scheme.
//!
//! Decides where in the bytes of an event a signature goes: the chunk's object gets two members more
//! before its last brace, and nothing else changes. An event that is no chunk (`[DONE]`, an error, the
//! amounts at the end, a comment) passes as it is. At most one event is held, and one with more data than
//! [`EVENT_LIMIT`] passes unsigned.

use super::Key;
use super::content::{document, with_member};
use super::titan::{CHUNK, Statement};
use crate::stream::sse::{EVENT_LIMIT, Ended, Reader};
use bytes::Bytes;
use memchr::{memchr2, memrchr};
use std::sync::Arc;

/// A stream on its way.
pub(super) struct Chunks {
    key: Arc<Key>,
    reader: Reader,
    /// The current event, as far as it has arrived.
    held: Vec<u8>,
    /// Whether the head of the current event went on already, because it is too large.
    large: bool,
    writer: Writer,
}

/// What puts signatures in.
struct Writer {
    /// The number of the next chunk.
    seq: u64,
    statement: Statement,
}

/// What becomes of an event.
enum Change {
    /// These members go before the last brace.
    Insert(String),
    /// The object is written anew: it has such members already, or stands on several lines.
    Rewrite(String),
}

impl Chunks {
    pub(super) fn new(key: Arc<Key>) -> Self {
        Self {
            key,
            reader: Reader::default(),
            held: Vec::new(),
            large: false,
            writer: Writer {
                seq: 0,
                statement: Statement::new(),
            },
        }
    }

    /// Takes what arrived and gives what may go on: whole events.
    pub(super) fn push(&mut self, piece: &Bytes) -> Bytes {
        let Self {
            key,
            reader,
            held,
            large,
            writer,
        } = self;
        let mut out = Vec::with_capacity(held.len() + piece.len() + 128);
        let (mut event, mut at) = (0, 0);
        while let Some(ended) = reader.next(piece, &mut at) {
            let tail = &piece[event..at];
            match ended {
                Ended::Data(data) if !*large => {
                    if held.is_empty() {
                        writer.event(key, data, tail, &mut out);
                    } else {
                        held.extend_from_slice(tail);
                        writer.event(key, data, held, &mut out);
                        held.clear();
                    }
                }
                _ => {
                    out.append(held);
                    out.extend_from_slice(tail);
                    *large = false;
                }
            }
            event = at;
        }
        let rest = &piece[event..];
        if *large || held.len() + rest.len() > EVENT_LIMIT {
            out.append(held);
            out.extend_from_slice(rest);
            *held = Vec::new();
            *large = true;
        } else {
            held.extend_from_slice(rest);
        }
        Bytes::from(out)
    }

    /// The end of the stream: an event that no empty line ended is signed as well, because there are
    /// clients that read it.
    pub(super) fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len() + 128);
        match self.reader.finish() {
            Ended::Data(data) if !self.large => self.writer.event(&self.key, data, &held, &mut out),
            _ => out.extend_from_slice(&held),
        }
        Bytes::from(out)
    }
}

impl Writer {
    /// Writes the event whose bytes are `raw`, signed when it is a chunk.
    fn event(&mut self, key: &Key, data: &[u8], raw: &[u8], out: &mut Vec<u8>) {
        let text = std::str::from_utf8(data).ok();
        let Some(change) = text.and_then(|text| self.change(key, text, raw)) else {
            out.extend_from_slice(raw);
            return;
        };
        match change {
            Change::Insert(members) => {
                // The only data line ends with the object's brace; other lines may follow.
                let end = lines(raw)
                    .find(|line| is_data(line.text))
                    .map(|line| line.end);
                let brace = memrchr(b'}', &raw[..end.unwrap_or(raw.len())]).unwrap_or(raw.len());
                out.extend_from_slice(&raw[..brace]);
                out.extend_from_slice(members.as_bytes());
                out.extend_from_slice(&raw[brace..]);
            }
            Change::Rewrite(object) => {
                let mut written = false;
                for line in lines(raw) {
                    if !is_data(line.text) {
                        out.extend_from_slice(line.whole);
                    } else if !std::mem::replace(&mut written, true) {
                        out.extend_from_slice(b"data: ");
                        out.extend_from_slice(object.as_bytes());
                        out.extend_from_slice(&line.whole[line.text.len()..]);
                    }
                }
            }
        }
    }

    fn change(&mut self, key: &Key, text: &str, raw: &[u8]) -> Option<Change> {
        let found = document(text, &CHUNK)?;
        let signature = key.sign(self.statement.of(found.choices?, self.seq)?.as_bytes());
        let [name, number] = CHUNK;
        let seq = self.seq;
        let members = format!("\"{name}\":\"{signature}\",\"{number}\":{seq}");
        let single = lines(raw).filter(|line| is_data(line.text)).count() == 1;
        let change = if found.taken || !single {
            Change::Rewrite(with_member(text, &CHUNK, &members)?)
        } else {
            Change::Insert(format!(",{members}"))
        };
        self.seq += 1;
        Some(change)
    }
}

struct Line<'a> {
    /// The line with what ends it.
    whole: &'a [u8],
    /// The line without.
    text: &'a [u8],
    /// The offset at which the text ends.
    end: usize,
}

fn lines(raw: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = raw.get(at..).filter(|rest| !rest.is_empty())?;
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let ending = match &rest[length..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        let line = Line {
            whole: &rest[..length + ending],
            text: &rest[..length],
            end: at + length,
        };
        at += length + ending;
        Some(line)
    })
}

fn is_data(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    line.strip_prefix(b"data")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b':')))
}

/// Hands the data of every event to `each`, that of an unfinished one at the end included.
///
/// # Errors
/// The first of `each`.
pub(super) fn data_events<E>(
    body: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::default();
    let mut at = 0;
    while let Some(ended) = reader.next(body, &mut at) {
        if let Ended::Data(data) = ended {
            each(data)?;
        }
    }
    match reader.finish() {
        Ended::Data(data) => each(data),
        _ => Ok(()),
    }
}
