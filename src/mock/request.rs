//! Reading a chat request, and refusing what no gateway may send.
//!
//! A real provider forgives much; the mock forgives nothing, because a request that is wrong here
//! is a fault of the gateway in front of it. The checks of framing that need raw bytes are in
//! `http1`.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::behaviour::Dialect;

/// A request that was read in full, over whichever protocol.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) protocol: &'static str,
    /// The host, from the header or from `:authority`.
    pub(super) has_host: bool,
    /// What is wrong with the framing; the body was not read then.
    pub(super) problem: Option<&'static str>,
}

impl Request {
    /// A header as text, the first when it is repeated.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The fields of a chat request that the mock acts on.
pub(super) struct Chat<'a> {
    pub(super) model: Option<String>,
    pub(super) models: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) max_tokens: Option<u64>,
    pub(super) choices: u64,
    /// A quarter of the bytes of all message texts, rounded up, at least one.
    pub(super) prompt_tokens: u64,
    /// The name of the first tool.
    pub(super) tool: Option<String>,
    body: &'a [u8],
    has_usage: bool,
    has_stream_options: bool,
}

/// Why a request is refused, with the status that says so.
pub(super) struct Refused(pub(super) u16, pub(super) String);

fn refused<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(400, reason.into()))
}

/// Headers that belong to one connection and must not have come through a proxy.
const HOP_BY_HOP: &[&str] = &[
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "trailer",
    "upgrade",
];

/// Checks framing and headers.
pub(super) fn check_head(request: &Request, require_key: Option<&str>) -> Result<(), Refused> {
    if let Some(problem) = request.problem {
        return refused(problem);
    }
    let headers = &request.headers;
    if !request.has_host {
        return refused("no Host");
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return refused("more than one Host");
    }
    for name in HOP_BY_HOP {
        if headers.contains_key(*name) {
            return refused(format!("hop-by-hop header {name} was passed on"));
        }
    }
    for value in headers.get_all(header::CONNECTION) {
        let known = |option: &str| {
            ["", "close", "keep-alive"]
                .iter()
                .any(|known| option.trim().eq_ignore_ascii_case(known))
        };
        if !value
            .to_str()
            .is_ok_and(|options| options.split(',').all(known))
        {
            return refused("Connection names a header of the hop before");
        }
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        return refused("hop-by-hop header te was passed on");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refused("the body is compressed");
    }
    let media = request
        .header("content-type")
        .map(|text| text.split(';').next().unwrap_or(text));
    if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return refused("Content-Type is not application/json");
    }
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return refused("more than one Authorization");
    }
    if let Some(key) = require_key {
        let given = request
            .header("authorization")
            .and_then(|text| text.strip_prefix("Bearer "));
        if given != Some(key) {
            return Err(Refused(401, super::shape::message(401).to_owned()));
        }
    }
    Ok(())
}

/// Reads and checks the body.
pub(super) fn read(body: &[u8], dialect: Dialect) -> Result<Chat<'_>, Refused> {
    let chat = parse(body).map_err(|error| Refused(400, format!("invalid body: {error}")))?;
    if dialect == Dialect::OpenAi {
        if chat.has_usage {
            return refused("Unrecognized request argument supplied: usage");
        }
        if chat.has_stream_options && !chat.stream {
            return refused(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            );
        }
    }
    Ok(chat)
}

impl<'a> Chat<'a> {
    /// The value of `messages`, byte for byte.
    pub(super) fn messages(&self) -> &'a str {
        #[derive(Deserialize)]
        struct Only<'a> {
            #[serde(borrow)]
            messages: &'a RawValue,
        }
        // The body was read before, so it is read again without an error.
        serde_json::from_slice::<Only<'_>>(self.body).map_or("", |only| only.messages.get())
    }
}

