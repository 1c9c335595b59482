//! OpenRouter: a body with several models, a header for the key, and dialects of everybody.
//!
//! Decides which fields of a request are replaced. It does not decide which models are allowed or
//! how many tokens are affordable; it writes down what others decided.

use super::body::{self, Writer, bearer};
use super::{Call, Environment, Provider, Rewrite};
use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;

/// The model name under which OpenRouter takes the model from the list beside it.
pub const AUTO: &str = "openrouter/auto";

/// OpenRouter, and whatever speaks as it does.
pub struct OpenRouter;

impl Provider for OpenRouter {
    fn name(&self) -> &'static str {
        "openrouter"
    }

    fn environment(&self) -> Option<Environment> {
        Some(Environment {
            key: "OPENROUTER_API_KEY",
            base_url: "OPENROUTER_BASE_URL",
            default_url: Some("https://openrouter.ai/api/v1"),
        })
    }

    fn dialects(&self) -> &'static [Dialect] {
        &[
            Dialect::Chat,
            Dialect::Completions,
            Dialect::Responses,
            Dialect::Messages,
            Dialect::Embeddings,
        ]
    }

    fn path(&self, call: &Call<'_>) -> Cow<'static, str> {
        Cow::Borrowed(match call.dialect {
            Dialect::Completions => "/completions",
            Dialect::Responses => "/responses",
            Dialect::Messages if call.count_tokens => "/messages/count_tokens",
            Dialect::Messages => "/messages",
            Dialect::Embeddings => "/embeddings",
            Dialect::Chat | Dialect::Gemini => "/chat/completions",
        })
    }

    fn key(&self, _: &Call<'_>, key: &str) -> (HeaderName, String) {
        bearer(key)
    }

    fn passes(&self) -> &'static [&'static str] {
        &[
            "openai-beta",
            "anthropic-version",
            "anthropic-beta",
            "http-referer",
            "x-title",
            "x-openrouter-title",
        ]
    }

    fn falls_back(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
        rewritten(request, rewrite)
    }

    fn priced_as(&self, engine: &str) -> Vec<String> {
        vec![format!("openrouter/{engine}"), engine.to_owned()]
    }
}

/// Whether a field of the client's names models that may answer.
fn names_models(dialect: Dialect, key: &str) -> bool {
    matches!(key, "model" | "models" | "route")
        || (key == "fallbacks" && dialect == Dialect::Messages)
}

/// Whether a field of the client's is left out, because it is replaced or must not be sent.
fn drops(rewrite: &Rewrite<'_>, request: &Request<'_>, key: &str) -> bool {
    let models = rewrite.model.is_some() || !rewrite.fallbacks.is_empty();
    (models && names_models(request.dialect, key)) || body::replaced(rewrite, request, key)
}

