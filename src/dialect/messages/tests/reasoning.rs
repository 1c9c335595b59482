//! How much is thought, and what goes with it.

use serde_json::{Value, json};

use super::{ask_of, question, text, turn};
use crate::dialect::form::{
    Conversation, Effort, Feature, Inexpressible, Json, Part, Reasoning, Role, Tool, ToolChoice,
};

fn thinks(reasoning: Reasoning, max_tokens: u64) -> Conversation<'static> {
    Conversation {
        reasoning: Some(reasoning),
        max_tokens: Some(max_tokens),
        ..question()
    }
}

fn budget(budget: u64) -> Reasoning {
    Reasoning {
        budget: Some(budget),
        ..Reasoning::default()
    }
}

fn effort(effort: Effort) -> Reasoning {
    Reasoning {
        effort: Some(effort),
        ..Reasoning::default()
    }
}

fn both(effort: Effort, budget: u64) -> Reasoning {
    Reasoning {
        effort: Some(effort),
        budget: Some(budget),
        shown: None,
    }
}

fn enabled(tokens: u64) -> Value {
    json!({"type": "enabled", "budget_tokens": tokens})
}

#[test]
fn older_models_get_a_number_below_the_limit() {
    for (reasoning, max_tokens, expected) in [
        (budget(5000), 8192, enabled(5000)),
        (budget(10), 8192, enabled(1024)),
        (budget(9000), 8192, enabled(8191)),
        (budget(2000), 1025, enabled(1024)),
        (budget(2000), 1024, Value::Null),
        (budget(0), 8192, Value::Null),
        (effort(Effort::None), 8192, Value::Null),
        (effort(Effort::Minimal), 20_000, enabled(2000)),
        (effort(Effort::Low), 10_000, enabled(2000)),
        (effort(Effort::Medium), 10_000, enabled(5000)),
        (effort(Effort::High), 10_000, enabled(8000)),
        (effort(Effort::Highest), 10_000, enabled(9500)),
        (effort(Effort::Low), 2000, enabled(1024)),
        (
            effort(Effort::Highest),
            u64::MAX,
            enabled(17_524_406_870_024_074_034),
        ),
        (Reasoning::default(), 10_000, enabled(5000)),
    ] {
        let out = ask_of("claude-sonnet-4-5", &thinks(reasoning.clone(), max_tokens)).unwrap();
        assert_eq!(out["thinking"], expected, "{reasoning:?} {max_tokens}");
        assert!(out["output_config"].is_null());
    }
}

#[test]
fn newer_models_get_a_word() {
    let adaptive = json!({"type": "adaptive"});
    for (model, reasoning, thinking, word) in [
        (
            "claude-opus-4-6",
            effort(Effort::High),
            adaptive.clone(),
            json!("high"),
        ),
        ("claude-opus-4-6", budget(3000), enabled(3000), Value::Null),
        (
            "claude-opus-4-7",
            budget(2000),
            adaptive.clone(),
            json!("low"),
        ),
        (
            "anthropic/claude-opus-4.7",
            budget(5000),
            adaptive.clone(),
            json!("medium"),
        ),
        (
            "claude-sonnet-5",
            budget(9000),
            adaptive.clone(),
            json!("high"),
        ),
        (
            "claude-sonnet-5",
            effort(Effort::Highest),
            adaptive.clone(),
            json!("max"),
        ),
        (
            "claude-sonnet-5",
            Reasoning::default(),
            adaptive,
            Value::Null,
        ),
        (
            "claude-sonnet-5",
            budget(0),
            json!({"type": "disabled"}),
            Value::Null,
        ),
        ("claude-opus-4-7", budget(0), Value::Null, Value::Null),
        (
            "claude-opus-4-7",
            both(Effort::High, 1024),
            json!({"type": "adaptive"}),
            json!("high"),
        ),
    ] {
        let out = ask_of(model, &thinks(reasoning.clone(), 10_000)).unwrap();
        assert_eq!(out["thinking"], thinking, "{model} {reasoning:?}");
        assert_eq!(
            out["output_config"]["effort"], word,
            "{model} {reasoning:?}"
        );
    }
}

#[test]
fn what_is_thought_is_shown_as_asked() {
    let shown = |model, shown| {
        let reasoning = Reasoning {
            shown: Some(shown),
            ..budget(2000)
        };
        let out = ask_of(model, &thinks(reasoning, 10_000)).unwrap();
        out["thinking"]["display"].clone()
    };
    assert_eq!(shown("claude-haiku-4-5", true), Value::Null);
    assert_eq!(shown("claude-haiku-4-5", false), json!("omitted"));
    assert_eq!(shown("claude-opus-4-7", true), json!("summarized"));
    let hidden = Reasoning {
        shown: Some(false),
        ..Reasoning::default()
    };
    let out = ask_of("claude-opus-4-7", &thinks(hidden, 10_000)).unwrap();
    assert!(out["thinking"].is_null());
}

#[test]
fn what_does_not_go_with_thinking_is_refused() {
    let base = || thinks(budget(2000), 10_000);
    let tool = || Tool {
        name: "f".into(),
        description: None,
        schema: None,
        strict: None,
        cache: None,
    };
    for conversation in [
        Conversation {
            temperature: Some(Json("0.5".into())),
            ..base()
        },
        Conversation {
            top_k: Some(5),
            ..base()
        },
        Conversation {
            tools: vec![tool()],
            tool_choice: Some(ToolChoice::Required),
            ..base()
        },
        Conversation {
            turns: vec![
                turn(Role::User, vec![text("a")]),
                turn(Role::Assistant, vec![text("b")]),
            ],
            ..base()
        },
    ] {
        assert_eq!(
            ask_of("claude-haiku-4-5", &conversation),
            Err(Inexpressible::Feature(Feature::Reasoning))
        );
    }
    let neutral = Conversation {
        temperature: Some(Json("1.0".into())),
        ..base()
    };
    let out = ask_of("claude-haiku-4-5", &neutral).unwrap();
    assert_eq!(out["thinking"], enabled(2000));
    assert!(out["temperature"].is_null());
    let cold = Conversation {
        temperature: Some(Json("0".into())),
        ..thinks(budget(0), 10_000)
    };
    let out = ask_of("claude-haiku-4-5", &cold).unwrap();
    assert_eq!(out["temperature"], json!(0));
}

#[test]
fn calls_that_were_made_without_a_thought_are_answered_without_one() {
    let turns = |signature: Option<&'static str>| {
        vec![
            turn(Role::User, vec![text("a")]),
            turn(
                Role::Assistant,
                vec![
                    Part::Reasoning {
                        text: "t".into(),
                        signature: signature.map(Into::into),
                        redacted: false,
                    },
                    Part::ToolCall {
                        id: "c".into(),
                        name: "f".into(),
                        arguments: "{}".into(),
                        signature: None,
                    },
                ],
            ),
            turn(
                Role::User,
                vec![Part::ToolResult {
                    id: "c".into(),
                    content: vec![],
                    error: true,
                }],
            ),
        ]
    };
    for (signature, model, expected) in [
        (Some("c2ln"), "claude-haiku-4-5", enabled(2000)),
        (None, "claude-haiku-4-5", Value::Null),
        (None, "claude-opus-4-7", json!({"type": "adaptive"})),
    ] {
        let conversation = Conversation {
            turns: turns(signature),
            ..thinks(budget(2000), 10_000)
        };
        let out = ask_of(model, &conversation).unwrap();
        assert_eq!(out["thinking"], expected, "{signature:?} {model}");
    }
}
