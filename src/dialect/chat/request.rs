//! A client's request: the fields beside its messages.
//!
//! Decides which fields the common form can carry, which change nothing about the answer and are
//! left out, and which the client would miss: those are refused by name.

use super::turns;
use crate::dialect::effort;
use crate::dialect::form::{
    Conversation, Effort, Format, Inexpressible, Json, Reasoning, Tool, ToolChoice,
};
use crate::dialect::value::Value;
use crate::json::Object;

type Read<T = ()> = Result<T, Inexpressible>;

/// Reads a request.
pub(in crate::dialect) fn read_request<'a>(object: &Object<'a>) -> Read<Conversation<'a>> {
    let mut conversation = Conversation::default();
    for field in object.iter() {
        let value = Value::top(&field.key, field.value);
        if value.raw() != "null" && !common(&field.key, &value, &mut conversation)? {
            own(&field.key, &value, &mut conversation)?;
        }
    }
    if conversation.turns.is_empty() {
        return Err(Inexpressible::Field(
            "messages".to_owned(),
            "must be a non-empty array",
        ));
    }
    Ok(conversation)
}

/// Reads a field that legacy completions have, too. False when it is none of them.
pub(in crate::dialect) fn common<'a>(
    key: &str,
    value: &Value<'a, '_>,
    to: &mut Conversation<'a>,
) -> Read<bool> {
    match key {
        "max_tokens" | "max_completion_tokens" => {
            to.max_tokens = to.max_tokens.max(Some(value.count()?));
        }
        "temperature" => to.temperature = Some(value.number()?),
        "top_p" => to.top_p = Some(value.number()?),
        "top_k" => to.top_k = Some(value.count()?),
        "frequency_penalty" => to.frequency_penalty = Some(value.number()?),
        "presence_penalty" => to.presence_penalty = Some(value.number()?),
        "seed" => to.seed = Some(value.number()?),
        "stop" if value.is_text() => to.stop = vec![value.text()?],
        "stop" => value.array(|_, one| {
            to.stop.push(one.text()?);
            Ok(())
        })?,
        "user" | "safety_identifier" => {
            let name = value.text()?;
            to.user.get_or_insert(name);
        }
        "stream" => to.stream = value.flag()?,
        "n" => value.only_if(value.raw() == "1")?,
        "logit_bias" => value.only_if(value.is_empty())?,
        // They say where the request goes, what is kept of it and how it is billed.
        "model"
        | "models"
        | "route"
        | "metadata"
        | "store"
        | "stream_options"
        | "usage"
        | "service_tier"
        | "prompt_cache_key"
        | "prompt_cache_retention" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn own<'a>(key: &str, value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    match key {
        "messages" => to.turns = turns::read(value)?,
        "tools" => value.array(|_, item| {
            to.tools.push(tool(item)?);
            Ok(())
        })?,
        "functions" => value.array(|_, item| {
            to.tools.push(function(item)?);
            Ok(())
        })?,
        "tool_choice" => to.tool_choice = Some(tool_choice(value)?),
        "function_call" => to.tool_choice = Some(function_choice(value)?),
        "parallel_tool_calls" => to.parallel_tools = Some(value.flag()?),
        "response_format" => to.format = Some(format(value)?),
        "reasoning_effort" => reasoning(to).effort = Some(effort::read(value)?),
        "reasoning" => openrouter_reasoning(value, reasoning(to))?,
        "include_reasoning" => reasoning(to).shown = Some(value.flag()?),
        "logprobs" => value.only_if(!value.flag()?)?,
        "top_logprobs" => value.only_if(value.raw() == "0")?,
        "modalities" => value.array(|_, kind| kind.only_if(kind.text()? == "text"))?,
        "plugins" | "transforms" => value.only_if(value.is_empty())?,
        // A hint of the same kind as those on parts.
        "cache_control" => {}
        _ => value.unsupported()?,
    }
    Ok(())
}

fn reasoning<'c>(to: &'c mut Conversation<'_>) -> &'c mut Reasoning {
    to.reasoning.get_or_insert_default()
}

