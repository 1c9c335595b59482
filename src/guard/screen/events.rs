//! The events of a stream: which leave now, and which wait.
//!
//! Decides the order, which never changes, but that comments need not wait. An event waits as long as a part
//! of its text does, or an event before it.

mod out;
mod shape;

use self::out::Out;
use self::shape::Shape;
use super::PATIENCE;
use super::judge::Judge;
use super::rewrite::{self, Data, Part};
use super::stream::Stream;
use super::walk::{Leaf, Walk, walk};
use super::whole;
use crate::json;
use crate::stream::sse::{Ended, Reader};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// The largest event that is read, in bytes.
const LARGEST: usize = 8 << 20;

/// For how many events one with a piece of another name counts.
const CHANGED: u32 = 4;

/// The most texts that are followed at once.
const STREAMS: usize = 1024;

/// A stream of events on its way.
pub(super) struct Events {
    reader: Reader,
    acts: bool,
    /// What has come of the current event.
    partial: Vec<u8>,
    /// The current event is too large to be read.
    oversize: bool,
    queue: VecDeque<Event>,
    streams: Vec<Stream>,
    /// What the last plain event looked like.
    shape: Option<Shape>,
    finished: bool,
}

/// An event that waits.
struct Event {
    raw: Vec<u8>,
    data: Data,
    pieces: Vec<Piece>,
    /// Changes that are known already.
    changes: Vec<(Range<usize>, Part)>,
    walk: Option<Walk>,
}

/// A piece of a text that goes on.
#[derive(Clone)]
struct Piece {
    stream: usize,
    /// Where it is in the whole text.
    span: Range<usize>,
    /// Where it is in the data, without its quotation marks.
    at: Range<usize>,
}

impl Events {
    pub(super) fn new(acts: bool) -> Self {
        Self {
            reader: Reader::default(),
            acts,
            partial: Vec::new(),
            oversize: false,
            queue: VecDeque::new(),
            streams: Vec::new(),
            shape: None,
            finished: false,
        }
    }

    pub(super) fn push(&mut self, piece: Bytes, judge: &mut Judge) -> Bytes {
        if judge.refused().is_some() {
            return Bytes::new();
        }
        let mut out = Out::new(&piece);
        let (mut begun, mut at) = (0, 0);
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(ended) = reader.next(&piece, &mut at) {
            if matches!(ended, Ended::LineFeed) {
                match self.queue.back_mut() {
                    Some(event) => event.raw.push(b'\n'),
                    None => out.put(b"\n", Some(begun..at)),
                }
            } else if self.partial.is_empty() {
                self.event(&piece[begun..at], Some(begun..at), &mut out, judge);
            } else {
                let mut raw = std::mem::take(&mut self.partial);
                raw.extend_from_slice(&piece[begun..at]);
                self.event(&raw, None, &mut out, judge);
            }
            begun = at;
            if judge.refused().is_some() {
                self.drop_all();
                self.reader = reader;
                let done = out.done();
                return self.leaving(done, piece);
            }
        }
        self.reader = reader;
        self.keep(&piece[begun..]);
        let done = out.done();
        self.leaving(done, piece)
    }

    pub(super) fn finish(&mut self, judge: &mut Judge) -> Bytes {
        if std::mem::replace(&mut self.finished, true) || judge.refused().is_some() {
            return Bytes::new();
        }
        let nothing = Bytes::new();
        let mut out = Out::new(&nothing);
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() || self.oversize {
            self.event(&partial, None, &mut out, judge);
        }
        self.flush(judge, |_| true);
        if judge.refused().is_none() {
            self.release(&mut out);
        }
        if judge.refused().is_some() || !self.acts {
            self.drop_all();
            return Bytes::new();
        }
        out.done()
    }

    /// What leaves, where answers may be changed; else all that came.
    fn leaving(&self, done: Bytes, piece: Bytes) -> Bytes {
        if self.acts { done } else { piece }
    }

    fn drop_all(&mut self) {
        self.queue = VecDeque::new();
        self.partial = Vec::new();
        self.streams = Vec::new();
        self.shape = None;
    }

    /// Keeps what has come of an event.
    fn keep(&mut self, part: &[u8]) {
        if self.partial.len() + part.len() > LARGEST {
            self.oversize = true;
            self.partial = Vec::new();
        } else if !self.oversize {
            self.partial.extend_from_slice(part);
        }
    }

