//! Every provider at once: where a call goes, with which key, and what of a body is replaced.

use super::*;
use crate::json::{Limits, object};
use crate::surface::chat;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn call(dialect: Dialect, engine: &str) -> Call<'_> {
    Call {
        dialect,
        engine,
        stream: false,
        count_tokens: false,
        deployment: None,
        api_version: None,
    }
}

fn of(name: &str) -> &'static dyn Provider {
    named(name).unwrap()
}

/// A request of any dialect whose body is `text`.
fn request(dialect: Dialect, text: &str) -> Request<'_> {
    let any = chat::parse(br#"{"messages":[{}]}"#, Limits::default()).unwrap();
    let object = object(text.as_bytes(), Limits::default()).unwrap();
    Request {
        dialect,
        stream: object.get("stream") == Some("true"),
        object,
        ..any
    }
}

fn sent(provider: &str, dialect: Dialect, text: &str, rewrite: &Rewrite<'_>) -> String {
    String::from_utf8(of(provider).body(&request(dialect, text), rewrite)).unwrap()
}

#[test]
fn names_and_variables_are_all_different() {
    let mut seen = std::collections::HashSet::new();
    for provider in ALL {
        assert!(seen.insert(provider.name()));
        assert!(!provider.dialects().is_empty());
        if let Some(environment) = provider.environment() {
            assert!(seen.insert(environment.key) && seen.insert(environment.base_url));
        }
        for header in provider.passes() {
            assert!(header.parse::<HeaderName>().is_ok());
        }
    }
    assert_eq!(of("openai-compatible").environment(), None);
    assert!(named("nobody").is_none());
}