fn tool<'a>(value: &Value<'a, '_>) -> Read<Tool<'a>> {
    if value.tag("type")? != "function" {
        return Err(value.lacks("type", "must be \"function\""));
    }
    let mut found = None;
    let mut cache = None;
    value.object(|key, member| {
        match key {
            "type" => {}
            "function" => found = Some(function(member)?),
            "cache_control" => cache = Some(member.object_json()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let mut tool = found.ok_or_else(|| value.lacks("function", "is required"))?;
    tool.cache = cache;
    Ok(tool)
}

fn function<'a>(value: &Value<'a, '_>) -> Read<Tool<'a>> {
    let mut tool = Tool {
        name: value.tag("name")?,
        description: None,
        schema: None,
        strict: None,
        cache: None,
    };
    value.object(|key, member| {
        match key {
            "name" => {}
            "description" => tool.description = Some(member.text()?),
            "parameters" => tool.schema = Some(member.object_json()?),
            "strict" => tool.strict = Some(member.flag()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(tool)
}

fn tool_choice<'a>(value: &Value<'a, '_>) -> Read<ToolChoice<'a>> {
    if value.is_text() {
        return match &*value.text()? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(value.wrong("must be \"auto\", \"none\", \"required\" or a function")),
        };
    }
    if value.tag("type")? != "function" {
        return Err(value.lacks("type", "must be \"function\""));
    }
    let mut name = None;
    value.object(|key, member| {
        match key {
            "type" => {}
            "function" => name = Some(member.tag("name")?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    name.map(ToolChoice::Named)
        .ok_or_else(|| value.lacks("function", "is required"))
}

/// The choice of one of the legacy `functions`.
fn function_choice<'a>(value: &Value<'a, '_>) -> Read<ToolChoice<'a>> {
    if !value.is_text() {
        return value.tag("name").map(ToolChoice::Named);
    }
    match &*value.text()? {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        _ => Err(value.wrong("must be \"auto\", \"none\" or a function")),
    }
}

fn format<'a>(value: &Value<'a, '_>) -> Read<Format<'a>> {
    let mut schema = None;
    let kind = value.tag("type")?;
    value.object(|key, member| {
        match key {
            "type" => {}
            "json_schema" => schema = Some(schema_format(member)?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    match &*kind {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::Object),
        "json_schema" => schema.ok_or_else(|| value.lacks("json_schema", "is required")),
        _ => Err(value.lacks(
            "type",
            "must be \"text\", \"json_object\" or \"json_schema\"",
        )),
    }
}

fn schema_format<'a>(value: &Value<'a, '_>) -> Read<Format<'a>> {
    let (mut name, mut description, mut strict) = (None, None, None);
    let mut schema = Json("{}".into());
    value.object(|key, member| {
        match key {
            "name" => name = Some(member.text()?),
            "description" => description = Some(member.text()?),
            "schema" => schema = member.object_json()?,
            "strict" => strict = Some(member.flag()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Format::Schema {
        name: name.ok_or_else(|| value.lacks("name", "is required"))?,
        description,
        schema,
        strict,
    })
}

/// OpenRouter's object: thought is shown unless it is excluded, and medium unless it says more.
fn openrouter_reasoning(value: &Value<'_, '_>, to: &mut Reasoning) -> Read {
    let mut enabled = None;
    to.shown.get_or_insert(true);
    value.object(|key, member| {
        match key {
            "effort" => to.effort = Some(effort::read(member)?),
            "max_tokens" => to.budget = Some(member.count()?),
            "enabled" => enabled = Some(member.flag()?),
            "exclude" => to.shown = Some(!member.flag()?),
            // How much of it is shown; a summary is what the others give anyway.
            "summary" => {}
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    match enabled {
        Some(false) => (to.effort, to.budget) = (Some(Effort::None), None),
        Some(true) if to.effort.is_none() && to.budget.is_none() => {
            to.effort = Some(Effort::Medium);
        }
        _ => {}
    }
    Ok(())
}
