//! Requests, written.

use serde_json::{Value, json};

use super::requests::{of, turn, write};
use super::*;
use crate::dialect::form::{
    Conversation, Effort, Feature, Format, Inexpressible, Json, Media, Reasoning, Role, Tool,
    ToolChoice,
};

#[test]
fn a_request_keeps_nothing_at_the_provider_and_says_what_is_its_default() {
    let conversation = Conversation {
        tools: vec![Tool {
            name: "f".into(),
            description: None,
            schema: None,
            strict: None,
            cache: None,
        }],
        tool_choice: Some(ToolChoice::Required),
        format: Some(Format::Object),
        frequency_penalty: Some(Json("0.0".into())),
        max_tokens: Some(50),
        stream: true,
        ..of(vec![
            turn(Role::System, [text("a"), text("b")]),
            turn(
                Role::User,
                [
                    text("hi"),
                    Part::Image(Media::Url("https://e/a.png".into())),
                ],
            ),
            turn(Role::System, [text("later")]),
            turn(
                Role::Assistant,
                [
                    thought("mine", Some("openai:E")),
                    thought("other's", Some("EqQB")),
                    thought("nobody's", None),
                    text("ok"),
                    call("c", "f", ""),
                ],
            ),
            turn(
                Role::User,
                [Part::ToolResult {
                    id: "c".into(),
                    content: vec![],
                    error: true,
                }],
            ),
        ])
    };
    assert_eq!(
        write(&conversation, &[]).unwrap(),
        json!({
            "model": "o3-pro",
            "instructions": "a\n\nb",
            "input": [
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": "https://e/a.png", "detail": "auto"}]},
                {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "later"}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "mine"}], "encrypted_content": "E"},
                {"type": "message", "role": "assistant", "content": [
                    {"type": "output_text", "text": "ok", "annotations": []}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": ""},
            ],
            "tools": [{"type": "function", "name": "f", "strict": false,
                "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": false}}],
            "tool_choice": "required",
            "max_output_tokens": 50,
            "text": {"format": {"type": "json_object"}},
            "store": false,
            "stream": true,
        })
    );
    let alone = write(&of(vec![turn(Role::System, [text("a")])]), &[]).unwrap();
    assert_eq!(alone.get("instructions"), None);
    assert_eq!(alone["input"][0]["role"], "system");
}

#[test]
fn openrouter_gets_its_list_and_ids() {
    let conversation = of(vec![
        turn(Role::User, [text("hi")]),
        turn(Role::Assistant, [thought("", Some("openai:E")), text("ok")]),
    ]);
    let models = ["a/b".to_owned(), "c/d".to_owned()];
    let body = write(&conversation, &models).unwrap();
    assert_eq!(
        (&body["model"], &body["models"]),
        (&json!("a/b"), &json!(["c/d"]))
    );
    assert_eq!(
        (&body["input"][1]["id"], &body["input"][2]["id"]),
        (&json!("rs_1"), &json!("msg_2"))
    );
    let body = write(&conversation, &models[..1]).unwrap();
    assert_eq!((&body["model"], body.get("models")), (&json!("a/b"), None));
}

#[test]
fn an_amount_of_reasoning_is_a_word_and_thoughts_are_taken_along() {
    let with = |reasoning| {
        let conversation = Conversation {
            reasoning: Some(reasoning),
            ..of(vec![turn(Role::User, [text("hi")])])
        };
        let body = write(&conversation, &[]).unwrap();
        (body["reasoning"].clone(), body.get("include").is_some())
    };
    let budget = |budget| Reasoning {
        budget: Some(budget),
        ..Reasoning::default()
    };
    for (tokens, word) in [
        (1024, "low"),
        (2000, "low"),
        (2001, "medium"),
        (5000, "medium"),
        (5001, "high"),
    ] {
        assert_eq!(with(budget(tokens)), (json!({"effort": word}), true));
    }
    assert_eq!(with(budget(0)), (json!({"effort": "none"}), false));
    let shown = Reasoning {
        effort: Some(Effort::Minimal),
        shown: Some(true),
        ..Reasoning::default()
    };
    assert_eq!(
        with(shown),
        (json!({"effort": "minimal", "summary": "auto"}), true)
    );
    assert_eq!(with(Reasoning::default()), (Value::Null, false));
}

#[test]
fn what_has_no_word_here_is_refused() {
    let hi = || of(vec![turn(Role::User, [text("hi")])]);
    let number = || Some(Json("0.5".into()));
    for (conversation, feature) in [
        (
            Conversation {
                top_k: Some(1),
                ..hi()
            },
            Feature::TopK,
        ),
        (
            Conversation {
                seed: number(),
                ..hi()
            },
            Feature::Seed,
        ),
        (
            Conversation {
                stop: vec!["x".into()],
                ..hi()
            },
            Feature::Stop,
        ),
        (
            Conversation {
                frequency_penalty: number(),
                ..hi()
            },
            Feature::FrequencyPenalty,
        ),
        (
            Conversation {
                presence_penalty: number(),
                ..hi()
            },
            Feature::PresencePenalty,
        ),
        (
            of(vec![turn(
                Role::Assistant,
                [Part::Image(Media::Url("https://x".into()))],
            )]),
            Feature::Image,
        ),
        (
            of(vec![turn(
                Role::User,
                [Part::Audio(Media::Url("https://x".into()))],
            )]),
            Feature::MediaUrl,
        ),
        (
            of(vec![turn(Role::User, [call("c", "f", "{}")])]),
            Feature::Tools,
        ),
    ] {
        assert_eq!(
            write(&conversation, &[]),
            Err(Inexpressible::Feature(feature))
        );
    }
}
