//! Reading a request of the Messages interface as strictly as Anthropic does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mock::api::{Api, Place};
use crate::mock::dialect::strict::{self, list, optional, text};
use crate::mock::request::{Asked, Refused, tokens};

/// What Anthropic documents of a request, betas included.
const FIELDS: &str = "model messages max_tokens cache_control container context_management inference_geo \
    mcp_servers metadata output_config output_format service_tier speed stop_sequences stream system \
    temperature thinking tool_choice tools top_k top_p";

/// What Anthropic counts tokens of.
const COUNTED: &str = "model messages cache_control context_management mcp_servers output_config \
    output_format speed system thinking tool_choice tools";

/// What OpenRouter takes besides.
const OPENROUTER: &str = "models plugins provider route session_id trace transforms user";

/// The blocks that are known in messages.
const BLOCKS: &str = "text image document search_result tool_use tool_result thinking redacted_thinking \
    server_tool_use web_search_tool_result web_fetch_tool_result code_execution_tool_result \
    bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result \
    tool_reference mcp_tool_use mcp_tool_result container_upload compaction";

/// Reads and checks the body.
pub(in crate::mock) fn read<'a>(body: &'a [u8], place: &Place) -> Result<Asked<'a>, Refused> {
    parse(body, place).map_err(|reason| Refused::new(400, reason))
}

fn parse<'a>(body: &'a [u8], place: &Place) -> Result<Asked<'a>, String> {
    let fields = strict::object(body)?;
    let own = if place.api == Api::CountTokens {
        COUNTED
    } else {
        FIELDS
    };
    let theirs = if place.openrouter { OPENROUTER } else { "" };
    if let Some(name) = strict::unknown(&fields, &[own, theirs]) {
        return Err(format!("{name}: Extra inputs are not permitted"));
    }
    let model = optional(&fields, "model", "a valid string", Value::as_str)?;
    if model.is_none() && !place.openclaw {
        return Err("model: Field required".to_owned());
    }
    let max_tokens = optional(&fields, "max_tokens", "a valid integer", Value::as_u64)?;
    if max_tokens.is_none() && !place.openclaw && place.api == Api::Messages {
        return Err("max_tokens: Field required".to_owned());
    }
    if max_tokens == Some(0) {
        return Err("max_tokens: Input should be greater than or equal to 1".to_owned());
    }
    let warm = optional(&fields, "temperature", "a valid number", Value::as_f64)?;
    if warm.is_some_and(|warm| !(0.0..=1.0).contains(&warm)) {
        return Err("temperature: range: 0..1".to_owned());
    }
    let mut text_bytes = match fields.get("system") {
        None | Some(Value::Null) => 0,
        Some(Value::String(system)) => system.len() as u64,
        Some(system) => blocks("system", system, &mut |block| text(block, "type") == "text")?,
    };
    let messages = fields.get("messages").ok_or("messages: Field required")?;
    text_bytes += conversation(messages)?;
    tools(&fields)?;
    let thinking = fields.get("thinking").unwrap_or(&Value::Null);
    let thinks = thinking_wanted(thinking, max_tokens)?;
    let names = list(fields.get("models")).iter().filter_map(Value::as_str);
    Ok(Asked {
        model: model.map(str::to_owned),
        models: names.map(str::to_owned).collect(),
        stream: optional(&fields, "stream", "a valid boolean", Value::as_bool)?.unwrap_or(false),
        max_tokens,
        choices: 1,
        prompt_tokens: tokens(text_bytes),
        tools: list(fields.get("tools"))
            .iter()
            .filter(|tool| tool.get("input_schema").is_some())
            .map(|tool| text(tool, "name").to_owned())
            .collect(),
        thinks,
        body,
        messages: place.messages(),
        ..Asked::default()
    })
}

fn thinking_wanted(thinking: &Value, max_tokens: Option<u64>) -> Result<bool, String> {
    match text(thinking, "type") {
        "" if thinking.is_null() => Ok(false),
        "disabled" => Ok(false),
        "adaptive" => Ok(true),
        "enabled" => {
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            match budget.ok_or("thinking.enabled.budget_tokens: Field required")? {
                ..1024 => Err(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
                        .to_owned(),
                ),
                budget if max_tokens.is_some_and(|max| max <= budget) => {
                    Err("`max_tokens` must be greater than `thinking.budget_tokens`.".to_owned())
                }
                _ => Ok(true),
            }
        }
        other => Err(format!(
            "thinking: Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
        )),
    }
}

fn tools(fields: &serde_json::Map<String, Value>) -> Result<(), String> {
    optional(fields, "tools", "a valid list", Value::as_array)?;
    let mut names = BTreeSet::new();
    for (index, tool) in list(fields.get("tools")).iter().enumerate() {
        let kind = text(tool, "type");
        if matches!(kind, "" | "custom") {
            for name in ["name", "input_schema"] {
                if tool.get(name).is_none() {
                    return Err(format!("tools.{index}.custom.{name}: Field required"));
                }
            }
            if text(&tool["input_schema"], "type") != "object" {
                return Err(format!(
                    "tools.{index}.custom.input_schema.type: Field required"
                ));
            }
        } else if kind == "function" || tool.get("function").is_some() {
            return Err(format!(
                "tools.{index}: Input tag 'function' found using 'type' does not match any of the expected tags"
            ));
        }
        if !names.insert(text(tool, "name")) && kind != "mcp_toolset" {
            return Err("tools: Tool names must be unique.".to_owned());
        }
    }
    match fields.get("tool_choice") {
        None | Some(Value::Null) => Ok(()),
        Some(choice) => match text(choice, "type") {
            "auto" | "any" | "none" => Ok(()),
            "tool" if !text(choice, "name").is_empty() => Ok(()),
            "tool" => Err("tool_choice.tool.name: Field required".to_owned()),
            _ => {
                Err("tool_choice: Input should be a valid dictionary with a known type".to_owned())
            }
        },
    }
}

