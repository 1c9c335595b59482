//! Server-sent events: lines and events out of pieces of a stream.
//!
//! Follows the WHATWG standard: lines end with LF, CR or CRLF, a byte order mark may come first,
//! `data` lines are joined with LF, an event ends with an empty line. Decides where events begin and
//! end; what they say is [`super::meter`]'s to read. Memory is bounded by [`EVENT_LIMIT`]: an event
//! with more data is measured, not kept.

use std::ops::Range;

use memchr::memchr2;

/// The most data, in bytes, that an event may have to be read.
pub const EVENT_LIMIT: usize = 1 << 20;

/// What is kept of a line that is too long: enough to see which field it is.
const LINE_HEAD: usize = 16;

/// Buffers above this capacity are given back once they are empty.
const KEEP_CAPACITY: usize = 64 << 10;

/// What ended at an offset of the piece being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// An event with its data.
    Data(&'a [u8]),
    /// An event with more data than [`EVENT_LIMIT`], in bytes.
    Oversize(u64),
    /// An empty line with no data before it: comments, or nothing at all.
    Nothing,
    /// The LF that belongs to the CR at the end of the piece before: part of the event that ended
    /// there.
    LineFeed,
}

/// Splits a stream into events.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that began in an earlier piece; only its head once it is too long.
    line: Vec<u8>,
    /// The length of that line so far.
    line_len: usize,
    /// Data lines of the current event that are in no single place of the piece being read.
    data: Vec<u8>,
    /// The only data line of the current event, in the piece being read.
    span: Option<Range<usize>>,
    /// How much data the current event has; `None` before the first data line.
    size: Option<u64>,
    /// The data in [`Reader::data`] was handed out.
    spent: bool,
    /// The last byte of the piece before was a CR that ended a line.
    after_cr: bool,
    /// Whether that line was the empty one that ended an event.
    event_ended: bool,
    /// Whether a first line was read, so that no byte order mark can come any more.
    begun: bool,
}

impl Reader {
    /// The next thing that ends in `piece` from offset `at` on, which is moved behind it. `None`
    /// when the rest of the piece, now taken in, ends nothing. A piece must be read to its end
    /// before the next one is begun.
    pub fn next<'s>(&'s mut self, piece: &'s [u8], at: &mut usize) -> Option<Ended<'s>> {
        self.clear_spent();
        if self.after_cr && *at == 0 && !piece.is_empty() {
            self.after_cr = false;
            if piece[0] == b'\n' {
                *at = 1;
                if self.event_ended {
                    return Some(Ended::LineFeed);
                }
            }
        }
        loop {
            let rest = piece.get(*at..).unwrap_or_default();
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.keep(rest);
                self.keep_span(piece);
                *at = piece.len();
                return None;
            };
            let start = *at;
            let end = start + length;
            *at = end + 1;
            if piece[end] == b'\r' {
                match piece.get(end + 1) {
                    Some(b'\n') => *at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.event_ended = self.take_line(piece, start..end);
            if self.event_ended {
                return Some(self.dispatch(piece));
            }
        }
    }

    /// The end of the stream: what is left of an event that no empty line ended.
    pub fn finish(&mut self) -> Ended<'_> {
        self.clear_spent();
        if self.line_len > 0 {
            self.take_line(b"", 0..0);
        }
        self.dispatch(b"")
    }

    /// Whether the stream stands in the middle of a line.
    pub fn in_line(&self) -> bool {
        self.line_len > 0
    }

    /// The memory that is kept, in bytes.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.line.capacity() + self.data.capacity()
    }

    fn clear_spent(&mut self) {
        if self.spent {
            self.spent = false;
            empty(&mut self.data);
        }
    }

    /// Takes in a whole line, whose last part is `range` of `piece`. True for the empty line.
    fn take_line(&mut self, piece: &[u8], range: Range<usize>) -> bool {
        if self.line_len == 0 {
            let bom = self.byte_order_mark(&piece[range.clone()]);
            let line = range.start + bom..range.end;
            if line.is_empty() {
                return true;
            }
            if let Some(prefix) = data_prefix(&piece[line.clone()]) {
                self.data_line(piece, line.start + prefix..line.end);
            }
            return false;
        }
        self.keep(&piece[range]);
        let mut line = std::mem::take(&mut self.line);
        let length = std::mem::take(&mut self.line_len);
        let bom = self.byte_order_mark(&line);
        let blank = length == bom;
        if let Some(prefix) = data_prefix(&line[bom..]) {
            if length > line.len() {
                self.add_size(length - bom - prefix);
            } else {
                self.data_line(&line, bom + prefix..length);
                self.keep_span(&line);
            }
        }
        empty(&mut line);
        self.line = line;
        blank
    }

    /// The length of the byte order mark at the start of the stream's first line.
    fn byte_order_mark(&mut self, line: &[u8]) -> usize {
        let first = !std::mem::replace(&mut self.begun, true);
        if first && line.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        }
    }

    fn data_line(&mut self, piece: &[u8], range: Range<usize>) {
        if self.add_size(range.len()) {
            self.span = Some(range);
            return;
        }
        self.keep_span(piece);
        if self.oversize() {
            empty(&mut self.data);
        } else {
            self.data.push(b'\n');
            self.data.extend_from_slice(&piece[range]);
        }
    }

    /// Counts a data line in; true when it is the event's first.
    fn add_size(&mut self, length: usize) -> bool {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let first = self.size.is_none();
        let before = self.size.map_or(0, |size| size.saturating_add(1));
        self.size = Some(before.saturating_add(length));
        first
    }

    fn oversize(&self) -> bool {
        self.size.is_some_and(|size| size > EVENT_LIMIT as u64)
    }

    /// Moves the data that is in `piece` into the buffer, before the piece goes away.
    fn keep_span(&mut self, piece: &[u8]) {
        if let Some(span) = self.span.take()
            && !self.oversize()
        {
            self.data.extend_from_slice(&piece[span]);
        }
    }

    /// Takes in a part of a line.
    fn keep(&mut self, part: &[u8]) {
        self.line_len = self.line_len.saturating_add(part.len());
        if self.line_len <= EVENT_LIMIT + LINE_HEAD {
            self.line.extend_from_slice(part);
        } else {
            let missing = LINE_HEAD.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..missing]);
            self.line.truncate(LINE_HEAD);
            self.line.shrink_to(KEEP_CAPACITY);
        }
    }

    fn dispatch<'s>(&'s mut self, piece: &'s [u8]) -> Ended<'s> {
        self.spent = true;
        let oversize = self.oversize();
        let span = self.span.take();
        match (self.size.take(), span) {
            (None, _) => Ended::Nothing,
            (Some(size), _) if oversize => Ended::Oversize(size),
            (Some(_), Some(span)) => Ended::Data(&piece[span]),
            (Some(_), None) => Ended::Data(&self.data),
        }
    }
}

/// Empties a buffer, and gives it back when it has grown large.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEEP_CAPACITY);
}

/// The length of the field name, the colon and the space before the value of a `data` line; `None`
/// for any other line.
fn data_prefix(line: &[u8]) -> Option<usize> {
    let value = line.strip_prefix(b"data")?;
    match value {
        [] => Some(4),
        [b':', b' ', ..] => Some(6),
        [b':', ..] => Some(5),
        _ => None,
    }
}

/// The comment lines of an event, followed by an empty line; nothing when there are none.
pub fn comments(event: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if line.first() == Some(&b':') {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    if !kept.is_empty() {
        kept.push(b'\n');
    }
    kept
}
