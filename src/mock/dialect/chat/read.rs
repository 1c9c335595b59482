//! Reading a chat request.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::mock::api::Place;
use crate::mock::behaviour::Dialect;
use crate::mock::request::{Asked, Refused, tokens};

/// What OpenAI documents of a request, with Azure's own.
const FIELDS: &str = "messages model audio frequency_penalty function_call functions logit_bias logprobs \
    max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction \
    presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort \
    response_format safety_identifier seed service_tier stop store stream stream_options temperature \
    tool_choice tools top_logprobs top_p user verbosity web_search_options";
const AZURE_FIELDS: &str = "data_sources user_security_context";

/// Reads and checks the body. OpenRouter takes any field, OpenAI only its own.
pub(in crate::mock) fn read<'a>(
    body: &'a [u8],
    dialect: Dialect,
    place: &Place,
) -> Result<Asked<'a>, Refused> {
    let invalid = |error| Refused::new(400, format!("invalid body: {error}"));
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(invalid)?;
    let asked = parse(body, &fields, place).map_err(invalid)?;
    if let Some(problem) = fields.messages.and_then(|messages| messages.problem) {
        return Refused::bad(problem);
    }
    if dialect == Dialect::OpenAi || place.azure {
        // Asked as OpenRouter is, it answers as OpenAI does.
        let auto = fields
            .fields
            .iter()
            .any(|(name, value)| name == "model" && value.get() == r#""openrouter/auto""#);
        let known = |name: &str| {
            if auto && matches!(name, "models" | "route") {
                return true;
            }
            let azure = AZURE_FIELDS
                .split_ascii_whitespace()
                .filter(|_| place.azure);
            FIELDS
                .split_ascii_whitespace()
                .chain(azure)
                .any(|field| field == name)
        };
        let mut names = fields.fields.iter().map(|(name, _)| name.as_ref());
        if let Some(name) = names.find(|name| !known(name)) {
            return Refused::bad(format!("Unrecognized request argument supplied: {name}"));
        }
        let options = |(name, value): &(Cow<'_, str>, &RawValue)| {
            name == "stream_options" && value.get() != "null"
        };
        if fields.fields.iter().any(options) && !asked.stream {
            return Refused::bad(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            );
        }
    }
    Ok(asked)
}

fn parse<'a>(
    body: &'a [u8],
    read: &Fields<'a>,
    place: &Place,
) -> Result<Asked<'a>, serde_json::Error> {
    let Fields { fields, messages } = read;
    let get = |name: &str| {
        fields
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.get()))
            .filter(|value| *value != "null")
    };
    fn value<'a, T: Deserialize<'a>>(
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
    let options: Option<StreamOptions> = value(get("stream_options"))?;
    let tools: Option<Vec<Tool>> = value(get("tools"))?;
    let max_tokens: Option<u64> = value(get("max_completion_tokens").or(get("max_tokens")))?;
    if max_tokens == Some(0) {
        return Err(serde_json::Error::custom("max_tokens must be at least 1"));
    }
    let choices: u64 = value(get("n"))?.unwrap_or(1);
    if !(1..=128).contains(&choices) {
        return Err(serde_json::Error::custom("n must be from 1 to 128"));
    }
    Ok(Asked {
        model: value(get("model"))?,
        models: value(get("models"))?.unwrap_or_default(),
        stream: value(get("stream"))?.unwrap_or(false),
        include_usage: options
            .and_then(|options| options.include_usage)
            .unwrap_or(false),
        max_tokens,
        choices,
        prompt_tokens: tokens(text_bytes),
        tools: tools
            .unwrap_or_default()
            .into_iter()
            .filter_map(|tool| tool.function?.name)
            .collect(),
        body,
        messages: place.messages(),
        ..Asked::default()
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
    /// Why their order is not valid.
    problem: Option<String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    content: TextBytes,
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

/// Checks that every tool message answers a call of the assistant message before it.
#[derive(Default)]
struct Order<'a> {
    /// The calls of the last assistant message.
    calls: Option<Vec<Cow<'a, str>>>,
    /// Those not yet answered.
    open: usize,
}

impl<'a> Order<'a> {
    fn next(&mut self, message: Message<'a>) -> Result<(), String> {
        let role = message.role.map(|role| role.0).unwrap_or_default();
        if role == "tool" {
            let calls = self.calls.as_ref().ok_or(
                "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
            )?;
            let Some(Text(id)) = message.tool_call_id else {
                return Err("Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.".to_owned());
            };
            if !calls.contains(&id) {
                return Err(format!(
                    "Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message."
                ));
            }
            self.open = self.open.saturating_sub(1);
            return Ok(());
        }
        self.end()?;
        let calls = message.tool_calls.unwrap_or_default().into_iter();
        let calls: Vec<_> = calls.filter_map(|call| Some(call.id?.0)).collect();
        self.open = calls.len();
        self.calls = (role == "assistant" && !calls.is_empty()).then_some(calls);
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if self.calls.is_some() && self.open > 0 {
            return Err("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.".to_owned());
        }
        Ok(())
    }
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
                let mut order = Order::default();
                while let Some(message) = seq.next_element::<Message<'de>>()? {
                    messages.count += 1;
                    messages.text_bytes += message.content.0;
                    if messages.problem.is_none() {
                        messages.problem = order.next(message).err();
                    }
                }
                messages.problem = messages.problem.or_else(|| order.end().err());
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

    fn place() -> Place {
        Place::of("/v1/chat/completions").unwrap()
    }

    fn reason(body: &str, dialect: Dialect) -> String {
        read(body.as_bytes(), dialect, &place())
            .err()
            .map(|refused| refused.reason)
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
        assert!(read(body.as_bytes(), Dialect::OpenRouter, &place()).is_ok());
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
            let chat = read(body.as_bytes(), Dialect::OpenAi, &place())
                .ok()
                .unwrap();
            assert_eq!(chat.prompt_tokens, tokens, "{messages}");
        }
    }
}
