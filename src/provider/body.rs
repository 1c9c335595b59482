//! What providers have in common: bodies as they are sent (the client's fields with some of them
//! replaced), and a few ways to write a path or a key.
//!
//! Decides which fields are nobody's to send on, and which bound a body's output. Which models are
//! written is each provider's own.

use super::Rewrite;
use crate::json::{Cursor, Field};
use crate::surface::Request;
use crate::wire::Dialect;
use http::{HeaderName, header};

/// The key as most providers take it.
pub(super) fn bearer(key: &str) -> (HeaderName, String) {
    (header::AUTHORIZATION, format!("Bearer {key}"))
}

/// `name` as one segment of a path, or as a value in a query.
pub(super) fn segment(name: &str) -> String {
    // Dots alone are no name: a server may take them for a way out of the folder.
    let dots = name.bytes().all(|byte| byte == b'.');
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'.' if dots => out.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The fields that bound the output in a body of `dialect`, somewhere.
const fn limit_fields(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Chat | Dialect::Completions => &["max_tokens", "max_completion_tokens"],
        Dialect::Messages => &["max_tokens"],
        Dialect::Responses => &["max_output_tokens"],
        Dialect::Gemini | Dialect::Embeddings => &[],
    }
}

/// The field that the client used, where the dialect has two, else the dialect's own.
pub(super) fn limit_field(dialect: Dialect, asked: Option<&'static str>) -> &'static str {
    match asked {
        Some(newer @ "max_completion_tokens") if dialect == Dialect::Chat => newer,
        _ => dialect.output_limit(),
    }
}

/// The body for a provider that knows one model at a time.
pub(super) fn one_model(request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
    let first = rewrite.fallbacks.first().map(String::as_str);
    let model = rewrite.model.or(first);
    rewritten(
        request,
        rewrite,
        |key| match key {
            "model" => model.is_some(),
            "models" | "route" => true,
            // A model that nobody here bounded must not answer.
            "fallbacks" => request.dialect == Dialect::Messages,
            _ => replaced(rewrite, request, key),
        },
        |writer| {
            if let Some(model) = model {
                writer.string_field("model", model);
            }
        },
    )
}

/// Whether usage must be asked for at the end of the stream.
fn asks_for_usage(request: &Request<'_>) -> bool {
    request.stream && matches!(request.dialect, Dialect::Chat | Dialect::Completions)
}

/// Whether a field of the client's is left out for every provider, because it is replaced or must
/// not be sent: `usage` is OpenRouter's former switch, which others refuse.
pub(super) fn replaced(rewrite: &Rewrite<'_>, request: &Request<'_>, key: &str) -> bool {
    match key {
        "usage" => true,
        "stream_options" => asks_for_usage(request),
        _ => rewrite
            .max_tokens
            .is_some_and(|(field, _)| key == field || limit_fields(request.dialect).contains(&key)),
    }
}

/// The body to send: the checked fields of `request`, each with the bytes it came with and in the
/// order it came in, without those that `drops` names; what replaces them follows, the models
/// first. White space between top-level fields is not kept.
pub(super) fn rewritten(
    request: &Request<'_>,
    rewrite: &Rewrite<'_>,
    drops: impl Fn(&str) -> bool,
    models: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let names: usize = rewrite.fallbacks.iter().map(|name| name.len() + 16).sum();
    let model = rewrite.model.map_or(0, str::len);
    let mut writer = Writer::new(request.object.text_len() + names + model + 192);
    for Field {
        key,
        raw_key,
        value,
    } in request.object.iter()
    {
        if !drops(key) {
            writer.field(raw_key, value);
        }
    }
    models(&mut writer);
    if let Some((field, number)) = rewrite.max_tokens {
        writer.encoded_key(field);
        writer.text(&number.to_string());
    }
    if asks_for_usage(request) {
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
            writer.encoded_key(key);
            writer.text(raw);
        }
        Some(())
    });
    writer.field("\"include_usage\"", "true");
    writer.close();
}

/// Writes a JSON object member by member.
pub(super) struct Writer {
    bytes: Vec<u8>,
    first: bool,
}

impl Writer {
    pub(super) fn new(capacity: usize) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(capacity),
            first: true,
        };
        writer.open();
        writer
    }

    pub(super) fn open(&mut self) {
        self.text("{");
        self.first = true;
    }

    pub(super) fn close(&mut self) {
        self.text("}");
        self.first = false;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    pub(super) fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.text(",");
        }
    }

    /// A key as it is to be written, and its colon.
    pub(super) fn key(&mut self, raw: &str) {
        self.comma();
        self.text(raw);
        self.text(":");
    }

    /// A key that is to be quoted, and its colon.
    pub(super) fn encoded_key(&mut self, key: &str) {
        self.comma();
        self.string(key);
        self.text(":");
    }

    pub(super) fn field(&mut self, raw_key: &str, value: &str) {
        self.key(raw_key);
        self.text(value);
    }

    /// A key and a text, both to be quoted.
    pub(super) fn string_field(&mut self, key: &str, value: &str) {
        self.encoded_key(key);
        self.string(value);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// `text` as a JSON string.
    pub(super) fn string(&mut self, text: &str) {
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
