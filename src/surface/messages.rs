//! Anthropic's messages.

use super::Request;
use super::fields::{boolean, invalid, object, present, service_tier, string, tokens};
use crate::dialect::Dialect;
use crate::json::{Cursor, Limits, Object};
use crate::refusal::Refusal;

/// How deeply content is followed: blocks, the content of a tool's result, a document's own.
const DEEPEST: u32 = 4;

/// Reads a request. `max_tokens` may be missing: counting tokens needs none, and a request without
/// one is the provider's to refuse, unless a number is written for it.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = object(body, limits)?;
    if object.messages().is_none_or(|count| count == 0) {
        return Err(invalid("messages", "a non-empty array of objects"));
    }
    let mut content = Content::default();
    for field in ["messages", "system"] {
        if let Some(raw) = present(&object, field) {
            content.walk(&mut Cursor::new(raw), DEEPEST);
        }
    }
    let servers = present(&object, "mcp_servers").is_some_and(|raw| raw != "[]");
    Ok(Request {
        dialect: Dialect::Messages,
        model: string(&object, "model")?,
        fallbacks: Vec::new(),
        stream: boolean(&object, "stream")?,
        include_usage: true,
        max_tokens: tokens(&object, "max_tokens")?,
        max_tokens_field: "max_tokens",
        choices: 1,
        service_tier: service_tier(&object)?,
        server_tools: servers || server_tools(&object),
        prediction_bytes: 0,
        audio_output: false,
        image_output: false,
        media_parts: content.media,
        unseen_input: content.unseen || present(&object, "container").is_some(),
        no_output: false,
        object,
    })
}

/// Whether the provider runs a tool itself: every one with a type other than `custom`, but for
/// those that the client runs.
fn server_tools(object: &Object<'_>) -> bool {
    let mut found = false;
    Cursor::new(object.get("tools").unwrap_or("null")).array(|tool| {
        tool.object(|key, value| {
            if key == "type" {
                let kind = value.string()?.unwrap_or_default();
                let clients = ["custom", "bash_", "text_editor_", "computer_", "memory_"];
                found |= !clients.iter().any(|known| kind.starts_with(known));
                return Some(());
            }
            value.skip().map(drop)
        })
    });
    found
}

/// What content holds besides text.
#[derive(Default)]
struct Content {
    media: usize,
    /// Whether the provider fetches a part of it.
    unseen: bool,
}

impl Content {
    /// Walks through a message, a block, a source, or an array of them.
    fn walk(&mut self, value: &mut Cursor<'_>, deeper: u32) -> Option<()> {
        let Some(below) = deeper.checked_sub(1) else {
            return value.skip().map(drop);
        };
        match value.peek()? {
            b'[' => value.array(|one| self.walk(one, deeper)),
            b'{' => {
                let mut kind = None;
                value.object(|key, value| match key {
                    "type" => {
                        kind = value.string()?;
                        Some(())
                    }
                    "content" => self.walk(value, below),
                    "source" => self.source(value),
                    _ => value.skip().map(drop),
                })?;
                let text = [
                    None,
                    Some("text"),
                    Some("thinking"),
                    Some("redacted_thinking"),
                    Some("tool_use"),
                    Some("tool_result"),
                ];
                self.media += usize::from(!text.contains(&kind));
                Some(())
            }
            _ => value.skip().map(drop),
        }
    }

    fn source(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        value.object(|key, value| match key {
            "type" => {
                let kind = value.string()?.unwrap_or_default();
                self.unseen |= matches!(kind, "url" | "file");
                Some(())
            }
            _ => value.skip().map(drop),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &str) -> Request<'static> {
        let body = format!(r#"{{"model":"m","max_tokens":9,{fields}}}"#);
        parse(body.leak().as_bytes(), Limits::default()).unwrap()
    }

    #[test]
    fn text_tools_and_thoughts_are_no_media() {
        let request = read(
            r#""system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},
            {"type":"tool_use","id":"i","name":"n","input":{"type":"image","source":{"type":"url"}}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"i","content":[{"type":"text","text":"x"}]}]}],
            "tools":[{"name":"n","input_schema":{}},{"type":"custom","name":"o"},{"type":"bash_20250124","name":"bash"}]"#,
        );
        assert_eq!((request.media_parts, request.unseen_input), (0, false));
        assert!(!request.server_tools);
        assert_eq!(request.max_tokens, Some(9));
    }

    #[test]
    fn media_is_found_in_results_and_what_the_provider_fetches_is_unseen() {
        let image = r#"{"type":"image","source":{"type":"base64","data":"AA","media_type":"image/png"}}"#;
        let request = read(&format!(
            r#""messages":[{{"role":"user","content":[{image},{{"type":"tool_result","tool_use_id":"i","content":[{image}]}}]}}]"#
        ));
        assert_eq!((request.media_parts, request.unseen_input), (2, false));
        let request = read(
            r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}]"#,
        );
        assert_eq!((request.media_parts, request.unseen_input), (1, true));
    }

    #[test]
    fn tools_that_the_provider_runs_have_a_fee() {
        for fields in [
            r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
            r#""mcp_servers":[{"type":"url","url":"https://x","name":"x"}]"#,
        ] {
            assert!(read(&format!(r#""messages":[{{}}],{fields}"#)).server_tools, "{fields}");
        }
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(raw in r#"[\[\]{}",0-9a-z:]{0,60}"#) {
            let body = format!("{{\"messages\":[{{\"content\":{raw}}}]}}");
            let _ = parse(body.as_bytes(), Limits::default());
        }
    }
}
