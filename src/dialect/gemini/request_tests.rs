//! Requests as Google gets them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{call, inline, near, text};
use super::{OURS, write_request};
use crate::dialect::form::{
    Conversation, Feature, Inexpressible, Json, Media, Part, Role, Text, Tool, ToolChoice, Turn,
    Writing,
};
use crate::json::{Limits, object};

pub(super) fn turn<'a>(role: Role, parts: impl IntoIterator<Item = Part<'a>>) -> Turn<'a> {
    Turn {
        role,
        parts: parts.into_iter().collect(),
    }
}

fn result<'a>(id: &'a str, content: Vec<Part<'a>>) -> Part<'a> {
    Part::ToolResult {
        id: id.into(),
        content,
        error: false,
    }
}

pub(super) fn of(turns: Vec<Turn<'_>>) -> Conversation<'_> {
    Conversation {
        turns,
        ..Conversation::default()
    }
}

pub(super) fn writing(model: &str) -> Writing<'_> {
    Writing {
        model,
        fallbacks: &[],
        max_tokens: None,
        default_max_tokens: 4096,
        max_tokens_field: "maxOutputTokens",
    }
}

pub(super) fn sent_to(
    model: &str,
    conversation: &Conversation<'_>,
) -> Result<Value, Inexpressible> {
    let body = write_request(conversation, &writing(model))?;
    // Google's reader may be as strict as ours.
    object(&body, Limits::default()).unwrap();
    Ok(serde_json::from_slice(&body).unwrap())
}

pub(super) fn sent(conversation: &Conversation<'_>) -> Value {
    sent_to("gemini-2.5-flash", conversation).unwrap()
}

#[test]
fn instructions_at_the_start_are_the_systems_and_later_ones_the_users() {
    let conversation = of(vec![
        turn(Role::System, [text("be \"brief\"\\\n\u{1}")]),
        turn(Role::System, [text("be kind")]),
        turn(Role::User, [text("hé"), text("")]),
        turn(Role::System, [text("now in German")]),
        turn(Role::Assistant, [text("")]),
        turn(Role::Assistant, [Part::Refusal("no".into())]),
    ]);
    assert_eq!(
        sent(&conversation),
        json!({
            "systemInstruction": {"parts": [{"text": "be \"brief\"\\\n\u{1}"}, {"text": "be kind"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "hé"}, {"text": "now in German"}]},
                {"role": "model", "parts": [{"text": "no"}]},
            ],
        })
    );
}

#[test]
fn instructions_alone_are_what_the_user_says() {
    let conversation = of(vec![turn(Role::System, [text("tell a joke")])]);
    assert_eq!(
        sent(&conversation),
        json!({"contents": [{"role": "user", "parts": [{"text": "tell a joke"}]}]})
    );
}

#[test]
fn results_of_all_calls_are_one_turn_and_have_the_names_of_the_tools() {
    let conversation = of(vec![
        turn(Role::User, [text("weather?")]),
        turn(
            Role::Assistant,
            [
                call("a", "get_weather", r#"{"city": "Köln"}"#),
                call("b", "get_time", ""),
                call("c", "get_mood", "{\"x\":1}]}, \"evil\": {"),
            ],
        ),
        turn(
            Role::User,
            [result(
                "a",
                vec![text("rain"), Part::Image(inline("image/png"))],
            )],
        ),
        turn(Role::User, [result("c", vec![])]),
        turn(
            Role::User,
            [
                Part::ToolResult {
                    id: "b".into(),
                    content: vec![text("no"), text("clock")],
                    error: true,
                },
                text("well?"),
            ],
        ),
    ]);
    let body = sent(&conversation);
    assert_eq!(
        body["contents"][1],
        json!({"role": "model", "parts": [
            {"functionCall": {"id": "a", "name": "get_weather", "args": {"city": "Köln"}}},
            {"functionCall": {"id": "b", "name": "get_time", "args": {}}},
            {"functionCall": {"id": "c", "name": "get_mood",
                "args": {"arguments": "{\"x\":1}]}, \"evil\": {"}}},
        ]})
    );
    assert_eq!(
        body["contents"][2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"id": "a", "name": "get_weather", "response": {"result": "rain"}}},
            {"functionResponse": {"id": "c", "name": "get_mood", "response": {"result": ""}}},
            {"functionResponse": {"id": "b", "name": "get_time", "response": {"error": "no\nclock"}}},
            {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
            {"text": "well?"},
        ]})
    );
    let unknown = of(vec![turn(Role::User, [result("z", vec![])])]);
    assert_eq!(
        sent_to("gemini-2.5-pro", &unknown),
        Err(Inexpressible::Feature(Feature::ToolResult))
    );
}

