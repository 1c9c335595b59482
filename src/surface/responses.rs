//! OpenAI's responses.

use super::Request;
use super::fields::{boolean, invalid, object, present, service_tier, string, strings, tokens};
use crate::dialect::Dialect;
use crate::json::{Cursor, Limits, Object};
use crate::refusal::Refusal;

/// Reads a request.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = object(body, limits)?;
    let input = present(&object, "input");
    let stored = ["previous_response_id", "conversation", "prompt"]
        .iter()
        .any(|field| present(&object, field).is_some());
    let filled = |raw: &&str| raw.starts_with('"') || (raw.starts_with('[') && *raw != "[]");
    if input.filter(filled).is_none() && !stored {
        return Err(invalid("input", "a string, or a non-empty array"));
    }
    if boolean(&object, "background")? {
        return Err(Refusal::InvalidField {
            field: "background".into(),
            message: "'background' is not served: what it costs would only be known after the \
                      answer"
                .into(),
        });
    }
    let mut items = Items::default();
    if let Some(raw) = input {
        items.walk(&mut Cursor::new(raw));
    }
    let fallbacks = match present(&object, "models") {
        Some(raw) => strings(raw).ok_or_else(|| invalid("models", "an array of strings"))?,
        None => Vec::new(),
    };
    Ok(Request {
        dialect: Dialect::Responses,
        model: string(&object, "model")?,
        fallbacks,
        stream: boolean(&object, "stream")?,
        include_usage: true,
        max_tokens: tokens(&object, "max_output_tokens")?,
        max_tokens_field: "max_output_tokens",
        choices: 1,
        service_tier: service_tier(&object)?,
        server_tools: server_tools(&object),
        prediction_bytes: 0,
        audio_output: false,
        image_output: false,
        media_parts: items.media,
        unseen_input: items.unseen || stored,
        no_output: false,
        object,
    })
}

/// Whether the provider runs a tool itself: every one that is no function of the client's.
fn server_tools(object: &Object<'_>) -> bool {
    let mut found = false;
    Cursor::new(object.get("tools").unwrap_or("null")).array(|tool| {
        let mut kind = None;
        tool.object(|key, value| match key {
            "type" => {
                kind = value.string()?;
                Some(())
            }
            _ => value.skip().map(drop),
        })?;
        found |= !matches!(kind, Some("function" | "custom" | "local_shell"));
        Some(())
    });
    found
}

/// What the input holds besides text.
#[derive(Default)]
struct Items {
    media: usize,
    /// Whether the provider adds to it, or fetches a part of it.
    unseen: bool,
}

impl Items {
    fn walk(&mut self, input: &mut Cursor<'_>) -> Option<()> {
        input.array(|item| {
            item.object(|key, value| match key {
                "type" => {
                    self.unseen |= value.string()? == Some("item_reference");
                    Some(())
                }
                "content" | "output" => value.array(|part| self.part(part)),
                _ => value.skip().map(drop),
            })
        })
    }

    fn part(&mut self, part: &mut Cursor<'_>) -> Option<()> {
        let mut kind = None;
        part.object(|key, value| match key {
            "type" => {
                kind = value.string()?;
                Some(())
            }
            "file_id" | "file_url" => {
                self.unseen |= value.skip()? != "null";
                Some(())
            }
            _ => value.skip().map(drop),
        })?;
        let text = matches!(
            kind,
            Some("input_text" | "output_text" | "text" | "refusal" | "summary_text" | "reasoning_text")
        );
        self.media += usize::from(!text);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &str) -> Result<Request<'static>, &'static str> {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        parse(body.leak().as_bytes(), Limits::default()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn text_and_calls_are_no_media() {
        let request = read(
            r#""input":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"input_text","text":"b"}]},
            {"type":"function_call","call_id":"c","name":"n","arguments":"{}"},
            {"type":"function_call_output","call_id":"c","output":"x"}],"max_output_tokens":7,
            "tools":[{"type":"function","name":"n"},{"type":"custom","name":"o"}]"#,
        )
        .unwrap();
        assert_eq!((request.media_parts, request.unseen_input), (0, false));
        assert_eq!((request.max_tokens, request.max_tokens_field), (Some(7), "max_output_tokens"));
        assert!(!request.server_tools);
    }

    #[test]
    fn what_only_the_provider_has_is_unseen() {
        for fields in [
            r#""input":"a","previous_response_id":"resp_1""#,
            r#""prompt":{"id":"p"}"#,
            r#""input":[{"type":"item_reference","id":"x"}]"#,
            r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]"#,
        ] {
            assert!(read(fields).unwrap().unseen_input, "{fields}");
        }
        let image = r#""input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AA"}]}]"#;
        assert_eq!(read(image).unwrap().media_parts, 1);
        assert!(read(r#""input":"a","tools":[{"type":"web_search"}]"#).unwrap().server_tools);
    }

    #[test]
    fn what_could_not_be_metered_is_refused() {
        for fields in [r#""input":"a","background":true"#, r#""input":[]"#, r#""input":7"#, r#""x":1"#] {
            assert_eq!(read(fields).unwrap_err(), "invalid_field", "{fields}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(raw in r#"[\[\]{}",0-9a-z:]{0,60}"#) {
            let _ = parse(format!("{{\"input\":{raw}}}").as_bytes(), Limits::default());
        }
    }
}
