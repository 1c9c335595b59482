//! A block of a stream that is written, shown or waiting.

/// A block.
pub(super) struct Block {
    pub(super) kind: Kind,
    /// What came for it before it could be begun.
    pub(super) waiting: String,
    /// The proof of a thought, which ends it.
    pub(super) signature: Option<String>,
    arguments: Arguments,
}

/// What a block is.
pub(super) enum Kind {
    Text,
    Thinking,
    Redacted(String),
    Call { call: u32, id: String, name: String },
}

impl Kind {
    /// The type of a delta, and the key of its text.
    pub(super) const fn delta(&self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text_delta", "text"),
            Self::Thinking | Self::Redacted(_) => ("thinking_delta", "thinking"),
            Self::Call { .. } => ("input_json_delta", "partial_json"),
        }
    }
}

impl Block {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            waiting: String::new(),
            signature: None,
            arguments: Arguments::default(),
        }
    }

    pub(super) fn call(call: u32, id: &str, name: &str) -> Self {
        Self::new(Kind::Call {
            call,
            id: id.to_owned(),
            name: name.to_owned(),
        })
    }

    /// About how much memory it takes, in bytes, without what waits for it.
    pub(super) fn size(&self) -> usize {
        let text = match &self.kind {
            Kind::Text | Kind::Thinking => 0,
            Kind::Redacted(data) => data.len(),
            Kind::Call { id, name, .. } => id.len() + name.len(),
        };
        size_of::<Self>() + text
    }

    pub(super) fn is_call(&self, ordinal: u32) -> bool {
        matches!(self.kind, Kind::Call { call, .. } if call == ordinal)
    }

    /// Whether more text of that kind goes on with this block.
    pub(super) fn takes(&self, kind: &Kind) -> bool {
        match (&self.kind, kind) {
            (Kind::Text, Kind::Text) => true,
            (Kind::Thinking, Kind::Thinking) => self.signature.is_none(),
            _ => false,
        }
    }

    /// Notes what came for it.
    pub(super) fn follow(&mut self, text: &str) {
        if matches!(self.kind, Kind::Call { .. }) {
            self.arguments.follow(text);
        }
    }

    /// Whether nothing more will come for it, now that another block follows.
    pub(super) fn is_over(&self) -> bool {
        !matches!(self.kind, Kind::Call { .. }) || self.arguments.complete
    }
}

/// How far the arguments of a call have come.
#[derive(Default)]
struct Arguments {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether the object, or array, was closed.
    complete: bool,
}

impl Arguments {
    fn follow(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_complete_with_their_last_bracket() {
        let mut arguments = Arguments::default();
        for piece in [r#"{"a":"}\"#, r#""}"#, r#"","b":[{"#, "}]"] {
            arguments.follow(piece);
            assert!(!arguments.complete, "{piece}");
        }
        arguments.follow("}");
        assert!(arguments.complete);
    }
}