    /// A whole event, which is at `place` of the piece unless it began earlier.
    fn event(
        &mut self,
        raw: &[u8],
        place: Option<Range<usize>>,
        out: &mut Out<'_>,
        judge: &mut Judge,
    ) {
        if std::mem::take(&mut self.oversize) || raw.len() > LARGEST {
            judge.unreadable();
            return;
        }
        if let Some((text, data)) = self.of_shape(raw, judge) {
            if judge.refused().is_some() {
                return;
            }
            if self.queue.is_empty() && !self.waits(&text) && !self.changes(&text) {
                out.put(raw, place);
                return;
            }
            self.queue.push_back(Event {
                raw: raw.to_vec(),
                data: Data::Line(data),
                pieces: vec![text],
                changes: Vec::new(),
                walk: None,
            });
            self.release(out);
            return;
        }
        let data = rewrite::data(raw);
        let text = match &data {
            Data::None if rewrite::is_comment(raw) => {
                out.put(raw, place);
                return;
            }
            Data::None => Some(""),
            Data::Line(at) => std::str::from_utf8(&raw[at.clone()]).ok(),
            Data::Lines(lines) => std::str::from_utf8(lines).ok(),
        };
        let Some(text) = text else {
            judge.unreadable();
            return;
        };
        let mut event = Event {
            raw: Vec::new(),
            data: Data::None,
            pieces: Vec::new(),
            changes: Vec::new(),
            walk: None,
        };
        if text.trim() == "[DONE]" {
            self.flush(judge, |_| true);
        } else if !matches!(data, Data::None) {
            let Some(walk) = walk(text) else {
                judge.unreadable();
                return;
            };
            event.changes = whole::alone(text, &walk, judge, |leaf| leaf.piece_of.is_none());
            for leaf in &walk.leaves {
                if let Some(key) = leaf.piece_of {
                    let value = json::unescape(&text[leaf.at.clone()]);
                    let Some(stream) = self.stream(leaf, key, judge) else {
                        judge.unreadable();
                        return;
                    };
                    event
                        .pieces
                        .push(self.piece(stream, &value, leaf.at.clone(), judge));
                }
            }
            if walk.all_ended {
                self.flush(judge, |_| true);
            } else {
                for group in &walk.ended {
                    self.flush(judge, |stream| stream.group == *group);
                }
            }
            self.learn(raw, &data, &walk, &event);
            event.walk = Some(walk);
        }
        self.grow_idle(&event.pieces, judge);
        if judge.refused().is_some() {
            return;
        }
        let waits = event.pieces.iter().any(|piece| self.waits(piece));
        let changes =
            !event.changes.is_empty() || event.pieces.iter().any(|piece| self.changes(piece));
        if self.queue.is_empty() && !waits && !changes {
            out.put(raw, place);
            return;
        }
        raw.clone_into(&mut event.raw);
        event.data = data;
        self.queue.push_back(event);
        self.release(out);
    }

    /// The text with this key, which may be new. `None` when there are too many.
    fn stream(&mut self, leaf: &Leaf, key: u64, judge: &Judge) -> Option<usize> {
        let known = self.streams.iter().position(|stream| stream.key == key);
        known.or_else(|| {
            (self.streams.len() < STREAMS).then(|| {
                self.streams.push(Stream::new(leaf, key, judge));
                self.streams.len() - 1
            })
        })
    }

    /// Takes a piece of a text in.
    fn piece(&mut self, stream: usize, value: &str, at: Range<usize>, judge: &mut Judge) -> Piece {
        let text = &mut self.streams[stream];
        let start = text.length();
        text.push(value, judge);
        Piece {
            stream,
            span: start..text.length(),
            at,
        }
    }

    fn waits(&self, piece: &Piece) -> bool {
        self.streams[piece.stream].decided() < piece.span.end
    }

    fn changes(&self, piece: &Piece) -> bool {
        self.streams[piece.stream].changes(&piece.span)
    }

    fn flush(&mut self, judge: &mut Judge, which: impl Fn(&Stream) -> bool) {
        for stream in self.streams.iter_mut().filter(|stream| which(stream)) {
            stream.flush(judge);
        }
    }

    /// Counts an event against the texts that wait, and ends the waiting of those that waited for too many.
    /// Pieces with another name count more: who answers has stopped thinking.
    fn grow_idle(&mut self, pieces: &[Piece], judge: &mut Judge) {
        if self.queue.is_empty() {
            return;
        }
        for index in 0..self.streams.len() {
            let stream = &self.streams[index];
            if !stream.waits() {
                continue;
            }
            let other = pieces.iter().any(|piece| {
                let said = &self.streams[piece.stream];
                said.group == stream.group && said.name != stream.name
            });
            let stream = &mut self.streams[index];
            stream.idle += if other { CHANGED } else { 1 };
            if stream.idle > PATIENCE {
                stream.flush(judge);
            }
        }
    }

    /// Lets go what need not wait any longer.
    fn release(&mut self, out: &mut Out<'_>) {
        while let Some(event) = self.queue.front() {
            if event.pieces.iter().any(|piece| self.waits(piece)) {
                return;
            }
            let Some(event) = self.queue.pop_front() else {
                return;
            };
            let raw = self.written(event);
            out.put(&raw, None);
        }
    }

    /// The event as it leaves.
    fn written(&mut self, event: Event) -> Vec<u8> {
        let Event {
            raw,
            data,
            pieces,
            mut changes,
            walk,
        } = event;
        let changed = !changes.is_empty() || pieces.iter().any(|piece| self.changes(piece));
        let line = match &data {
            Data::Line(at) => std::str::from_utf8(&raw[at.clone()]).unwrap_or_default(),
            Data::Lines(lines) => std::str::from_utf8(lines).unwrap_or_default(),
            Data::None => "",
        };
        let mut rewritten = None;
        if changed {
            for piece in &pieces {
                let stream = &mut self.streams[piece.stream];
                if stream.changes(&piece.span) {
                    let text = json::unescape(&line[piece.at.clone()]);
                    let text = stream.changed(&piece.span, &text);
                    changes.push((piece.at.clone(), Part::Text(text)));
                }
            }
            if let Some(walk) = &walk {
                changes = whole::with_logprobs(changes, walk);
            }
            rewritten = Some(rewrite::event(
                &raw,
                &data,
                &rewrite::document(line, changes),
            ));
        }
        for piece in &pieces {
            self.streams[piece.stream].left(piece.span.end);
        }
        rewritten.unwrap_or(raw)
    }
}