fn rewritten(request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8> {
    body::rewritten(
        request,
        rewrite,
        |key| drops(rewrite, request, key),
        |writer| models(writer, request.dialect, rewrite),
    )
}

/// The models, in the words of the dialect.
fn models(writer: &mut Writer, dialect: Dialect, rewrite: &Rewrite<'_>) {
    let Some((first, others)) = rewrite.fallbacks.split_first() else {
        if let Some(model) = rewrite.model {
            writer.string_field("model", model);
        }
        return;
    };
    match dialect {
        Dialect::Chat | Dialect::Completions => {
            writer.string_field("model", AUTO);
            list(writer, "models", rewrite.fallbacks, Writer::string);
            writer.string_field("route", "fallback");
        }
        Dialect::Responses => {
            writer.string_field("model", first);
            if !others.is_empty() {
                list(writer, "models", others, Writer::string);
            }
        }
        Dialect::Messages => {
            writer.string_field("model", first);
            if !others.is_empty() {
                list(writer, "fallbacks", others, |writer, name| {
                    writer.open();
                    writer.string_field("model", name);
                    writer.close();
                });
            }
        }
        // Vectors of two models have nothing to do with each other: there is no fallback.
        Dialect::Embeddings | Dialect::Gemini => writer.string_field("model", first),
    }
}

fn list(writer: &mut Writer, key: &str, names: &[String], one: impl Fn(&mut Writer, &str)) {
    writer.encoded_key(key);
    writer.text("[");
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            writer.text(",");
        }
        one(writer, name);
    }
    writer.text("]");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::json::{Limits, object};
    use crate::surface::chat::parse;

    fn sent(request: &str, rewrite: &Rewrite<'_>) -> String {
        let request = parse(request.as_bytes(), Limits::default()).unwrap();
        String::from_utf8(rewritten(&request, rewrite)).unwrap()
    }

    #[test]
    fn the_models_of_the_tier_replace_the_clients() {
        let models = ["a/b".to_owned(), "c\"\\\n/é".to_owned()];
        let rewrite = Rewrite {
            fallbacks: &models,
            ..Rewrite::default()
        };
        let text = sent(
            r#"{ "model":"x", "messages" : [{"content":"h\u0069"}], "models":["y"], "\u0072oute":"z", "user":"u" }"#,
            &rewrite,
        );
        assert_eq!(
            text,
            concat!(
                r#"{"messages":[{"content":"h\u0069"}],"user":"u","model":"openrouter/auto","#,
                r#""models":["a/b","c\"\\\u000a/é"],"route":"fallback"}"#
            )
        );
    }

    #[test]
    fn without_models_the_clients_choice_stays() {
        let request = r#"{"model":"x","models":["y"],"messages":[{}],"usage":{"include":true}}"#;
        assert_eq!(
            sent(request, &Rewrite::default()),
            r#"{"model":"x","models":["y"],"messages":[{}]}"#
        );
    }

    #[test]
    fn streams_always_ask_for_usage() {
        for (options, expected) in [
            ("", r#"{"include_usage":true}"#),
            (r#","stream_options":null"#, r#"{"include_usage":true}"#),
            (
                r#","stream_options":{"include_usage":false}"#,
                r#"{"include_usage":true}"#,
            ),
            (
                r#","stream_options":{"include_obfuscation" : false,"include_usage":true,"x":[1, 2]}"#,
                r#"{"include_obfuscation":false,"x":[1, 2],"include_usage":true}"#,
            ),
        ] {
            let request = format!(r#"{{"messages":[{{}}],"stream":true{options}}}"#);
            assert_eq!(
                sent(&request, &Rewrite::default()),
                format!(r#"{{"messages":[{{}}],"stream":true,"stream_options":{expected}}}"#)
            );
        }
        let whole = r#"{"messages":[{}],"stream_options":{"include_usage":false}}"#;
        assert_eq!(sent(whole, &Rewrite::default()), whole);
    }

    #[test]
    fn one_output_limit_replaces_both() {
        let rewrite = Rewrite {
            max_tokens: Some(("max_completion_tokens", 7)),
            ..Rewrite::default()
        };
        assert_eq!(
            sent(
                r#"{"max_tokens":9,"messages":[{}],"max_completion_tokens":8}"#,
                &rewrite
            ),
            r#"{"messages":[{}],"max_completion_tokens":7}"#
        );
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Value)>> {
        let known = prop_oneof![
            Just(("model", json!("m"))),
            Just(("models", json!(["n", "o"]))),
            Just(("route", json!("r"))),
            Just(("usage", json!({"include": true}))),
            Just(("max_tokens", json!(5))),
            Just(("max_completion_tokens", json!(6))),
            Just(("stream", json!(true))),
            Just((
                "stream_options",
                json!({"a": [1, {}], "include_usage": false})
            )),
            Just(("temperature", json!(0.5))),
            Just(("tools", json!([{"type": "function"}]))),
        ]
        .prop_map(|(key, value)| (key.to_owned(), value));
        let other = ("[x-z\"\\\\é]{1,4}", "\\PC{0,9}")
            .prop_map(|(key, text)| (key, json!([text, {"k": text}])));
        proptest::collection::vec(prop_oneof![known, other], 0..12).prop_map(|mut fields| {
            fields.insert(0, ("messages".to_owned(), json!([{"content": "hi"}])));
            let mut seen = std::collections::HashSet::new();
            fields.retain(|(key, _)| seen.insert(key.clone()));
            fields
        })
    }

    proptest! {
        #[test]
        fn only_what_is_replaced_changes(
            fields in fields(),
            models in proptest::collection::vec("\\PC{0,12}", 0..4),
            limit in proptest::option::of(1_u64..1_000_000),
        ) {
            let text = fields
                .iter()
                .map(|(key, value)| format!("{} : {value:#}", Value::from(key.as_str())))
                .collect::<Vec<_>>()
                .join(" , ");
            let text = format!("{{{text}}}");
            let rewrite = Rewrite {
                fallbacks: &models,
                max_tokens: limit.map(|number| ("max_tokens", number)),
                ..Rewrite::default()
            };
            let sent = sent(&text, &rewrite);

            let mut expected: Map<String, Value> = fields.iter().cloned().collect();
            expected.remove("usage");
            if !models.is_empty() {
                expected.insert("model".to_owned(), json!(AUTO));
                expected.insert("models".to_owned(), json!(models));
                expected.insert("route".to_owned(), json!("fallback"));
            }
            if let Some(number) = limit {
                expected.remove("max_completion_tokens");
                expected.insert("max_tokens".to_owned(), json!(number));
            }
            if expected.contains_key("stream") {
                let options = expected.entry("stream_options").or_insert_with(|| json!({}));
                options["include_usage"] = json!(true);
            }
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), Value::Object(expected));

            // What is not replaced keeps its bytes and its order.
            let (before, after) = (object(text.as_bytes(), Limits::default()), object(sent.as_bytes(), Limits::default()));
            let (before, after) = (before.unwrap(), after.unwrap());
            let request = parse(text.as_bytes(), Limits::default()).unwrap();
            let kept: Vec<_> = before.iter().filter(|field| !drops(&rewrite, &request, &field.key)).collect();
            prop_assert_eq!(after.iter().take(kept.len()).collect::<Vec<_>>(), kept);
        }
    }
}
