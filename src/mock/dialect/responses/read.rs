//! Reading a request of the Responses interface as strictly as OpenAI does.

use serde_json::{Map, Value};

use crate::mock::behaviour::Dialect;
use crate::mock::dialect::strict::{self, list, optional, text};
use crate::mock::request::{Asked, Refused, tokens};

/// What OpenAI documents of a request.
const FIELDS: &str = "background context_management conversation include input instructions max_output_tokens \
    max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key \
    prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream \
    stream_options temperature text tool_choice tools top_logprobs top_p truncation user";

/// What OpenRouter takes besides.
const OPENROUTER: &str = "cache_control frequency_penalty image_config modalities models plugins presence_penalty \
    provider route session_id top_k trace transforms usage";

/// Reads and checks the body.
pub(in crate::mock) fn read(body: &[u8], openai: bool) -> Result<Asked<'_>, Refused> {
    let bad = |reason| Refused::new(400, reason);
    let fields = strict::object(body).map_err(bad)?;
    let theirs = if openai { "" } else { OPENROUTER };
    if let Some(name) = strict::unknown(&fields, &[FIELDS, theirs]) {
        let reason = format!("Unknown parameter: '{name}'.");
        return Err(Refused::new(400, reason).coded("unknown_parameter"));
    }
    parse(body, &fields, openai).map_err(bad)
}

/// Whether the interface is OpenAI's own, which is stricter.
pub(in crate::mock) fn is_openai(dialect: Dialect, azure: bool) -> bool {
    azure || dialect == Dialect::OpenAi
}

fn parse<'a>(
    body: &'a [u8],
    fields: &Map<String, Value>,
    openai: bool,
) -> Result<Asked<'a>, String> {
    let model = optional(fields, "model", "a string", Value::as_str)?;
    let max_tokens = optional(fields, "max_output_tokens", "an integer", Value::as_u64)?;
    let least = if openai { 16 } else { 1 };
    if let Some(max) = max_tokens.filter(|max| *max < least) {
        return Err(format!(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {least}, but got {max} instead."
        ));
    }
    let mut text_bytes =
        optional(fields, "instructions", "a string", Value::as_str)?.map_or(0, str::len) as u64;
    let continues = ["previous_response_id", "conversation"]
        .iter()
        .any(|name| fields.get(*name).is_some_and(|value| !value.is_null()));
    text_bytes += match fields.get("input") {
        None | Some(Value::Null) if continues || fields.contains_key("prompt") => 0,
        None | Some(Value::Null) => {
            return Err("Missing required parameter: 'input'.".to_owned());
        }
        Some(Value::String(text)) => text.len() as u64,
        Some(Value::Array(items)) => input(items, continues)?,
        Some(_) => {
            return Err(
                "Invalid type for 'input': expected one of an array of objects or string.".into(),
            );
        }
    };
    tools(fields)?;
    let thinks = fields.get("reasoning").is_some_and(|reasoning| {
        reasoning
            .get("summary")
            .is_some_and(|summary| !summary.is_null())
    });
    let names = list(fields.get("models")).iter().filter_map(Value::as_str);
    Ok(Asked {
        model: model.map(str::to_owned),
        models: names.map(str::to_owned).collect(),
        stream: optional(fields, "stream", "a boolean", Value::as_bool)?.unwrap_or(false),
        include_usage: true,
        max_tokens,
        choices: 1,
        prompt_tokens: tokens(text_bytes),
        tools: list(fields.get("tools"))
            .iter()
            .filter(|tool| text(tool, "type") == "function")
            .map(|tool| text(tool, "name").to_owned())
            .collect(),
        thinks,
        body,
        messages: "input",
        ..Asked::default()
    })
}

