//! JSON as it is written: members and elements, with the commas between them.

/// JSON in the making.
pub(super) struct Json {
    text: String,
}

impl Json {
    pub(super) const fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Whether nothing was written but an object without members.
    pub(super) fn is_empty_object(&self) -> bool {
        self.text == "{}"
    }

    /// An object with what `members` writes.
    pub(super) fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.open('{');
        members(self);
        self.text.push('}');
    }

    /// The key of a member, for a value that follows.
    pub(super) fn key(&mut self, key: &str) {
        self.comma();
        self.quoted(key);
        self.text.push(':');
    }

    /// A member that is an object.
    pub(super) fn member(&mut self, key: &str, members: impl FnOnce(&mut Self)) {
        self.key(key);
        self.object(members);
    }

    /// A member that is a string.
    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    /// A member that is JSON already.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push_str(value);
    }

    /// A member that is an array; `element` writes each.
    pub(super) fn array<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        self.key(key);
        self.open('[');
        for item in items {
            element(self, item);
        }
        self.text.push(']');
    }

    /// An element that is a string.
    pub(super) fn text(&mut self, value: &str) {
        self.comma();
        self.quoted(value);
    }

    fn open(&mut self, bracket: char) {
        if bracket == '{' {
            self.comma();
        }
        self.text.push(bracket);
    }

    /// A comma, where one value ended and the next begins.
    fn comma(&mut self) {
        if !matches!(
            self.text.as_bytes().last(),
            None | Some(b'{' | b'[' | b':' | b',')
        ) {
            self.text.push(',');
        }
    }

    fn quoted(&mut self, value: &str) {
        self.text.push('"');
        let mut from = 0;
        for (at, byte) in value.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.text.push_str(&value[from..at]);
            from = at + 1;
            match byte {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                _ => self.text.push_str(&format!("\\u{byte:04x}")),
            }
        }
        self.text.push_str(&value[from..]);
        self.text.push('"');
    }
}
