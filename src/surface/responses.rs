//! Responses requests, in OpenAI's dialect.
//!
//! Decides which of a request's fields bear on its bound, and refuses those with values that no
//! bound can be drawn from. Everything else is passed on unread: whether it makes sense is the
//! provider's to say.

use super::Request;
use super::fields::{self, invalid, present, tokens};
use crate::json::{Cursor, Limits, Object};
use crate::refusal::Refusal;
use crate::wire::Dialect;
use std::borrow::Cow;

/// Fields that name input which the provider keeps.
const KEPT: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// Reads a request.
///
/// # Errors
/// [`Refusal::InvalidJson`] for a body that [`crate::json::object`] refuses,
/// [`Refusal::InvalidField`] for a field that bears on the bound and has a type or value it must not
/// have.
pub fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = fields::object(body, limits)?;
    let input = present(&object, "input");
    let filled =
        |raw: &str| raw.starts_with('"') || (raw.starts_with('[') && !fields::empty_array(raw));
    let kept = KEPT.iter().any(|field| present(&object, field).is_some());
    if !input.map_or(kept, filled) {
        return Err(invalid("input", "a text or a non-empty array"));
    }
    if fields::boolean(&object, "background")? {
        return Err(Refusal::InvalidField {
            field: Cow::Borrowed("background"),
            message: "'background' is not served: its answer could not be metered".into(),
        });
    }
    let max_tokens = tokens(&object, "max_output_tokens")?;
    let request = fields::common(Dialect::Responses, object)?;
    let object = &request.object;
    let tools = |ordinary: fn(Option<&str>) -> bool| {
        present(object, "tools").is_some_and(|raw| fields::other_kinds(raw, ordinary) > 0)
    };
    let server_tools = tools(|kind| matches!(kind, Some("function" | "custom" | "local_shell")));
    let draws = tools(|kind| kind != Some("image_generation"));
    let found = Found::of(object);
    Ok(Request {
        max_tokens,
        server_tools: request.server_tools || server_tools,
        image_output: request.image_output || draws,
        media_parts: found.media,
        unseen_input: found.unseen || kept,
        ..request
    })
}

/// What the input holds besides text.
#[derive(Default)]
struct Found {
    media: usize,
    unseen: bool,
}

/// The parts of an item or of its content that matter here.
#[derive(Default)]
struct Item<'a> {
    kind: Option<Cow<'a, str>>,
    content: Option<&'a str>,
    output: Option<&'a str>,
    /// Whether it names something that the provider fetches.
    elsewhere: bool,
    encrypted: bool,
    named: bool,
}

impl<'a> Item<'a> {
    fn read(item: &mut Cursor<'a>) -> Option<Self> {
        let mut read = Self::default();
        item.object(|key, value| {
            if key == "type" {
                read.kind = fields::text(value)?;
                return Some(());
            }
            let raw = value.skip()?;
            let there = raw != "null";
            match key {
                "content" => read.content = Some(raw),
                "output" => read.output = Some(raw),
                "file_id" | "file_url" => read.elsewhere |= there,
                "encrypted_content" => read.encrypted = there,
                "id" => read.named = there,
                _ => {}
            }
            Some(())
        })?;
        Some(read)
    }
}

impl Found {
    fn of(object: &Object<'_>) -> Self {
        let mut found = Self::default();
        // Instructions are text; an array of items is what answers show them as.
        let walked = ["instructions", "input"].iter().try_for_each(|field| {
            let raw = object.get(field).unwrap_or("null");
            Cursor::new(raw).array(|item| found.item(item))
        });
        // Nested deeper than is walked: nothing is known about it.
        found.unseen |= walked.is_none();
        found
    }

    fn item(&mut self, item: &mut Cursor<'_>) -> Option<()> {
        let item = Item::read(item)?;
        match item.kind.as_deref() {
            // A message may leave its type out, and so may a reference to an item.
            None | Some("message") => match item.content {
                Some(content) => self.content(content)?,
                None => self.unseen = true,
            },
            Some("function_call_output" | "custom_tool_call_output") => {
                self.content(item.output.unwrap_or("null"))?;
            }
            // Without its content it stands for what the provider keeps under its id.
            Some("reasoning") => self.unseen |= item.named && !item.encrypted,
            Some(
                "function_call"
                | "custom_tool_call"
                | "web_search_call"
                | "file_search_call"
                | "code_interpreter_call"
                | "computer_call"
                | "local_shell_call"
                | "local_shell_call_output"
                | "shell_call"
                | "shell_call_output"
                | "apply_patch_call"
                | "apply_patch_call_output"
                | "mcp_list_tools"
                | "mcp_call"
                | "mcp_approval_request"
                | "mcp_approval_response"
                | "compaction",
            ) => {}
            Some("item_reference") => self.unseen = true,
            _ => self.media += 1,
        }
        Some(())
    }

