//! Requests to Anthropic.

use serde_json::{Value, json};

use super::{ask, question, text, turn, writing};
use crate::dialect::form::{
    Conversation, Feature, Format, Inexpressible, Json, Media, Part, Role, Tool, ToolChoice,
    Writing,
};
use crate::dialect::messages::write_request;

fn of(turns: Vec<super::Turn<'_>>) -> Conversation<'_> {
    Conversation {
        turns,
        ..Conversation::default()
    }
}

fn call<'a>(id: &'a str, arguments: &'a str) -> Part<'a> {
    Part::ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: arguments.into(),
        signature: None,
    }
}

fn result<'a>(id: &'a str, says: &'a str) -> Part<'a> {
    Part::ToolResult {
        id: id.into(),
        content: vec![text(says)],
        error: false,
    }
}

fn tool(schema: Option<&str>) -> Tool<'_> {
    Tool {
        name: "f".into(),
        description: None,
        schema: schema.map(|schema| Json(schema.into())),
        strict: Some(false),
        cache: None,
    }
}

#[test]
fn the_smallest_request_says_the_least() {
    let expected = json!({"model": "claude-haiku-4-5", "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(ask(&question()).unwrap(), expected);
}

#[test]
fn the_output_limit_is_the_one_that_money_is_held_for() {
    let asked = |bound, own| {
        let conversation = Conversation {
            max_tokens: own,
            ..question()
        };
        let writing = Writing {
            max_tokens: bound,
            ..writing("m")
        };
        let out = write_request(&conversation, &writing).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        out["max_tokens"].as_u64().unwrap()
    };
    assert_eq!(asked(Some(5), Some(9)), 5);
    assert_eq!(asked(None, Some(9)), 9);
    assert_eq!(asked(None, None), 4096);
}

#[test]
fn the_sides_speak_in_turns() {
    let out = ask(&of(vec![
        turn(Role::System, vec![text("one")]),
        turn(Role::System, vec![text("two")]),
        turn(Role::Assistant, vec![text("")]),
        turn(Role::User, vec![text("a"), text(" ")]),
        turn(Role::User, vec![text("b")]),
        turn(Role::Assistant, vec![call("c1", "{}")]),
        turn(Role::Assistant, vec![call("c2", r#"{"x":1}"#)]),
        turn(Role::System, vec![text("three")]),
        turn(Role::User, vec![result("c1", "r1")]),
        turn(Role::User, vec![result("c2", "")]),
        turn(Role::Assistant, vec![Part::Refusal("no \n".into())]),
    ]))
    .unwrap();
    assert_eq!(
        out["system"],
        json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])
    );
    assert_eq!(
        out["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "c2", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "r1"},
                {"type": "tool_result", "tool_use_id": "c2"},
                {"type": "text", "text": "three"}]},
            {"role": "assistant", "content": "no"},
        ])
    );
}

#[test]
fn plain_instructions_are_a_string_and_cached_ones_blocks() {
    let system = |cache: Option<&'static str>| {
        let part = Part::Text {
            text: "be kind".into(),
            cache: cache.map(|cache| Json(cache.into())),
        };
        let mut conversation = question();
        conversation.turns.insert(0, turn(Role::System, vec![part]));
        ask(&conversation).unwrap()["system"].clone()
    };
    assert_eq!(system(None), json!("be kind"));
    assert_eq!(
        system(Some(r#"{"type":"ephemeral"}"#)),
        json!([{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}])
    );
}

#[test]
fn a_conversation_begins_with_the_user() {
    for turns in [
        vec![],
        vec![turn(Role::System, vec![text("x")])],
        vec![turn(Role::User, vec![text(" \n")])],
        vec![
            turn(Role::Assistant, vec![text("x")]),
            turn(Role::User, vec![text("y")]),
        ],
    ] {
        let refused = ask(&of(turns)).unwrap_err();
        assert!(
            matches!(&refused, Inexpressible::Field(field, _) if field == "messages"),
            "{refused:?}"
        );
    }
}

#[test]
fn thoughts_are_handed_back_to_the_one_who_signed_them() {
    let thought = |signature: Option<&'static str>, redacted| Part::Reasoning {
        text: "t".into(),
        signature: signature.map(Into::into),
        redacted,
    };
    let out = ask(&of(vec![
        turn(Role::User, vec![text("a")]),
        turn(
            Role::Assistant,
            vec![
                thought(Some("ab+/01=="), false),
                thought(Some("Zm9v"), true),
                thought(None, false),
                thought(Some("gemini:abc"), false),
                thought(Some("gAAAA_-x"), false),
                text("b"),
            ],
        ),
        turn(Role::User, vec![text("c")]),
    ]))
    .unwrap();
    assert_eq!(
        out["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "t", "signature": "ab+/01=="},
            {"type": "redacted_thinking", "data": "Zm9v"},
            {"type": "text", "text": "b"},
        ])
    );
}

#[test]
fn arguments_are_an_object_and_ids_are_clean() {
    let out = ask(&of(vec![
        turn(Role::User, vec![text("a")]),
        turn(
            Role::Assistant,
            vec![
                call("a.b", ""),
                call("a:b", " {\"x\": 1} "),
                call("c", "[1]"),
                call("d", "{\"x\""),
            ],
        ),
        turn(Role::User, vec![result("a.b", "1"), result("a:b", "2")]),
    ]))
    .unwrap();
    let content = &out["messages"][1]["content"];
    let inputs: Vec<_> = (0..4).map(|at| content[at]["input"].clone()).collect();
    assert_eq!(
        inputs,
        [
            json!({}),
            json!({"x": 1}),
            json!({"arguments": "[1]"}),
            json!({"arguments": "{\"x\""})
        ]
    );
    for at in 0..2 {
        let id = content[at]["id"].as_str().unwrap();
        assert_eq!(out["messages"][2]["content"][at]["tool_use_id"], id);
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        );
    }
    assert_ne!(content[0]["id"], content[1]["id"]);
}

