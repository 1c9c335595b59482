//! What clients speak: the routes, and what of a request bears on its bound.
//!
//! Decides which path is which surface and reads the few facts of a request that a bound, a route
//! or a limit needs. It does not decide where the request goes or whether it may.

pub mod chat;

use crate::catalog::ServiceTier;
use crate::dialect::Dialect;
use crate::json::Object;
use std::borrow::Cow;

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
    /// The field to write such a number in: the one the client used.
    pub max_tokens_field: &'static str,
    /// How many choices are wanted (`n`), from 1 to 128.
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
}
