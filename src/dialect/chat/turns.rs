//! The messages of a client's request.
//!
//! Decides what belongs to one turn: results of tools that follow each other are one turn of the
//! user. The legacy calls of functions have no ids; they get some that hold within the request.

use super::message;
use crate::dialect::form::{Inexpressible, Media, Part, Role, Text, Turn};
use crate::dialect::value::Value;

type Read<T = ()> = Result<T, Inexpressible>;

/// Reads the array of messages.
pub(super) fn read<'a>(messages: &Value<'a, '_>) -> Read<Vec<Turn<'a>>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut legacy_call: Option<String> = None;
    let mut after_result = false;
    messages.array(|index, value| {
        let role = value.tag("role")?;
        let turn = match &*role {
            "system" | "developer" => plain(value, Role::System)?,
            "user" => plain(value, Role::User)?,
            "assistant" => assistant(value, index, &mut legacy_call)?,
            "tool" | "function" => result(value, &role, legacy_call.as_deref())?,
            _ => {
                return Err(value.lacks(
                    "role",
                    "must be system, developer, user, assistant, tool or function",
                ));
            }
        };
        let is_result = matches!(&*role, "tool" | "function");
        match turns.last_mut() {
            Some(last) if is_result && after_result => last.parts.extend(turn.parts),
            _ => turns.push(turn),
        }
        after_result = is_result;
        Ok(())
    })?;
    Ok(turns)
}

