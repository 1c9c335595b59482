//! What a request for a model says, in the form of the API Orchestrator or in Anthropic's.
//!
//! Decides which of the two it is, what must be there, and which further fields go to the model. Messages are
//! kept as they were written: what nothing was found in leaves byte by byte.

use super::Denied;
use crate::admin::Shared;
use crate::json;
use crate::refusal::Refusal;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields of Anthropic's messages that go to the model beside those that every request has.
const PASSED: [&str; 10] = [
    "max_tokens",
    "metadata",
    "output_config",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Which form a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With `systemPrompt`, `sessionId` or `apiKey`.
    Orchestrator,
    /// Anthropic's own.
    Anthropic,
}

/// A request for a model.
#[derive(Debug)]
pub(super) struct Conversation {
    pub form: Form,
    pub model: String,
    /// The messages, as they were written.
    pub messages: Vec<Box<RawValue>>,
    /// The system prompt: a text, or a list of parts; nothing where there need not be one.
    pub system: Option<Box<RawValue>>,
    /// What the caller calls its session, and itself.
    pub session: Option<String>,
    pub api_key: Option<String>,
    /// Further fields, as they were written.
    more: Fields,
}

/// The members of a request.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// The object in a body, field by field.
///
/// # Errors
/// A body that is no JSON that Weir reads.
pub(super) fn fields(shared: &Shared, body: &[u8]) -> Result<Fields, Denied> {
    let depth = shared.gateway.settings.limits.json_depth;
    json::object(body, json::Limits { depth }).map_err(|error| Refusal::InvalidJson {
        reason: error.reason,
        at: error.at,
    })?;
    let read = serde_json::from_slice(body);
    read.map_err(|_| Refusal::BadRequest("The request body must be a JSON object").into())
}

/// A field that is a text; nothing for `null`.
pub(super) fn text(fields: &Fields, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

/// A name that callers write as a text or a number.
pub(super) fn name(fields: &Fields, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(fields.get(name)?.get()).ok()?;
    match value {
        Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Conversation {
    /// Reads a request. Anthropic's form is taken where `anthropic` says so, and nothing names the other one.
    ///
    /// # Errors
    /// What is missing or cannot be served.
    pub(super) fn read(shared: &Shared, body: &[u8], anthropic: bool) -> Result<Self, Denied> {
        let mut fields = fields(shared, body)?;
        let own = ["systemPrompt", "sessionId", "apiKey"];
        let form = if anthropic && !own.iter().any(|name| fields.contains_key(*name)) {
            Form::Anthropic
        } else {
            Form::Orchestrator
        };
        if fields.get("stream").is_some_and(|raw| raw.get() == "true") {
            let route = if anthropic { "/api/messages" } else { "/infer" };
            return Err(Denied::new(
                http::StatusCode::BAD_REQUEST,
                serde_json::json!({
                    "error": "STREAMING_NOT_SUPPORTED",
                    "message": format!(
                        "{route} answers when the whole answer was checked; leave 'stream' away, or use /v1/messages"
                    ),
                }),
            ));
        }
        let missing = || match form {
            Form::Orchestrator => Denied::missing("messages, systemPrompt, model"),
            Form::Anthropic => Denied::missing("messages, model"),
        };
        let messages = fields.remove("messages").ok_or_else(missing)?;
        let messages: Vec<Box<RawValue>> =
            serde_json::from_str(messages.get()).map_err(|_| missing())?;
        let model = text(&fields, "model").filter(|model| !model.trim().is_empty());
        let own = text(&fields, "systemPrompt").filter(|prompt| !prompt.is_empty());
        let own = own.and_then(|prompt| serde_json::value::to_raw_value(&prompt).ok());
        let system = own.or_else(|| fields.remove("system").filter(|raw| is_prompt(raw)));
        // Whoever passes on a request to the gateway behind it has all that Anthropic's form asks for.
        let may_lack = form == Form::Anthropic || fields.contains_key("max_tokens");
        let (Some(model), false, false) =
            (model, messages.is_empty(), system.is_none() && !may_lack)
        else {
            return Err(missing());
        };
        fields.retain(|name, _| {
            PASSED.contains(&name.as_str()) || ["sessionId", "apiKey"].contains(&name.as_str())
        });
        let (session, api_key) = (name(&fields, "sessionId"), name(&fields, "apiKey"));
        fields.retain(|name, raw| PASSED.contains(&name.as_str()) && raw.get() != "null");
        Ok(Self {
            form,
            model,
            messages,
            system,
            session,
            api_key,
            more: fields,
        })
    }

    /// The request in the words of Anthropic's messages, for this model; `tokens` of output where it names no
    /// limit itself.
    pub(super) fn asking(&self, model: &str, tokens: u64) -> Result<String, serde_json::Error> {
        let mut body: BTreeMap<&str, &RawValue> = BTreeMap::new();
        let model = serde_json::value::to_raw_value(model)?;
        let tokens = serde_json::value::to_raw_value(&tokens)?;
        let messages = serde_json::value::to_raw_value(&self.messages)?;
        body.insert("max_tokens", &tokens);
        for (name, raw) in &self.more {
            body.insert(name, raw);
        }
        body.insert("messages", &messages);
        body.insert("model", &model);
        if let Some(system) = &self.system {
            body.insert("system", system);
        }
        serde_json::to_string(&body)
    }

    /// The text of the system prompt; empty without one.
    pub(super) fn prompt(&self) -> String {
        let Some(raw) = &self.system else {
            return String::new();
        };
        match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => text,
            Ok(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }
}

/// Whether a system prompt is a text or a list of parts, and says something.
fn is_prompt(raw: &RawValue) -> bool {
    match serde_json::from_str(raw.get()) {
        Ok(Value::String(text)) => !text.is_empty(),
        Ok(Value::Array(parts)) => {
            let is_text = |part: &Value| part.get("text").is_some_and(Value::is_string);
            !parts.is_empty() && parts.iter().all(is_text)
        }
        _ => false,
    }
}

/// What a refusal in Anthropic's form looks like.
pub(super) fn in_anthropics_form(denied: Denied) -> Denied {
    let Value::Object(mut body) = denied.body else {
        return denied;
    };
    let kind = match denied.status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    };
    let code = body.remove("error").unwrap_or_default();
    let message = body.remove("message").unwrap_or_else(|| code.clone());
    let mut error = Map::new();
    error.insert("type".into(), kind.into());
    error.insert("message".into(), message);
    error.insert("code".into(), code);
    for (name, value) in body {
        error.entry(name).or_insert(value);
    }
    Denied {
        body: serde_json::json!({"type": "error", "error": error}),
        ..denied
    }
}
