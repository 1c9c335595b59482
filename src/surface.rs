//! What clients speak: the routes, and what of a request bears on its bound.
//!
//! Decides which path is which surface and reads the few facts of a request that a bound, a route
//! or a limit needs. It does not decide where the request goes or whether it may.

pub mod chat;
pub mod completions;
pub mod embeddings;
mod fields;
pub mod messages;
pub mod responses;

use crate::json::{Limits, Object};
use crate::refusal::Refusal;
use crate::usage::ServiceTier;
use crate::wire::Dialect;
use std::borrow::Cow;

/// The longest name of a model in a path, in bytes.
const MODEL: usize = 256;

/// A route that clients send requests for models to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/completions`.
    Completions,
    /// OpenAI's `/v1/responses`.
    Responses,
    /// Anthropic's `/v1/messages`.
    Messages,
    /// Anthropic's `/v1/messages/count_tokens`.
    CountTokens,
    /// OpenAI's `/v1/embeddings`.
    Embeddings,
    /// The Model Gateway's `/proxy/{model}`: a chat completion, the model being in the path.
    Titan,
}

/// How errors are written for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// The Model Gateway's.
    Titan,
}

impl Surface {
    /// The surface at a raw path, without its query, and the model that the path names. Paths are
    /// taken as they are: what a server behind might normalise is a different route. A model is one
    /// segment, or two as in `openai/gpt-4o`, without escapes.
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

    /// What its requests are written in.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Titan => Dialect::Chat,
            Self::Completions => Dialect::Completions,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Messages,
            Self::Embeddings => Dialect::Embeddings,
        }
    }

    /// How its clients read errors.
    pub const fn shape(self) -> ErrorShape {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings => {
                ErrorShape::OpenAi
            }
            Self::Messages | Self::CountTokens => ErrorShape::Anthropic,
            Self::Titan => ErrorShape::Titan,
        }
    }

    /// Reads a request of this surface. Differs from [`parse`] where several surfaces share a
    /// dialect: a request to count tokens names no output limit and gets no output.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(self, body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
        match self {
            Self::CountTokens => messages::parse_count(body, limits),
            other => parse(other.dialect(), body, limits),
        }
    }
}

/// Whether the rest of a path names a model: one segment or two that no server reads as others.
pub fn is_model(model: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'\\');
    let mut segments = model.split('/');
    model.len() <= MODEL
        && model.bytes().all(|byte| byte == b'/' || plain(byte))
        && segments.clone().count() <= 2
        && segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Reads a request in a dialect that clients speak.
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
        Dialect::Gemini => Err(Refusal::BadRequest(
            "Requests in this format are not served",
        )),
    }
}

/// A request that was read, with all that its bound depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it was written in.
    pub dialect: Dialect,
    /// The whole body, checked.
    pub object: Object<'a>,
    /// The model asked for in the body.
    pub model: Option<Cow<'a, str>>,
    /// The client's own list of fallback models (`models`); empty when there is none. Any of them
    /// may answer unless the list is replaced.
    pub fallbacks: Vec<Cow<'a, str>>,
    /// The end user that the client names (`user`, `metadata.user_id`), where it is a text.
    pub user: Option<Cow<'a, str>>,
    /// Whether the answer is a stream of events; never for embeddings.
    pub stream: bool,
    /// Whether the client expects the usage at the end of a stream: where it asked for the chunk
    /// (chat, completions), and always in dialects whose streams say it anyway.
    pub include_usage: bool,
    /// The most output tokens per choice; the larger one where the client names two. `None` for the
    /// model's limit, 0 where there is no output at all: embeddings, counting tokens.
    pub max_tokens: Option<u64>,
    /// The field to write such a number in: the one the client used, else the dialect's.
    pub max_tokens_field: &'static str,
    /// How many answers are wanted: choices (`n`, `best_of`), for each prompt where there are
    /// several. At least 1.
    pub choices: u64,
    /// The processing tier; `None` when absent or `auto`.
    pub service_tier: Option<ServiceTier>,
    /// Whether the provider may run tools of its own, for a fee: plug-ins, web search, servers of
    /// tools, tools that are not the client's own, or a model name ending in `:online`.
    pub server_tools: bool,
    /// The size of `prediction` in bytes; its tokens are billed as output when they are rejected.
    pub prediction_bytes: usize,
    /// Whether the answer may contain sound, which has its own price.
    pub audio_output: bool,
    /// Whether the answer may contain images, which have their own price.
    pub image_output: bool,
    /// Parts of the input that are not text: images, documents, sound, whatever is unknown.
    pub media_parts: usize,
    /// Whether the provider adds input that nobody here can count, such as an earlier response that
    /// is named by its id, or a document at an address: then the bound is the model's whole context.
    pub unseen_input: bool,
}

#[cfg(test)]
#[path = "surface/tests.rs"]
mod tests;