#[test]
fn media_are_said_where_they_can_be() {
    let said = |part: Part<'_>| {
        let question = text("what is it?");
        ask(&of(vec![turn(Role::User, vec![question, part])]))
            .map(|out| out["messages"][0]["content"][1].clone())
    };
    let inline = |mime: &'static str, data: &'static str| Media::Inline {
        mime: mime.into(),
        data: data.into(),
    };
    let document = |media| Part::Document {
        media,
        name: Some("n".into()),
    };
    assert_eq!(
        said(Part::Image(inline("image/png", "AA"))).unwrap(),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}})
    );
    assert_eq!(
        said(document(Media::Url("https://x".into()))).unwrap(),
        json!({"type": "document", "source": {"type": "url", "url": "https://x"}, "title": "n"})
    );
    assert_eq!(
        said(document(inline("text/markdown", "Zm9v"))).unwrap(),
        json!({"type": "document", "title": "n",
            "source": {"type": "text", "media_type": "text/plain", "data": "foo"}})
    );
    for (part, feature) in [
        (Part::Audio(inline("audio/wav", "AA")), Feature::Audio),
        (document(inline("application/zip", "AA")), Feature::Document),
        (document(inline("text/plain", "!")), Feature::Document),
    ] {
        assert_eq!(said(part), Err(Inexpressible::Feature(feature)));
    }
}

#[test]
fn tools_always_have_a_schema_that_is_an_object() {
    for (schema, expected) in [
        (None, json!({"type": "object", "properties": {}})),
        (Some("{}"), json!({"type": "object"})),
        (
            Some(r#" {"properties":{}}"#),
            json!({"type": "object", "properties": {}}),
        ),
        (
            Some(r#"{"type":"object","a":1}"#),
            json!({"type": "object", "a": 1}),
        ),
    ] {
        let conversation = Conversation {
            tools: vec![tool(schema)],
            ..question()
        };
        let out = ask(&conversation).unwrap();
        assert_eq!(
            out["tools"],
            json!([{"name": "f", "input_schema": expected}])
        );
        assert!(out["tool_choice"].is_null());
    }
}

#[test]
fn choices_of_tools_are_said() {
    use ToolChoice::{Auto, Named, None as Never, Required};
    let said = |choice: Option<ToolChoice<'static>>, parallel_tools| {
        let conversation = Conversation {
            tools: vec![tool(None)],
            tool_choice: choice,
            parallel_tools,
            ..question()
        };
        ask(&conversation).unwrap()["tool_choice"].clone()
    };
    assert_eq!(said(Some(Auto), None), json!({"type": "auto"}));
    assert_eq!(said(Some(Required), Some(true)), json!({"type": "any"}));
    assert_eq!(said(Some(Never), Some(false)), json!({"type": "none"}));
    assert_eq!(
        said(Some(Named("f".into())), Some(false)),
        json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        said(None, Some(false)),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    let without = |choice| {
        let conversation = Conversation {
            tool_choice: Some(choice),
            ..question()
        };
        ask(&conversation)
    };
    assert!(without(Auto).unwrap()["tool_choice"].is_null());
    assert_eq!(
        without(Required),
        Err(Inexpressible::Feature(Feature::ToolChoice))
    );
}

#[test]
fn what_anthropic_cannot_do_is_refused() {
    let number = |number: &'static str| Some(Json(number.into()));
    for (conversation, feature) in [
        (
            Conversation {
                frequency_penalty: number("0.5"),
                ..question()
            },
            Feature::FrequencyPenalty,
        ),
        (
            Conversation {
                presence_penalty: number("-1"),
                ..question()
            },
            Feature::PresencePenalty,
        ),
        (
            Conversation {
                seed: number("7"),
                ..question()
            },
            Feature::Seed,
        ),
        (
            Conversation {
                format: Some(Format::Object),
                ..question()
            },
            Feature::Format,
        ),
        (
            Conversation {
                stop: vec!["\n".into()],
                ..question()
            },
            Feature::Stop,
        ),
    ] {
        assert_eq!(ask(&conversation), Err(Inexpressible::Feature(feature)));
    }
    let harmless = Conversation {
        frequency_penalty: number("0"),
        presence_penalty: number("0.0"),
        format: Some(Format::Text),
        stop: vec!["".into()],
        ..question()
    };
    assert_eq!(ask(&harmless), ask(&question()));
}

#[test]
fn the_other_fields_are_said() {
    let conversation = Conversation {
        temperature: Some(Json("0.50".into())),
        top_p: Some(Json("0.9".into())),
        top_k: Some(40),
        stop: vec!["END".into()],
        format: Some(Format::Schema {
            name: "n".into(),
            description: Some("d".into()),
            schema: Json(r#"{"type":"object"}"#.into()),
            strict: None,
        }),
        user: Some("u".into()),
        stream: true,
        ..question()
    };
    let fallbacks = ["a/first".to_owned(), "a/second".to_owned()];
    let writing = Writing {
        fallbacks: &fallbacks,
        ..writing("a/first")
    };
    let out = write_request(&conversation, &writing).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#""temperature":0.50,"#), "{out}");
    let out: Value = serde_json::from_str(&out).unwrap();
    let expected = json!({
        "model": "a/first", "fallbacks": [{"model": "a/second"}], "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"}, "stream": true,
    });
    assert_eq!(out, expected);
}
