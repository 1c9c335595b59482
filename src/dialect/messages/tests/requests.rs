//! Requests of clients.

use serde_json::{Value, json};

use super::{ask_of, read, refused};
use crate::dialect::form::{Effort, Format, Media, Part, Reasoning, Role, ToolChoice};

/// In the shape of what Claude Code sends.
fn claude_code() -> Value {
    let tool = |name: &str| {
        json!({"name": name, "description": "Does it", "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": {"file_path": {"type": "string"}}, "required": ["file_path"],
            "additionalProperties": false}})
    };
    json!({
        "model": "claude-sonnet-4-5-20250929",
        "max_tokens": 32000,
        "stream": true,
        "temperature": 1,
        "metadata": {"user_id": "user_0123_account__session_4567"},
        "system": [
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "tools": [tool("Read"), tool("Write"), tool("Bash")],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nNote\n</system-reminder>"},
                {"type": "text", "text": "Read a.txt", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Let me read.", "signature": "c2lnbmVk"},
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"file_path": "a.txt"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "line 1", "is_error": false},
                {"type": "text", "text": "Go on"},
            ]},
            {"role": "system", "content": "The user is away."},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    })
}

#[test]
fn a_request_of_claude_code_is_read() {
    read(&claude_code(), |found| {
        let roles: Vec<_> = found.turns.iter().map(|turn| turn.role).collect();
        use Role::{Assistant, System, User};
        assert_eq!(roles, [System, User, Assistant, User, System]);
        assert!(matches!(
            &found.turns[0].parts[..],
            [Part::Text { text, cache: Some(_) }, Part::Text { cache: Some(hour), .. }]
                if text == "You are Claude Code." && hour.0.contains("1h")
        ));
        let names: Vec<_> = found.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["Read", "Write", "Bash"]);
        assert_eq!(found.max_tokens, Some(32000));
        assert_eq!(
            found.user.as_deref(),
            Some("user_0123_account__session_4567")
        );
        assert!(found.stream);
        let thinking = Reasoning {
            budget: Some(31999),
            ..Reasoning::default()
        };
        assert_eq!(found.reasoning, Some(thinking));
    })
    .unwrap();
}

#[test]
fn a_request_of_claude_code_keeps_its_meaning() {
    let out = read(&claude_code(), |found| {
        ask_of("claude-sonnet-4-5-20250929", &found).unwrap()
    });
    let mut expected = claude_code();
    let fields = expected.as_object_mut().unwrap();
    fields.remove("context_management");
    fields.remove("temperature");
    // Instructions in the middle are said to the model as the user's words.
    let messages = fields["messages"].as_array_mut().unwrap();
    messages.pop();
    let last = messages.last_mut().unwrap()["content"]
        .as_array_mut()
        .unwrap();
    last[0].as_object_mut().unwrap().remove("is_error");
    last.push(json!({"type": "text", "text": "The user is away."}));
    assert_eq!(out.unwrap(), expected);
}

#[test]
fn every_block_has_its_part() {
    let request = json!({"max_tokens": 1, "messages": [
        {"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"},
             "cache_control": {"type": "ephemeral"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
             "data": "BBBB"}, "title": "T", "citations": {"enabled": false}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"},
             "title": "T"},
            {"type": "document", "source": {"type": "content", "content": [
                {"type": "text", "text": "in"},
                {"type": "image", "source": {"type": "url", "url": "https://x/z.png"}}]}},
            {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": [
                {"type": "text", "text": "no"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "C"}}]},
            {"type": "tool_result", "tool_use_id": "u"},
        ]},
        {"role": "assistant", "content": [
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "thinking", "thinking": "unsigned", "signature": ""},
            {"type": "text", "text": "x", "citations": null},
        ]},
    ]});
    let inline = |mime: &'static str, data: &'static str| Media::Inline {
        mime: mime.into(),
        data: data.into(),
    };
    let url = |url: &'static str| Media::Url(url.into());
    read(&request, |found| {
        assert_eq!(
            found.turns[0].parts,
            [
                Part::Image(inline("image/png", "AAAA")),
                Part::Image(url("https://x/y.png")),
                Part::Document {
                    media: inline("application/pdf", "BBBB"),
                    name: Some("T".into())
                },
                super::text("T\n\nplain"),
                super::text("in"),
                Part::Image(url("https://x/z.png")),
                Part::ToolResult {
                    id: "t".into(),
                    content: vec![super::text("no"), Part::Image(inline("image/gif", "C"))],
                    error: true
                },
                Part::ToolResult {
                    id: "u".into(),
                    content: vec![],
                    error: false
                },
            ]
        );
        assert_eq!(
            found.turns[1].parts,
            [
                Part::Reasoning {
                    text: "".into(),
                    signature: Some("ZGF0YQ==".into()),
                    redacted: true
                },
                Part::Reasoning {
                    text: "unsigned".into(),
                    signature: None,
                    redacted: false
                },
                super::text("x"),
            ]
        );
    })
    .unwrap();
}

