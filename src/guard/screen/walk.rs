//! The strings of one JSON document: which of them are pieces of a text that goes on, and which stand alone.
//!
//! Decides by the names and numbers on the way to a string. Every dialect is read in the same way: what is
//! called `delta` (or `text`, in completions) goes on from event to event, told apart by the indexes beside
//! it; all else stands alone. Nothing is skipped but the protocol's own words.

use crate::json::Cursor;
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;

/// The deepest nesting.
const DEPTH: u32 = 96;

/// Names whose strings are the protocol's, and never a model's.
const PROTOCOL: &[&str] = &[
    "id",
    "object",
    "model",
    "type",
    "role",
    "system_fingerprint",
    "service_tier",
    "provider",
    "finish_reason",
    "native_finish_reason",
    "stop_reason",
    "status",
    "call_id",
    "item_id",
    "tool_use_id",
    "signature",
    "encrypted_content",
    "obfuscation",
    "response_id",
    "previous_response_id",
    "tool_call_id",
    "media_type",
];

/// Names of texts that come in pieces, inside a `delta`.
const PIECES: &[&str] = &[
    "content",
    "text",
    "thinking",
    "reasoning",
    "reasoning_content",
    "refusal",
    "arguments",
    "partial_json",
    "transcript",
    "summary",
    "input",
    "output",
    "code",
    "delta",
];

/// One string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Where it is in the document, without its quotation marks.
    pub(super) at: Range<usize>,
    /// What it is called.
    pub(super) name: Name,
    /// Which text it is a piece of; `None` when it stands alone.
    pub(super) piece_of: Option<u64>,
    /// The choice, block or item.
    pub(super) group: u64,
}

/// What a string is called.
pub(super) type Name = std::sync::Arc<str>;

impl Leaf {
    /// Whether the string is JSON itself.
    pub(super) fn is_nested(&self) -> bool {
        matches!(&*self.name, "arguments" | "partial_json")
    }
}

/// What a document says.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) leaves: Vec<Leaf>,
    /// The groups whose texts end with this document.
    pub(super) ended: Vec<u64>,
    /// All texts end with it.
    pub(super) all_ended: bool,
    /// Where the document repeats pieces of texts token by token, and whether that is a list.
    pub(super) logprobs: Vec<(Range<usize>, bool)>,
    kind: String,
    indexes: u64,
    group: u64,
}

/// Reads a document; `None` when it is no JSON value, or too deep.
pub(super) fn walk(text: &str) -> Option<Walk> {
    let mut walk = Walk::default();
    let mut cursor = Cursor::new(text);
    if cursor.peek()? == b'{' {
        cursor.object(|key, value| walk.member(text, key, value))?;
    } else {
        walk.value(text, &mut cursor, &"".into(), None, 0)?;
    }
    if !cursor.at_end() {
        return None;
    }
    walk.close();
    Some(walk)
}

impl Walk {
    /// A member of the document.
    fn member(&mut self, text: &str, key: &str, value: &mut Cursor<'_>) -> Option<()> {
        match key {
            "choices" if value.peek()? == b'[' => {
                let mut position = 0;
                value.array(|one| {
                    self.choice(text, one, position)?;
                    position += 1;
                    Some(())
                })
            }
            "type" => {
                let kind = value.string()?.unwrap_or_default();
                kind.clone_into(&mut self.kind);
                Some(())
            }
            "index" | "output_index" | "content_index" | "summary_index" => {
                let number = value.skip()?;
                if matches!(key, "index" | "output_index") {
                    self.group = number.parse().unwrap_or(u64::MAX);
                }
                self.indexes = mix(self.indexes, hash(&(key, number)));
                Some(())
            }
            "delta" | "content_block" => {
                let start = self.leaves.len();
                self.value(text, value, &key.into(), Some(0), 1)?;
                if key == "content_block" {
                    // Marked by its group until the kind of the event is known.
                    for leaf in &mut self.leaves[start..] {
                        leaf.group = u64::MAX;
                    }
                }
                Some(())
            }
            "logprobs" => self.logprobs(text, value),
            _ => self.value(text, value, &key.into(), None, 1),
        }
    }

