//! Which interface a path belongs to, and how its errors look.
//!
//! Decides by the end of the path alone, so that any prefix a gateway is told to use will do. The
//! three families of error bodies are OpenAI's (with OpenRouter's and Azure's own variants),
//! Anthropic's and Google's.

use serde_json::{Value, json};

use super::behaviour::{Behaviour, Dialect};
use super::shape;

/// The interfaces that the mock speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Messages,
    CountTokens,
    Gemini,
    GeminiCount,
}

/// Where a request was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) api: Api,
    /// Below a deployment of Azure OpenAI.
    pub(super) azure: bool,
    /// OpenRouter's own place of the Messages interface.
    pub(super) openrouter: bool,
    /// The OpenClaw gateway, which asks for less than Anthropic does.
    pub(super) openclaw: bool,
    /// The model or deployment that the path names.
    pub(super) model: Option<String>,
    /// The path asks for an event stream.
    pub(super) stream: bool,
}

const AZURE: &str = "/openai/deployments/";

impl Place {
    /// The place of a `POST`; `None` when nothing is there.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut place = Self {
            api: Api::Chat,
            azure: false,
            openrouter: path.ends_with("/api/v1/messages"),
            openclaw: path.ends_with("/api/messages"),
            model: None,
            stream: false,
        };
        if let Some((models, action)) = path.rsplit_once(':')
            && let Some((_, model)) = models.rsplit_once("/models/")
        {
            (place.api, place.stream) = match action {
                "generateContent" => (Api::Gemini, false),
                "streamGenerateContent" => (Api::Gemini, true),
                "countTokens" => (Api::GeminiCount, false),
                _ => return None,
            };
            place.model = Some(model.to_owned());
            return Some(place);
        }
        let ends = [
            ("/chat/completions", Api::Chat),
            ("/completions", Api::Completions),
            ("/embeddings", Api::Embeddings),
            ("/responses", Api::Responses),
            ("/messages", Api::Messages),
            ("/messages/count_tokens", Api::CountTokens),
        ];
        let (end, api) = ends.into_iter().find(|(end, _)| path.ends_with(end))?;
        place.api = api;
        if let Some((_, rest)) = path[..path.len() - end.len()].split_once(AZURE) {
            place.azure = true;
            place.model = Some(rest.to_owned());
        }
        Some(place)
    }

    /// The name of the interface in a record.
    pub(super) fn name(&self) -> &'static str {
        match self.api {
            Api::Chat if self.azure => "azure",
            Api::Chat => "chat",
            Api::Completions => "completions",
            Api::Embeddings => "embeddings",
            Api::Responses => "responses",
            Api::Messages => "messages",
            Api::CountTokens => "count_tokens",
            Api::Gemini => "gemini",
            Api::GeminiCount => "gemini_count",
        }
    }

    /// Whether a name in the query belongs to the interface and not to the mock.
    pub(super) fn owns(&self, name: &str) -> bool {
        match self.api {
            Api::Gemini | Api::GeminiCount => matches!(name, "alt" | "$alt"),
            Api::Messages | Api::CountTokens => name == "beta",
            _ => name == "api-version",
        }
    }

    /// The header that carries the key here; `authorization` means a bearer key.
    pub(super) fn key_headers(&self) -> &'static [&'static str] {
        match self.api {
            Api::Gemini | Api::GeminiCount => &["x-goog-api-key"],
            Api::Messages | Api::CountTokens => &["x-api-key", "authorization"],
            _ if self.azure => &["api-key"],
            _ => &["authorization"],
        }
    }

    /// The fields of the body whose value `body_sha=messages` digests.
    pub(super) fn messages(&self) -> &'static str {
        match self.api {
            Api::Chat | Api::Messages | Api::CountTokens => "messages",
            Api::Completions => "prompt",
            Api::Embeddings | Api::Responses => "input",
            Api::Gemini | Api::GeminiCount => "contents",
        }
    }

    /// Whether an answer from here has a cost unless one was asked for.
    pub(super) fn charges(&self, dialect: Dialect) -> bool {
        dialect == Dialect::OpenRouter
            && match self.api {
                Api::Messages => self.openrouter,
                Api::Gemini | Api::GeminiCount | Api::CountTokens => false,
                _ => !self.azure,
            }
    }
}

/// An error answer before it has a shape.
pub(super) struct Failure<'a> {
    pub(super) status: u16,
    pub(super) code: Option<&'a str>,
    /// Said instead of what the status or code would say.
    pub(super) message: Option<&'a str>,
    /// What the mock counts for the prompt.
    pub(super) prompt_tokens: u64,
}

