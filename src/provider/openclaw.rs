//! An OpenClaw gateway: Anthropic's messages at an address of its own.
//!
//! Decides how it is addressed.

use super::body::{bearer, one_model};
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// Its name.
pub const NAME: &str = "openclaw";

/// What it may be called, too.
pub const ALSO: &str = "openclaw-gateway";

/// An OpenClaw gateway.
pub(super) struct OpenClaw;

impl Provider for OpenClaw {
    fn name(&self) -> &'static str {
        NAME
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "OPENCLAW_GATEWAY_TOKEN",
            base_url: "OPENCLAW_GATEWAY_URL",
            default_url: Some("http://127.0.0.1:8000"),
        })
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[Dialect::Messages]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        Cow::Borrowed(if call.count_tokens {
            "/api/messages/count_tokens"
        } else {
            "/api/messages"
        })
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        bearer(key)
    }

    fn passes(&self) -> &'static [&'static str] {
        &["anthropic-version", "anthropic-beta"]
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        one_model(request, rewrite)
    }

    /// The gateway's models are called `vendor/model`; the table has most of them by the second half, and some
    /// as OpenRouter sells them only.
    fn priced_as(&self, engine: &str) -> Vec<String> {
        let mut names = vec![engine.to_owned()];
        if let Some((_, model)) = engine.split_once('/') {
            names.push(model.to_owned());
            names.push(format!("openrouter/{engine}"));
        }
        names
    }
}
