//! JSON as it is written: member by member, straight into bytes.

use crate::dialect::form::Json;
use crate::usage::Usage;

/// An object that is being written; [`Members::close`] ends it.
pub(in crate::dialect) struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    /// Begins an object.
    pub(in crate::dialect) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes a key (in need of no escape) and gives where its value goes.
    pub(in crate::dialect) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out
            .extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A string.
    pub(in crate::dialect) fn text(&mut self, key: &str, text: &str) {
        string(self.key(key), text);
    }

    /// JSON.
    pub(in crate::dialect) fn raw(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    /// JSON, if there is any.
    pub(in crate::dialect) fn json(&mut self, key: &str, json: Option<&Json<'_>>) {
        if let Some(Json(json)) = json {
            self.raw(key, json);
        }
    }

    /// A number.
    pub(in crate::dialect) fn number(&mut self, key: &str, number: u64) {
        self.raw(key, &number.to_string());
    }

    /// `true` or `false`.
    pub(in crate::dialect) fn flag(&mut self, key: &str, flag: bool) {
        self.raw(key, if flag { "true" } else { "false" });
    }

    /// An object.
    pub(in crate::dialect) fn object(&mut self, key: &str) -> Members<'_> {
        Members::open(self.key(key))
    }

    /// An array; `each` writes an item.
    pub(in crate::dialect) fn array<T>(
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
    pub(in crate::dialect) fn close(self) {
        self.out.push(b'}');
    }
}

/// `text` as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every string");
}

/// Usage, as OpenAI writes it and OpenRouter extends it.
pub(in crate::dialect) fn usage(out: &mut Vec<u8>, usage: &Usage) {
    let mut members = Members::open(out);
    members.number("prompt_tokens", usage.input);
    members.number("completion_tokens", usage.output);
    members.number("total_tokens", usage.total());
    let mut input = members.object("prompt_tokens_details");
    input.number("cached_tokens", usage.cache_read);
    input.number("audio_tokens", usage.audio_input);
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    if written > 0 {
        input.number("cache_write_tokens", written);
    }
    input.close();
    let mut output = members.object("completion_tokens_details");
    output.number("reasoning_tokens", usage.reasoning);
    output.number("audio_tokens", usage.audio_output);
    output.close();
    members.close();
}
