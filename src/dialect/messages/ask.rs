//! The common form as a request that Anthropic takes.
//!
//! Decides which field says what, and refuses what no field says. Nothing that the client set is
//! left out unless the answer is the same without it.

use super::blocks;
use super::thinking::Thinking;
use super::turns::Talk;
use crate::dialect::form::{
    Conversation, Feature, Format, Inexpressible, Json, Role, Tool, ToolChoice, Writing,
};
use crate::dialect::json::{Members, string};
use crate::json::{Cursor, Limits, object};

/// The longest name of an end user that Anthropic takes, in characters.
const LONGEST_USER: usize = 256;

/// Writes a request.
pub(in crate::dialect) fn write_request(
    conversation: &Conversation<'_>,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    sayable(conversation)?;
    let talk = Talk::of(&conversation.turns)?;
    let max_tokens = writing
        .max_tokens
        .or(conversation.max_tokens)
        .unwrap_or(writing.default_max_tokens);
    let thinking = Thinking::of(conversation, &talk, writing.model, max_tokens)?;

    let mut out = Vec::with_capacity(4096);
    let mut members = Members::open(&mut out);
    members.text("model", writing.model);
    fallbacks(&mut members, writing);
    members.number("max_tokens", max_tokens);
    if !talk.system.is_empty() {
        blocks::content(members.key("system"), None, &talk.system, false)?;
    }
    messages(&mut members, &talk)?;
    tools(&mut members, conversation)?;
    if !thinking.is_on() {
        members.json("temperature", conversation.temperature.as_ref());
    }
    members.json("top_p", conversation.top_p.as_ref());
    if let Some(top_k) = conversation.top_k {
        members.number("top_k", top_k);
    }
    let stops = conversation.stop.iter().filter(|stop| !stop.is_empty());
    if stops.clone().next().is_some() {
        members.array("stop_sequences", stops, |out, stop| string(out, stop));
    }
    thinking.write(&mut members);
    output_config(&mut members, conversation, &thinking);
    if let Some(user) = &conversation.user
        && user.chars().nth(LONGEST_USER).is_none()
    {
        let mut metadata = members.object("metadata");
        metadata.text("user_id", user);
        metadata.close();
    }
    if conversation.stream {
        members.flag("stream", true);
    }
    members.close();
    Ok(out)
}

/// Refuses what Anthropic has no word for.
fn sayable(conversation: &Conversation<'_>) -> Result<(), Inexpressible> {
    let set = |number: &Option<Json<'_>>| number.as_ref().is_some_and(|number| !is_zero(number));
    // Anthropic refuses texts to stop at that show nothing.
    let blank = |stop: &str| !stop.is_empty() && stop.trim().is_empty();
    let feature = if set(&conversation.frequency_penalty) {
        Feature::FrequencyPenalty
    } else if set(&conversation.presence_penalty) {
        Feature::PresencePenalty
    } else if conversation.seed.is_some() {
        Feature::Seed
    } else if matches!(conversation.format, Some(Format::Object)) {
        Feature::Format
    } else if conversation.stop.iter().any(|stop| blank(stop)) {
        Feature::Stop
    } else {
        return Ok(());
    };
    Err(Inexpressible::Feature(feature))
}

/// Whether a number is 0, which as a penalty is none.
fn is_zero(Json(number): &Json<'_>) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    mantissa
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'.' | b'-'))
}

fn fallbacks(members: &mut Members<'_>, writing: &Writing<'_>) {
    let others = writing
        .fallbacks
        .iter()
        .filter(|model| *model != writing.model);
    if others.clone().next().is_some() {
        members.array("fallbacks", others, |out, model| {
            let mut fallback = Members::open(out);
            fallback.text("model", model);
            fallback.close();
        });
    }
}

fn messages(members: &mut Members<'_>, talk: &Talk<'_>) -> Result<(), Inexpressible> {
    let mut result = Ok(());
    let last = talk.messages.len().saturating_sub(1);
    members.array("messages", talk.messages.iter().enumerate(), |out, said| {
        let (index, message) = said;
        let model = message.role == Role::Assistant;
        let mut one = Members::open(out);
        one.text("role", if model { "assistant" } else { "user" });
        // An answer that is to be continued may not end with white space.
        let trimmed = model && index == last;
        let content = blocks::content(
            one.key("content"),
            Some(message.role),
            &message.parts,
            trimmed,
        );
        if result.is_ok() {
            result = content;
        }
        one.close();
    });
    result
}

