//! A client's request, field by field.
//!
//! Decides which fields have a place in the common form, which may be left out because the answer
//! is the same without them, and which are refused.

use super::content;
use crate::dialect::form::{
    Conversation, Effort, Format, Inexpressible, Reasoning, Role, Tool, ToolChoice, Turn,
};
use crate::dialect::value::Value;
use crate::json::Object;

type Read<T = ()> = Result<T, Inexpressible>;

/// The name of the answer's schema, which others want and Anthropic has no word for.
const SCHEMA_NAME: &str = "answer";

/// Reads a request.
pub(in crate::dialect) fn read_request<'a>(object: &Object<'a>) -> Read<Conversation<'a>> {
    let mut to = Conversation::default();
    let mut system = Vec::new();
    let mut asked = false;
    for field in object.iter() {
        let value = Value::top(&field.key, field.value);
        match &*field.key {
            _ if value.raw() == "null" => {}
            "system" => system = content::system(&value)?,
            "messages" => {
                asked = true;
                value.array(|_, message| {
                    to.turns.push(content::turn(message)?);
                    Ok(())
                })?;
            }
            key => other(key, &value, &mut to)?,
        }
    }
    if !asked {
        return Err(Value::top("messages", "null").wrong("is required"));
    }
    if !system.is_empty() {
        let turn = Turn {
            role: Role::System,
            parts: system,
        };
        to.turns.insert(0, turn);
    }
    Ok(to)
}

fn other<'a>(key: &str, value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    match key {
        // Who answers is decided elsewhere; where a prompt may be cached changes no answer.
        "model" | "models" | "fallbacks" | "service_tier" | "cache_control" | "betas"
        | "anthropic_beta" | "anthropic_version" => {}
        "speed" => value.only_if(value.text()? == "standard")?,
        "inference_geo" => value.only_if(value.text()? == "global")?,
        "max_tokens" => to.max_tokens = Some(value.count()?),
        "temperature" => to.temperature = Some(value.number()?),
        "top_p" => to.top_p = Some(value.number()?),
        "top_k" => to.top_k = Some(value.count()?),
        "stop_sequences" => value.array(|_, one| {
            to.stop.push(one.text()?);
            Ok(())
        })?,
        "stream" => to.stream = value.flag()?,
        "tools" => value.array(|_, one| {
            to.tools.push(tool(one)?);
            Ok(())
        })?,
        "tool_choice" => tool_choice(value, to)?,
        "thinking" => thinking(value, to)?,
        "output_config" => output_config(value, to)?,
        "output_format" => to.format = Some(format(value)?),
        "metadata" => value.object(|key, member| {
            if key == "user_id" {
                to.user = Some(member.text()?);
            }
            Ok(())
        })?,
        "context_management" => context_management(value)?,
        "container" | "mcp_servers" => value.only_if(value.is_empty())?,
        _ => value.unsupported()?,
    }
    Ok(())
}

fn tool<'a>(value: &Value<'a, '_>) -> Read<Tool<'a>> {
    // Anthropic runs the others itself.
    if value
        .optional_tag("type")?
        .is_some_and(|kind| kind != "custom")
    {
        return Err(value.lacks("type", crate::dialect::value::UNSUPPORTED));
    }
    let mut tool = Tool {
        name: value.tag("name")?,
        description: None,
        schema: None,
        strict: None,
        cache: None,
    };
    value.object(|key, member| {
        match key {
            // The last one says in how large pieces arguments come.
            "type" | "name" | "eager_input_streaming" => {}
            "description" => tool.description = Some(member.text()?),
            "input_schema" => tool.schema = Some(member.object_json()?),
            "strict" => tool.strict = Some(member.flag()?),
            "cache_control" => tool.cache = Some(member.object_json()?),
            "defer_loading" => member.only_if(!member.flag()?)?,
            "allowed_callers" => {
                member.array(|_, caller| caller.only_if(caller.text()? == "direct"))?;
            }
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(tool)
}

fn tool_choice<'a>(value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    to.tool_choice = Some(match &*value.tag("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(value.tag("name")?),
        _ => return Err(value.lacks("type", "must be \"auto\", \"any\", \"tool\" or \"none\"")),
    });
    value.object(|key, member| {
        match key {
            "type" | "name" => {}
            "disable_parallel_tool_use" => {
                if member.flag()? {
                    to.parallel_tools = Some(false);
                }
            }
            _ => member.unsupported()?,
        }
        Ok(())
    })
}

fn thinking(value: &Value<'_, '_>, to: &mut Conversation<'_>) -> Read {
    let kind = value.tag("type")?;
    let reasoning = to.reasoning.get_or_insert_default();
    value.object(|key, member| {
        match key {
            "type" => {}
            "budget_tokens" => reasoning.budget = Some(member.count()?),
            "display" => {
                reasoning.shown = Some(match &*member.text()? {
                    "omitted" => false,
                    "summarized" => true,
                    _ => return member.unsupported(),
                });
            }
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    match &*kind {
        "enabled" if reasoning.budget.is_none() => {
            return Err(value.lacks("budget_tokens", "is required"));
        }
        "enabled" => {}
        "adaptive" => reasoning.budget = None,
        "disabled" => {
            *reasoning = Reasoning {
                budget: Some(0),
                ..Reasoning::default()
            };
        }
        _ => {
            return Err(value.lacks("type", "must be \"enabled\", \"adaptive\" or \"disabled\""));
        }
    }
    Ok(())
}

fn output_config<'a>(value: &Value<'a, '_>, to: &mut Conversation<'a>) -> Read {
    value.object(|key, member| {
        match key {
            "effort" => {
                let effort = effort(member)?;
                to.reasoning.get_or_insert_default().effort = Some(effort);
            }
            "format" => to.format = Some(format(member)?),
            _ => member.unsupported()?,
        }
        Ok(())
    })
}

fn effort(value: &Value<'_, '_>) -> Read<Effort> {
    Ok(match &*value.text()? {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" | "max" => Effort::Highest,
        _ => {
            return Err(value.wrong("must be \"low\", \"medium\", \"high\", \"xhigh\" or \"max\""));
        }
    })
}

fn format<'a>(value: &Value<'a, '_>) -> Read<Format<'a>> {
    if value.tag("type")? != "json_schema" {
        return Err(value.lacks("type", "must be \"json_schema\""));
    }
    let mut schema = None;
    value.object(|key, member| {
        match key {
            "type" => {}
            "schema" => schema = Some(member.object_json()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Format::Schema {
        name: SCHEMA_NAME.into(),
        description: None,
        schema: schema.ok_or_else(|| value.lacks("schema", "is required"))?,
        strict: Some(true),
    })
}

/// What is to be taken out of the prompt. Thoughts of earlier turns may go or stay: no other model
/// reads them.
fn context_management(value: &Value<'_, '_>) -> Read {
    value.object(|key, member| {
        if key != "edits" {
            return member.unsupported();
        }
        member.array(|_, edit| {
            if edit.tag("type")?.starts_with("clear_thinking_") {
                Ok(())
            } else {
                Err(edit.lacks("type", crate::dialect::value::UNSUPPORTED))
            }
        })
    })
}