/// A request with one more field.
fn with(field: &str, value: Value) -> Value {
    let mut request = json!({"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    request[field] = value;
    request
}

#[test]
fn what_has_no_place_is_refused_by_its_name() {
    let tool = |extra: Value| {
        let mut tool = json!({"name": "f", "input_schema": {"type": "object"}});
        for (key, value) in extra.as_object().unwrap() {
            tool[key] = value.clone();
        }
        with("tools", json!([{"name": "g", "type": "custom"}, tool]))
    };
    let said = |block: Value| with("messages", json!([{"role": "user", "content": [block]}]));
    let heard = |block: Value| {
        with(
            "messages",
            json!([{"role": "assistant", "content": [block]}]),
        )
    };
    let document = |extra: Value| {
        let mut block = extra;
        block["type"] = json!("document");
        said(block)
    };
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "A"});
    for (request, field) in [
        (with("nonsense", json!(1)), "nonsense"),
        (with("mcp_servers", json!([{"url": "x"}])), "mcp_servers"),
        (with("container", json!("container_01")), "container"),
        (with("speed", json!("fast")), "speed"),
        (with("inference_geo", json!("us")), "inference_geo"),
        (
            with(
                "context_management",
                json!({"edits": [{"type": "clear_tool_uses_20250919"}]}),
            ),
            "context_management.edits[0].type",
        ),
        (with("max_tokens", json!("many")), "max_tokens"),
        (with("temperature", json!("hot")), "temperature"),
        (with("stop_sequences", json!(["a", 1])), "stop_sequences[1]"),
        (
            with("system", json!([{"type": "image", "source": {}}])),
            "system[0].type",
        ),
        (
            tool(json!({"type": "web_search_20250305", "max_uses": 5})),
            "tools[1].type",
        ),
        (tool(json!({"type": "bash_20250124"})), "tools[1].type"),
        (
            tool(json!({"defer_loading": true})),
            "tools[1].defer_loading",
        ),
        (
            tool(json!({"allowed_callers": ["code_execution_20250825"]})),
            "tools[1].allowed_callers[0]",
        ),
        (tool(json!({"input_schema": "x"})), "tools[1].input_schema"),
        (with("tools", json!([{}])), "tools[0].name"),
        (
            with("tool_choice", json!({"type": "some"})),
            "tool_choice.type",
        ),
        (
            with("tool_choice", json!({"type": "tool"})),
            "tool_choice.name",
        ),
        (
            with("thinking", json!({"type": "enabled"})),
            "thinking.budget_tokens",
        ),
        (with("thinking", json!({"type": "maybe"})), "thinking.type"),
        (
            with("output_config", json!({"effort": "huge"})),
            "output_config.effort",
        ),
        (
            with("output_config", json!({"task_budget": {}})),
            "output_config.task_budget",
        ),
        (
            with("output_format", json!({"type": "json_schema"})),
            "output_format.schema",
        ),
        (
            with("messages", json!([{"role": "tool", "content": ""}])),
            "messages[0].role",
        ),
        (
            with("messages", json!([{"role": "user"}])),
            "messages[0].content",
        ),
        (
            with("messages", json!([{"role": "user", "content": 1}])),
            "messages[0].content",
        ),
        (
            with(
                "messages",
                json!([{"role": "user", "content": "", "name": "x"}]),
            ),
            "messages[0].name",
        ),
        (said(json!({"text": "x"})), "messages[0].content[0].type"),
        (said(json!({"type": "text"})), "messages[0].content[0].text"),
        (
            said(json!({"type": "container_upload", "file_id": "f"})),
            "messages[0].content[0].type",
        ),
        (
            said(json!({"type": "search_result"})),
            "messages[0].content[0].type",
        ),
        (
            said(json!({"type": "tool_use", "id": "a", "name": "b", "input": {}})),
            "messages[0].content[0].type",
        ),
        (
            said(json!({"type": "image"})),
            "messages[0].content[0].source",
        ),
        (
            said(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages[0].content[0].source.type",
        ),
        (
            document(json!({"source": pdf, "context": "x"})),
            "messages[0].content[0].context",
        ),
        (
            document(json!({"source": pdf, "citations": {"enabled": true}})),
            "messages[0].content[0].citations.enabled",
        ),
        (
            heard(json!({"type": "server_tool_use", "id": "s"})),
            "messages[0].content[0].type",
        ),
        (
            heard(json!({"type": "tool_use", "id": "a", "name": "b"})),
            "messages[0].content[0].input",
        ),
        (
            heard(json!({"type": "redacted_thinking"})),
            "messages[0].content[0].data",
        ),
        (json!({"max_tokens": 1}), "messages"),
    ] {
        assert_eq!(refused(&request), field, "{request}");
    }
}

#[test]
fn what_changes_nothing_is_left_out() {
    let plain = read(&with("max_tokens", json!(100)), |found| {
        format!("{found:?}")
    })
    .unwrap();
    for (field, value) in [
        ("model", json!("claude")),
        ("metadata", json!({"other": 1})),
        ("service_tier", json!("auto")),
        ("cache_control", json!({"type": "ephemeral"})),
        ("speed", json!("standard")),
        ("inference_geo", json!("global")),
        ("betas", json!(["a"])),
        ("container", Value::Null),
        ("temperature", Value::Null),
        ("mcp_servers", json!([])),
        ("context_management", json!({})),
        ("system", json!("")),
        ("system", json!([])),
        ("tools", json!([])),
    ] {
        let found = read(&with(field, value), |found| format!("{found:?}"));
        assert_eq!(found.unwrap(), plain, "{field}");
    }
}

#[test]
fn choices_of_tools_are_read() {
    for (value, choice, parallel) in [
        (json!({"type": "auto"}), ToolChoice::Auto, None),
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            ToolChoice::Required,
            Some(false),
        ),
        (
            json!({"type": "tool", "name": "f"}),
            ToolChoice::Named("f".into()),
            None,
        ),
        (json!({"type": "none"}), ToolChoice::None, None),
    ] {
        read(&with("tool_choice", value), |found| {
            assert_eq!(found.tool_choice, Some(choice));
            assert_eq!(found.parallel_tools, parallel);
        })
        .unwrap();
    }
}