fn tools(members: &mut Members<'_>, conversation: &Conversation<'_>) -> Result<(), Inexpressible> {
    let choice = conversation.tool_choice.as_ref();
    if conversation.tools.is_empty() {
        return match choice {
            Some(ToolChoice::Required | ToolChoice::Named(_)) => {
                Err(Inexpressible::Feature(Feature::ToolChoice))
            }
            _ => Ok(()),
        };
    }
    members.array("tools", &conversation.tools, tool);
    let one_at_a_time = conversation.parallel_tools == Some(false);
    if choice.is_none() && !one_at_a_time {
        return Ok(());
    }
    let mut field = members.object("tool_choice");
    match choice {
        None | Some(ToolChoice::Auto) => field.text("type", "auto"),
        Some(ToolChoice::None) => field.text("type", "none"),
        Some(ToolChoice::Required) => field.text("type", "any"),
        Some(ToolChoice::Named(name)) => {
            field.text("type", "tool");
            field.text("name", name);
        }
    }
    if one_at_a_time && choice != Some(&ToolChoice::None) {
        field.flag("disable_parallel_tool_use", true);
    }
    field.close();
    Ok(())
}

fn tool(out: &mut Vec<u8>, tool: &Tool<'_>) {
    let mut members = Members::open(out);
    members.text("name", &tool.name);
    if let Some(description) = &tool.description {
        members.text("description", description);
    }
    schema(members.key("input_schema"), tool.schema.as_ref());
    if tool.strict == Some(true) {
        members.flag("strict", true);
    }
    members.json("cache_control", tool.cache.as_ref());
    members.close();
}

/// The schema of a tool's input. Anthropic wants it to say that it is an object.
fn schema(out: &mut Vec<u8>, schema: Option<&Json<'_>>) {
    let Some(Json(schema)) = schema else {
        out.extend_from_slice(br#"{"type":"object","properties":{}}"#);
        return;
    };
    let (mut typed, mut any) = (false, false);
    Cursor::new(schema).object(|key, value| {
        any = true;
        typed |= key == "type";
        value.skip().map(drop)
    });
    match schema.trim_start().strip_prefix('{') {
        Some(rest) if !typed => {
            out.extend_from_slice(br#"{"type":"object""#);
            if any {
                out.push(b',');
            }
            out.extend_from_slice(rest.as_bytes());
        }
        _ => out.extend_from_slice(schema.as_bytes()),
    }
}

fn output_config(members: &mut Members<'_>, conversation: &Conversation<'_>, thinking: &Thinking) {
    let schema = match &conversation.format {
        Some(Format::Schema { schema, .. }) => Some(schema),
        _ => None,
    };
    if schema.is_none() && thinking.effort.is_none() {
        return;
    }
    let mut field = members.object("output_config");
    if let Some(effort) = thinking.effort {
        field.text("effort", effort);
    }
    if let Some(schema) = schema {
        let mut format = field.object("format");
        format.text("type", "json_schema");
        format.json("schema", Some(schema));
        format.close();
    }
    field.close();
}

/// The input of a call, which is an object to Anthropic whatever the model wrote.
pub(super) fn input(out: &mut Vec<u8>, arguments: &str) {
    let arguments = arguments.trim();
    if arguments.is_empty() {
        out.extend_from_slice(b"{}");
    } else if object(arguments.as_bytes(), Limits::default()).is_ok() {
        out.extend_from_slice(arguments.as_bytes());
    } else {
        let mut wrapped = Members::open(out);
        wrapped.text("arguments", arguments);
        wrapped.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_zero_however_it_is_written() {
        for number in ["0", "0.0", "-0", "0e5", "0.00E-1"] {
            assert!(is_zero(&Json(number.into())), "{number}");
        }
        for number in ["0.1", "1", "-2", "10", "1e0"] {
            assert!(!is_zero(&Json(number.into())), "{number}");
        }
    }
}
