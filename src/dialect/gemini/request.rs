//! A request in Google's words: its frame and its tools.

use super::contents::Contents;
use super::generation::{Model, generation};
use super::json::Json;
use crate::dialect::form::{
    Conversation, Feature, Inexpressible, Role, Text, Tool, ToolChoice, Writing,
};

/// The most texts that end an answer.
const STOPS: usize = 5;

/// Writes a request.
///
/// # Errors
/// What Google has no word for.
pub(in crate::dialect) fn write_request(
    conversation: &Conversation<'_>,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    check(conversation)?;
    let model = Model::named(writing.model);
    let leading = conversation
        .turns
        .iter()
        .take_while(|turn| turn.role == Role::System)
        .count();
    // Instructions alone are no request: then they are what the user says.
    let leading = if leading == conversation.turns.len() {
        0
    } else {
        leading
    };
    let (instructions, turns) = conversation.turns.split_at(leading);
    let mut system = Contents::default();
    for turn in instructions {
        system.turn(turn)?;
    }
    let mut contents = Contents::default();
    for turn in turns {
        contents.turn(turn)?;
    }
    contents.results_first();
    if model.wants_signatures() {
        contents.sign();
    }

    let mut json = Json::new();
    json.object(|json| {
        if let Some(content) = system.all.first() {
            json.member("systemInstruction", |json| content.write_parts(json));
        }
        json.array("contents", &contents.all, |json, content| {
            json.object(|json| {
                json.string("role", content.role);
                content.write_parts(json);
            });
        });
        tools(json, conversation);
        generation(json, conversation, writing, model);
    });
    Ok(json.into_text().into_bytes())
}

fn check(conversation: &Conversation<'_>) -> Result<(), Inexpressible> {
    if conversation.stop.len() > STOPS {
        return Err(Inexpressible::Feature(Feature::Stop));
    }
    if conversation.parallel_tools == Some(false) && !conversation.tools.is_empty() {
        return Err(Inexpressible::Feature(Feature::ToolChoice));
    }
    Ok(())
}

fn tools(json: &mut Json, conversation: &Conversation<'_>) {
    if !conversation.tools.is_empty() {
        json.array("tools", [&conversation.tools], |json, tools| {
            json.object(|json| json.array("functionDeclarations", tools, declaration));
        });
    }
    let (mode, only): (_, &[Text<'_>]) = match &conversation.tool_choice {
        None => return,
        // Without tools there is nothing to choose from, and saying so is an error.
        Some(ToolChoice::Auto | ToolChoice::None) if conversation.tools.is_empty() => return,
        Some(ToolChoice::Auto) => ("AUTO", &[]),
        Some(ToolChoice::None) => ("NONE", &[]),
        Some(ToolChoice::Required) => ("ANY", &[]),
        Some(ToolChoice::Named(name)) => ("ANY", std::slice::from_ref(name)),
    };
    json.member("toolConfig", |json| {
        json.member("functionCallingConfig", |json| {
            json.string("mode", mode);
            if !only.is_empty() {
                json.array("allowedFunctionNames", only, |json, name| json.text(name));
            }
        });
    });
}

fn declaration(json: &mut Json, tool: &Tool<'_>) {
    json.object(|json| {
        json.string("name", &tool.name);
        if let Some(description) = &tool.description {
            json.string("description", description);
        }
        if let Some(schema) = &tool.schema {
            json.raw("parametersJsonSchema", &schema.0);
        }
    });
}
