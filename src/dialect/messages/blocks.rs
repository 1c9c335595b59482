//! The blocks of a message, as they are written in a request.
//!
//! Decides how a part of the common form is said, and which cannot be said.

use super::ask::input;
use crate::dialect::form::{Feature, Inexpressible, Media, Part, Role, Text};
use crate::dialect::json::{Members, string};
use std::borrow::Cow;

type Write = Result<(), Inexpressible>;

/// Writes the content of a message: a string where a single text says it all.
pub(super) fn content(
    out: &mut Vec<u8>,
    role: Option<Role>,
    parts: &[&Part<'_>],
    trimmed: bool,
) -> Write {
    if let [Part::Text { text, cache: None } | Part::Refusal(text)] = parts {
        string(out, if trimmed { text.trim_end() } else { text });
        return Ok(());
    }
    out.push(b'[');
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        block(out, role, part, trimmed && index + 1 == parts.len())?;
    }
    out.push(b']');
    Ok(())
}

fn block(out: &mut Vec<u8>, role: Option<Role>, part: &Part<'_>, trimmed: bool) -> Write {
    let mut members = Members::open(out);
    match part {
        Part::Text { text, cache } => {
            members.text("type", "text");
            members.text("text", if trimmed { text.trim_end() } else { text });
            members.json("cache_control", cache.as_ref());
        }
        Part::Refusal(text) => {
            members.text("type", "text");
            members.text("text", if trimmed { text.trim_end() } else { text });
        }
        Part::Image(_) if role == Some(Role::Assistant) => return cannot(Feature::Image),
        Part::Image(media) => {
            members.text("type", "image");
            source(&mut members, media);
        }
        Part::Document { .. } if role == Some(Role::Assistant) => {
            return cannot(Feature::Document);
        }
        Part::Document { media, name } => {
            members.text("type", "document");
            document(&mut members, media)?;
            if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
                members.text("title", name);
            }
        }
        Part::Audio(_) => return cannot(Feature::Audio),
        Part::Reasoning {
            text,
            signature,
            redacted,
        } => {
            let signature = signature.as_deref().unwrap_or_default();
            if *redacted {
                members.text("type", "redacted_thinking");
                members.text("data", signature);
            } else {
                members.text("type", "thinking");
                members.text("thinking", text);
                members.text("signature", signature);
            }
        }
        Part::ToolCall {
            id: of,
            name,
            arguments,
            ..
        } => {
            members.text("type", "tool_use");
            members.text("id", &id(of));
            members.text("name", name);
            input(members.key("input"), arguments);
        }
        Part::ToolResult {
            id: of,
            content: parts,
            error,
        } => {
            members.text("type", "tool_result");
            members.text("tool_use_id", &id(of));
            let parts: Vec<_> = parts.iter().filter(|part| !is_blank(part)).collect();
            if !parts.is_empty() {
                content(members.key("content"), None, &parts, false)?;
            }
            if *error {
                members.flag("is_error", true);
            }
        }
    }
    members.close();
    Ok(())
}

fn cannot(feature: Feature) -> Write {
    Err(Inexpressible::Feature(feature))
}

fn is_blank(part: &Part<'_>) -> bool {
    matches!(part, Part::Text { text, .. } if text.trim().is_empty())
}

fn source(members: &mut Members<'_>, media: &Media<'_>) {
    let mut source = members.object("source");
    match media {
        Media::Inline { mime, data } => {
            source.text("type", "base64");
            source.text("media_type", mime);
            source.text("data", data);
        }
        Media::Url(url) => {
            source.text("type", "url");
            source.text("url", url);
        }
    }
    source.close();
}

/// A document is a PDF or plain text; Anthropic takes nothing else.
fn document(members: &mut Members<'_>, media: &Media<'_>) -> Write {
    match media {
        Media::Inline { mime, data } if mime.starts_with("text/") => {
            let text = decode(data).and_then(|bytes| String::from_utf8(bytes).ok());
            let Some(text) = text else {
                return cannot(Feature::Document);
            };
            let mut source = members.object("source");
            source.text("type", "text");
            source.text("media_type", "text/plain");
            source.text("data", &text);
            source.close();
        }
        Media::Inline { mime, .. } if &**mime != "application/pdf" => {
            return cannot(Feature::Document);
        }
        _ => source(members, media),
    }
    Ok(())
}

/// The bytes that base64 stands for, its padding optional.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// An id in the characters that Anthropic takes: the others by their code, so that different ids
/// stay different and a call keeps its result.
fn id<'t>(id: &'t Text<'_>) -> Cow<'t, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.is_empty() {
        return Cow::Borrowed("_");
    }
    if id.bytes().all(fits) {
        return Cow::Borrowed(id);
    }
    let mut clean = String::with_capacity(id.len() + 8);
    for byte in id.bytes() {
        if fits(byte) {
            clean.push(char::from(byte));
        } else {
            clean.push_str(&format!("_{byte:02x}"));
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_padding_and_without() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmFyISEh", "foobar!!!"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        assert_eq!(decode("Z m"), None);
    }

    #[test]
    fn ids_keep_apart_in_fewer_characters() {
        let clean = |text: &str| id(&Cow::Borrowed(text)).into_owned();
        assert_eq!(clean("toolu_01-A"), "toolu_01-A");
        assert_eq!(clean("call.1"), "call_2e1");
        assert_ne!(clean("call:1"), clean("call.1"));
        assert_eq!(clean(""), "_");
    }
}
