//! Embeddings requests, in OpenAI's dialect.
//!
//! Decides that they have input only: there is no output to bound and nothing to stream.

use super::Request;
use super::completions::texts;
use super::fields::{self, invalid};
use crate::json::{Cursor, Limits};
use crate::refusal::Refusal;
use crate::wire::Dialect;

/// Reads a request.
///
/// # Errors
/// [`Refusal::InvalidJson`] for a body that [`crate::json::object`] refuses,
/// [`Refusal::InvalidField`] for a field that bears on the bound and has a type or value it must not
/// have.
pub fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = fields::object(body, limits)?;
    let media = fields::present(&object, "input")
        .and_then(|raw| texts(raw).map(|_| 0).or_else(|| parts(raw)))
        .ok_or_else(|| {
            let expected = "a text, tokens, or a non-empty array of either";
            invalid("input", expected)
        })?;
    let request = fields::common(Dialect::Embeddings, object)?;
    Ok(Request {
        stream: false,
        max_tokens: Some(0),
        choices: 1,
        media_parts: request.media_parts.saturating_add(media),
        ..request
    })
}

/// How many parts of the objects in the array `raw` are not text: OpenRouter embeds images, too.
/// `None` when it holds anything but objects, or nothing.
fn parts(raw: &str) -> Option<usize> {
    let (mut media, mut any) = (0_usize, false);
    raw.starts_with('[').then_some(())?;
    Cursor::new(raw).array(|element| {
        (element.peek()? == b'{').then_some(())?;
        any = true;
        let mut content = None;
        element.object(|key, value| {
            let raw = value.skip()?;
            if key == "content" {
                content = Some(raw);
            }
            Some(())
        })?;
        let text = |kind: Option<&str>| kind == Some("text");
        media = media.saturating_add(match content {
            Some(raw) if raw.starts_with('[') => fields::other_kinds(raw, text),
            Some(raw) if raw.starts_with('"') => 0,
            _ => 1,
        });
        Some(())
    })?;
    any.then_some(media)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &str) -> Result<Request<'static>, Refusal> {
        parse(format!("{{{fields}}}").leak().as_bytes(), Limits::default())
    }

    #[test]
    fn there_is_no_output_to_pay_for() {
        for input in ["\"x\"", "[\"x\",\"y\"]", "[1,2]", "[[1],[2]]"] {
            let request = read(&format!(
                r#""input":{input},"dimensions":9,"encoding_format":"base64","n":3,"stream":true"#
            ))
            .unwrap();
            assert_eq!(
                (request.max_tokens, request.choices, request.stream),
                (Some(0), 1, false),
                "{input}"
            );
            assert_eq!(request.media_parts, 0);
        }
        for input in ["null", "[]", "{}", "3", "[\"x\",{}]", "[null]"] {
            assert!(read(&format!("\"input\":{input}")).is_err(), "{input}");
        }
        assert!(read("").is_err());
    }

    #[test]
    fn images_to_be_embedded_are_seen() {
        let input = r#"[{"content":[{"type":"text","text":"x"},{"image_url":{"url":"y"},"type":"image_url"}]},{"content":"z"},{}]"#;
        let request = read(&format!("\"input\":{input}")).unwrap();
        assert_eq!(request.media_parts, 2);
    }

    proptest! {
        #[test]
        fn nothing_written_with_json_characters_makes_it_panic(
            body in r#"\{("(input|content|model|type)":[\[\]{}",:0-9a-z\\-]{0,20},?){0,6}\}?"#,
        ) {
            let _ = parse(body.as_bytes(), Limits::default());
        }
    }
}
