//! What clients speak: the routes, and what of a request bears on its bound.
//!
//! Decides which path is which surface and reads the few facts of a request that a bound, a route
//! or a limit needs. It does not decide where the request goes or whether it may; what no bound can
//! be drawn from is refused, everything else is passed on unread.

pub mod chat;
mod completions;
mod embeddings;
mod fields;
mod messages;
mod responses;

use crate::catalog::ServiceTier;
use crate::dialect::Dialect;
use crate::json::{Limits, Object};
use crate::refusal::Refusal;
use std::borrow::Cow;

/// The longest model name in a path, in bytes.
const LONGEST_MODEL: usize = 256;

/// A route that leads to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Messages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/proxy/{model}`, the Model Gateway's.
    Titan,
}

/// How errors look on a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// As OpenAI writes them.
    OpenAi,
    /// As Anthropic writes them.
    Anthropic,
    /// As the Model Gateway writes them.
    Titan,
}

impl Surface {
    /// The surface of an exact raw path, and the model in it where there is one: nothing that
    /// a server behind might decode or normalise.
    pub fn of(path: &str) -> Option<(Self, Option<&str>)> {
        let surface = match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/embeddings" => Self::Embeddings,
            _ => {
                let model = path.strip_prefix("/proxy/")?;
                return is_model(model).then_some((Self::Titan, Some(model)));
            }
        };
        Some((surface, None))
    }

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Titan => "titan",
        }
    }

    /// The dialect of its requests and answers.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Titan => Dialect::Chat,
            Self::Completions => Dialect::Completions,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Messages,
            Self::Embeddings => Dialect::Embeddings,
        }
    }

    /// How its errors look.
    pub const fn shape(self) -> ErrorShape {
        match self {
            Self::Messages | Self::CountTokens => ErrorShape::Anthropic,
            Self::Titan => ErrorShape::Titan,
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings => {
                ErrorShape::OpenAi
            }
        }
    }
}

/// Whether a path segment, or two, can be a model's name: `gpt-4o`, `openai/gpt-4o`.
fn is_model(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    let segment = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(plain) && !segment.bytes().all(|b| b == b'.')
    };
    text.len() <= LONGEST_MODEL && text.split('/').count() <= 2 && text.split('/').all(segment)
}

/// A request that was read, with all that its bound depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it was written in.
    pub dialect: Dialect,
    /// The whole body, checked.
    pub object: Object<'a>,
    /// The model asked for.
    pub model: Option<Cow<'a, str>>,
    /// The client's own list of fallback models (`models`); empty when there is none. Any of them
    /// may answer unless the list is replaced.
    pub fallbacks: Vec<Cow<'a, str>>,
    /// Whether the answer is a stream of events.
    pub stream: bool,
    /// Whether the client expects a usage chunk at the end of a stream.
    pub include_usage: bool,
    /// The most output tokens per choice; the larger one where the client names two.
    pub max_tokens: Option<u64>,
    /// The field to write such a number in: the one the client used, else its dialect's.
    pub max_tokens_field: &'static str,
    /// How many choices are wanted (`n`), at least 1; for several prompts, all of theirs.
    pub choices: u64,
    /// The processing tier; `None` when absent or `auto`.
    pub service_tier: Option<ServiceTier>,
    /// Whether the provider may run tools of its own, for a fee: plug-ins, web search, tools other
    /// than functions, or a model name ending in `:online`.
    pub server_tools: bool,
    /// The size of `prediction` in bytes; its tokens are billed as output when they are rejected.
    pub prediction_bytes: usize,
    /// Whether the answer may contain sound, which has its own price.
    pub audio_output: bool,
    /// Whether the answer may contain images, which have their own price.
    pub image_output: bool,
    /// Parts of messages that are not text.
    pub media_parts: usize,
    /// Whether the provider adds input that nobody here can count, such as an earlier response that
    /// is named by its id, or a document at an address: then the bound is the model's whole context.
    pub unseen_input: bool,
    /// Whether nothing is generated (embeddings): only input is billed.
    pub no_output: bool,
}

/// Reads a request of a dialect.
///
/// # Errors
/// [`Refusal::InvalidJson`] for a body that [`crate::json::object`] refuses,
/// [`Refusal::InvalidField`] for a field that bears on the bound and has a type or value it must not
/// have.
pub fn parse(dialect: Dialect, body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    match dialect {
        Dialect::Chat => chat::parse(body, limits),
        Dialect::Completions => completions::parse(body, limits),
        Dialect::Responses => responses::parse(body, limits),
        Dialect::Messages => messages::parse(body, limits),
        Dialect::Embeddings => embeddings::parse(body, limits),
        Dialect::Gemini => Err(Refusal::BadRequest("No client speaks this dialect")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_exactly() {
        assert_eq!(
            Surface::of("/v1/messages/count_tokens"),
            Some((Surface::CountTokens, None))
        );
        for model in ["gpt-4o", "openai/gpt-4o", "a:free", "vitals"] {
            let path = format!("/proxy/{model}");
            assert_eq!(Surface::of(&path), Some((Surface::Titan, Some(model))));
        }
        for path in [
            "/v1/chat/completions/",
            "//v1/chat/completions",
            "/v1/./messages",
            "/proxy/",
            "/proxy/a/b/c",
            "/proxy/../x",
            "/proxy/a%2fb",
            "/proxy/a b",
            "/proxy",
            "/v1/models",
        ] {
            assert_eq!(Surface::of(path), None, "{path}");
        }
    }
}