    /// Text, or an array of parts.
    fn content(&mut self, raw: &str) -> Option<()> {
        if raw.starts_with('{') {
            self.media += 1;
        }
        Cursor::new(raw).array(|part| {
            let part = Item::read(part)?;
            match part.kind.as_deref() {
                Some("input_text" | "output_text" | "text" | "summary_text" | "refusal") => {}
                // An image has at most as many tokens as its pixels give, wherever it lies.
                Some("input_image") => self.media += 1,
                _ => {
                    self.media += 1;
                    self.unseen |= part.elsewhere;
                }
            }
            Some(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(fields: &str) -> Result<Request<'static>, Refusal> {
        parse(format!("{{{fields}}}").leak().as_bytes(), Limits::default())
    }

    fn read(fields: &str) -> Request<'static> {
        let comma = if fields.is_empty() { "" } else { "," };
        whole(&format!(r#""input":"x"{comma}{fields}"#)).unwrap()
    }

    fn items(items: &str) -> (usize, bool) {
        let request = whole(&format!("\"input\":[{items}]")).unwrap();
        (request.media_parts, request.unseen_input)
    }

    #[test]
    fn a_bare_request_has_the_defaults() {
        let request = read("");
        assert_eq!(request.dialect, Dialect::Responses);
        assert_eq!((request.max_tokens, request.choices), (None, 1));
        assert_eq!(request.max_tokens_field, "max_output_tokens");
        assert!(!request.server_tools && !request.unseen_input && request.include_usage);
        let request = read(r#""max_output_tokens":5,"stream":true,"model":"m""#);
        assert_eq!((request.max_tokens, request.stream), (Some(5), true));
        assert_eq!(request.model.as_deref(), Some("m"));
    }

    #[test]
    fn input_is_needed_and_an_answer_in_the_background_is_not_served() {
        for (fields, field) in [
            ("", "input"),
            (r#""input":null"#, "input"),
            (r#""input":[ ]"#, "input"),
            (r#""input":{}"#, "input"),
            (r#""input":[],"prompt":{"id":"x"}"#, "input"),
            (r#""input":"x","background":true"#, "background"),
            (r#""input":"x","background":1"#, "background"),
            (r#""input":"x","max_output_tokens":0"#, "max_output_tokens"),
        ] {
            match whole(fields) {
                Err(Refusal::InvalidField { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{fields}: {other:?}"),
            }
        }
        assert!(!read(r#""background":false"#).stream);
    }

    #[test]
    fn items_and_parts_that_are_no_text_are_counted() {
        for (text, expected) in [
            (r#"{"role":"user","content":"x"}"#, (0, false)),
            (
                r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"x"},{"type":"output_text"}]}"#,
                (0, false),
            ),
            (
                r#"{"role":"user","content":[{"type":"input_image","image_url":"x"},{"type":"input_image","file_id":"x"}]}"#,
                (2, false),
            ),
            (
                r#"{"role":"user","content":[{"type":"input_file","file_data":"x","file_id":null}]}"#,
                (1, false),
            ),
            (
                r#"{"role":"user","content":[{"file_id":"x","type":"input_file"}]}"#,
                (1, true),
            ),
            (
                r#"{"role":"user","content":[{"type":"input_file","fil\u0065_url":"x"}]}"#,
                (1, true),
            ),
            (
                r#"{"role":"user","content":[{"type":"input_audio"}]}"#,
                (1, false),
            ),
            (r#"{"type":"item_reference","id":"x"}"#, (0, true)),
            (r#"{"id":"x"}"#, (0, true)),
            (
                r#"{"type":"function_call","arguments":"{}"},{"type":"function_call_output","output":"x"}"#,
                (0, false),
            ),
            (
                r#"{"type":"function_call_output","output":[{"type":"input_image"}]}"#,
                (1, false),
            ),
            (
                r#"{"type":"computer_call_output","output":{"type":"computer_screenshot"}}"#,
                (1, false),
            ),
            (
                r#"{"type":"reasoning","id":"rs_1","summary":[]}"#,
                (0, true),
            ),
            (
                r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}"#,
                (0, false),
            ),
            (r#"{"type":"hologram"}"#, (1, false)),
        ] {
            assert_eq!(items(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_provider_keeps_or_runs_itself_is_seen() {
        for fields in [
            r#""previous_response_id":"x""#,
            r#""conversation":"x""#,
            r#""conversation":{"id":"x"}"#,
            r#""prompt":{"id":"x"}"#,
        ] {
            assert!(read(fields).unseen_input, "{fields}");
        }
        assert!(!read(r#""previous_response_id":null"#).unseen_input);
        assert!(whole(r#""prompt":{"id":"x"}"#).unwrap().unseen_input);
        for fields in [
            r#""tools":[{"type":"function"},{"type":"web_search"}]"#,
            r#""tools":[{"type":"mcp"}]"#,
            r#""tools":[{"name":"x"}]"#,
            r#""tools":[3]"#,
        ] {
            assert!(read(fields).server_tools, "{fields}");
        }
        for fields in [r#""tools":[{"type":"custom"},{"type":"function"}]"#, ""] {
            assert!(!read(fields).server_tools, "{fields}");
        }
    }

    #[test]
    fn a_tool_that_draws_makes_images() {
        assert!(read(r#""tools":[{"type":"function"},{"type":"image_generation"}]"#).image_output);
        assert!(!read(r#""tools":[{"type":"function"}]"#).image_output);
    }

    proptest! {
        #[test]
        fn nothing_written_with_json_characters_makes_it_panic(
            input in r#"[\[\]{}",:0-9a-z\\-]{0,40}"#,
        ) {
            let body = format!(r#"{{"input":[{{"content":{input}}}]}}"#);
            let _ = parse(body.as_bytes(), Limits::default());
        }

        #[test]
        fn every_image_is_counted(images in 0_usize..20, texts in 0_usize..20) {
            let image = std::iter::repeat_n(r#"{"type":"input_image"}"#, images);
            let text = std::iter::repeat_n(r#"{"type":"input_text","text":"\"}]"}"#, texts);
            let content: Vec<&str> = image.chain(text).collect();
            let item = format!(r#"{{"content":[{}]}}"#, content.join(" , "));
            prop_assert_eq!(items(&item), (images, false));
        }
    }
}