#[test]
fn thinking_and_effort_are_read() {
    let reasoning = |effort, budget, shown| Reasoning {
        effort,
        budget,
        shown,
    };
    for (field, value, expected) in [
        (
            "thinking",
            json!({"type": "enabled", "budget_tokens": 2000, "display": "omitted"}),
            reasoning(None, Some(2000), Some(false)),
        ),
        (
            "thinking",
            json!({"type": "adaptive", "display": "summarized"}),
            reasoning(None, None, Some(true)),
        ),
        (
            "thinking",
            json!({"type": "disabled"}),
            reasoning(None, Some(0), None),
        ),
        (
            "output_config",
            json!({"effort": "low"}),
            reasoning(Some(Effort::Low), None, None),
        ),
        (
            "output_config",
            json!({"effort": "max"}),
            reasoning(Some(Effort::Highest), None, None),
        ),
    ] {
        read(&with(field, value), |found| {
            assert_eq!(found.reasoning, Some(expected))
        })
        .unwrap();
    }
}

#[test]
fn a_schema_is_read_from_both_of_its_fields() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    for (field, value) in [
        ("output_format", format.clone()),
        ("output_config", json!({"format": format})),
    ] {
        read(&with(field, value), |found| {
            let Some(Format::Schema {
                schema,
                strict: Some(true),
                ..
            }) = found.format
            else {
                panic!("{:?}", found.format);
            };
            assert_eq!(schema.0, r#"{"type":"object"}"#);
        })
        .unwrap();
    }
}
