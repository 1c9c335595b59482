//! A client's request: the fields beside its input.
//!
//! Decides which fields the common form can carry, which change nothing about the answer and are
//! left out, and which the client would miss: those are refused by name.

use super::input;
use crate::dialect::effort;
use crate::dialect::form::{
    Conversation, Format, Inexpressible, Json, Part, Reasoning, Role, Tool, ToolChoice, Turn,
};
use crate::dialect::value::Value;
use crate::json::Object;

type Read<T = ()> = Result<T, Inexpressible>;

/// Reads a request.
pub(in crate::dialect) fn read_request<'a>(object: &Object<'a>) -> Read<Conversation<'a>> {
    let mut conversation = Conversation::default();
    if let Some(raw) = object.get("instructions").filter(|raw| *raw != "null") {
        let text = Value::top("instructions", raw).text()?;
        if !text.is_empty() {
            conversation.turns.push(Turn {
                role: Role::System,
                parts: vec![Part::Text { text, cache: None }],
            });
        }
    }
    let mut asked = false;
    for field in object.iter() {
        let value = Value::top(&field.key, field.value);
        if value.raw() == "null" {
            continue;
        }
        if field.key == "input" {
            asked = input::read(&value, &mut conversation.turns)?;
        } else {
            member(&field.key, &value, &mut conversation)?;
        }
    }
    if asked {
        Ok(conversation)
    } else {
        Err(Inexpressible::Field(
            "input".to_owned(),
            "must be a text or a non-empty array",
        ))
    }
}

fn member<'a>(key: &str, value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    match key {
        "tools" => value.array(|_, item| {
            // Agents offer these beside their own, whether or not they are wanted: a provider
            // without them is asked without them. Where there is nothing else, they are meant.
            let kind = item.tag("type")?;
            let beside = kind.starts_with("web_search") || kind == "namespace";
            if !(beside && value.raw().contains("\"function\"")) {
                to.tools.push(tool(item)?);
            }
            Ok(())
        })?,
        "tool_choice" => to.tool_choice = Some(tool_choice(value)?),
        "parallel_tool_calls" => to.parallel_tools = Some(value.flag()?),
        "max_output_tokens" => to.max_tokens = Some(value.count()?),
        "temperature" => to.temperature = Some(value.number()?),
        "top_p" => to.top_p = Some(value.number()?),
        // OpenRouter's additions.
        "top_k" => to.top_k = Some(value.count()?),
        "frequency_penalty" => to.frequency_penalty = Some(value.number()?),
        "presence_penalty" => to.presence_penalty = Some(value.number()?),
        "text" => text(value, to)?,
        "reasoning" => reasoning(value, to.reasoning.get_or_insert_default())?,
        "user" | "safety_identifier" => {
            let name = value.text()?;
            to.user.get_or_insert(name);
        }
        "stream" => to.stream = value.flag()?,
        "background" => value.only_if(!value.flag()?)?,
        "truncation" => value.only_if(value.text()? == "disabled")?,
        "top_logprobs" => value.only_if(value.raw() == "0")?,
        "include" => {
            value.array(|_, one| one.only_if(one.text()? != "message.output_text.logprobs"))?
        }
        "plugins" => value.only_if(value.is_empty())?,
        // Read before, and where the request goes, what is kept of it and how it is billed.
        "instructions"
        | "model"
        | "models"
        | "route"
        | "store"
        | "metadata"
        | "client_metadata"
        | "service_tier"
        | "stream_options"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "prompt_cache_options" => {}
        _ => value.unsupported()?,
    }
    Ok(())
}

fn tool<'a>(value: &Value<'a, '_>) -> Read<Tool<'a>> {
    function_only(value)?;
    let mut tool = Tool {
        name: value.tag("name")?,
        description: None,
        schema: None,
        strict: None,
        cache: None,
    };
    value.object(|key, member| {
        match key {
            "type" | "name" => {}
            "description" => tool.description = Some(member.text()?),
            "parameters" => tool.schema = Some(member.object_json()?),
            "strict" => tool.strict = Some(member.flag()?),
            "defer_loading" => member.only_if(!member.flag()?)?,
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(tool)
}

/// The provider's own tools, and tools whose input is no JSON, are nobody else's.
fn function_only(value: &Value<'_, '_>) -> Read {
    if value.tag("type")? == "function" {
        Ok(())
    } else {
        Err(value.lacks(
            "type",
            "must be \"function\" with the provider that serves this model",
        ))
    }
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
    function_only(value)?;
    value.only(&["type", "name"])?;
    value.tag("name").map(ToolChoice::Named)
}

fn text<'a>(value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    value.object(|key, member| {
        match key {
            "format" => to.format = Some(format(member)?),
            // A wish about style: most models have no such setting.
            "verbosity" => drop(member.text()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })
}

fn format<'a>(value: &Value<'a, '_>) -> Read<Format<'a>> {
    match &*value.tag("type")? {
        "text" => value.only(&["type"]).map(|()| Format::Text),
        "json_object" => value.only(&["type"]).map(|()| Format::Object),
        "json_schema" => schema_format(value),
        _ => Err(value.lacks(
            "type",
            "must be \"text\", \"json_object\" or \"json_schema\"",
        )),
    }
}

fn schema_format<'a>(value: &Value<'a, '_>) -> Read<Format<'a>> {
    let (mut description, mut strict) = (None, None);
    let mut schema: Option<Json<'a>> = None;
    value.object(|key, member| {
        match key {
            "type" | "name" => {}
            "description" => description = Some(member.text()?),
            "schema" => schema = Some(member.object_json()?),
            "strict" => strict = Some(member.flag()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Format::Schema {
        name: value.tag("name")?,
        description,
        schema: schema.ok_or_else(|| value.lacks("schema", "is required"))?,
        strict,
    })
}

fn reasoning(value: &Value<'_, '_>, to: &mut Reasoning) -> Read {
    value.object(|key, member| {
        match key {
            "effort" => to.effort = Some(effort::read(member)?),
            // How much of it is shown is for whoever shows it to say.
            "summary" | "generate_summary" => match &*member.text()? {
                "auto" | "concise" | "detailed" => to.shown = Some(true),
                "none" => to.shown = Some(false),
                _ => return Err(member.wrong("must be \"auto\", \"concise\" or \"detailed\"")),
            },
            // OpenRouter's additions.
            "max_tokens" => to.budget = Some(member.count()?),
            "enabled" => member.only_if(member.flag()?)?,
            "context" => member.only_if(member.text()? == "auto")?,
            _ => member.unsupported()?,
        }
        Ok(())
    })
}
