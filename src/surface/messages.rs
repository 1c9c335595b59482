//! Messages requests, in Anthropic's dialect.
//!
//! Decides which of a request's fields bear on its bound, and refuses those with values that no
//! bound can be drawn from. Everything else is passed on unread: whether it makes sense is the
//! provider's to say.

use super::Request;
use super::fields::{self, empty_array, invalid, present, tokens};
use crate::json::{self, Cursor, Limits, Object};
use crate::refusal::Refusal;
use crate::wire::Dialect;
use std::borrow::Cow;

/// Fields that choose rates above those of any price table, and the only value that does not.
const DEARER: [(&str, &str, &str); 2] = [
    (
        "speed",
        "standard",
        "'standard': the price of others is not known here",
    ),
    (
        "inference_geo",
        "global",
        "'global': the price of others is not known here",
    ),
];

/// Reads a request.
///
/// # Errors
/// [`Refusal::InvalidJson`] for a body that [`crate::json::object`] refuses,
/// [`Refusal::InvalidField`] for a field that bears on the bound and has a type or value it must not
/// have; `max_tokens` must be there.
pub fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = fields::object(body, limits)?;
    let max_tokens = tokens(&object, "max_tokens")?
        .ok_or_else(|| invalid("max_tokens", "a positive whole number"))?;
    read(object, max_tokens)
}

/// Reads a request that is only to be counted.
///
/// # Errors
/// As [`parse`], but for `max_tokens`, which such requests do not have.
pub fn parse_count(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let request = read(fields::object(body, limits)?, 0)?;
    Ok(Request {
        stream: false,
        ..request
    })
}

