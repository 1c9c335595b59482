//! The input of a client's request: its items.
//!
//! Decides whose turn an item belongs to. Items of the same side that follow each other are one
//! turn, so that calls stand in turns of the assistant and their results in turns of the user.

use super::sent_back;
use crate::dialect::form::{Inexpressible, Media, Part, Role, Text, Turn};
use crate::dialect::value::Value;

type Read<T = ()> = Result<T, Inexpressible>;

const KIND: &str = "is a kind of item that the provider that serves this model does not know";

/// Adds the turns of an input; whether there was anything in it.
pub(super) fn read<'a>(input: &Value<'a, '_>, turns: &mut Vec<Turn<'a>>) -> Read<bool> {
    if input.is_text() {
        let text = input.text()?;
        let part = Part::Text { text, cache: None };
        add(turns, Role::User, vec![part]);
        return Ok(true);
    }
    let mut any = false;
    input.array(|_, value| {
        any = true;
        let (role, parts) = item(value)?;
        add(turns, role, parts);
        Ok(())
    })?;
    Ok(any)
}

fn add<'a>(turns: &mut Vec<Turn<'a>>, role: Role, mut parts: Vec<Part<'a>>) {
    match turns.last_mut() {
        Some(last) if last.role == role => last.parts.append(&mut parts),
        _ if parts.is_empty() => {}
        _ => turns.push(Turn { role, parts }),
    }
}

fn item<'a>(value: &Value<'a, '_>) -> Read<(Role, Vec<Part<'a>>)> {
    let kind = value.optional_tag("type")?;
    match kind.as_deref() {
        None | Some("message") => message(value),
        Some("function_call") => Ok((Role::Assistant, vec![call(value)?])),
        Some("function_call_output") => Ok((Role::User, vec![result(value)?])),
        Some("reasoning") => Ok((Role::Assistant, reasoning(value)?.into_iter().collect())),
        Some("image_generation_call") => Ok((Role::Assistant, vec![picture(value)?])),
        Some(_) => Err(value.lacks("type", KIND)),
    }
}

fn message<'a>(value: &Value<'a, '_>) -> Read<(Role, Vec<Part<'a>>)> {
    let role = match &*value.tag("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            return Err(value.lacks("role", "must be system, developer, user or assistant"));
        }
    };
    let mut parts = None;
    value.object(|key, member| {
        match key {
            "content" => parts = Some(content(member, role)?),
            "type" | "role" | "id" | "status" | "phase" | "end_turn" => {}
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let parts = parts.ok_or_else(|| value.lacks("content", "is required"))?;
    Ok((role, parts))
}

/// Text, or an array of parts.
fn content<'a>(value: &Value<'a, '_>, role: Role) -> Read<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    if value.is_text() {
        let text = value.text()?;
        if !text.is_empty() || role == Role::User {
            parts.push(Part::Text { text, cache: None });
        }
        return Ok(parts);
    }
    value.array(|_, item| {
        let part = part(item)?;
        let text = matches!(part, Part::Text { .. });
        let refusal = matches!(part, Part::Refusal(_));
        match role {
            Role::System if !text => return Err(item.lacks("type", "must be a text here")),
            Role::Assistant if !text && !refusal => {
                return Err(item.lacks("type", "must be \"output_text\" or \"refusal\" here"));
            }
            Role::User if refusal => return Err(item.lacks("type", "is only the assistant's")),
            _ => parts.push(part),
        }
        Ok(())
    })?;
    Ok(parts)
}

fn part<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    match &*value.tag("type")? {
        "input_text" | "output_text" | "text" | "summary_text" => {
            value.only(&[
                "type",
                "text",
                "annotations",
                "logprobs",
                "prompt_cache_breakpoint",
            ])?;
            let text = value.tag("text")?;
            Ok(Part::Text { text, cache: None })
        }
        "refusal" => {
            value.only(&["type", "refusal"])?;
            value.tag("refusal").map(Part::Refusal)
        }
        "input_image" => {
            value.only(&["type", "image_url", "detail", "prompt_cache_breakpoint"])?;
            let url = value.tag("image_url")?;
            media(url, "image/", || {
                value.lacks("image_url", "must be an address or base64 of an image")
            })
            .map(Part::Image)
        }
        "input_file" => file(value),
        "input_audio" => {
            value.only(&["type", "input_audio"])?;
            let mut sound = None;
            value.object(|key, member| {
                if key == "input_audio" {
                    sound = Some(audio(member)?);
                }
                Ok(())
            })?;
            sound.ok_or_else(|| value.lacks("input_audio", "is required"))
        }
        _ => Err(value.lacks(
            "type",
            "must be input_text, input_image, input_file, input_audio, output_text or refusal",
        )),
    }
}

