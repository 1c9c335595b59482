//! An answer in one JSON document.

use super::judge::Judge;
use super::rewrite::{self, Part};
use super::walk::{Walk, walk};
use crate::json;
use bytes::Bytes;
use std::ops::Range;

/// The most of an answer that is searched when nothing may be changed.
const OBSERVED: usize = 16 << 20;

/// A document that is collected.
pub(super) struct Whole {
    acts: bool,
    body: Vec<u8>,
}

impl Whole {
    pub(super) const fn new(acts: bool) -> Self {
        Self {
            acts,
            body: Vec::new(),
        }
    }

    pub(super) const fn collects(&self) -> bool {
        self.acts
    }

    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        if self.acts || self.body.len() + piece.len() <= OBSERVED {
            self.body.extend_from_slice(&piece);
        }
        if self.acts { Bytes::new() } else { piece }
    }

    pub(super) fn finish(&mut self, judge: &mut Judge) -> Bytes {
        let body = std::mem::take(&mut self.body);
        let changed = judged(&body, judge);
        match judge.refused() {
            _ if !self.acts => Bytes::new(),
            Some(_) => Bytes::new(),
            None => changed.unwrap_or(body).into(),
        }
    }
}

/// The body as it may leave, where that is not as it came.
fn judged(body: &[u8], judge: &mut Judge) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(body);
    let document = walk(&text).filter(|_| matches!(text, std::borrow::Cow::Borrowed(_)));
    let Some(walk) = document else {
        // An error page, perhaps: it is a text as any other.
        return judge.whole("", &text, false).map(String::into_bytes);
    };
    let parts = alone(&text, &walk, judge, |_| true);
    if parts.is_empty() {
        return None;
    }
    Some(rewrite::document(&text, with_logprobs(parts, &walk)).into_bytes())
}

/// Judges the strings that `which` names, each as a text of its own.
pub(super) fn alone(
    text: &str,
    walk: &Walk,
    judge: &mut Judge,
    which: impl Fn(&super::walk::Leaf) -> bool,
) -> Vec<(Range<usize>, Part)> {
    let mut parts = Vec::new();
    for leaf in walk.leaves.iter().filter(|leaf| which(leaf)) {
        let value = json::unescape(&text[leaf.at.clone()]);
        if let Some(changed) = judge.whole(&leaf.name, &value, leaf.is_nested()) {
            parts.push((leaf.at.clone(), Part::Text(changed)));
        }
    }
    parts
}

/// With what goes when a text is changed.
pub(super) fn with_logprobs(
    mut parts: Vec<(Range<usize>, Part)>,
    walk: &Walk,
) -> Vec<(Range<usize>, Part)> {
    let gone = walk.logprobs.iter();
    parts.extend(gone.map(|(at, list)| (at.clone(), Part::Raw(if *list { "[]" } else { "null" }))));
    parts
}
