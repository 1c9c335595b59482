//! Requests, read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::form::{
    Conversation, Effort, Format, Inexpressible, Json, Media, Reasoning, Role, Tool, ToolChoice,
    Turn, Writing,
};
use crate::dialect::responses::{read_request, write_request};
use crate::json::{Limits, object};

fn read_value(body: &Value) -> Result<Conversation<'static>, Inexpressible> {
    let text: &'static str = body.to_string().leak();
    read_request(&object(text.as_bytes(), Limits::default()).unwrap())
}

fn turns(input: &Value) -> Vec<Turn<'static>> {
    read_value(&json!({ "input": input })).unwrap().turns
}

fn refused(body: &Value) -> String {
    match read_value(body) {
        Err(Inexpressible::Field(field, _)) => field,
        other => panic!("{body}: {other:?}"),
    }
}

pub(super) fn write(
    conversation: &Conversation<'_>,
    fallbacks: &[String],
) -> Result<Value, Inexpressible> {
    let writing = Writing {
        model: "o3-pro",
        fallbacks,
        max_tokens: None,
        default_max_tokens: 10_000,
        max_tokens_field: "max_output_tokens",
    };
    let body = write_request(conversation, &writing)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

pub(super) fn turn<const N: usize>(role: Role, parts: [Part<'static>; N]) -> Turn<'static> {
    let parts = parts.into();
    Turn { role, parts }
}

pub(super) fn of(turns: Vec<Turn<'_>>) -> Conversation<'_> {
    Conversation {
        turns,
        ..Conversation::default()
    }
}

#[test]
fn items_of_a_side_are_one_turn() {
    let read = read_value(&json!({
        "instructions": "be brief",
        "input": [
            {"role": "developer", "content": "and kind"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}], "id": null},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "why"}], "encrypted_content": "gAAAAAB"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary",
                "content": [{"type": "output_text", "text": "let me see", "annotations": [], "logprobs": []}, {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "two"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD"}]},
            {"role": "user", "content": "so?"},
        ],
    }))
    .unwrap();
    let result = |id: &'static str, content| Part::ToolResult {
        id: id.into(),
        content,
        error: false,
    };
    let image = Part::Image(Media::Inline {
        mime: "image/png".into(),
        data: "QUJD".into(),
    });
    assert_eq!(
        read.turns,
        [
            turn(Role::System, [text("be brief"), text("and kind")]),
            turn(Role::User, [text("hi")]),
            turn(
                Role::Assistant,
                [
                    thought("why", Some("openai:gAAAAAB")),
                    text("let me see"),
                    Part::Refusal("no".into()),
                    call("c1", "f", "{}"),
                    call("c2", "g", ""),
                ]
            ),
            turn(
                Role::User,
                [
                    result("c1", vec![text("one")]),
                    result("c2", vec![text("two"), image]),
                    text("so?"),
                ]
            ),
        ]
    );
    assert_eq!(turns(&json!("hi")), [turn(Role::User, [text("hi")])]);
}

#[test]
fn media_and_proofs_of_others_are_understood() {
    let inline = |mime: &'static str| Media::Inline {
        mime: mime.into(),
        data: "QUJD".into(),
    };
    let read = turns(&json!([
        {"role": "user", "content": [
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
            {"type": "input_file", "file_data": "QUJD"},
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
            {"type": "input_image", "image_url": "data:image/jpeg;charset=x;base64,QUJD"},
        ]},
        {"type": "reasoning", "summary": [], "encrypted_content": "redacted:R"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "EqQB"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]));
    let document = |media, name: Option<&'static str>| Part::Document {
        media,
        name: name.map(Text::Borrowed),
    };
    assert_eq!(
        read,
        [
            turn(
                Role::User,
                [
                    Part::Image(Media::Url("https://example.com/a.png".into())),
                    document(inline("application/pdf"), Some("a.pdf")),
                    document(inline("application/pdf"), None),
                    document(Media::Url("https://example.com/a.pdf".into()), None),
                    Part::Audio(inline("audio/mpeg")),
                    Part::Image(inline("image/jpeg")),
                ]
            ),
            turn(
                Role::Assistant,
                [
                    Part::Reasoning {
                        text: "".into(),
                        signature: Some("R".into()),
                        redacted: true,
                    },
                    thought("t", Some("EqQB")),
                ]
            ),
        ]
    );
}