#[test]
fn signatures_go_where_google_expects_them() {
    let reasoning = |words: &'static str, signature: Option<&str>| Part::Reasoning {
        text: words.into(),
        signature: signature.map(|one| Text::Owned(one.to_owned())),
        redacted: false,
    };
    let ours = format!("{OURS}c2ln");
    let conversation = of(vec![
        turn(
            Role::Assistant,
            [
                reasoning("hm", Some(&ours)),
                text(""),
                call("a", "f", "{}"),
                call("b", "f", "{}"),
            ],
        ),
        turn(Role::User, [result("a", vec![]), result("b", vec![])]),
        turn(Role::Assistant, [reasoning("", Some(&ours)), text("so")]),
        turn(Role::User, [text("and?")]),
        // What Anthropic proved, and what nobody did.
        turn(
            Role::Assistant,
            [
                reasoning("x", Some("RXJ")),
                reasoning("y", None),
                call("c", "f", "{}"),
            ],
        ),
        turn(Role::User, [result("c", vec![])]),
        turn(Role::Assistant, [reasoning("last", Some(&ours))]),
    ]);
    let parts =
        |model, at: usize| sent_to(model, &conversation).unwrap()["contents"][at]["parts"].clone();
    let f = |id: &str| json!({"id": id, "name": "f", "args": {}});
    for model in ["gemini-2.5-pro", "gemini-3-pro-preview"] {
        assert_eq!(
            parts(model, 0),
            json!([
                {"text": "hm", "thought": true},
                {"functionCall": f("a"), "thoughtSignature": "c2ln"},
                {"functionCall": f("b")},
            ])
        );
        assert_eq!(
            parts(model, 2),
            json!([{"text": "so", "thoughtSignature": "c2ln"}])
        );
        assert_eq!(
            parts(model, 6),
            json!([{"text": "last", "thought": true, "thoughtSignature": "c2ln"}])
        );
    }
    assert_eq!(
        parts("gemini-2.5-pro", 4),
        json!([{"functionCall": f("c")}])
    );
    for model in [
        "gemini-3-pro-preview",
        "models/gemini-3.1-flash",
        "gemini-flash-latest",
    ] {
        assert_eq!(
            parts(model, 4),
            json!([{
                "functionCall": f("c"),
                "thoughtSignature": "skip_thought_signature_validator",
            }])
        );
    }
}

#[test]
fn media_are_in_the_request_or_in_googles_own_files() {
    let file = "https://generativelanguage.googleapis.com/v1beta/files/abc";
    let conversation = of(vec![turn(
        Role::User,
        [
            Part::Image(inline("image/png")),
            Part::Audio(inline("audio/wav")),
            Part::Document {
                media: inline("application/pdf"),
                name: Some("a.pdf".into()),
            },
            Part::Image(Media::Url("gs://bucket/x.png".into())),
            Part::Image(Media::Url(file.into())),
        ],
    )]);
    let data = |mime: &str| json!({"inlineData": {"mimeType": mime, "data": "QUJD"}});
    assert_eq!(
        sent(&conversation)["contents"][0]["parts"],
        json!([
            data("image/png"),
            data("audio/wav"),
            data("application/pdf"),
            {"fileData": {"fileUri": "gs://bucket/x.png"}},
            {"fileData": {"fileUri": file}},
        ])
    );
    for url in [
        "https://example.com/a.png",
        "https://generativelanguage.googleapis.com.evil.example/files/a",
        "https://generativelanguage.googleapis.com/v1beta/models",
    ] {
        let conversation = of(vec![turn(
            Role::User,
            [Part::Image(Media::Url(url.into()))],
        )]);
        assert_eq!(
            sent_to("gemini-2.5-pro", &conversation),
            Err(Inexpressible::Feature(Feature::MediaUrl))
        );
    }
}

#[test]
fn tools_keep_their_whole_schema_and_a_choice_its_meaning() {
    let tool = |schema: Option<&'static str>| Tool {
        name: "f".into(),
        description: schema.map(|_| "does".into()),
        schema: schema.map(|schema| Json(schema.into())),
        strict: Some(true),
        cache: None,
    };
    let with = |choice, parallel| Conversation {
        turns: vec![turn(Role::User, [text("hi")])],
        tools: vec![
            tool(Some(r#"{"type":"object","additionalProperties":false}"#)),
            tool(None),
        ],
        tool_choice: choice,
        parallel_tools: parallel,
        ..Conversation::default()
    };
    let body = sent(&with(None, Some(true)));
    assert_eq!(
        body["tools"],
        json!([{"functionDeclarations": [
            {"name": "f", "description": "does",
                "parametersJsonSchema": {"type": "object", "additionalProperties": false}},
            {"name": "f"},
        ]}])
    );
    assert_eq!(body.get("toolConfig"), None);
    for (choice, expected) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (
            ToolChoice::Named("f".into()),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ),
    ] {
        let body = sent(&with(Some(choice), None));
        assert_eq!(body["toolConfig"]["functionCallingConfig"], expected);
    }
    assert_eq!(
        sent_to("gemini-2.5-pro", &with(None, Some(false))),
        Err(Inexpressible::Feature(Feature::ToolChoice))
    );
    let nothing_to_choose = Conversation {
        tools: vec![],
        ..with(Some(ToolChoice::Auto), Some(false))
    };
    assert_eq!(sent(&nothing_to_choose).get("toolConfig"), None);
}

proptest! {
    #[test]
    fn whatever_is_said_stays_inside_its_string(words in "\\PC*|[\0-\u{7f}]{0,20}", arguments in near()) {
        let conversation = of(vec![
            turn(Role::User, [text(&words)]),
            turn(Role::Assistant, [call(&words, &words, &arguments)]),
            turn(Role::User, [result(&words, vec![text(&words)])]),
        ]);
        let body = sent(&conversation);
        let at = usize::from(!words.is_empty());
        if !words.is_empty() {
            prop_assert_eq!(&body["contents"][0]["parts"][0]["text"], &words);
        }
        let call = &body["contents"][at]["parts"][0]["functionCall"];
        prop_assert_eq!(&call["name"], &words);
        prop_assert!(call["args"].is_object());
        let response = &body["contents"][at + 1]["parts"][0]["functionResponse"];
        prop_assert_eq!(&response["response"]["result"], &words);
    }
}
