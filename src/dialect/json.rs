//! JSON as it is written: member by member, straight into bytes.

use std::io::Write as _;

use crate::dialect::form::Json;

/// An object that is being written; [`Members::close`] ends it.
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    /// Begins an object.
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes a key (in need of no escape) and gives where its value goes.
    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out
            .extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        string(self.key(key), text);
    }

    /// JSON.
    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    /// A string whose characters were escaped before.
    pub(super) fn escaped(&mut self, key: &str, inner: &[u8]) {
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(inner);
        out.push(b'"');
    }

    /// JSON, if there is any.
    pub(super) fn json(&mut self, key: &str, json: Option<&Json<'_>>) {
        if let Some(Json(json)) = json {
            self.raw(key, json);
        }
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, number: u64) {
        write!(self.key(key), "{number}").expect("a vector takes every number");
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.raw(key, if flag { "true" } else { "false" });
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str) -> Members<'_> {
        Members::open(self.key(key))
    }

    /// An array; `each` writes an item.
    pub(super) fn array<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            each(out, item);
        }
        out.push(b']');
    }

    /// Ends the object.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }
}

/// `text` as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every string");
}

/// `text` as it stands between the quotes of a JSON string.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => write!(out, "\\u{byte:04x}").expect("a vector takes every escape"),
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
}