fn audio<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    value.only(&["data", "format"])?;
    let mime = match &*value.tag("format")? {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        _ => return Err(value.lacks("format", "must be \"wav\" or \"mp3\"")),
    };
    Ok(Part::Audio(Media::Inline {
        mime: mime.into(),
        data: value.tag("data")?,
    }))
}

fn file<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    value.only(&[
        "type",
        "file_data",
        "file_url",
        "filename",
        "detail",
        "prompt_cache_breakpoint",
    ])?;
    let data = value.optional_tag("file_data")?;
    let url = value.optional_tag("file_url")?;
    let media = match (data, url) {
        (Some(data), None) if data.starts_with("data:") => {
            media(data, "", || value.lacks("file_data", "must be base64"))?
        }
        (Some(data), None) => Media::Inline {
            mime: "application/pdf".into(),
            data,
        },
        (None, Some(url)) => Media::Url(url),
        _ => return Err(value.lacks("file_data", "or file_url is required, one of them")),
    };
    let name = value.optional_tag("filename")?;
    Ok(Part::Document { media, name })
}

/// The media at an address, which may contain them.
fn media<'a>(url: Text<'a>, kind: &str, wrong: impl Fn() -> Inexpressible) -> Read<Media<'a>> {
    let Some(rest) = url.strip_prefix("data:") else {
        let web = url.starts_with("https://") || url.starts_with("http://");
        return if web {
            Ok(Media::Url(url))
        } else {
            Err(wrong())
        };
    };
    let (head, data) = rest.split_once(',').ok_or_else(&wrong)?;
    let mime = head.strip_suffix(";base64").ok_or_else(&wrong)?;
    // Parameters such as a name or a charset are nobody's.
    let mime = mime.split(';').next().unwrap_or(mime);
    if !mime.starts_with(kind) || !mime.contains('/') {
        return Err(wrong());
    }
    let (from, to) = (5, 5 + mime.len());
    let data_from = url.len() - data.len();
    Ok(match url {
        Text::Borrowed(url) => Media::Inline {
            mime: url[from..to].into(),
            data: url[data_from..].into(),
        },
        Text::Owned(url) => Media::Inline {
            mime: url[from..to].to_owned().into(),
            data: url[data_from..].to_owned().into(),
        },
    })
}

fn call<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    value.only(&["type", "id", "call_id", "name", "arguments", "status"])?;
    Ok(Part::ToolCall {
        id: value.tag("call_id")?,
        name: value.tag("name")?,
        arguments: value.tag("arguments")?,
        signature: None,
    })
}

fn result<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let mut output = None;
    value.object(|key, member| {
        match key {
            "output" => output = Some(content(member, Role::User)?),
            "type" | "id" | "call_id" | "status" => {}
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    Ok(Part::ToolResult {
        id: value.tag("call_id")?,
        content: output.ok_or_else(|| value.lacks("output", "is required"))?,
        error: false,
    })
}

/// A picture that the model answered with.
fn picture<'a>(value: &Value<'a, '_>) -> Read<Part<'a>> {
    let format = value.optional_tag("output_format")?;
    let format = format.as_deref().unwrap_or("png");
    Ok(Part::Image(Media::Inline {
        mime: format!("image/{format}").into(),
        data: value.tag("result")?,
    }))
}

/// What was thought; nothing where only the provider knows it.
fn reasoning<'a>(value: &Value<'a, '_>) -> Read<Option<Part<'a>>> {
    let (mut summary, mut whole, mut encrypted) = (Vec::new(), Vec::new(), None);
    value.object(|key, member| {
        match key {
            "summary" => texts(member, &mut summary)?,
            "content" => texts(member, &mut whole)?,
            "encrypted_content" => encrypted = Some(member.text()?),
            "type" | "id" | "status" => {}
            _ => member.unsupported()?,
        }
        Ok(())
    })?;
    let mut said = if whole.is_empty() { summary } else { whole };
    let text = match said.len() {
        0 | 1 => said.pop().unwrap_or_default(),
        _ => said.join("\n\n").into(),
    };
    let (signature, redacted) = match encrypted.filter(|text| !text.is_empty()).map(sent_back) {
        Some((signature, redacted)) => (Some(signature), redacted),
        None => (None, false),
    };
    Ok(
        (!text.is_empty() || signature.is_some()).then_some(Part::Reasoning {
            text,
            signature,
            redacted,
        }),
    )
}

fn texts<'a>(value: &Value<'a, '_>, to: &mut Vec<Text<'a>>) -> Read {
    value.array(|_, item| {
        item.only(&["type", "text"])?;
        to.push(item.tag("text")?);
        Ok(())
    })
}