/// Checks the blocks of one place and returns the bytes of their texts.
fn blocks(
    at: &str,
    content: &Value,
    allowed: &mut dyn FnMut(&Value) -> bool,
) -> Result<u64, String> {
    let Some(content) = content.as_array() else {
        return Err(format!("{at}: Input should be a valid list"));
    };
    let mut text_bytes = 0;
    for (index, block) in content.iter().enumerate() {
        let kind = text(block, "type");
        if !BLOCKS.split_ascii_whitespace().any(|known| known == kind) || !allowed(block) {
            return Err(format!(
                "{at}.{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            ));
        }
        let required: &[&str] = match kind {
            "text" => &["text"],
            "image" | "document" => &["source"],
            "tool_use" => &["id", "name", "input"],
            "tool_result" => &["tool_use_id"],
            "thinking" => &["thinking", "signature"],
            "redacted_thinking" => &["data"],
            _ => &[],
        };
        for name in required {
            if block.get(*name).is_none_or(Value::is_null) {
                return Err(format!("{at}.{index}.{kind}.{name}: Field required"));
            }
        }
        match kind {
            "text" if text(block, "text").is_empty() => {
                return Err(format!("{at}: text content blocks must be non-empty"));
            }
            "text" => text_bytes += text(block, "text").len() as u64,
            "tool_use" if !block["input"].is_object() => {
                return Err(format!(
                    "{at}.{index}.tool_use.input: Input should be a valid dictionary"
                ));
            }
            "tool_result" => match block.get("content") {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => text_bytes += text.len() as u64,
                Some(content) => {
                    let at = format!("{at}.{index}.tool_result.content");
                    text_bytes += blocks(&at, content, &mut |block| {
                        let kind = text(block, "type");
                        !matches!(kind, "tool_use" | "tool_result" | "thinking")
                    })?;
                }
            },
            _ => {}
        }
    }
    Ok(text_bytes)
}

/// The calls of one turn and the results of the next.
#[derive(Default)]
struct Turn<'v> {
    role: &'v str,
    calls: Vec<&'v str>,
    results: Vec<&'v str>,
    /// A block that is no result came; results must be first.
    other: bool,
}

/// Checks the messages and returns the bytes of their texts.
fn conversation(messages: &Value) -> Result<u64, String> {
    let messages = messages
        .as_array()
        .ok_or("messages: Input should be a valid list")?;
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    let mut text_bytes = 0;
    let mut before = Turn::default();
    let mut turn = Turn::default();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        let object = message
            .as_object()
            .ok_or_else(|| format!("{at}: Input should be a valid dictionary"))?;
        if let Some(name) = strict::unknown(object, &["role content"]) {
            return Err(format!("{at}.{name}: Extra inputs are not permitted"));
        }
        let role = text(message, "role");
        // Claude Code puts `system` between the others; it is no turn of its own.
        if !matches!(role, "user" | "assistant" | "system") {
            return Err(format!(
                "messages: Unexpected role \"{role}\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
            ));
        }
        if turn.role.is_empty() && role == "assistant" {
            return Err("messages: first message must use the \"user\" role".to_owned());
        }
        if role != "system" && role != turn.role {
            ends(&before, &turn, index)?;
            before = std::mem::take(&mut turn);
            turn.role = role;
        }
        let content = object
            .get("content")
            .ok_or_else(|| format!("{at}.content: Field required"))?;
        if let Some(text) = content.as_str() {
            let last = index + 1 == messages.len();
            if text.is_empty() && !(last && role == "assistant") {
                return Err(format!("{at}: {role} messages must have non-empty content"));
            }
            if last && role == "assistant" && text.ends_with(char::is_whitespace) {
                return Err(
                    "messages: final assistant content cannot end with trailing whitespace"
                        .to_owned(),
                );
            }
            text_bytes += text.len() as u64;
            turn.other = true;
            continue;
        }
        if content.as_array().is_some_and(Vec::is_empty) {
            return Err(format!("{at}: {role} messages must have non-empty content"));
        }
        let at = format!("{at}.content");
        text_bytes += blocks(&at, content, &mut |block| match text(block, "type") {
            "tool_use" | "thinking" | "redacted_thinking" => role == "assistant",
            "tool_result" | "image" | "document" => role == "user",
            _ => true,
        })?;
        for (index, block) in list(Some(content)).iter().enumerate() {
            match text(block, "type") {
                "tool_use" => turn.calls.push(text(block, "id")),
                "tool_result" => {
                    let id = text(block, "tool_use_id");
                    if !before.calls.contains(&id) || turn.results.contains(&id) || turn.other {
                        return Err(format!(
                            "{at}.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                        ));
                    }
                    turn.results.push(id);
                }
                _ => turn.other |= role == "user",
            }
        }
    }
    ends(&before, &turn, messages.len())?;
    if turn.role.is_empty() {
        return Err("messages: at least one user message is required".to_owned());
    }
    if turn.calls.is_empty() {
        return Ok(text_bytes);
    }
    Err(unanswered(&turn, messages.len()))
}

/// Checks a turn that is over: it answers every call of the one before.
fn ends(before: &Turn<'_>, turn: &Turn<'_>, index: usize) -> Result<(), String> {
    if before.calls.iter().all(|id| turn.results.contains(id)) {
        Ok(())
    } else {
        Err(unanswered(before, index))
    }
}

fn unanswered(turn: &Turn<'_>, index: usize) -> String {
    format!(
        "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        index.saturating_sub(1),
        turn.calls.join(", ")
    )
}