    fn choice(&mut self, text: &str, value: &mut Cursor<'_>, position: u64) -> Option<()> {
        let start = self.leaves.len();
        let mut index = position;
        let mut ended = false;
        if value.peek()? != b'{' {
            return self.value(text, value, &"".into(), None, 2);
        }
        value.object(|key, value| match key {
            "index" => {
                index = value.skip()?.parse().unwrap_or(position);
                Some(())
            }
            "finish_reason" => {
                ended |= value.skip()?.starts_with('"');
                Some(())
            }
            "logprobs" => self.logprobs(text, value),
            "delta" | "text" => self.value(text, value, &key.into(), Some(0), 2),
            // Some say so what others call `delta`.
            "message" => self.value(text, value, &key.into(), Some(1), 2),
            _ => self.value(text, value, &key.into(), None, 2),
        })?;
        for leaf in &mut self.leaves[start..] {
            leaf.group = index;
            leaf.piece_of = leaf
                .piece_of
                .map(|path| mix(path, hash(&("choice", index))));
        }
        if ended {
            self.ended.push(index);
        }
        Some(())
    }

    /// What is said about single tokens; it goes where a text is changed.
    fn logprobs(&mut self, text: &str, value: &mut Cursor<'_>) -> Option<()> {
        let raw = value.skip()?;
        if raw.starts_with(['{', '[']) {
            self.logprobs.push((span(text, raw), raw.starts_with('[')));
        }
        Some(())
    }

    /// What is called so deeper inside: that of the Responses API, or something else of that name, which is
    /// read as well.
    fn nested_logprobs(&mut self, text: &str, value: &Cursor<'_>) {
        let mut ahead = *value;
        let raw = ahead.skip().unwrap_or_default();
        if raw.starts_with('[') && raw.contains("\"token\"") {
            self.logprobs.push((span(text, raw), true));
        }
    }

    /// Any value. `path` says where it is in a text that goes on.
    fn value(
        &mut self,
        text: &str,
        value: &mut Cursor<'_>,
        name: &Name,
        path: Option<u64>,
        depth: u32,
    ) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        match value.peek()? {
            b'"' => {
                let inner = value.string()??;
                if !PROTOCOL.contains(&&**name) && !inner.is_empty() {
                    self.leaves.push(Leaf {
                        at: span(text, inner),
                        piece_of: path.filter(|_| PIECES.contains(&&**name)),
                        name: name.clone(),
                        group: 0,
                    });
                }
                Some(())
            }
            b'{' => {
                let start = self.leaves.len();
                let mut index = None;
                value.object(|key, value| {
                    if key == "index" {
                        index = Some(hash(&value.skip()?));
                        return Some(());
                    }
                    if key == "logprobs" {
                        self.nested_logprobs(text, value);
                    }
                    let path = path.map(|path| mix(path, hash(&key)));
                    self.value(text, value, &key.into(), path, depth + 1)
                })?;
                if let Some(index) = index {
                    for leaf in &mut self.leaves[start..] {
                        leaf.piece_of = leaf.piece_of.map(|path| mix(path, index));
                    }
                }
                Some(())
            }
            b'[' => value.array(|value| {
                self.value(text, value, name, path.map(|path| mix(path, 1)), depth + 1)
            }),
            _ => {
                let word = value.skip()?;
                let number = word.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                (number || matches!(word, "true" | "false" | "null")).then_some(())
            }
        }
    }

    /// What the kind of the event says about its strings.
    fn close(&mut self) {
        let kind = std::mem::take(&mut self.kind);
        let starts = kind == "content_block_start";
        let goes_on = kind.ends_with("delta");
        let of_kind = if kind.starts_with("response.") {
            hash(&kind)
        } else {
            0
        };
        let arguments = kind.contains("arguments");
        for leaf in &mut self.leaves {
            let block = leaf.group == u64::MAX;
            if arguments && &*leaf.name == "delta" {
                leaf.name = "arguments".into();
            }
            if !kind.is_empty() {
                leaf.group = self.group;
                let here = goes_on && !block || starts && block;
                leaf.piece_of = leaf
                    .piece_of
                    .filter(|_| here)
                    .map(|path| mix(mix(path, self.indexes), of_kind));
            }
        }
        match kind.as_str() {
            "content_block_stop" => self.ended.push(self.group),
            "message_stop"
            | "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "error" => {
                self.all_ended = true;
            }
            _ if kind.starts_with("response.")
                && (kind.ends_with(".done") || kind.ends_with(".completed")) =>
            {
                self.ended.push(self.group);
            }
            _ => {}
        }
    }
}

/// Where a part of `text` is in it.
fn span(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

const fn mix(one: u64, other: u64) -> u64 {
    (one.rotate_left(5) ^ other).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
