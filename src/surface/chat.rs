//! Chat completions requests, in the dialect of OpenAI and OpenRouter.
//!
//! Decides which of a request's fields bear on its bound, and refuses those with values that no
//! bound can be drawn from. Everything else is passed on unread: whether it makes sense is the
//! provider's to say.

use super::Request;
use super::fields::{self, invalid, tokens};
use crate::json::{Cursor, Limits, Object};
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
    if object.messages().is_none_or(|count| count == 0) {
        return Err(invalid("messages", "a non-empty array of objects"));
    }
    let (old, new) = (
        tokens(&object, "max_tokens")?,
        tokens(&object, "max_completion_tokens")?,
    );
    let tools = object.other_tools() > 0;
    // Few requests have such parts, so the others are read once only.
    let elsewhere = object.media_parts() > 0 && names_elsewhere(&object);
    let request = fields::common(Dialect::Chat, object)?;
    Ok(Request {
        max_tokens: old.max(new),
        max_tokens_field: if new.is_some() {
            "max_completion_tokens"
        } else {
            "max_tokens"
        },
        include_usage: fields::include_usage(&request.object)?,
        server_tools: request.server_tools || tools,
        unseen_input: elsewhere,
        ..request
    })
}

/// Whether a file or a film of the messages is not in the request but named: its length cannot be
/// seen. An image has at most as many tokens as its pixels give, wherever it lies.
fn names_elsewhere(object: &Object<'_>) -> bool {
    let mut found = false;
    let messages = object.get("messages").unwrap_or("null");
    let walked = Cursor::new(messages).array(|message| {
        message.object(|key, value| match key {
            "content" => value.array(|part| {
                part.object(|key, value| match key {
                    "file" | "video_url" | "input_video" => {
                        found |= is_elsewhere(value)?;
                        Some(())
                    }
                    _ => value.skip().map(drop),
                })
            }),
            _ => value.skip().map(drop),
        })
    });
    // Nested deeper than is walked: nothing is known about it.
    found || walked.is_none()
}

/// Whether a file or film is not the bytes themselves.
fn is_elsewhere(value: &mut Cursor<'_>) -> Option<bool> {
    let mut elsewhere = false;
    if value.peek()? != b'{' {
        return Some(fields::text(value)?.is_some_and(|text| is_address(&text)));
    }
    value.object(|key, value| {
        match key {
            "file_id" => elsewhere |= value.skip()? != "null",
            "file_data" | "url" => {
                elsewhere |= fields::text(value)?.is_some_and(|text| is_address(&text));
            }
            _ => {
                value.skip()?;
            }
        }
        Some(())
    })?;
    Some(elsewhere)
}

