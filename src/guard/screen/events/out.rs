//! What leaves of a piece.

use bytes::Bytes;
use std::ops::Range;

/// What leaves: mostly a part of the piece that came, as it is.
pub(super) struct Out<'p> {
    piece: &'p Bytes,
    made: Vec<u8>,
    /// A part of the piece that follows what was made.
    passed: Option<Range<usize>>,
}

impl<'p> Out<'p> {
    pub(super) const fn new(piece: &'p Bytes) -> Self {
        Self {
            piece,
            made: Vec::new(),
            passed: None,
        }
    }

    /// Puts bytes out, which are at `place` of the piece unless they began earlier.
    pub(super) fn put(&mut self, raw: &[u8], place: Option<Range<usize>>) {
        match (&mut self.passed, place) {
            (Some(passed), Some(place)) if passed.end == place.start => passed.end = place.end,
            (_, Some(place)) => {
                self.settle();
                self.passed = Some(place);
            }
            (_, None) => {
                self.settle();
                self.made.extend_from_slice(raw);
            }
        }
    }

    fn settle(&mut self) {
        if let Some(passed) = self.passed.take() {
            self.made.extend_from_slice(&self.piece[passed]);
        }
    }

    pub(super) fn done(mut self) -> Bytes {
        match &self.passed {
            Some(passed) if self.made.is_empty() => self.piece.slice(passed.clone()),
            _ => {
                self.settle();
                self.made.into()
            }
        }
    }
}