/// The body of an error answer.
pub(super) fn error(place: &Place, behaviour: &Behaviour, failure: &Failure<'_>) -> String {
    let status = failure.status;
    match place.api {
        Api::Messages | Api::CountTokens => anthropic(failure).to_string(),
        Api::Gemini | Api::GeminiCount => {
            google(failure, behaviour.retry_after.as_deref()).to_string()
        }
        _ => {
            let said = openai_message(failure);
            if place.azure && matches!(failure.code, Some("content_filter")) {
                return azure_filtered(&said, status).to_string();
            }
            let dialect = if place.azure {
                Dialect::OpenAi
            } else {
                behaviour.dialect
            };
            let source = behaviour.limit_source.as_deref();
            shape::error(dialect, status, &said, failure.code, source)
        }
    }
}

fn openai_message(failure: &Failure<'_>) -> String {
    if let Some(message) = failure.message {
        return message.to_owned();
    }
    match failure.code {
        Some("context_length_exceeded") => format!(
            "This model's maximum context length is 128000 tokens. However, your messages resulted in {} tokens. Please reduce the length of the messages.",
            failure.prompt_tokens
        ),
        Some("content_policy_violation") => {
            "Your request was rejected as a result of our safety system.".to_owned()
        }
        Some("content_filter") => {
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.".to_owned()
        }
        Some("insufficient_quota") => {
            "You exceeded your current quota, please check your plan and billing details."
                .to_owned()
        }
        _ => shape::message(failure.status).to_owned(),
    }
}

fn azure_filtered(message: &str, status: u16) -> Value {
    json!({"error": {
        "message": message, "type": null, "param": "prompt", "code": "content_filter",
        "status": status,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"jailbreak": {"filtered": true, "detected": true}},
        },
    }})
}

/// Anthropic's error; also the data of its error event.
pub(super) fn anthropic(failure: &Failure<'_>) -> Value {
    let kind = match (failure.code, failure.status) {
        (Some(code), _) if code.ends_with("_error") => code,
        (_, 401) => "authentication_error",
        (_, 402) => "billing_error",
        (_, 403) => "permission_error",
        (_, 404) => "not_found_error",
        (_, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (_, 504) => "timeout_error",
        (_, 529) => "overloaded_error",
        (_, 500..=599) => "api_error",
        _ => "invalid_request_error",
    };
    let message = match (failure.message, failure.code) {
        (Some(message), _) => message.to_owned(),
        (_, Some("context_length_exceeded")) => format!(
            "prompt is too long: {} tokens > 200000 maximum",
            failure.prompt_tokens
        ),
        (_, Some("content_policy_violation" | "content_filter")) => {
            "Output blocked by content filtering policy".to_owned()
        }
        (_, Some("insufficient_quota")) => {
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.".to_owned()
        }
        _ => match failure.status {
            401 => "invalid x-api-key".to_owned(),
            529 => "Overloaded".to_owned(),
            status => shape::message(status).to_owned(),
        },
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_mock",
    })
}

/// Google's error; also the data of its error event.
pub(super) fn google(failure: &Failure<'_>, retry_after: Option<&str>) -> Value {
    let named = |code: &&str| {
        code.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let status = failure.code.filter(named).unwrap_or(match failure.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500..=599 => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    });
    let message = match (failure.message, failure.code) {
        (Some(message), _) => message.to_owned(),
        (_, Some("context_length_exceeded")) => format!(
            "The input token count ({}) exceeds the maximum number of tokens allowed (1048576).",
            failure.prompt_tokens
        ),
        (_, Some("content_policy_violation" | "content_filter")) => {
            "The prompt was blocked because it contains prohibited content.".to_owned()
        }
        _ => match failure.status {
            503 => "The model is overloaded. Please try again later.".to_owned(),
            429 => "You exceeded your current quota, please check your plan and billing details."
                .to_owned(),
            status => shape::message(status).to_owned(),
        },
    };
    let mut error = json!({"code": failure.status, "message": message, "status": status});
    if let Some(seconds) = retry_after {
        error["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }]);
    }
    json!({"error": error})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_what_is_spoken() {
        for (path, name, model) in [
            ("/v1/chat/completions", "chat", None),
            ("/a/b/completions", "completions", None),
            ("/openai/embeddings", "embeddings", None),
            ("/v1/responses", "responses", None),
            ("/api/messages", "messages", None),
            ("/v1/messages/count_tokens", "count_tokens", None),
            (
                "/openai/deployments/gpt/chat/completions",
                "azure",
                Some("gpt"),
            ),
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
                "gemini",
                Some("gemini-2.5-pro"),
            ),
        ] {
            let place = Place::of(path).unwrap();
            assert_eq!((place.name(), place.model.as_deref()), (name, model));
        }
        for path in [
            "/v1",
            "/v1/models/a:embed",
            "/x:generateContent",
            "completions",
        ] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }
}