fn read(object: Object<'_>, max_tokens: u64) -> Result<Request<'_>, Refusal> {
    if object.messages().is_none_or(|count| count == 0) {
        return Err(invalid("messages", "a non-empty array of objects"));
    }
    for (field, value, expected) in DEARER {
        if fields::string(&object, field)?.is_some_and(|asked| asked != value) {
            return Err(invalid(field, expected));
        }
    }
    let request = fields::common(Dialect::Messages, object)?;
    let object = &request.object;
    let tools = present(object, "tools").is_some_and(|raw| fields::other_kinds(raw, own_tool) > 0);
    let servers = present(object, "mcp_servers").is_some_and(|raw| !empty_array(raw));
    let found = Found::of(object);
    Ok(Request {
        user: user_of(object),
        max_tokens: Some(max_tokens),
        choices: 1,
        server_tools: request.server_tools || tools || servers,
        media_parts: found.media,
        unseen_input: found.unseen || present(object, "container").is_some(),
        ..request
    })
}

/// Whether a tool of this type is run by the client, for no fee.
fn own_tool(kind: Option<&str>) -> bool {
    let typed = ["bash_", "text_editor_", "computer_", "memory_"];
    kind.is_none_or(|kind| kind == "custom" || typed.iter().any(|known| kind.starts_with(known)))
}

/// What the input holds besides text.
#[derive(Default)]
struct Found {
    media: usize,
    unseen: bool,
}

impl Found {
    fn of(object: &Object<'_>) -> Self {
        let mut found = Self::default();
        let system = object.get("system").unwrap_or("null");
        let messages = object.get("messages").unwrap_or("null");
        let walked = found
            .content(&mut Cursor::new(system), true)
            .and_then(|()| {
                Cursor::new(messages).array(|message| {
                    message.object(|key, value| match key {
                        "content" => found.content(value, true),
                        _ => value.skip().map(drop),
                    })
                })
            });
        // Nested deeper than is walked: nothing is known about it.
        found.unseen |= walked.is_none();
        found
    }

    /// Text, or an array of parts; `outer` where they may contain others.
    fn content(&mut self, value: &mut Cursor<'_>, outer: bool) -> Option<()> {
        if value.peek()? == b'{' {
            self.media += 1;
        }
        value.array(|part| self.part(part, outer))
    }

    fn part(&mut self, part: &mut Cursor<'_>, outer: bool) -> Option<()> {
        let (mut kind, mut source, mut content) = (None, None, None);
        part.object(|key, value| {
            match key {
                "type" => kind = fields::text(value)?,
                "source" => source = Some(value.skip()?),
                "content" => content = Some(value.skip()?),
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        })?;
        match kind.as_deref() {
            Some(
                "text" | "thinking" | "redacted_thinking" | "tool_use" | "server_tool_use"
                | "mcp_tool_use" | "compaction",
            ) => {}
            Some("tool_result" | "mcp_tool_result" | "search_result") if outer => {
                self.content(&mut Cursor::new(content.unwrap_or("null")), false)?;
            }
            Some("document") => self.document(source.unwrap_or("null"))?,
            // A file in a container is read by whatever runs there.
            Some("container_upload") => self.unseen = true,
            // An image has at most as many tokens as its pixels give, wherever it lies.
            _ => self.media += 1,
        }
        Some(())
    }

    /// A document: in the request, or where its length cannot be seen.
    fn document(&mut self, source: &str) -> Option<()> {
        let (mut kind, mut content) = (None, None);
        Cursor::new(source).object(|key, value| {
            match key {
                "type" => kind = fields::text(value)?,
                "content" => content = Some(value.skip()?),
                _ => {
                    value.skip()?;
                }
            }
            Some(())
        })?;
        match kind.as_deref() {
            Some("text") => {}
            Some("content") => {
                self.content(&mut Cursor::new(content.unwrap_or("null")), false)?;
            }
            Some("base64") => self.media += 1,
            _ => {
                self.media += 1;
                self.unseen = true;
            }
        }
        Some(())
    }
}

/// The `user_id` of the metadata.
fn user_of<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    let mut found = None;
    Cursor::new(object.get("metadata")?).object(|key, value| {
        let raw = value.skip()?;
        if key == "user_id" {
            found = json::string(raw);
        }
        Some(())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ServiceTier;
    use proptest::prelude::*;

    fn whole(fields: &str) -> Result<Request<'static>, Refusal> {
        parse(format!("{{{fields}}}").leak().as_bytes(), Limits::default())
    }

    fn read(fields: &str) -> Request<'static> {
        let bare = r#""max_tokens":9,"messages":[{"role":"user","content":"x"}]"#;
        let comma = if fields.is_empty() { "" } else { "," };
        whole(&format!("{bare}{comma}{fields}")).unwrap()
    }

    fn parts(content: &str) -> (usize, bool) {
        let fields =
            format!(r#""max_tokens":9,"messages":[{{"content":{content},"role":"user"}}]"#);
        let request = whole(&fields).unwrap();
        (request.media_parts, request.unseen_input)
    }

    #[test]
    fn a_bare_request_has_the_defaults() {
        let request = read("");
        assert_eq!(request.dialect, Dialect::Messages);
        assert_eq!((request.max_tokens, request.choices), (Some(9), 1));
        assert!(!request.stream && !request.server_tools && !request.unseen_input);
        assert!(request.include_usage, "its streams always say it");
        assert!(read(r#""stream":true"#).stream);
    }

    #[test]
    fn an_output_limit_and_messages_are_needed() {
        for (fields, field) in [
            (r#""messages":[{}]"#, "max_tokens"),
            (r#""messages":[{}],"max_tokens":null"#, "max_tokens"),
            (r#""messages":[{}],"max_tokens":0"#, "max_tokens"),
            (r#""messages":[],"max_tokens":1"#, "messages"),
            (r#""messages":"x","max_tokens":1"#, "messages"),
            (r#""max_tokens":1"#, "messages"),
            (r#""messages":[{}],"max_tokens":1,"speed":"fast""#, "speed"),
            (
                r#""messages":[{}],"max_tokens":1,"inference_geo":"us""#,
                "inference_geo",
            ),
        ] {
            match whole(fields) {
                Err(Refusal::InvalidField { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{fields}: {other:?}"),
            }
        }
    }

    #[test]
    fn counting_needs_no_output_limit_and_has_no_output() {
        let body = br#"{"messages":[{"role":"user","content":"x"}],"stream":true}"#;
        let request = parse_count(body, Limits::default()).unwrap();
        assert_eq!((request.max_tokens, request.stream), (Some(0), false));
    }

    #[test]
    fn parts_that_are_no_text_are_counted_wherever_they_are() {
        for (content, expected) in [
            (r#""x""#, (0, false)),
            (
                r#"[{"type":"text","text":"[{\"type\":\"image\"}]"}]"#,
                (0, false),
            ),
            (
                r#"[{"type":"thinking","thinking":"x","signature":"y"},{"type":"tool_use","input":{"type":"image"}}]"#,
                (0, false),
            ),
            (
                r#"[{"type":"image","source":{"type":"base64","data":"x"}}]"#,
                (1, false),
            ),
            (
                r#"[{"source":{"type":"url","url":"x"},"typ\u0065":"imag\u0065"}]"#,
                (1, false),
            ),
            (
                r#"[{"type":"document","source":{"type":"text","data":"x"}}]"#,
                (0, false),
            ),
            (
                r#"[{"type":"document","source":{"type":"base64","data":"x"}}]"#,
                (1, false),
            ),
            (
                r#"[{"type":"document","source":{"type":"url","url":"x"}}]"#,
                (1, true),
            ),
            (
                r#"[{"type":"document","source":{"type":"file","file_id":"x"}}]"#,
                (1, true),
            ),
            (
                r#"[{"type":"document","source":{"type":"content","content":[{"type":"image"},{"type":"text"}]}}]"#,
                (1, false),
            ),
            (
                r#"[{"type":"tool_result","content":[{"type":"image"},{"type":"text"},{"type":"document","source":{"type":"url"}}]}]"#,
                (2, true),
            ),
            (r#"[{"content":"x","type":"tool_result"}]"#, (0, false)),
            (
                r#"[{"type":"tool_result","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]"#,
                (1, false),
            ),
            (
                r#"[{"type":"search_result","content":[{"type":"text","text":"x"}]}]"#,
                (0, false),
            ),
            (r#"[{"type":"container_upload","file_id":"x"}]"#, (0, true)),
            (r#"[{"type":"hologram"},{},3]"#, (3, false)),
            (r#"{"type":"image"}"#, (1, false)),
        ] {
            assert_eq!(parts(content), expected, "{content}");
        }
        let system = r#""system":[{"type":"text","text":"x"},{"type":"image"}]"#;
        assert_eq!(read(system).media_parts, 1);
    }

    #[test]
    fn what_the_provider_runs_itself_is_seen() {
        for fields in [
            r#""tools":[{"name":"x"},{"type":"web_search_20250305","name":"web_search"}]"#,
            r#""tools":[{"typ\u0065":"code_execution_20250522"}]"#,
            r#""mcp_servers":[{"type":"url"}]"#,
            r#""plugins":[{"id":"web"}]"#,
            r#""model":"x:online""#,
        ] {
            assert!(read(fields).server_tools, "{fields}");
        }
        for fields in [
            r#""tools":[{"name":"x","input_schema":{"type":"object"}},{"type":"custom"},{"type":"bash_20250124"}]"#,
            r#""tools":[],"mcp_servers":[]"#,
            r#""tools":null"#,
        ] {
            assert!(!read(fields).server_tools, "{fields}");
        }
        assert!(read(r#""container":"x""#).unseen_input);
        assert!(!read(r#""container":null"#).unseen_input);
    }

    #[test]
    fn the_tier_is_read_in_anthropics_words() {
        for (name, tier) in [
            ("auto", None),
            ("standard_only", Some(ServiceTier::Default)),
        ] {
            let request = read(&format!(r#""service_tier":"{name}""#));
            assert_eq!(request.service_tier, tier);
        }
        assert!(read(r#""speed":"standard","inference_geo":"global""#).media_parts == 0);
    }

    proptest! {
        #[test]
        fn nothing_written_with_json_characters_makes_it_panic(
            content in r#"[\[\]{}",:0-9a-z\\-]{0,40}"#,
        ) {
            let body = format!(r#"{{"max_tokens":1,"messages":[{{"content":[{{"type":"tool_result","content":{content}}}]}}]}}"#);
            let _ = parse(body.as_bytes(), Limits::default());
        }

        #[test]
        fn every_image_is_counted(images in 0_usize..20, texts in 0_usize..20) {
            let image = std::iter::repeat_n(r#"{"type":"image"}"#, images);
            let text = std::iter::repeat_n(r#"{"type":"text","text":"\"}]"}"#, texts);
            let content: Vec<&str> = image.chain(text).collect();
            prop_assert_eq!(parts(&format!("[{}]", content.join(" , "))), (images, false));
        }
    }
}
