//! The common form as a request: its fields.
//!
//! Decides what cannot be said to a provider of this dialect, and what is always said: the provider
//! is to keep nothing, and thoughts come back encrypted, so that the next request can have them. The
//! list of fallbacks and the ids of items are written for OpenRouter alone, that is when there are
//! fallbacks; Azure refuses ids of what it does not keep.

use super::item::Items;
use crate::dialect::effort;
use crate::dialect::form::{
    Conversation, Feature, Format, Inexpressible, Json, Part, Role, Tool, ToolChoice, Turn, Writing,
};
use crate::dialect::json::{Members, string};

/// The schema of a function without arguments, fit to be enforced.
const NO_ARGUMENTS: &str =
    r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;

/// Writes a request.
///
/// # Errors
/// What a provider of this dialect has no word for.
pub(in crate::dialect) fn write_request(
    conversation: &Conversation<'_>,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    check(conversation)?;
    let max_tokens = writing.max_tokens.or(conversation.max_tokens);
    let mut out = Vec::with_capacity(4096);
    let mut members = Members::open(&mut out);
    match writing.fallbacks.split_first() {
        None => members.text("model", writing.model),
        Some((first, [])) => members.text("model", first),
        Some((first, others)) => {
            members.text("model", first);
            members.array("models", others, |out, model| string(out, model));
        }
    }
    let (instructions, turns) = conversation.turns.split_at(leading(&conversation.turns));
    if !instructions.is_empty() {
        let texts = instructions
            .iter()
            .flat_map(|turn| turn.parts.iter().filter_map(text));
        members.text("instructions", &texts.collect::<Vec<_>>().join("\n\n"));
    }
    let openrouter = !writing.fallbacks.is_empty();
    let mut items = Items::open(members.key("input"), openrouter);
    for turn in turns {
        items.turn(turn)?;
    }
    items.close();
    if !conversation.tools.is_empty() {
        members.array("tools", &conversation.tools, tool);
        if let Some(parallel) = conversation.parallel_tools {
            members.flag("parallel_tool_calls", parallel);
        }
        if let Some(choice) = &conversation.tool_choice {
            tool_choice(&mut members, choice);
        }
    }
    if let Some(most) = max_tokens {
        members.number(writing.max_tokens_field, most);
    }
    members.json("temperature", conversation.temperature.as_ref());
    members.json("top_p", conversation.top_p.as_ref());
    if let Some(wanted) = &conversation.format {
        format(&mut members, wanted);
    }
    let most = max_tokens.unwrap_or(writing.default_max_tokens);
    reasoning(&mut members, conversation, most);
    if let Some(user) = &conversation.user {
        members.text("user", user);
    }
    members.flag("store", false);
    if conversation.stream {
        members.flag("stream", true);
    }
    members.close();
    Ok(out)
}

fn check(conversation: &Conversation<'_>) -> Result<(), Inexpressible> {
    // A penalty of nothing is none.
    let penalty = |number: &Option<Json<'_>>| {
        number
            .as_ref()
            .is_some_and(|Json(number)| !matches!(&**number, "0" | "0.0" | "-0" | "-0.0"))
    };
    let asked = [
        (conversation.top_k.is_some(), Feature::TopK),
        (!conversation.stop.is_empty(), Feature::Stop),
        (conversation.seed.is_some(), Feature::Seed),
        (
            penalty(&conversation.frequency_penalty),
            Feature::FrequencyPenalty,
        ),
        (
            penalty(&conversation.presence_penalty),
            Feature::PresencePenalty,
        ),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, feature)) => Err(Inexpressible::Feature(feature)),
        None => Ok(()),
    }
}

/// How many turns are the instructions: those before anybody spoke. Instructions alone are no
/// request; then they are the input.
fn leading(turns: &[Turn<'_>]) -> usize {
    let plain = |turn: &&Turn<'_>| {
        turn.role == Role::System && turn.parts.iter().all(|part| text(part).is_some())
    };
    let leading = turns.iter().take_while(plain).count();
    if leading == turns.len() { 0 } else { leading }
}

fn text<'p>(part: &'p Part<'_>) -> Option<&'p str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// Whether a schema is enforced has to be said: here it is unless it is not.
fn tool(out: &mut Vec<u8>, tool: &Tool<'_>) {
    let mut item = Members::open(out);
    item.text("type", "function");
    item.text("name", &tool.name);
    if let Some(description) = &tool.description {
        item.text("description", description);
    }
    let schema = tool.schema.as_ref().map_or(NO_ARGUMENTS, |json| &json.0);
    item.raw("parameters", schema);
    item.flag("strict", tool.strict.unwrap_or(false));
    item.close();
}

fn tool_choice(members: &mut Members<'_>, choice: &ToolChoice<'_>) {
    match choice {
        ToolChoice::Auto => members.text("tool_choice", "auto"),
        ToolChoice::None => members.text("tool_choice", "none"),
        ToolChoice::Required => members.text("tool_choice", "required"),
        ToolChoice::Named(name) => {
            let mut choice = members.object("tool_choice");
            choice.text("type", "function");
            choice.text("name", name);
            choice.close();
        }
    }
}

fn format(members: &mut Members<'_>, wanted: &Format<'_>) {
    let mut text = members.object("text");
    match wanted {
        Format::Text => text.raw("format", r#"{"type":"text"}"#),
        Format::Object => text.raw("format", r#"{"type":"json_object"}"#),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut format = text.object("format");
            format.text("type", "json_schema");
            format.text("name", name);
            if let Some(description) = description {
                format.text("description", description);
            }
            format.json("schema", Some(schema));
            format.flag("strict", strict.unwrap_or(false));
            format.close();
        }
    }
    text.close();
}

/// An amount of reasoning, and thoughts to take along: only a model that reasons is asked for those.
fn reasoning(members: &mut Members<'_>, conversation: &Conversation<'_>, most: u64) {
    let wanted = conversation.reasoning.clone().unwrap_or_default();
    let effort = effort::write(&wanted, most);
    let shown = wanted.shown == Some(true) && effort != Some("none");
    if effort.is_some() || shown {
        let mut reasoning = members.object("reasoning");
        if let Some(effort) = effort {
            reasoning.text("effort", effort);
        }
        if shown {
            reasoning.text("summary", "auto");
        }
        reasoning.close();
    }
    let reasons = effort.map_or(shown, |effort| effort != "none");
    if reasons {
        members.raw("include", r#"["reasoning.encrypted_content"]"#);
    }
}
