//! Bodies as they are sent: the client's fields with some of them replaced.

use crate::json::Cursor;

/// The client's stream options, with usage asked for.
pub(super) fn stream_options(writer: &mut Writer, options: Option<&str>) {
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
