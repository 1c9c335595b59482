//! Anthropic: messages, and nothing else.
//!
//! Decides how it is addressed. A client's query (`?beta=true`) is not sent on; it changes nothing
//! there, betas are named in a header.

use super::body::one_model;
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// Anthropic.
pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "ANTHROPIC_API_KEY",
            base_url: "ANTHROPIC_BASE_URL",
            default_url: Some("https://api.anthropic.com"),
        })
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[Dialect::Messages]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        Cow::Borrowed(if call.count_tokens {
            "/v1/messages/count_tokens"
        } else {
            "/v1/messages"
        })
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("x-api-key"), key.to_owned())
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn passes(&self) -> &'static [&'static str] {
        &["anthropic-version", "anthropic-beta"]
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        one_model(request, rewrite)
    }

    fn priced_as(&self, engine: &str) -> Vec<String> {
        vec![engine.to_owned()]
    }
}
