//! What both sides said, in a client's request.
//!
//! Decides which blocks may stand where and what they are in the common form. Hints to the cache
//! are kept on text; on other blocks they are left out, as they change no answer.

use crate::dialect::form::{Inexpressible, Media, Part, Role, Text, Turn};
use crate::dialect::value::{UNSUPPORTED, Value};
use std::borrow::Cow;

type Read<T = ()> = Result<T, Inexpressible>;

/// Where blocks stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    System,
    User,
    Assistant,
    /// In the result of a tool, or in a document.
    Inside,
}

/// The instructions of the field `system`; none when it says nothing.
pub(super) fn system<'a>(value: &Value<'a, '_>) -> Read<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    content(value, Place::System, &mut parts)?;
    parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
    Ok(parts)
}

/// A message.
pub(super) fn turn<'a>(value: &Value<'a, '_>) -> Read<Turn<'a>> {
    let (role, place) = match &*value.tag("role")? {
        "user" => (Role::User, Place::User),
        "assistant" => (Role::Assistant, Place::Assistant),
        "system" => (Role::System, Place::System),
        _ => {
            return Err(value.lacks("role", "must be \"user\", \"assistant\" or \"system\""));
        }
    };
    let mut parts = Vec::new();
    let mut said = false;
    value.object(|key, member| match key {
        "role" => Ok(()),
        "content" => {
            said = true;
            content(member, place, &mut parts)
        }
        _ => member.unsupported(),
    })?;
    if !said {
        return Err(value.lacks("content", "is required"));
    }
    Ok(Turn { role, parts })
}

/// A string or an array of blocks.
fn content<'a>(value: &Value<'a, '_>, place: Place, to: &mut Vec<Part<'a>>) -> Read {
    if value.is_text() {
        to.push(Part::Text {
            text: value.text()?,
            cache: None,
        });
        return Ok(());
    }
    value.array(|_, one| block(one, place, to))
}

fn block<'a>(value: &Value<'a, '_>, place: Place, to: &mut Vec<Part<'a>>) -> Read {
    let part = match (&*value.tag("type")?, place) {
        ("text", _) => text(value)?,
        ("image", Place::User | Place::Inside) => Part::Image(image(value)?),
        ("document", Place::User | Place::Inside) => return document(value, to),
        ("thinking", Place::Assistant) => thinking(value)?,
        ("redacted_thinking", Place::Assistant) => redacted(value)?,
        ("tool_use", Place::Assistant) => tool_use(value)?,
        ("tool_result", Place::User) => tool_result(value)?,
        _ => return Err(value.lacks("type", UNSUPPORTED)),
    };
    to.push(part);
    Ok(())
}

fn text<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let text = value.tag("text")?;
    let mut cache = None;
    value.object(|key, member| {
        match key {
            // Citations of an answer point into documents that nobody reads again.
            "type" | "text" | "citations" => {}
            "cache_control" => cache = Some(member.object_json()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Part::Text { text, cache })
}

fn image<'a>(value: &Value<'a, '_>) -> Read<Media<'a>> {
    let mut found = None;
    value.object(|key, member| {
        match key {
            "type" | "cache_control" => {}
            "source" => found = Some(media(member)?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    found.ok_or_else(|| value.lacks("source", "is required"))
}

/// Bytes, or where they are. Files that Anthropic keeps are nobody else's to read.
fn media<'a>(value: &Value<'a, '_>) -> Read<Media<'a>> {
    match &*value.tag("type")? {
        "base64" => Ok(Media::Inline {
            mime: value.tag("media_type")?,
            data: value.tag("data")?,
        }),
        "url" => Ok(Media::Url(value.tag("url")?)),
        _ => Err(value.lacks("type", UNSUPPORTED)),
    }
}

/// A document. One that consists of text is text to the others, too, below its title.
fn document<'a>(value: &Value<'a, '_>, to: &mut Vec<Part<'a>>) -> Read {
    let title = value.optional_tag("title")?;
    let mut found = false;
    value.object(|key, member| {
        match key {
            "type" | "title" | "cache_control" => {}
            "source" => {
                found = true;
                source(member, title.clone(), to)?;
            }
            "citations" => {
                member.object(|key, flag| flag.only_if(key == "enabled" && !flag.flag()?))?
            }
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    if found {
        Ok(())
    } else {
        Err(value.lacks("source", "is required"))
    }
}

fn source<'a>(value: &Value<'a, '_>, title: Option<Text<'a>>, to: &mut Vec<Part<'a>>) -> Read {
    let plain = |text| Part::Text { text, cache: None };
    match &*value.tag("type")? {
        "text" => {
            let data = value.tag("data")?;
            to.push(plain(match title {
                Some(title) => Cow::Owned(format!("{title}\n\n{data}")),
                None => data,
            }));
        }
        "content" => {
            to.extend(title.map(plain));
            value.object(|key, member| match key {
                "type" => Ok(()),
                "content" => content(member, Place::Inside, to),
                _ => member.unsupported(),
            })?;
        }
        _ => to.push(Part::Document {
            media: media(value)?,
            name: title,
        }),
    }
    Ok(())
}

fn thinking<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    value.only(&["type", "thinking", "signature", "cache_control"])?;
    Ok(Part::Reasoning {
        text: value.tag("thinking")?,
        // Thoughts of other providers have none; this is how they are written.
        signature: value
            .optional_tag("signature")?
            .filter(|signature| !signature.is_empty()),
        redacted: false,
    })
}

fn redacted<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    value.only(&["type", "data", "cache_control"])?;
    Ok(Part::Reasoning {
        text: Cow::Borrowed(""),
        signature: Some(value.tag("data")?),
        redacted: true,
    })
}

fn tool_use<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let mut input = None;
    value.object(|key, member| {
        match key {
            // The caller of a call that was made is history.
            "type" | "id" | "name" | "cache_control" | "caller" => {}
            "input" => input = Some(member.object_json()?),
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Part::ToolCall {
        id: value.tag("id")?,
        name: value.tag("name")?,
        arguments: input.ok_or_else(|| value.lacks("input", "is required"))?.0,
        signature: None,
    })
}

fn tool_result<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let mut parts = Vec::new();
    let mut error = false;
    value.object(|key, member| {
        match key {
            "type" | "tool_use_id" | "cache_control" => {}
            "content" => content(member, Place::Inside, &mut parts)?,
            "is_error" => error = member.flag()?,
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Part::ToolResult {
        id: value.tag("tool_use_id")?,
        content: parts,
        error,
    })
}
