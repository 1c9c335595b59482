//! One text of a stream, as it comes piece by piece.
//!
//! Decides up to where it may leave. What has left is kept for a while, for rules that look at what stands
//! before a value.

use super::WAITING;
use super::Watch;
use super::judge::{Edit, Judge, unnested};
use super::walk::{Leaf, Name};
use crate::guard::detect::{Rules, Seen, Spacing, is_token};
use std::collections::VecDeque;
use std::ops::Range;

/// How much that has left is kept, in bytes.
const CONTEXT: usize = 1200;

/// A text that goes on.
pub(super) struct Stream {
    /// Which one it is, in the words of the walk.
    pub(super) key: u64,
    /// The choice, the block or the item that it belongs to.
    pub(super) group: u64,
    /// What its pieces are called.
    pub(super) name: Name,
    /// It is JSON itself.
    nested: bool,
    spacing: Spacing,
    /// As rules read it.
    text: String,
    /// Where in the whole text `text` begins.
    base: usize,
    /// Up to where it is decided, in the whole text.
    decided: usize,
    /// Words that rules look near, by their place in `text`.
    seen: Vec<Seen>,
    /// Changes, by their place in the whole text; those that were made in part are empty.
    edits: VecDeque<Edit>,
    watch: Option<Watch>,
    /// A text that waited too long is being left out: whether it is a block of many lines.
    cut: Option<bool>,
    /// Events since its last piece, while it waits.
    pub(super) idle: u32,
}

impl Stream {
    pub(super) fn new(leaf: &Leaf, key: u64, judge: &Judge) -> Self {
        Self {
            key,
            group: leaf.group,
            name: leaf.name.clone(),
            nested: leaf.is_nested(),
            spacing: Spacing::default(),
            text: String::new(),
            base: 0,
            decided: 0,
            seen: Vec::new(),
            edits: VecDeque::new(),
            watch: judge.watch(),
            cut: None,
            idle: 0,
        }
    }

    /// How long the whole text is so far.
    pub(super) fn length(&self) -> usize {
        self.base + self.text.len()
    }

    /// Up to where it is decided.
    pub(super) const fn decided(&self) -> usize {
        self.decided
    }

    /// Whether something of it waits.
    pub(super) fn waits(&self) -> bool {
        self.decided < self.length()
    }

