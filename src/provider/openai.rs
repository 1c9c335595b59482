//! OpenAI, and servers that speak as it does.
//!
//! Decides how the two are addressed, and for which of OpenAI's models the output limit has its
//! newer name.

use super::body::{bearer, limit_field, one_model};
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// OpenAI itself.
pub(super) struct OpenAi;

/// Whatever has OpenAI's routes: vLLM, Ollama, LM Studio, Groq, Mistral and many more.
pub(super) struct Compatible;

/// Whether OpenAI refuses `max_tokens` for the chat model `engine` and wants
/// `max_completion_tokens`: all that reason, which is o1 and its successors and every GPT from 5 on.
/// Vendor prefixes and `ft:` do not matter.
fn reasons(engine: &str) -> bool {
    let name = engine.rsplit('/').next().unwrap_or(engine);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let digits = |rest: &str| {
        let end = rest
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse::<u32>().ok()
    };
    let successor = name.strip_prefix('o').and_then(digits).is_some();
    let gpt = name.strip_prefix("gpt-").and_then(digits);
    // Azure writes gpt-35-turbo where OpenAI writes gpt-3.5-turbo.
    successor || gpt.is_some_and(|number| number >= 5 && number != 35) || name.contains("codex")
}

/// [`Provider::output_limit`] where OpenAI's own models run.
pub(super) fn output_limit(
    dialect: Dialect,
    engine: &str,
    asked: Option<&'static str>,
) -> &'static str {
    if dialect == Dialect::Chat && reasons(engine) {
        return "max_completion_tokens";
    }
    limit_field(dialect, asked)
}

/// The path of a dialect below `/v1`. Some compatible servers have Anthropic's route as well.
const fn path(call: &Call<'_>) -> &'static str {
    match call.dialect {
        Dialect::Completions => "/completions",
        Dialect::Responses => "/responses",
        Dialect::Embeddings => "/embeddings",
        Dialect::Messages if call.count_tokens => "/messages/count_tokens",
        Dialect::Messages => "/messages",
        Dialect::Chat | Dialect::Gemini => "/chat/completions",
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "OPENAI_API_KEY",
            base_url: "OPENAI_BASE_URL",
            default_url: Some("https://api.openai.com/v1"),
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
        Cow::Borrowed(path(call))
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        bearer(key)
    }

    fn passes(&self) -> &'static [&'static str] {
        &["openai-beta"]
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
        vec![engine.to_owned()]
    }
}

impl Provider for Compatible {
    fn name(&self) -> &'static str {
        "openai-compatible"
    }

    fn environment(&self) -> Option<Environment> {
        None
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[Dialect::Chat, Dialect::Completions, Dialect::Embeddings]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        Cow::Borrowed(path(call))
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        bearer(key)
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        one_model(request, rewrite)
    }

    fn priced_as(&self, engine: &str) -> Vec<String> {
        vec![engine.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_reason_have_the_newer_limit() {
        for engine in [
            "o1",
            "o3-mini",
            "o4-mini-2025-04-16",
            "gpt-5",
            "gpt-5.2-pro",
            "gpt-10",
            "openai/gpt-5-nano",
            "ft:o4-mini-2025-04-16:us::1",
            "codex-mini-latest",
        ] {
            for asked in [None, Some("max_tokens"), Some("max_completion_tokens")] {
                assert_eq!(
                    OpenAi.output_limit(Dialect::Chat, engine, asked),
                    "max_completion_tokens",
                    "{engine}"
                );
            }
        }
    }

    #[test]
    fn other_models_have_the_limit_that_the_client_used() {
        for engine in [
            "gpt-4o",
            "gpt-4.1-mini",
            "gpt-3.5-turbo",
            "gpt-35-turbo",
            "gpt-oss-120b",
            "ft:gpt-4o-mini:us::1",
            "olmo-2",
            "gpt-99999999999999999999",
            "",
        ] {
            let field = |asked| OpenAi.output_limit(Dialect::Chat, engine, asked);
            assert_eq!(field(None), "max_tokens", "{engine}");
            assert_eq!(
                field(Some("max_completion_tokens")),
                "max_completion_tokens"
            );
            // What a client of another dialect used is no field of this one.
            assert_eq!(field(Some("max_output_tokens")), "max_tokens");
        }
        let of = |dialect| OpenAi.output_limit(dialect, "o3", Some("max_tokens"));
        assert_eq!(of(Dialect::Responses), "max_output_tokens");
        assert_eq!(of(Dialect::Completions), "max_tokens");
    }
}
