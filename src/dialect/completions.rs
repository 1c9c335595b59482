//! Legacy text completions, for clients only: every provider is asked in another dialect.
//!
//! Decides that a prompt is one message of the user, and that an answer is its text. What models
//! thought has no place in it; a tool cannot be called, because none can be named. Fields and usage
//! are OpenAI's, as in [`super::chat`].

mod chunks;

#[cfg(test)]
mod tests;

use super::chat::{common, finish_reason, usage};
use super::form::{Answering, Conversation, Inexpressible, Part, Reply, Role, Text, Turn};
use super::json::Members;
use super::value::{UNSUPPORTED, Value};
use crate::json::Object;

pub(super) use chunks::Chunks;

/// Reads a request.
pub(super) fn read_request<'a>(object: &Object<'a>) -> Result<Conversation<'a>, Inexpressible> {
    let mut conversation = Conversation::default();
    let mut prompt = None;
    for field in object.iter() {
        let value = Value::top(&field.key, field.value);
        if value.raw() == "null" || common(&field.key, &value, &mut conversation)? {
            continue;
        }
        match &*field.key {
            "prompt" => prompt = Some(one_prompt(&value)?),
            "echo" => value.only_if(!value.flag()?)?,
            "best_of" => value.only_if(value.raw() == "1")?,
            "suffix" => value.only_if(value.raw() == "\"\"")?,
            _ => value.unsupported()?,
        }
    }
    let missing = || Inexpressible::Field("prompt".to_owned(), "is required");
    conversation.turns.push(Turn {
        role: Role::User,
        parts: vec![Part::Text {
            text: prompt.ok_or_else(missing)?,
            cache: None,
        }],
    });
    Ok(conversation)
}

/// The prompt: a string, or an array of exactly one. Tokens are of a vocabulary that nobody else
/// has, and several prompts would be several answers.
fn one_prompt<'a>(value: &Value<'a, '_>) -> Result<Text<'a>, Inexpressible> {
    if !value.raw().starts_with('[') {
        return value.text();
    }
    let mut only = None;
    value.array(|index, item| {
        if index > 0 || !item.is_text() {
            return Err(value.wrong(UNSUPPORTED));
        }
        only = Some(item.text()?);
        Ok(())
    })?;
    only.ok_or_else(|| value.wrong("must be a string"))
}

/// Writes a whole answer, a JSON object without white space after it.
pub(super) fn write_reply(reply: &Reply<'_>, answering: &Answering) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut members = Members::open(&mut out);
    members.text("id", reply.id.as_deref().unwrap_or(&answering.id));
    members.text("object", "text_completion");
    members.number("created", answering.created);
    members.text("model", reply.model.as_deref().unwrap_or(&answering.model));
    let texts = reply.parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal(text) => Some(&**text),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().concat();
    members.array("choices", [reply], |out, reply| {
        let mut choice = Members::open(out);
        choice.text("text", &text);
        choice.number("index", 0);
        choice.raw("logprobs", "null");
        choice.text("finish_reason", finish_reason(&reply.stop));
        choice.close();
    });
    if let Some(stated) = &reply.usage {
        usage(members.key("usage"), stated);
    }
    members.close();
    out
}
