//! Events that differ from each other in one piece of text only, as nearly all of a stream do.
//!
//! Decides whether an event is like the one before it, so that it need not be read as JSON again.

use super::{Event, Events, Piece};
use crate::guard::screen::judge::Judge;
use crate::guard::screen::rewrite::Data;
use crate::guard::screen::walk::Walk;
use crate::json;
use std::ops::Range;

/// An event that has one piece of text and says nothing else: only that piece differs from the next one of
/// its kind.
pub(super) struct Shape {
    before: Vec<u8>,
    after: Vec<u8>,
    /// Where the data are in `before`.
    data: usize,
    /// How much of `after` is data.
    tail: usize,
    stream: usize,
}

impl Events {
    /// Remembers an event with one piece of text and nothing else to be searched.
    pub(super) fn learn(&mut self, raw: &[u8], data: &Data, walk: &Walk, event: &Event) {
        let (Data::Line(data), [piece]) = (data, &event.pieces[..]) else {
            return;
        };
        if !event.changes.is_empty()
            || walk.all_ended
            || !walk.ended.is_empty()
            || !walk.logprobs.is_empty()
        {
            return;
        }
        let (start, end) = (data.start + piece.at.start, data.start + piece.at.end);
        self.shape = Some(Shape {
            before: raw[..start].to_vec(),
            after: raw[end..].to_vec(),
            data: data.start,
            tail: data.end - end,
            stream: piece.stream,
        });
    }

    /// Takes in an event that differs from the last one of its kind in one piece of text only: that piece, and
    /// where the data of the event are.
    pub(super) fn of_shape(
        &mut self,
        raw: &[u8],
        judge: &mut Judge,
    ) -> Option<(Piece, Range<usize>)> {
        let shape = self.shape.as_ref()?;
        let tail = raw.len().checked_sub(shape.after.len())?;
        let inner = raw.get(shape.before.len()..tail)?;
        if !raw.starts_with(&shape.before) || !raw.ends_with(&shape.after) {
            return None;
        }
        let inner = std::str::from_utf8(inner)
            .ok()
            .filter(|inner| is_inner(inner))?;
        let stream = &mut self.streams[shape.stream];
        let start = stream.length();
        stream.push(&json::unescape(inner), judge);
        let text = Piece {
            stream: shape.stream,
            span: start..stream.length(),
            at: shape.before.len() - shape.data..tail - shape.data,
        };
        let data = shape.data..tail + shape.tail;
        self.grow_idle(std::slice::from_ref(&text), judge);
        Some((text, data))
    }
}

/// Whether this is the inside of one JSON string.
fn is_inner(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\') || *byte < b' ')
    {
        at += found;
        if bytes[at] != b'\\' {
            return false;
        }
        at += 2;
        if at > bytes.len() {
            return false;
        }
    }
    true
}
