//! Azure OpenAI: the deployment is in the path, the key in a header of its own.
//!
//! Decides how a deployment is addressed. It does not know which model a deployment runs; the engine
//! that the policy names is taken for it.

use super::body::{one_model, segment};
use super::openai::output_limit;
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// The version of the API for deployments, when the block names none.
const VERSION: &str = "2024-10-21";

/// The version for responses, which have no dated ones.
const RESPONSES_VERSION: &str = "preview";

/// Azure OpenAI.
pub(super) struct Azure;

impl Provider for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "AZURE_OPENAI_API_KEY",
            base_url: "AZURE_OPENAI_ENDPOINT",
            default_url: None,
        })
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[
            Dialect::Chat,
            Dialect::Completions,
            Dialect::Responses,
            Dialect::Embeddings,
        ]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        let route = match call.dialect {
            Dialect::Responses => {
                let version = call
                    .api_version
                    .filter(|version| matches!(*version, "preview" | "latest" | "v1"))
                    .unwrap_or(RESPONSES_VERSION);
                return Cow::Owned(format!("/openai/v1/responses?api-version={version}"));
            }
            Dialect::Completions => "completions",
            Dialect::Embeddings => "embeddings",
            Dialect::Chat | Dialect::Messages | Dialect::Gemini => "chat/completions",
        };
        Cow::Owned(format!(
            "/openai/deployments/{}/{route}?api-version={}",
            segment(self.model(call)),
            segment(call.api_version.unwrap_or(VERSION)),
        ))
    }

    fn model<'a>(&self, call: &Call<'a>) -> &'a str {
        call.deployment.unwrap_or(call.engine)
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("api-key"), key.to_owned())
    }

    fn output_limit(
        &self,
        dialect: Dialect,
        engine: &str,
        asked: Option<&'static str>,
    ) -> &'static str {
        output_limit(dialect, engine, asked)
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        one_model(request, rewrite)
    }

    fn priced_as(&self, engine: &str) -> Vec<String> {
        vec![format!("azure/{engine}"), engine.to_owned()]
    }
}