/// Whether a text is an address to fetch from, and not the bytes themselves.
fn is_address(text: &str) -> bool {
    !text.starts_with("data:") && text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ServiceTier;
    use proptest::prelude::*;

    fn read(fields: &str) -> Result<Request<'static>, Refusal> {
        let comma = if fields.is_empty() { "" } else { "," };
        let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{comma}{fields}}}"#);
        parse(body.leak().as_bytes(), Limits::default())
    }

    fn refused(fields: &str) -> String {
        match read(fields) {
            Err(Refusal::InvalidField { field, .. }) => field.into_owned(),
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn a_bare_request_has_the_defaults() {
        let request = read("").unwrap();
        assert_eq!(
            (
                request.model,
                request.stream,
                request.include_usage,
                request.max_tokens,
                request.choices
            ),
            (None, false, false, None, 1)
        );
        assert_eq!(request.max_tokens_field, "max_tokens");
        assert!(!request.server_tools && !request.audio_output && request.media_parts == 0);
    }

    #[test]
    fn messages_must_be_a_non_empty_array() {
        for body in [
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":null}"#,
            r#"{"messages":{}}"#,
            r#"{"messages":[1]}"#,
        ] {
            let refusal = parse(body.as_bytes(), Limits::default()).unwrap_err();
            assert_eq!(refusal.code(), "invalid_field", "{body}");
        }
        assert_eq!(
            parse(b"[]", Limits::default()).unwrap_err().code(),
            "invalid_json"
        );
    }

    #[test]
    fn the_larger_output_limit_is_the_bound() {
        let request = read(r#""max_tokens":10,"max_completion_tokens":7"#).unwrap();
        assert_eq!(
            (request.max_tokens, request.max_tokens_field),
            (Some(10), "max_completion_tokens")
        );
        let request = read(r#""max_tokens":10,"max_completion_tokens":null"#).unwrap();
        assert_eq!(
            (request.max_tokens, request.max_tokens_field),
            (Some(10), "max_tokens")
        );
        for bad in [
            "0",
            "-1",
            "1.5",
            "1e3",
            "\"5\"",
            "18446744073709551616",
            "[]",
            "true",
        ] {
            assert_eq!(refused(&format!(r#""max_tokens":{bad}"#)), "max_tokens");
            assert_eq!(
                refused(&format!(r#""max_completion_tokens":{bad}"#)),
                "max_completion_tokens"
            );
        }
    }

    #[test]
    fn fields_of_the_wrong_type_are_refused() {
        for (field, values) in [
            ("model", &["1", "[]"][..]),
            ("stream", &["1", "\"true\""]),
            ("n", &["0", "129", "1.0", "-1", "\"2\""]),
            ("service_tier", &["1", "{}"]),
            ("stream_options", &["true", "[]", r#"{"include_usage":1}"#]),
            ("models", &["\"a\"", "[1]", "{}"]),
            ("modalities", &["\"audio\"", "[null]"]),
        ] {
            for value in values {
                assert_eq!(refused(&format!("\"{field}\":{value}")), field, "{value}");
            }
            assert!(read(&format!("\"{field}\":null")).is_ok(), "{field} null");
        }
    }

    #[test]
    fn usage_is_asked_for_in_two_ways() {
        assert!(
            read(r#""stream":true,"stream_options":{"include_usage":true}"#)
                .unwrap()
                .include_usage
        );
        assert!(
            read(r#""stream":true,"usage":{"include":true}"#)
                .unwrap()
                .include_usage
        );
        assert!(!read(r#""usage":{"include":false}"#).unwrap().include_usage);
        assert!(
            !read(r#""stream_options":{"include_usage":null,"x":1}"#)
                .unwrap()
                .include_usage
        );
    }

    #[test]
    fn tools_the_provider_runs_are_seen_however_they_are_written() {
        for fields in [
            r#""plugins":[{"id":"web"}]"#,
            r#""web_search_options":{}"#,
            r#""model":"openai/gpt-4o:online""#,
            r#""model":"openai/gpt-4o:onlin\u0065""#,
            r#""models":["a","b:online"]"#,
            r#""tools":[{"type":"function"},{"type":"web_search"}]"#,
            r#""tools":[{"name":"x"}]"#,
            r#""t\u006fols":[{"typ\u0065":"web_search"}]"#,
        ] {
            assert!(read(fields).unwrap().server_tools, "{fields}");
        }
        for fields in [
            r#""plugins":[ ]"#,
            r#""tools":[{"type":"functio\u006e","function":{"type":"x"}}]"#,
            r#""tools":[{"type":"custom","custom":{"name":"x"}}]"#,
            r#""model":"a:onlines""#,
        ] {
            assert!(!read(fields).unwrap().server_tools, "{fields}");
        }
    }

    #[test]
    fn sound_images_predictions_and_tiers_are_seen() {
        let request =
            read(r#""modalities":["text","audio"],"prediction":{"content":"abc"}"#).unwrap();
        assert!(request.audio_output && !request.image_output);
        assert_eq!(request.prediction_bytes, r#"{"content":"abc"}"#.len());
        assert!(read(r#""audio":{"voice":"x"}"#).unwrap().audio_output);
        assert!(read(r#""modalities":["image"]"#).unwrap().image_output);
        for (text, tier) in [
            ("auto", None),
            ("default", Some(ServiceTier::Default)),
            ("flex", Some(ServiceTier::Flex)),
            ("priority", Some(ServiceTier::Priority)),
            ("scale", Some(ServiceTier::Priority)),
        ] {
            assert_eq!(
                read(&format!(r#""service_tier":"{text}""#))
                    .unwrap()
                    .service_tier,
                tier
            );
        }
    }

    #[test]
    fn files_that_are_elsewhere_have_a_length_that_nobody_can_see() {
        let read = |part: &str| {
            let body = format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
            let request = parse(body.leak().as_bytes(), Limits::default()).unwrap();
            (request.media_parts, request.unseen_input)
        };
        for part in [
            r#"{"type":"file","file":{"file_id":"file-1"}}"#,
            r#"{"type":"file","file":{"filename":"x","file_data":"https://example.com/x.pdf"}}"#,
            r#"{"f\u0069le":{"file_dat\u0061":"\u0048TTP://example.com"},"type":"file"}"#,
            r#"{"type":"video_url","video_url":{"url":"https://example.com/x.mp4"}}"#,
            r#"{"type":"input_video","input_video":"gs://bucket/x.mp4"}"#,
        ] {
            assert_eq!(read(part), (1, true), "{part}");
        }
        for part in [
            r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA","file_id":null}}"#,
            r#"{"type":"image_url","image_url":{"url":"https://example.com/x.png"}}"#,
            r#"{"type":"video_url","video_url":{"url":"data:video/mp4;base64,AAAA"}}"#,
            r#"{"type":"input_audio","input_audio":{"data":"http"}}"#,
        ] {
            assert_eq!(read(part), (1, false), "{part}");
        }
        let text = r#"{"type":"text","text":"https://example.com","file":{"file_id":"x"}}"#;
        assert_eq!(read(text), (0, false));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body, Limits::default());
        }

        #[test]
        fn nothing_written_with_json_characters_makes_it_panic(
            body in r#"\{("(messages|n|model|models|tools|stream|stream_options|usage)":[\[\]{}",:0-9a-z\\-]{0,20},?){0,6}\}?"#,
        ) {
            let _ = parse(body.as_bytes(), Limits::default());
        }
    }
}