    /// Takes a piece in and decides what can be decided.
    pub(super) fn push(&mut self, piece: &str, judge: &mut Judge) {
        self.idle = 0;
        let plain;
        let mut piece = piece;
        if self.nested {
            plain = unnested(piece);
            piece = &plain;
        }
        if let Some(watch) = &mut self.watch
            && watch(piece)
        {
            self.watch = None;
            judge.canary();
        }
        self.spacing.push(piece, &mut self.text);
        if self.cut.is_some() && !self.go_on_cutting() {
            return;
        }
        let from = self.decided - self.base;
        let open = judge
            .rules
            .open(self.text.as_bytes(), from, judge.watched, &mut self.seen);
        let open = (0..=open)
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0);
        self.decide(open.max(from), judge);
        if self.length() - self.decided > WAITING {
            self.give_up(judge);
        }
        self.forget();
    }

    /// The text ends here, at least for now.
    pub(super) fn flush(&mut self, judge: &mut Judge) {
        self.idle = 0;
        self.cut = None;
        if self.waits() {
            self.decide(self.text.len(), judge);
            self.forget();
        }
    }

    /// Searches what is not decided yet up to `to`, a place in `text`.
    fn decide(&mut self, to: usize, judge: &mut Judge) {
        let from = self.decided - self.base;
        if to <= from {
            return;
        }
        let start = Rules::start(&self.text, from);
        let found = judge
            .rules
            .find_in(&self.text, start..to, judge.wanted, &mut self.seen);
        // A finding that goes on beyond what is decided waits with all of it.
        let crossing = found
            .iter()
            .filter(|one| one.span.start < to && one.span.end > to);
        let to = crossing
            .map(|one| one.span.start.max(from))
            .fold(to, usize::min);
        if to <= from {
            return;
        }
        let mut edits = judge.restored(&self.text, from..to, self.nested);
        for found in found {
            if found.span.end > from && found.span.end <= to {
                edits.extend(judge.found(&self.text, &found));
            }
        }
        edits.sort_by_key(|edit| edit.span.start);
        for Edit { span, with } in edits {
            // What has left cannot be changed.
            let span = self.base + span.start.max(from)..self.base + span.end;
            if self
                .edits
                .back()
                .is_none_or(|last| last.span.end <= span.start)
            {
                self.edits.push_back(Edit { span, with });
            }
        }
        self.seen
            .retain(|(rule, word)| word + judge.rules.reach(*rule) > to);
        self.decided = self.base + to;
    }

    /// What waits has become too long to wait.
    fn give_up(&mut self, judge: &mut Judge) {
        let from = self.decided - self.base;
        let waiting = &self.text[from..];
        self.cut = Some(waiting.starts_with("-----"));
        if let Some(with) = judge.too_long(waiting) {
            self.edits.push_back(Edit {
                span: self.decided..self.length(),
                with,
            });
        }
        self.decided = self.length();
    }

    /// Leaves out what still belongs to a text that became too long. Whether that has ended.
    fn go_on_cutting(&mut self) -> bool {
        let from = self.decided - self.base;
        let block = self.cut == Some(true);
        let belongs =
            |byte: &u8| is_token(*byte) || block && (byte.is_ascii_whitespace() || *byte == b'\\');
        let length = self.text.as_bytes()[from..]
            .iter()
            .take_while(|byte| belongs(byte))
            .count();
        let to = from + length;
        if length > 0 {
            self.edits.push_back(Edit {
                span: self.decided..self.base + to,
                with: String::new(),
            });
            self.decided = self.base + to;
        }
        let ended = to < self.text.len();
        if ended {
            self.cut = None;
        }
        ended
    }

    /// Forgets what lies too far back.
    fn forget(&mut self) {
        let from = self.decided - self.base;
        if from < 3 * CONTEXT {
            return;
        }
        let cut = (0..=from - CONTEXT)
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0);
        self.text.drain(..cut);
        self.base += cut;
        self.seen
            .retain_mut(|(_, word)| match word.checked_sub(cut) {
                Some(moved) => {
                    *word = moved;
                    true
                }
                None => false,
            });
    }

    /// Whether `span` of the whole text is to be changed.
    pub(super) fn changes(&self, span: &Range<usize>) -> bool {
        let overlaps = |edit: &Edit| edit.span.start < span.end && edit.span.end > span.start;
        self.edits.iter().any(overlaps)
    }

    /// The text at `span`, with its changes made. Spans must be asked for in order.
    pub(super) fn changed(&mut self, span: &Range<usize>, text: &str) -> String {
        let plain;
        let mut text = text;
        if self.nested {
            plain = unnested(text);
            text = &plain;
        }
        let mut out = String::with_capacity(text.len());
        let mut at = span.start;
        for edit in &mut self.edits {
            if edit.span.end <= span.start || edit.span.start >= span.end {
                continue;
            }
            if edit.span.start > at {
                out.push_str(&text[at - span.start..edit.span.start - span.start]);
            }
            // The rest of it is in pieces that follow: nothing more is put there.
            out.push_str(&std::mem::take(&mut edit.with));
            at = edit.span.end.min(span.end);
        }
        out.push_str(&text[at - span.start..]);
        out
    }

    /// Drops the changes that were made, the text up to `to` having left.
    pub(super) fn left(&mut self, to: usize) {
        while self.edits.front().is_some_and(|edit| edit.span.end <= to) {
            self.edits.pop_front();
        }
    }
}
