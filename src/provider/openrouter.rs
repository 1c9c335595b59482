//! OpenRouter: the body that is sent.
//!
//! Decides which fields of a chat request are replaced. It does not decide which models are
//! allowed or how many tokens are affordable; it writes down what others decided.

use crate::json::{Cursor, Field};
use crate::surface::chat::ChatRequest;

/// The model name under which OpenRouter takes the model from the list beside it.
pub const AUTO: &str = "openrouter/auto";

/// What is to be replaced in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    /// The models that may answer, in order; empty to keep what the client asked for, its own
    /// `models` list included.
    pub models: &'a [String],
    /// The field and the number to bound the output with; `None` to keep the client's.
    pub max_tokens: Option<(&'static str, u64)>,
}

impl Rewrite<'_> {
    /// Whether a field of the client's is left out, because it is replaced or must not be sent.
    fn drops(&self, key: &str, stream: bool) -> bool {
        match key {
            "model" | "models" | "route" => !self.models.is_empty(),
            "max_tokens" | "max_completion_tokens" => self.max_tokens.is_some(),
            "stream_options" => stream,
            "usage" => true,
            _ => false,
        }
    }
}

/// The body to send: the checked fields of `request`, each with the bytes it came with and in the
/// order it came in, without those that are replaced; the replacements follow them. White space
/// between top-level fields is not kept.
pub fn body(request: &ChatRequest<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
    let names: usize = rewrite.models.iter().map(|name| name.len() + 3).sum();
    let mut writer = Writer::new(request.object.text_len() + names + 192);
    for Field {
        key,
        raw_key,
        value,
    } in request.object.iter()
    {
        if !rewrite.drops(key, request.stream) {
            writer.field(raw_key, value);
        }
    }
    if let Some((first, others)) = rewrite.models.split_first() {
        writer.field("\"model\"", "\"openrouter/auto\"");
        writer.key("\"models\"");
        writer.text("[");
        writer.string(first);
        for name in others {
            writer.text(",");
            writer.string(name);
        }
        writer.text("]");
        writer.field("\"route\"", "\"fallback\"");
    }
    if let Some((field, number)) = rewrite.max_tokens {
        writer.key("");
        writer.string(field);
        writer.text(":");
        writer.text(&number.to_string());
    }
    if request.stream {
        writer.key("\"stream_options\"");
        stream_options(&mut writer, request.object.get("stream_options"));
    }
    writer.finish()
}

/// The client's stream options, with usage asked for.
fn stream_options(writer: &mut Writer, options: Option<&str>) {
    writer.open();
    Cursor::new(options.unwrap_or("null")).object(|key, value| {
        let raw = value.skip()?;
        if key != "include_usage" {
            writer.key("");
            writer.string(key);
            writer.text(":");
            writer.text(raw);
        }
        Some(())
    });
    writer.field("\"include_usage\"", "true");
    writer.close();
}

struct Writer {
    bytes: Vec<u8>,
    first: bool,
}

impl Writer {
    fn new(capacity: usize) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(capacity),
            first: true,
        };
        writer.open();
        writer
    }

    fn open(&mut self) {
        self.text("{");
        self.first = true;
    }

    fn close(&mut self) {
        self.text("}");
        self.first = false;
    }

    fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    /// A comma if one is needed, then the raw key and a colon; for an empty key the comma only.
    fn key(&mut self, raw: &str) {
        if !self.first {
            self.text(",");
        }
        self.first = false;
        if !raw.is_empty() {
            self.text(raw);
            self.text(":");
        }
    }

    fn field(&mut self, raw_key: &str, value: &str) {
        self.key(raw_key);
        self.text(value);
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// `text` as a JSON string.
    fn string(&mut self, text: &str) {
        self.text("\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    self.text("\\");
                    self.text(character.encode_utf8(&mut [0; 4]));
                }
                '\0'..='\u{1f}' => self.text(&format!("\\u{:04x}", u32::from(character))),
                _ => self.text(character.encode_utf8(&mut [0; 4])),
            }
        }
        self.text("\"");
    }
}
