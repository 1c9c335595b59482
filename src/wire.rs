//! The wire formats that clients and providers speak, by name. What each of them looks like is
//! [`crate::dialect`]'s.

use std::fmt;

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// OpenAI's chat completions, as OpenRouter and most others speak it, too.
    Chat,
    /// OpenAI's legacy text completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Google's `generateContent`.
    Gemini,
    /// OpenAI's embeddings.
    Embeddings,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::Gemini,
        Self::Embeddings,
    ];

    /// The name in settings, records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
            Self::Embeddings => "embeddings",
        }
    }

    /// The field in which a request of this dialect names the most output tokens it wants, for
    /// requests that name none themselves.
    pub const fn output_limit(self) -> &'static str {
        match self {
            Self::Responses => "max_output_tokens",
            Self::Gemini => "maxOutputTokens",
            Self::Chat | Self::Completions | Self::Messages | Self::Embeddings => "max_tokens",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