#[test]
fn every_setting_is_understood() {
    let read = read_value(&json!({
        "model": "m", "input": "hi", "stream": true, "store": true, "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"], "service_tier": "auto", "prompt_cache_key": "k",
        "client_metadata": {}, "stream_options": {"include_obfuscation": false},
        "max_output_tokens": 100, "temperature": 0.5, "top_p": 1, "parallel_tool_calls": false,
        "safety_identifier": "u", "truncation": "disabled", "background": false, "top_logprobs": 0,
        "previous_response_id": null, "conversation": null, "prompt": null, "max_tool_calls": null,
        "reasoning": {"effort": "xhigh", "summary": "auto"},
        "text": {"verbosity": "medium", "format": {"type": "json_schema", "name": "n", "strict": true,
            "description": "d", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "name": "f", "description": "does", "strict": true,
            "parameters": {"type": "object"}}, {"type": "function", "name": "g", "parameters": null, "strict": null}],
        "tool_choice": {"type": "function", "name": "f"},
    }))
    .unwrap();
    let raw = |text: &'static str| Json(text.into());
    let expected = Conversation {
        turns: vec![turn(Role::User, [text("hi")])],
        tools: vec![
            Tool {
                name: "f".into(),
                description: Some("does".into()),
                schema: Some(raw(r#"{"type":"object"}"#)),
                strict: Some(true),
                cache: None,
            },
            Tool {
                name: "g".into(),
                description: None,
                schema: None,
                strict: None,
                cache: None,
            },
        ],
        tool_choice: Some(ToolChoice::Named("f".into())),
        parallel_tools: Some(false),
        max_tokens: Some(100),
        temperature: Some(raw("0.5")),
        top_p: Some(raw("1")),
        format: Some(Format::Schema {
            name: "n".into(),
            description: Some("d".into()),
            schema: raw(r#"{"type":"object"}"#),
            strict: Some(true),
        }),
        reasoning: Some(Reasoning {
            effort: Some(Effort::Highest),
            budget: None,
            shown: Some(true),
        }),
        user: Some("u".into()),
        stream: true,
        ..Conversation::default()
    };
    assert_eq!(read, expected);
    let mut again = read_value(&write(&expected, &[]).unwrap()).unwrap();
    again.tools[1] = expected.tools[1].clone();
    assert_eq!(again, expected);
}

#[test]
fn what_cannot_be_told_to_another_is_refused_by_name() {
    let with = |field: &str, value: Value| {
        let mut body = json!({"input": "hi"});
        body[field] = value;
        refused(&body)
    };
    for (field, value, named) in [
        (
            "previous_response_id",
            json!("resp_1"),
            "previous_response_id",
        ),
        ("conversation", json!("conv_1"), "conversation"),
        ("prompt", json!({"id": "p"}), "prompt"),
        ("background", json!(true), "background"),
        ("max_tool_calls", json!(3), "max_tool_calls"),
        ("truncation", json!("auto"), "truncation"),
        ("top_logprobs", json!(3), "top_logprobs"),
        (
            "include",
            json!(["message.output_text.logprobs"]),
            "include[0]",
        ),
        ("text", json!({"verbosity": "low"}), "text.verbosity"),
        (
            "text",
            json!({"format": {"type": "grammar"}}),
            "text.format.type",
        ),
        (
            "text",
            json!({"format": {"type": "json_schema", "name": "n"}}),
            "text.format.schema",
        ),
        ("reasoning", json!({"effort": "some"}), "reasoning.effort"),
        (
            "tools",
            json!([{"type": "function", "name": "f"}, {"type": "web_search"}]),
            "tools[1].type",
        ),
        (
            "tools",
            json!([{"type": "custom", "name": "apply_patch"}]),
            "tools[0].type",
        ),
        ("tools", json!([{"type": "function"}]), "tools[0].name"),
        (
            "tool_choice",
            json!({"type": "file_search"}),
            "tool_choice.type",
        ),
        ("tool_choice", json!("maybe"), "tool_choice"),
        ("max_output_tokens", json!("5"), "max_output_tokens"),
        ("temperature", json!("hot"), "temperature"),
        ("instructions", json!(["x"]), "instructions"),
        ("stream", json!(1), "stream"),
        ("unheard_of", json!(1), "unheard_of"),
    ] {
        assert_eq!(with(field, value), named);
    }
    for kind in [
        "item_reference",
        "custom_tool_call",
        "local_shell_call",
        "web_search_call",
        "computer_call",
        "mcp_call",
    ] {
        let body = json!({"input": [{"role": "user", "content": "hi"}, {"type": kind, "id": "x"}]});
        assert_eq!(refused(&body), "input[1].type");
    }
    for (part, named) in [
        (
            json!({"type": "input_image", "file_id": "f"}),
            "input[0].content[0].file_id",
        ),
        (
            json!({"type": "input_image", "image_url": "ftp://x"}),
            "input[0].content[0].image_url",
        ),
        (
            json!({"type": "input_image", "image_url": "data:text/plain;base64,eA"}),
            "input[0].content[0].image_url",
        ),
        (
            json!({"type": "input_file"}),
            "input[0].content[0].file_data",
        ),
        (json!({"type": "output_text"}), "input[0].content[0].text"),
        (
            json!({"type": "refusal", "refusal": "r"}),
            "input[0].content[0].type",
        ),
        (json!({"type": "input_video"}), "input[0].content[0].type"),
    ] {
        assert_eq!(
            refused(&json!({"input": [{"role": "user", "content": [part]}]})),
            named
        );
    }
    for (item, named) in [
        (json!({"role": "user"}), "input[0].content"),
        (json!({"role": "tool", "content": ""}), "input[0].role"),
        (
            json!({"type": "function_call", "name": "f", "arguments": "{}"}),
            "input[0].call_id",
        ),
        (
            json!({"type": "function_call_output", "call_id": "c"}),
            "input[0].output",
        ),
        (
            json!({"role": "system", "content": [{"type": "input_image", "image_url": "https://x"}]}),
            "input[0].content[0].type",
        ),
        (json!(7), "input[0]"),
    ] {
        assert_eq!(refused(&json!({"input": [item]})), named);
    }
    for body in [
        json!({}),
        json!({"input": []}),
        json!({"input": null}),
        json!({"input": null, "instructions": "x"}),
    ] {
        assert_eq!(refused(&body), "input");
    }
    assert_eq!(refused(&json!({"input": 5})), "input");
}

/// JSON near to a request.
fn near_request() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u32..9).prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
        proptest::sample::select(vec![
            "message",
            "user",
            "assistant",
            "function",
            "function_call",
            "function_call_output",
            "reasoning",
            "input_text",
            "input_image",
            "data:image/png;base64,QQ",
            "json_schema",
            "auto",
        ])
        .prop_map(Value::from),
    ];
    let key = proptest::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "name",
        "call_id",
        "arguments",
        "output",
        "input",
        "summary",
        "encrypted_content",
        "tools",
        "tool_choice",
        "format",
        "schema",
        "parameters",
        "reasoning",
        "image_url",
        "instructions",
        "parts",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(key.clone(), inner, 0..6).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_request_panics(input in near_request(), tools in near_request(), text in near_request()) {
        let body = json!({"input": input, "tools": tools, "text": text});
        if let Ok(conversation) = read_value(&body) {
            let _ = write(&conversation, &[]);
        }
    }

    #[test]
    fn whatever_is_said_comes_back(words in "\\PC{1,12}|[\0-\u{7f}]{1,12}", more in "\\PC{1,12}") {
        let conversation = of(vec![
            Turn { role: Role::System, parts: vec![text(&more)] },
            Turn { role: Role::User, parts: vec![text(&words), text(&more)] },
            Turn { role: Role::Assistant, parts: vec![text(&words), call(&words, &more, &words), text(&more)] },
            Turn { role: Role::User, parts: vec![
                Part::ToolResult { id: Text::Borrowed(&words), content: vec![text(&more)], error: false },
            ] },
        ]);
        prop_assume!(!words.trim().is_empty());
        let body = write(&conversation, &[]).unwrap();
        prop_assert_eq!(read_value(&body).unwrap(), conversation);
    }
}
