//! Wire formats of requests and answers, and the one common form between them.
//!
//! Decides how a request that came in one format is said in another, and how its answer is said
//! back, whole or as a stream. Each format is one file that knows only itself and the common form
//! ([`form`]); none knows another. Where client and provider speak the same dialect nothing of this
//! is used: those bytes pass as they are. It does not decide who speaks what (that is
//! [`crate::provider`]) nor what anything costs.

pub mod form;

mod chat;
mod completions;
mod gemini;
mod messages;
mod responses;
mod translate;

use std::fmt;

pub use messages::write_failure as write_messages_failure;
pub use translate::{Translator, failure, request};

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