fn parse(body: &[u8]) -> Result<Chat<'_>, serde_json::Error> {
    let Fields { fields, messages } = serde_json::from_slice(body)?;
    let get = |name: &str| {
        fields
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.get()))
            .filter(|value| *value != "null")
    };
    fn read<'a, T: Deserialize<'a>>(
        value: Option<&'a str>,
    ) -> Result<Option<T>, serde_json::Error> {
        value.map(serde_json::from_str).transpose()
    }
    let text_bytes = match messages {
        None => return Err(serde_json::Error::custom("no messages")),
        Some(Messages { count: 0, .. }) => {
            return Err(serde_json::Error::custom("messages is empty"));
        }
        Some(messages) => messages.text_bytes,
    };
    let options: Option<StreamOptions> = read(get("stream_options"))?;
    let tools: Option<Vec<Tool>> = read(get("tools"))?;
    let max_tokens: Option<u64> = read(get("max_completion_tokens").or(get("max_tokens")))?;
    if max_tokens == Some(0) {
        return Err(serde_json::Error::custom("max_tokens must be at least 1"));
    }
    let choices: u64 = read(get("n"))?.unwrap_or(1);
    if !(1..=128).contains(&choices) {
        return Err(serde_json::Error::custom("n must be from 1 to 128"));
    }
    Ok(Chat {
        model: read(get("model"))?,
        models: read(get("models"))?.unwrap_or_default(),
        stream: read(get("stream"))?.unwrap_or(false),
        include_usage: options
            .and_then(|options| options.include_usage)
            .unwrap_or(false),
        max_tokens,
        choices,
        prompt_tokens: text_bytes.div_ceil(4).max(1),
        tool: tools
            .and_then(|tools| tools.into_iter().next())
            .and_then(|tool| tool.function)
            .and_then(|function| function.name),
        body,
        has_usage: get("usage").is_some(),
        has_stream_options: get("stream_options").is_some(),
    })
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Tool {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is counted of `messages`, without keeping them.
#[derive(Default)]
struct Messages {
    count: u64,
    text_bytes: u64,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: TextBytes,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: TextBytes,
}

/// The bytes of a text, of all text parts of an array, or none of a null.
#[derive(Default)]
struct TextBytes(u64);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Messages;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Messages, A::Error> {
                let mut messages = Messages::default();
                while let Some(Message { content }) = seq.next_element()? {
                    messages.count += 1;
                    messages.text_bytes += content.0;
                }
                Ok(messages)
            }
        }
        deserializer.deserialize_seq(Count)
    }
}

impl<'de> Deserialize<'de> for TextBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = TextBytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, parts or null")
            }
            fn visit_unit<E>(self) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_str<E>(self, text: &str) -> Result<TextBytes, E> {
                Ok(TextBytes(text.len() as u64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextBytes, A::Error> {
                let mut bytes = 0;
                while let Some(Part { text }) = seq.next_element()? {
                    bytes += text.0;
                }
                Ok(TextBytes(bytes))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// The top-level fields of an object, none of them twice.
struct Fields<'a> {
    /// All but `messages`.
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    messages: Option<Messages>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(16);
                let mut messages = None;
                while let Some(Text(key)) = map.next_key()? {
                    let known = fields.iter().any(|(known, _)| *known == key);
                    if known || (key == "messages" && messages.is_some()) {
                        return Err(A::Error::custom(format_args!(
                            "field `{key}` is there twice"
                        )));
                    }
                    if key == "messages" {
                        messages = Some(map.next_value()?);
                    } else {
                        fields.push((key, map.next_value()?));
                    }
                }
                Ok(Fields { fields, messages })
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str, dialect: Dialect) -> String {
        read(body.as_bytes(), dialect)
            .err()
            .map(|refused| refused.1)
            .unwrap()
    }

    #[test]
    fn bodies_no_gateway_may_send_are_refused() {
        for (body, why) in [
            ("{", "EOF"),
            ("[]", "JSON object"),
            (r#"{"messages":[]}"#, "empty"),
            (r#"{"model":"a"}"#, "no messages"),
            (r#"{"messages":[{}],"messages":[{}]}"#, "twice"),
            (r#"{"messages":[{"content":7}]}"#, "text, parts or null"),
            (r#"{"messages":"a"}"#, "array of messages"),
            (r#"{"model":"a","mod\u0065l":"b","messages":[{}]}"#, "twice"),
            (r#"{"messages":[{"content":"a"}],"n":0}"#, "n must"),
            (
                r#"{"messages":[{"content":"a"}],"max_tokens":0}"#,
                "max_tokens",
            ),
            (r#"{"messages":[{"content":"a"}]} x"#, "trailing"),
        ] {
            let reason = reason(body, Dialect::OpenRouter);
            assert!(reason.contains(why), "{body}: {reason}");
        }
        let body = r#"{"messages":[{"content":"a"}],"usage":{"include":true}}"#;
        assert!(read(body.as_bytes(), Dialect::OpenRouter).is_ok());
        assert!(reason(body, Dialect::OpenAi).contains("usage"));
    }

    #[test]
    fn prompt_tokens_are_a_quarter_of_the_text_bytes() {
        for (messages, tokens) in [
            (r#"[{"role":"user","content":"Hello"}]"#, 2),
            (r#"[{"content":null}]"#, 1),
            (
                r#"[{"content":"abcd"},{"content":[{"type":"text","text":"abcd"},{"type":"image_url"}]}]"#,
                2,
            ),
            (r#"[{"content":"\u00e9\n"}]"#, 1),
        ] {
            let body = format!(r#"{{"messages":{messages}}}"#);
            let chat = read(body.as_bytes(), Dialect::OpenAi).ok().unwrap();
            assert_eq!(chat.prompt_tokens, tokens, "{messages}");
        }
    }
}
