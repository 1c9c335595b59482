//! Where the texts of a request are: every string that a model may read, with whom it comes from.
//!
//! Decides who speaks, not what is said. One walk over the body, without a tree. What is not known to
//! be something else counts as text, and what is not known to come from the caller, the operator or a
//! model counts as coming from a tool: a place that nobody thought of is looked at, and never trusted.

mod place;

use super::{Passage, Source};
use crate::json::{self, Cursor};
use crate::wire::Dialect;
use place::{Field, Zone};
use std::borrow::Cow;
use std::ops::Range;

/// The deepest nesting that is read, the body being 1. One that goes deeper may hold texts that are not found.
pub const DEPTH: usize = 100;

/// The texts of a request in the order in which they stand there.
///
/// Nobody has checked the body: of one that is no JSON everything up to its first mistake is found.
pub fn passages(dialect: Dialect, body: &str) -> Vec<Passage<'_>> {
    let mut walk = Walk {
        text: body,
        found: Vec::new(),
    };
    // Where it ends early, what was found until then is there.
    let _ = Cursor::new(body).object(|key, value| walk.field(dialect, key, value));
    walk.found
        .into_iter()
        .map(|leaf| {
            let source = leaf.source.unwrap_or(Source::Tool);
            Passage::json(source, leaf.inner, leaf.at)
        })
        .collect()
}

/// Whether what a model is to read stands there as numbers of tokens, which are no text here.
pub fn has_token_numbers(dialect: Dialect, body: &str) -> bool {
    let name = match dialect {
        Dialect::Completions => "prompt",
        Dialect::Embeddings => "input",
        _ => return false,
    };
    let mut numbers = false;
    let _ = Cursor::new(body).object(|key, value| {
        if key != name {
            return value.skip().map(drop);
        }
        value.array(|element| {
            numbers |= element.peek()? != b'"';
            element.skip().map(drop)
        })
    });
    numbers
}

/// A string, and whom it comes from as far as that is known.
struct Leaf<'a> {
    source: Option<Source>,
    inner: &'a str,
    at: Range<usize>,
}

struct Walk<'a> {
    text: &'a str,
    found: Vec<Leaf<'a>>,
}

impl<'a> Walk<'a> {
    /// A top-level field.
    fn field(&mut self, dialect: Dialect, key: &str, value: &mut Cursor<'a>) -> Option<()> {
        let from = self.found.len();
        match place::field(dialect, key) {
            Field::Ignored => value.skip().map(drop),
            Field::Carried => {
                self.free(key, value, Zone::Carried, 1)?;
                self.settle(from, Source::System);
                Some(())
            }
            Field::Descriptions => {
                self.free(key, value, Zone::Descriptions, 1)?;
                self.settle(from, Source::System);
                Some(())
            }
            Field::Said(source) => {
                self.value(key, value, 1)?;
                if let Some(source) = source {
                    self.settle(from, source);
                }
                Some(())
            }
            Field::Turns => self.value(key, value, 1),
            Field::Unknown => self.free(key, value, Zone::Unknown, 1),
        }
    }

    /// What was found since `from` and comes from nobody yet comes from `source`.
    fn settle(&mut self, from: usize, source: Source) {
        for leaf in self.found.iter_mut().skip(from) {
            leaf.source.get_or_insert(source);
        }
    }

    /// A value whose objects are messages, items and parts: their `role` and `type` tell who speaks.
    fn value(&mut self, key: &str, value: &mut Cursor<'a>, depth: usize) -> Option<()> {
        match value.peek()? {
            _ if depth > DEPTH => None,
            b'"' => {
                let inner = value.string()??;
                if place::is_text(key, inner) {
                    self.push(inner);
                }
                Some(())
            }
            b'[' => value.array(|element| self.value(key, element, depth + 1)),
            b'{' => self.object(value, depth),
            _ => value.skip().map(drop),
        }
    }

    fn object(&mut self, value: &mut Cursor<'a>, depth: usize) -> Option<()> {
        let from = self.found.len();
        let mut role: Option<Cow<'a, str>> = None;
        let mut kind: Option<Cow<'a, str>> = None;
        let mut blobs: Vec<&'a str> = Vec::new();
        let walked = value.object(|key, value| {
            let first = value.peek()?;
            match key {
                "role" if first == b'"' => role = Some(json::unescape(value.string()??)),
                "type" if first == b'"' => kind = Some(json::unescape(value.string()??)),
                "input" | "args" | "action" if first == b'{' => {
                    self.free(key, value, Zone::Arguments, depth + 1)?;
                }
                _ if first == b'"' && place::is_blob(key) => blobs.push(value.string()??),
                _ => {
                    let start = self.found.len();
                    self.value(key, value, depth + 1)?;
                    if let Some(source) = place::of_key(key) {
                        self.settle(start, source);
                    }
                }
            }
            Some(())
        });
        for blob in blobs {
            if kind.as_deref() == Some("text") || place::reads_as_text(blob) {
                self.push(blob);
            }
        }
        let kind = kind.as_deref().and_then(place::of_kind);
        let role = role.as_deref().map(place::of_role);
        if role == Some(Source::User) {
            // No model has said anything there, whatever it is called.
            for leaf in self.found.iter_mut().skip(from) {
                if leaf.source == Some(Source::Assistant) {
                    leaf.source = role;
                }
            }
        }
        let source = match (kind, role) {
            (Some(Source::Assistant), Some(Source::User)) => role,
            (kind, role) => kind.or(role),
        };
        if let Some(source) = source {
            self.settle(from, source);
        }
        walked
    }

    /// A value of no known form: no key in it means anything.
    fn free(&mut self, key: &str, value: &mut Cursor<'a>, zone: Zone, depth: usize) -> Option<()> {
        match value.peek()? {
            _ if depth > DEPTH => None,
            b'"' => {
                let inner = value.string()??;
                if zone.holds(key, inner) {
                    self.push(inner);
                }
                Some(())
            }
            b'[' => value.array(|element| self.free(key, element, zone, depth + 1)),
            b'{' => value.object(|key, value| self.free(key, value, zone, depth + 1)),
            _ => value.skip().map(drop),
        }
    }

    fn push(&mut self, inner: &'a str) {
        if inner.is_empty() {
            return;
        }
        // The string is a part of the body, so that the difference is its place there.
        let start = inner
            .as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr());
        self.found.push(Leaf {
            source: None,
            inner,
            at: start.saturating_sub(1)..start + inner.len() + 1,
        });
    }
}

#[cfg(test)]
mod tests;
