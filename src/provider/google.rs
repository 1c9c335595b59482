//! Google's Gemini API.
//!
//! Decides how it is addressed: generation by the model's own path, embeddings by the routes that are
//! compatible with OpenAI. The key is in a header, never in an address, which end up in logs.

use super::body::{bearer, one_model, segment};
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// Google's Gemini API.
pub(super) struct Google;

impl Provider for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "GEMINI_API_KEY",
            base_url: "GEMINI_BASE_URL",
            default_url: Some("https://generativelanguage.googleapis.com"),
        })
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[Dialect::Gemini, Dialect::Embeddings]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        if call.dialect == Dialect::Embeddings {
            return Cow::Borrowed("/v1beta/openai/embeddings");
        }
        let method = if call.stream {
            "streamGenerateContent?alt=sse"
        } else {
            "generateContent"
        };
        let engine = segment(plain(call.engine));
        Cow::Owned(format!("/v1beta/models/{engine}:{method}"))
    }

    fn key(&self, call: &Call<'_>, key: &str) -> (HeaderName, String) {
        if call.dialect == Dialect::Embeddings {
            return bearer(key);
        }
        (HeaderName::from_static("x-goog-api-key"), key.to_owned())
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        one_model(request, rewrite)
    }

    fn priced_as(&self, engine: &str) -> Vec<String> {
        let engine = plain(engine);
        vec![format!("gemini/{engine}"), engine.to_owned()]
    }
}

/// The engine without the folder that Google's own lists of models put it in.
fn plain(engine: &str) -> &str {
    engine.strip_prefix("models/").unwrap_or(engine)
}