#[test]
fn a_call_goes_to_the_path_of_its_dialect() {
    for (provider, dialect, path) in [
        ("openai", Dialect::Chat, "/chat/completions"),
        ("openai", Dialect::Completions, "/completions"),
        ("openai", Dialect::Responses, "/responses"),
        ("openai-compatible", Dialect::Embeddings, "/embeddings"),
        ("openai-compatible", Dialect::Messages, "/messages"),
        ("openrouter", Dialect::Messages, "/messages"),
        ("anthropic", Dialect::Messages, "/v1/messages"),
        ("openclaw", Dialect::Messages, "/api/messages"),
        (
            "google",
            Dialect::Gemini,
            "/v1beta/models/m:generateContent",
        ),
        ("google", Dialect::Embeddings, "/v1beta/openai/embeddings"),
        (
            "azure",
            Dialect::Chat,
            "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ),
        (
            "azure",
            Dialect::Completions,
            "/openai/deployments/m/completions?api-version=2024-10-21",
        ),
        (
            "azure",
            Dialect::Embeddings,
            "/openai/deployments/m/embeddings?api-version=2024-10-21",
        ),
        (
            "azure",
            Dialect::Responses,
            "/openai/v1/responses?api-version=preview",
        ),
    ] {
        assert_eq!(of(provider).path(&call(dialect, "m")), path);
    }
}

#[test]
fn tokens_are_counted_beside_the_messages() {
    for (provider, path) in [
        ("anthropic", "/v1/messages/count_tokens"),
        ("openclaw", "/api/messages/count_tokens"),
        ("openrouter", "/messages/count_tokens"),
    ] {
        let call = Call {
            count_tokens: true,
            ..call(Dialect::Messages, "m")
        };
        assert_eq!(of(provider).path(&call), path);
    }
}

#[test]
fn names_cannot_leave_their_segment_of_the_path() {
    let azure = |deployment, api_version| {
        let call = Call {
            deployment: Some(deployment),
            api_version,
            ..call(Dialect::Chat, "gpt-4o")
        };
        of("azure").path(&call).into_owned()
    };
    assert_eq!(
        azure("my.Gpt_4-o", Some("2025-01-01-preview")),
        "/openai/deployments/my.Gpt_4-o/chat/completions?api-version=2025-01-01-preview"
    );
    assert_eq!(
        azure("../a?b#c d/é", Some("x&y")),
        "/openai/deployments/..%2Fa%3Fb%23c%20d%2F%C3%A9/chat/completions?api-version=x%26y"
    );
    assert!(azure("..", None).starts_with("/openai/deployments/%2E%2E/"));

    let stream = Call {
        stream: true,
        ..call(Dialect::Gemini, "models/gemini-2.5-pro")
    };
    assert_eq!(
        of("google").path(&stream),
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    );
    assert_eq!(
        of("google").path(&call(Dialect::Gemini, "a:b?key=c")),
        "/v1beta/models/a%3Ab%3Fkey%3Dc:generateContent"
    );
}

#[test]
fn a_deployment_is_the_model_of_azures_bodies() {
    let call = Call {
        deployment: Some("mine"),
        ..call(Dialect::Responses, "gpt-5")
    };
    assert_eq!(of("azure").model(&call), "mine");
    assert_eq!(of("openai").model(&call), "gpt-5");
}

#[test]
fn each_provider_has_its_header_for_the_key() {
    for (provider, dialect, name, value) in [
        ("openai", Dialect::Chat, "authorization", "Bearer k"),
        (
            "openai-compatible",
            Dialect::Chat,
            "authorization",
            "Bearer k",
        ),
        ("openrouter", Dialect::Chat, "authorization", "Bearer k"),
        ("openclaw", Dialect::Messages, "authorization", "Bearer k"),
        ("azure", Dialect::Chat, "api-key", "k"),
        ("anthropic", Dialect::Messages, "x-api-key", "k"),
        ("google", Dialect::Gemini, "x-goog-api-key", "k"),
        ("google", Dialect::Embeddings, "authorization", "Bearer k"),
    ] {
        let call = call(dialect, "m");
        let (header, with) = of(provider).key(&call, "k");
        assert_eq!((header.as_str(), with.as_str()), (name, value));
        assert!(!of(provider).path(&call).contains('k') || provider != "google");
    }
}

#[test]
fn prices_are_looked_up_where_the_table_has_them() {
    for (provider, engine, names) in [
        ("openai", "gpt-4o", &["gpt-4o"][..]),
        ("azure", "gpt-4o", &["azure/gpt-4o", "gpt-4o"]),
        ("anthropic", "claude-sonnet-4-5", &["claude-sonnet-4-5"]),
        (
            "google",
            "models/gemini-2.5-pro",
            &["gemini/gemini-2.5-pro", "gemini-2.5-pro"],
        ),
        (
            "openclaw",
            "anthropic/claude-x",
            &[
                "anthropic/claude-x",
                "claude-x",
                "openrouter/anthropic/claude-x",
            ],
        ),
        ("openrouter", "a/b", &["openrouter/a/b", "a/b"]),
    ] {
        assert_eq!(of(provider).priced_as(engine), names);
    }
}

#[test]
fn nobody_but_openrouter_gets_a_choice_of_models() {
    let text = r#"{ "model":"x", "messages":[{"content":"h\u0069"}],"models":["y"],"route":"fallback","usage":{"include":true},"provider":{"sort":"price"} }"#;
    let rewrite = Rewrite {
        model: Some("gpt-4o"),
        max_tokens: Some(("max_completion_tokens", 5)),
        ..Rewrite::default()
    };
    for provider in ["openai", "openai-compatible", "azure"] {
        assert_eq!(
            sent(provider, Dialect::Chat, text, &rewrite),
            r#"{"messages":[{"content":"h\u0069"}],"provider":{"sort":"price"},"model":"gpt-4o","max_completion_tokens":5}"#
        );
        assert_eq!(
            sent(provider, Dialect::Chat, text, &Rewrite::default()),
            r#"{"model":"x","messages":[{"content":"h\u0069"}],"provider":{"sort":"price"}}"#
        );
    }
}

#[test]
fn messages_keep_their_stream_and_get_a_limit() {
    let text = r#"{"model":"c","max_tokens":99,"stream":true,"messages":[{}],"fallbacks":[{"model":"d"}],"stream_options":{"x":1}}"#;
    let rewrite = Rewrite {
        model: Some("claude-x"),
        max_tokens: Some(("max_tokens", 5)),
        ..Rewrite::default()
    };
    for provider in ["anthropic", "openclaw"] {
        assert_eq!(
            sent(provider, Dialect::Messages, text, &rewrite),
            r#"{"stream":true,"messages":[{}],"stream_options":{"x":1},"model":"claude-x","max_tokens":5}"#
        );
    }
}

#[test]
fn openrouter_falls_back_in_the_words_of_each_dialect() {
    let models = ["a/b".to_owned(), "c/d".to_owned(), "e/f".to_owned()];
    let rewrite = Rewrite {
        fallbacks: &models,
        ..Rewrite::default()
    };
    let text = r#"{"model":"x","input":"i","models":["y"],"route":"fallback","fallbacks":[1],"plugins":[]}"#;
    for (dialect, expected) in [
        (
            Dialect::Completions,
            r#"{"input":"i","fallbacks":[1],"plugins":[],"model":"openrouter/auto","models":["a/b","c/d","e/f"],"route":"fallback"}"#,
        ),
        (
            Dialect::Responses,
            r#"{"input":"i","fallbacks":[1],"plugins":[],"model":"a/b","models":["c/d","e/f"]}"#,
        ),
        (
            Dialect::Messages,
            r#"{"input":"i","plugins":[],"model":"a/b","fallbacks":[{"model":"c/d"},{"model":"e/f"}]}"#,
        ),
        (
            Dialect::Embeddings,
            r#"{"input":"i","fallbacks":[1],"plugins":[],"model":"a/b"}"#,
        ),
    ] {
        assert_eq!(sent("openrouter", dialect, text, &rewrite), expected);
    }
    let one = Rewrite {
        fallbacks: &models[..1],
        ..Rewrite::default()
    };
    for dialect in [Dialect::Responses, Dialect::Messages] {
        let text = r#"{"model":"x","input":"i"}"#;
        assert_eq!(
            sent("openrouter", dialect, text, &one),
            r#"{"input":"i","model":"a/b"}"#
        );
    }
}

fn fields() -> impl Strategy<Value = Vec<(String, Value)>> {
    let known = prop_oneof![
        Just(("model", json!("m"))),
        Just(("models", json!(["n", "o"]))),
        Just(("route", json!("r"))),
        Just(("fallbacks", json!([{"model": "f"}]))),
        Just(("usage", json!({"include": true}))),
        Just(("max_tokens", json!(5))),
        Just(("max_completion_tokens", json!(6))),
        Just(("max_output_tokens", json!(7))),
        Just(("stream", json!(true))),
        Just(("stream_options", json!({"a": [1], "include_usage": false}))),
        Just(("input", json!(["a", {"b": 0.5}]))),
    ]
    .prop_map(|(key, value)| (key.to_owned(), value));
    let other = ("[x-z\"\\\\é]{1,4}", "\\PC{0,9}").prop_map(|(key, text)| (key, json!([text])));
    proptest::collection::vec(prop_oneof![known, other], 0..12).prop_map(|mut fields| {
        let mut seen = std::collections::HashSet::new();
        fields.retain(|(key, _)| seen.insert(key.clone()));
        fields
    })
}

proptest! {
    #[test]
    fn only_what_is_replaced_changes(
        fields in fields(),
        dialect in proptest::sample::select(&Dialect::ALL[..]),
        model in proptest::option::of("\\PC{0,12}"),
        limit in proptest::option::of(1_u64..1_000_000),
    ) {
        let text = fields
            .iter()
            .map(|(key, value)| format!("{} : {value:#}", Value::from(key.as_str())))
            .collect::<Vec<_>>()
            .join(" , ");
        let text = format!("{{{text}}}");
        let field = dialect.output_limit();
        let rewrite = Rewrite {
            model: model.as_deref(),
            max_tokens: limit.map(|number| (field, number)),
            ..Rewrite::default()
        };
        let mut expected: Map<String, Value> = fields.iter().cloned().collect();
        for key in ["usage", "models", "route"] {
            expected.remove(key);
        }
        if dialect == Dialect::Messages {
            expected.remove("fallbacks");
        }
        if let Some(model) = &model {
            expected.insert("model".to_owned(), json!(model));
        }
        if let Some(number) = limit {
            if matches!(dialect, Dialect::Chat | Dialect::Completions) {
                expected.remove("max_completion_tokens");
            }
            expected.insert(field.to_owned(), json!(number));
        }
        if matches!(dialect, Dialect::Chat | Dialect::Completions) && expected.contains_key("stream") {
            let options = expected.entry("stream_options").or_insert_with(|| json!({}));
            options["include_usage"] = json!(true);
        }
        for provider in ["openai", "openai-compatible", "azure", "anthropic", "google", "openclaw"] {
            let sent = sent(provider, dialect, &text, &rewrite);
            let read: Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(&read, &Value::Object(expected.clone()));
            // What was not touched keeps its bytes and its order.
            let (before, after) = (
                object(text.as_bytes(), Limits::default()).unwrap(),
                object(sent.as_bytes(), Limits::default()).unwrap(),
            );
            let mut rest = after.iter();
            for kept in before.iter().filter(|field| field.key.starts_with(['x', 'y', 'z', 'é', '"', '\\'])) {
                prop_assert!(rest.any(|field| field == kept));
            }
        }
    }
}
