//! The strict pass over a request body: a loop with a stack of its own, so that nesting costs no call
//! depth.
//!
//! Decides whether the text is JSON that every reader understands in the same way, and notes the
//! facts about nested parts that [`Object`] offers.

use std::borrow::Cow;
use std::collections::HashSet;

use super::text::{self, unescape};
use super::{Field, JsonError, Limits, Object};

/// Above this many keys an object's keys are looked up by hash.
const LINEAR_KEYS: usize = 16;

/// What a container is to the facts that are noted in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Top,
    Messages,
    Message,
    Content,
    Part,
    Audio,
    Tools,
    Tool,
    Kind,
    Other,
}

impl Place {
    /// The place of what is found under `key` in an object.
    fn under(self, key: &str) -> Self {
        match (self, key) {
            (Self::Top, "messages") => Self::Messages,
            (Self::Top, "tools") => Self::Tools,
            (Self::Message, "content") => Self::Content,
            (Self::Message, "audio") => Self::Audio,
            (Self::Part | Self::Tool, "type") => Self::Kind,
            _ => Self::Other,
        }
    }

    /// The place of the elements of an array.
    const fn inside(self) -> Self {
        match self {
            Self::Messages => Self::Message,
            Self::Content => Self::Part,
            Self::Tools => Self::Tool,
            _ => Self::Other,
        }
    }
}

struct Frame<'a> {
    object: bool,
    place: Place,
    /// The place of the value that comes next.
    next: Place,
    /// Where this object's keys begin in [`Scan::keys`].
    keys_from: usize,
    /// The keys again, once there are many.
    many: Option<HashSet<Cow<'a, str>>>,
    /// Whether a `type` was read that makes this part text, or this tool the client's own.
    ordinary: bool,
}

pub(super) struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    frames: Vec<Frame<'a>>,
    keys: Vec<Cow<'a, str>>,
    /// Where the value of the last top-level field begins.
    value_from: usize,
    found: Object<'a>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str, limits: Limits) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: limits.depth,
            frames: Vec::with_capacity(8),
            keys: Vec::with_capacity(32),
            value_from: 0,
            found: Object {
                fields: Vec::with_capacity(16),
                length: text.len(),
                ..Object::default()
            },
        }
    }

    /// Scans the whole text.
    pub(super) fn run(mut self) -> Result<Object<'a>, JsonError> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.error("not an object"));
        }
        loop {
            if self.value()? {
                // A container was opened and is not empty: its first value comes next.
                continue;
            }
            if !self.after_value()? {
                break;
            }
        }
        self.space();
        match self.peek() {
            None => Ok(self.found),
            Some(_) => Err(self.error("unexpected bytes after the object")),
        }
    }

    /// Reads a scalar, or opens a container. True when a container was opened that holds something.
    fn value(&mut self) -> Result<bool, JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                let (end, _) = text::check_string(self.bytes, start + 1)?;
                self.at = end;
                self.note_kind(start, end);
                Ok(false)
            }
            Some(open @ (b'{' | b'[')) => {
                self.open(open == b'{')?;
                self.space();
                let close = if open == b'{' { b'}' } else { b']' };
                if self.peek() == Some(close) {
                    self.close();
                    return Ok(false);
                }
                if open == b'{' {
                    self.key()?;
                }
                Ok(true)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = text::check_number(self.text, start)?;
                Ok(false)
            }
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("unexpected end")),
        }
    }

    /// After a value: closes what ends here and goes on to the next value. False when the top-level
    /// object has ended.
    fn after_value(&mut self) -> Result<bool, JsonError> {
        loop {
            if self.frames.len() == 1
                && let Some(field) = self.found.fields.last_mut()
            {
                field.value = &self.text[self.value_from..self.at];
            }
            let Some(frame) = self.frames.last() else {
                return Ok(false);
            };
            let object = frame.object;
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                    if object {
                        self.key()?;
                    }
                    return Ok(true);
                }
                Some(b'}') if object => self.close(),
                Some(b']') if !object => self.close(),
                Some(_) => return Err(self.error("expected a comma or the end")),
                None => return Err(self.error("unexpected end")),
            }
        }
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        if self.frames.len() >= self.depth {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        let place = self.frames.last().map_or(Place::Top, |frame| frame.next);
        match place {
            Place::Messages if !object => self.found.messages = Some(0),
            Place::Message if object => {
                self.found.messages = self.found.messages.map(|count| count + 1);
            }
            Place::Audio => self.found.media_parts += 1,
            _ => {}
        }
        // Where an array is expected an object is nothing known, and the other way round.
        let array_place = matches!(place, Place::Messages | Place::Content | Place::Tools);
        let place = if array_place == object {
            Place::Other
        } else {
            place
        };
        let place = if object && self.frames.is_empty() {
            Place::Top
        } else {
            place
        };
        self.frames.push(Frame {
            object,
            place,
            next: if object { Place::Other } else { place.inside() },
            keys_from: self.keys.len(),
            many: None,
            ordinary: false,
        });
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        if let Some(frame) = self.frames.pop() {
            self.keys.truncate(frame.keys_from);
            match frame.place {
                Place::Part if !frame.ordinary => self.found.media_parts += 1,
                Place::Tool if !frame.ordinary => self.found.other_tools += 1,
                _ => {}
            }
        }
    }

    /// Reads a key and its colon, up to the start of the value.
    fn key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key"));
        }
        let start = self.at;
        let (end, escaped) = text::check_string(self.bytes, start + 1)?;
        let inner = &self.text[start + 1..end - 1];
        let key = if escaped {
            unescape(inner)
        } else {
            Cow::Borrowed(inner)
        };
        self.at = end;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.error("expected a colon"));
        }
        self.at += 1;
        self.space();
        let top = self.frames.len() == 1;
        let Some(frame) = self.frames.last_mut() else {
            return Err(JsonError::new("expected a value", start));
        };
        let mine = &self.keys[frame.keys_from..];
        let twice = match &mut frame.many {
            Some(set) => !set.insert(key.clone()),
            None => mine.contains(&key),
        };
        if twice {
            return Err(JsonError::new("duplicate key", start));
        }
        if frame.many.is_none() && mine.len() >= LINEAR_KEYS {
            let mut set: HashSet<_> = mine.iter().cloned().collect();
            set.insert(key.clone());
            frame.many = Some(set);
        }
        frame.next = frame.place.under(&key);
        if top {
            self.found.fields.push(Field {
                key: key.clone(),
                raw_key: &self.text[start..end],
                value: "",
            });
            self.value_from = self.at;
        }
        if frame.many.is_none() {
            self.keys.push(key);
        }
        Ok(())
    }

    /// Notes the `type` of a part or of a tool.
    fn note_kind(&mut self, start: usize, end: usize) {
        if let Some(frame) = self.frames.last_mut()
            && frame.next == Place::Kind
        {
            let kind = unescape(&self.text[start + 1..end - 1]);
            frame.ordinary = match frame.place {
                Place::Part => matches!(&*kind, "text" | "input_text" | "refusal"),
                _ => matches!(&*kind, "function" | "custom"),
            };
        }
    }

    fn literal(&mut self, word: &str) -> Result<bool, JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(false)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, reason: &'static str) -> JsonError {
        JsonError::new(reason, self.at)
    }
}
