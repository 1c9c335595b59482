//! Paths, and what all dialects have in common.

use super::*;
use proptest::prelude::*;

#[test]
fn every_path_is_its_surface_and_no_other_spelling_is() {
    for (path, name, dialect, shape) in [
        (
            "/v1/chat/completions",
            "chat",
            Dialect::Chat,
            ErrorShape::OpenAi,
        ),
        (
            "/v1/completions",
            "completions",
            Dialect::Completions,
            ErrorShape::OpenAi,
        ),
        (
            "/v1/responses",
            "responses",
            Dialect::Responses,
            ErrorShape::OpenAi,
        ),
        (
            "/v1/messages",
            "messages",
            Dialect::Messages,
            ErrorShape::Anthropic,
        ),
        (
            "/v1/messages/count_tokens",
            "count_tokens",
            Dialect::Messages,
            ErrorShape::Anthropic,
        ),
        (
            "/v1/embeddings",
            "embeddings",
            Dialect::Embeddings,
            ErrorShape::OpenAi,
        ),
    ] {
        let (surface, model) = Surface::of(path).unwrap();
        assert_eq!(
            (surface.name(), surface.dialect(), surface.shape(), model),
            (name, dialect, shape, None)
        );
        for other in [
            format!("{path}/"),
            format!("/{path}"),
            path.to_uppercase(),
            path.replace("/v1/", "/v1//"),
            path.replace("/v1/", "/v1/./"),
            path.replace('o', "%6f"),
        ] {
            assert_eq!(
                Surface::of(&other).filter(|_| other != path),
                None,
                "{other}"
            );
        }
    }
}

#[test]
fn a_proxied_model_is_named_in_the_path() {
    for model in ["gpt-4o", "openai/gpt-4o", "llama3:8b", "a@b", "x..y"] {
        let path = format!("/proxy/{model}");
        assert_eq!(Surface::of(&path), Some((Surface::Titan, Some(model))));
    }
    assert_eq!(Surface::Titan.dialect(), Dialect::Chat);
    assert_eq!(Surface::Titan.shape(), ErrorShape::Titan);
    let long = "x".repeat(257);
    for model in [
        "", "/", "a/", "/a", "a//b", "a/b/c", "..", "a/..", "./a", "a%2fb", "a b", "a\\b", "é",
        "a?b", &long,
    ] {
        assert_eq!(Surface::of(&format!("/proxy/{model}")), None, "{model}");
    }
    assert_eq!(Surface::of("/proxy"), None);
}

#[test]
fn a_request_is_read_as_its_surface_says() {
    let limits = Limits::default();
    let chat = br#"{"messages":[{"role":"user","content":"x"}]}"#;
    let titan = Surface::Titan.parse(chat, limits).unwrap();
    assert_eq!((titan.dialect, titan.model), (Dialect::Chat, None));
    assert!(Surface::Messages.parse(chat, limits).is_err());
    let counted = Surface::CountTokens.parse(chat, limits).unwrap();
    assert_eq!(counted.max_tokens, Some(0));
    assert!(parse(Dialect::Gemini, chat, limits).is_err());
}

/// A request without output must not hold, nor be fitted to, any.
#[test]
fn no_output_is_held_for_where_there_is_none() {
    use crate::budget::bound::{Size, Worst, offer};
    use crate::money::{Nanos, PicosPerToken};
    let body = br#"{"input":"x"}"#;
    let request = parse(Dialect::Embeddings, body, Limits::default()).unwrap();
    let size = Size {
        input: 1000,
        max_tokens: request.max_tokens,
        choices: request.choices,
        extra_output: 0,
        fit_down_to: Some(16),
    };
    let worst = Worst {
        input: PicosPerToken(1000),
        output: PicosPerToken(1_000_000),
        fees: Nanos::ZERO,
        max_output: 8192,
    };
    let offer = offer(size, &[worst], None);
    assert_eq!((offer.wanted, offer.minimum), (0, 0));
    assert_eq!(offer.fit(Nanos(1000)), Some(0));
    assert_eq!(offer.fit(Nanos(999)), None);
}

#[test]
fn openrouters_own_fields_are_seen_in_every_dialect() {
    for (dialect, needed) in [
        (Dialect::Chat, r#""messages":[{}]"#),
        (Dialect::Completions, r#""prompt":"x""#),
        (Dialect::Responses, r#""input":"x""#),
        (Dialect::Messages, r#""messages":[{}],"max_tokens":1"#),
        (Dialect::Embeddings, r#""input":"x""#),
    ] {
        let body = format!(r#"{{{needed},"models":["a","b"],"plugins":[{{"id":"web"}}]}}"#);
        let request = parse(dialect, body.as_bytes(), Limits::default()).unwrap();
        assert_eq!(request.fallbacks, ["a", "b"], "{dialect}");
        assert!(request.server_tools, "{dialect}");
        assert_eq!(request.dialect, dialect);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_any_dialect_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for dialect in Dialect::ALL {
            let _ = parse(dialect, &body, Limits::default());
        }
    }

    #[test]
    fn no_path_makes_it_panic(path in "\\PC{0,40}") {
        let _ = Surface::of(&path);
        let _ = Surface::of(&format!("/proxy/{path}"));
    }
}