/// A message of the user, or instructions.
fn plain<'a>(value: &Value<'a, '_>, role: Role) -> Read<Turn<'a>> {
    let mut parts = None;
    value.object(|key, member| {
        match key {
            "role" => {}
            "content" => parts = Some(content(member, role)?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let parts = parts.ok_or_else(|| value.lacks("content", "is required"))?;
    Ok(Turn { role, parts })
}

fn assistant<'a>(
    value: &Value<'a, '_>,
    index: usize,
    legacy_call: &mut Option<String>,
) -> Read<Turn<'a>> {
    let (mut said, mut calls, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    value.object(|key, member| {
        match key {
            "content" if member.raw() == "\"\"" => {}
            "content" => said = content(member, Role::Assistant)?,
            "refusal" => refusals.push(Part::Refusal(member.text()?)),
            "tool_calls" => member.array(|_, call| {
                calls.push(tool_call(call)?);
                Ok(())
            })?,
            "function_call" => {
                let id = format!("call_{index}");
                calls.push(function_call(member, id.clone().into())?);
                *legacy_call = Some(id);
            }
            // They came with an earlier answer, or are read below.
            "role" | "annotations" | "reasoning" | "reasoning_content" | "reasoning_details" => {}
            "images" => member.only_if(member.is_empty())?,
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let mut parts = message::reasoning(value.raw());
    parts.append(&mut said);
    parts.append(&mut refusals);
    parts.append(&mut calls);
    let role = Role::Assistant;
    Ok(Turn { role, parts })
}

fn tool_call<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let id = value.tag("id")?;
    let mut call = None;
    let mut signature = None;
    value.object(|key, member| {
        match key {
            "id" | "index" => {}
            "type" if member.text()? == "function" => {}
            "type" => return Err(member.wrong("must be \"function\"")),
            "function" => call = Some(function_call(member, id.clone())?),
            "extra_content" => signature = message::thought_signature(member.raw()),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let mut call = call.ok_or_else(|| value.lacks("function", "is required"))?;
    if let Part::ToolCall { signature: to, .. } = &mut call {
        *to = signature;
    }
    Ok(call)
}

fn function_call<'a>(value: &Value<'a, '_>, id: Text<'a>) -> Read<Part<'a>> {
    let mut arguments = Text::default();
    value.object(|key, member| {
        match key {
            "name" => {}
            "arguments" => arguments = member.text()?,
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Part::ToolCall {
        id,
        name: value.tag("name")?,
        arguments,
        signature: None,
    })
}

/// The result of a call, as a turn of its own.
fn result<'a>(value: &Value<'a, '_>, role: &str, legacy: Option<&str>) -> Read<Turn<'a>> {
    let mut parts = Vec::new();
    let mut id = None;
    value.object(|key, member| {
        match key {
            // The name is that of the call.
            "role" | "name" => {}
            "content" => parts = content(member, Role::User)?,
            "tool_call_id" => id = Some(member.text()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let id = match (id, legacy) {
        (Some(id), _) => id,
        (None, Some(legacy)) if role == "function" => legacy.to_owned().into(),
        (None, _) if role == "function" => {
            return Err(value.lacks("role", "is function, but no function was called"));
        }
        (None, _) => return Err(value.lacks("tool_call_id", "is required")),
    };
    Ok(Turn {
        role: Role::User,
        parts: vec![Part::ToolResult {
            id,
            content: parts,
            error: false,
        }],
    })
}

/// A string, or an array of parts.
fn content<'a>(value: &Value<'a, '_>, role: Role) -> Read<Vec<Part<'a>>> {
    if value.is_text() {
        return Ok(vec![Part::Text {
            text: value.text()?,
            cache: None,
        }]);
    }
    let mut parts = Vec::new();
    value.array(|_, item| {
        parts.push(part(item, role)?);
        Ok(())
    })?;
    Ok(parts)
}

fn part<'a>(value: &Value<'a, '_>, role: Role) -> Read<Part<'a>> {
    let kind = value.tag("type")?;
    let mut found = None;
    let mut cache = None;
    value.object(|key, member| {
        match (key, &*kind) {
            ("type", _) => {}
            ("text", "text") => {
                found = Some(Part::Text {
                    text: member.text()?,
                    cache: None,
                });
            }
            ("refusal", "refusal") if role == Role::Assistant => {
                found = Some(Part::Refusal(member.text()?));
            }
            ("image_url", "image_url") if role == Role::User => found = Some(image(member)?),
            ("input_audio", "input_audio") if role == Role::User => found = Some(audio(member)?),
            ("file", "file") if role == Role::User => found = Some(file(member)?),
            // Only texts carry it in the common form; without it the answer is the same.
            ("cache_control", _) => cache = Some(member.object_json()?),
            (_, "text" | "image_url" | "input_audio" | "file" | "refusal") if key != kind => {
                member.unsupported()?;
            }
            _ => return Err(value.lacks("type", "is not supported here")),
        }
        Ok(())
    })?;
    match found {
        Some(Part::Text { text, .. }) => Ok(Part::Text { text, cache }),
        Some(part) => Ok(part),
        None if matches!(
            &*kind,
            "text" | "refusal" | "image_url" | "input_audio" | "file"
        ) =>
        {
            Err(value.lacks(&kind, "is required"))
        }
        None => Err(value.lacks("type", "is not supported here")),
    }
}

fn image<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let mut media = None;
    value.object(|key, member| {
        match key {
            "url" => media = Some(address(member)?),
            // How closely it is looked at: only OpenAI can be told.
            "detail" => {}
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    media
        .map(Part::Image)
        .ok_or_else(|| value.lacks("url", "is required"))
}

fn audio<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let mime = match &*value.tag("format")? {
        "mp3" => Text::Borrowed("audio/mpeg"),
        "wav" => Text::Borrowed("audio/wav"),
        other => format!("audio/{other}").into(),
    };
    let data = value.tag("data")?;
    value.object(|key, member| member.only_if(matches!(key, "format" | "data")))?;
    Ok(Part::Audio(Media::Inline { mime, data }))
}

fn file<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let (mut media, mut name) = (None, None);
    value.object(|key, member| {
        match key {
            "file_data" => media = Some(address(member)?),
            "filename" => name = Some(member.text()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let media = media.ok_or_else(|| value.lacks("file_data", "is required"))?;
    Ok(Part::Document { media, name })
}

/// An address, or bytes in a `data:` URL.
fn address<'a>(value: &Value<'a, '_>) -> Read<Media<'a>> {
    let url = value.text()?;
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Media::Url(url));
    }
    let media = match &url {
        // Cut in the body itself where nothing in it is escaped.
        Text::Borrowed(url) => inline(url).map(|(mime, data)| Media::Inline {
            mime: mime.into(),
            data: data.into(),
        }),
        Text::Owned(url) => inline(url).map(|(mime, data)| Media::Inline {
            mime: mime.to_owned().into(),
            data: data.to_owned().into(),
        }),
    };
    media.ok_or_else(|| value.wrong("must be an address or a data URL in base64"))
}

/// The type and the bytes of a `data:` URL.
fn inline(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    let mime = head.split(';').next().filter(|mime| !mime.is_empty())?;
    Some((mime, data))
}