fn tools(fields: &Map<String, Value>) -> Result<(), String> {
    optional(fields, "tools", "an array", Value::as_array)?;
    for (index, tool) in list(fields.get("tools")).iter().enumerate() {
        let kind = text(tool, "type");
        if kind.is_empty() {
            return Err(format!(
                "Missing required parameter: 'tools[{index}].type'."
            ));
        }
        if kind == "function" {
            if text(tool, "name").is_empty() {
                return Err(format!(
                    "Missing required parameter: 'tools[{index}].name'."
                ));
            }
            if tool.get("function").is_some() {
                return Err(format!("Unknown parameter: 'tools[{index}].function'."));
            }
        }
    }
    match fields.get("tool_choice") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(choice)) if matches!(choice.as_str(), "auto" | "none" | "required") => {
            Ok(())
        }
        Some(choice) if text(choice, "type") == "function" && text(choice, "name").is_empty() => {
            Err("Missing required parameter: 'tool_choice.name'.".to_owned())
        }
        Some(choice) if choice.is_object() => Ok(()),
        Some(_) => Err("Invalid value for 'tool_choice'.".to_owned()),
    }
}

/// Checks the items and returns the bytes of their texts. `continues`: calls may be in an earlier
/// response.
fn input(items: &[Value], continues: bool) -> Result<u64, String> {
    let mut text_bytes = 0;
    let mut calls: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("input[{index}]");
        let missing = |name: &str| format!("Missing required parameter: '{at}.{name}'.");
        let id = text(item, "call_id");
        match text(item, "type") {
            "" | "message" => text_bytes += message(&at, item)?,
            "function_call" | "custom_tool_call" => {
                let custom = text(item, "type") == "custom_tool_call";
                let argument = if custom { "input" } else { "arguments" };
                for name in ["call_id", "name", argument] {
                    if !item.get(name).is_some_and(Value::is_string) {
                        return Err(missing(name));
                    }
                }
                calls.push(id);
                open.push(id);
            }
            "function_call_output" | "custom_tool_call_output" => {
                if id.is_empty() {
                    return Err(missing("call_id"));
                }
                if !calls.contains(&id) && !continues {
                    return Err(format!(
                        "No tool call found for function call output with call_id {id}."
                    ));
                }
                open.retain(|call| *call != id);
                text_bytes += match item.get("output") {
                    Some(Value::String(text)) => text.len() as u64,
                    Some(parts @ Value::Array(_)) => texts(&at, "output", parts, "user")?,
                    _ => return Err(missing("output")),
                };
            }
            "reasoning" => {
                if !item.get("summary").is_some_and(Value::is_array) {
                    return Err(missing("summary"));
                }
            }
            kind if kind.ends_with("_call")
                || kind.ends_with("_call_output")
                || kind.starts_with("mcp_")
                || matches!(kind, "item_reference" | "compaction" | "additional_tools")
                || kind.starts_with("tool_search") => {}
            kind => {
                return Err(format!(
                    "Invalid value: '{kind}'. Supported values are: 'message', 'function_call', 'function_call_output', 'reasoning' and others."
                ));
            }
        }
    }
    match open.first() {
        Some(id) => Err(format!("No tool output found for function call {id}.")),
        None => Ok(text_bytes),
    }
}

fn message(at: &str, item: &Value) -> Result<u64, String> {
    let role = text(item, "role");
    if !matches!(role, "user" | "assistant" | "system" | "developer") {
        return Err(format!(
            "Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
        ));
    }
    for name in ["tool_calls", "tool_call_id"] {
        if item.get(name).is_some() {
            return Err(format!("Unknown parameter: '{at}.{name}'."));
        }
    }
    match item.get("content") {
        Some(Value::String(text)) => Ok(text.len() as u64),
        Some(parts @ Value::Array(_)) => texts(at, "content", parts, role),
        _ => Err(format!("Missing required parameter: '{at}.content'.")),
    }
}

fn texts(at: &str, name: &str, parts: &Value, role: &str) -> Result<u64, String> {
    let supported = if role == "assistant" {
        "output_text refusal reasoning_text"
    } else {
        "input_text input_image input_file input_audio"
    };
    let mut text_bytes = 0;
    for (index, part) in list(Some(parts)).iter().enumerate() {
        let kind = text(part, "type");
        if !supported
            .split_ascii_whitespace()
            .any(|known| known == kind)
        {
            return Err(format!(
                "Invalid value: '{kind}'. Supported values at {at}.{name}[{index}] are: {supported}."
            ));
        }
        text_bytes += text(part, "text").len() as u64;
    }
    Ok(text_bytes)
}
