//! How answers look: events, JSON bodies, usage and errors, as text.
//!
//! Pure: no clock, no I/O. What goes into an answer is decided in `answer` and `stream`; here it
//! only gets its punctuation, in the dialect of OpenRouter or of OpenAI.

use std::io::Write as _;

use super::behaviour::Dialect;
use super::usage::Numbers;

/// JSON text of a string, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What every event of one answer has in common.
pub(super) struct Shape {
    dialect: Dialect,
    /// The fields before `choices`, as of a chunk.
    fields: String,
    /// OpenAI announces `usage: null` on every other chunk when usage was asked for.
    null_usage: bool,
}

impl Shape {
    pub(super) fn new(
        dialect: Dialect,
        stream: bool,
        id: &str,
        model: &str,
        created: u64,
        null_usage: bool,
    ) -> Self {
        let object = if stream {
            "chat.completion.chunk"
        } else {
            "chat.completion"
        };
        let model = quoted(model);
        let fields = match dialect {
            Dialect::OpenRouter => format!(
                r#""id":"{id}","provider":"Mock","model":{model},"object":"{object}","created":{created},"#
            ),
            Dialect::OpenAi => format!(
                r#""id":"{id}","object":"{object}","created":{created},"model":{model},"system_fingerprint":"fp_mock","#
            ),
        };
        Self {
            dialect,
            fields,
            null_usage,
        }
    }

    /// One event with one choice. `delta` is the inside of the delta object.
    pub(super) fn event(
        &self,
        out: &mut Vec<u8>,
        index: u64,
        delta: &[u8],
        finish: Option<&str>,
        usage: Option<&str>,
    ) {
        self.open(out);
        let _ = write!(out, r#""choices":[{{"index":{index},"delta":{{"#);
        out.extend_from_slice(delta);
        out.push(b'}');
        self.finish_reason(out, finish);
        out.extend_from_slice(b"}]");
        self.close(out, usage);
    }

    /// An event without choices, which only announces usage.
    pub(super) fn usage_event(&self, out: &mut Vec<u8>, usage: &str) {
        self.open(out);
        out.extend_from_slice(br#""choices":[]"#);
        self.close(out, Some(usage));
    }

    /// The event of an error after content was sent.
    pub(super) fn error_event(&self, out: &mut Vec<u8>, code: Option<&str>, usage: Option<&str>) {
        self.open(out);
        let kind = quoted(code.unwrap_or("provider_unavailable"));
        let code = match code {
            Some(_) if self.dialect == Dialect::OpenAi => kind.as_str(),
            _ => "502",
        };
        let _ = write!(
            out,
            r#""error":{{"code":{code},"message":"Provider returned error","metadata":{{"provider_name":"Mock","error_type":{kind}}}}},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}}"#,
        );
        self.finish_reason(out, Some("error"));
        out.extend_from_slice(b"}]");
        self.close(out, usage);
    }

    /// The whole body of a JSON answer. `messages` are the insides of the message objects.
    pub(super) fn body(
        &self,
        messages: &[Vec<u8>],
        finish: &str,
        error: bool,
        usage: &[&str],
        usage_first: bool,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.push(b'{');
        if usage_first {
            for usage in usage {
                let _ = write!(out, r#""usage":{usage},"#);
            }
        }
        out.extend_from_slice(self.fields.as_bytes());
        if error {
            out.extend_from_slice(br#""error":{"code":502,"message":"Provider returned error"},"#);
        }
        out.extend_from_slice(br#""choices":["#);
        for (index, message) in messages.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"index":{index},"message":{{"#);
            out.extend_from_slice(message);
            out.push(b'}');
            self.finish_reason(&mut out, Some(finish));
            out.push(b'}');
        }
        out.push(b']');
        if !usage_first {
            for usage in usage {
                let _ = write!(out, r#","usage":{usage}"#);
            }
        }
        out.push(b'}');
        out
    }

    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: {");
        out.extend_from_slice(self.fields.as_bytes());
    }

    fn close(&self, out: &mut Vec<u8>, usage: Option<&str>) {
        if let Some(usage) = usage {
            let _ = write!(out, r#","usage":{usage}"#);
        } else if self.null_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn finish_reason(&self, out: &mut Vec<u8>, finish: Option<&str>) {
        let (quote, reason) = finish.map_or(("", "null"), |reason| ("\"", reason));
        let _ = match self.dialect {
            Dialect::OpenRouter => write!(
                out,
                r#","finish_reason":{quote}{reason}{quote},"native_finish_reason":{quote}{reason}{quote},"logprobs":null"#
            ),
            Dialect::OpenAi => write!(
                out,
                r#","logprobs":null,"finish_reason":{quote}{reason}{quote}"#
            ),
        };
    }
}

/// The usage object of chat and legacy completions and of embeddings.
pub(super) fn usage(numbers: &Numbers) -> String {
    let total = i128::from(numbers.input) + i128::from(numbers.output);
    let quote = numbers.quote;
    let mut json = format!(
        r#"{{"prompt_tokens":{quote}{}{quote},"completion_tokens":{quote}{}{quote},"total_tokens":{quote}{total}{quote}"#,
        numbers.input, numbers.output
    );
    if let Some(text) = &numbers.cost_text {
        json.push_str(&format!(r#","cost":{text},"is_byok":false"#));
    }
    let counts = numbers.counts;
    json.push_str(&format!(
        r#","prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0"#,
        counts.cached
    ));
    if counts.cache_write > 0 {
        json.push_str(&format!(r#","cache_write_tokens":{}"#, counts.cache_write));
    }
    json.push_str(&format!(
        r#"}},"completion_tokens_details":{{"reasoning_tokens":{}}}}}"#,
        counts.reasoning
    ));
    json
}

/// The body of an error answer.
pub(super) fn error(
    dialect: Dialect,
    status: u16,
    message: &str,
    code: Option<&str>,
    limit_source: Option<&str>,
) -> String {
    let message = quoted(message);
    match dialect {
        Dialect::OpenRouter => {
            let source = limit_source
                .map_or_else(String::new, |s| format!(r#","limit_source":{}"#, quoted(s)));
            let kind = code.map_or_else(String::new, |s| format!(r#","error_type":{}"#, quoted(s)));
            format!(
                r#"{{"error":{{"message":{message},"code":{status},"metadata":{{"provider_name":"Mock"{kind}{source}}}}},"user_id":"user_mock"}}"#
            )
        }
        Dialect::OpenAi => {
            let (kind, usual) = match status {
                401 => ("invalid_request_error", "\"invalid_api_key\""),
                403 => ("invalid_request_error", "\"permission_denied\""),
                404 => ("invalid_request_error", "\"model_not_found\""),
                402 | 429 => ("insufficient_quota", "\"rate_limit_exceeded\""),
                500..=599 => ("server_error", "null"),
                _ => ("invalid_request_error", "null"),
            };
            let code = code.map_or_else(|| usual.to_owned(), quoted);
            let kind = if code == "\"insufficient_quota\"" {
                "insufficient_quota"
            } else {
                kind
            };
            format!(
                r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":{code}}}}}"#
            )
        }
    }
}

/// What a provider says with an error status.
pub(super) fn message(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "No auth credentials found",
        402 => "Insufficient credits. Add more using https://openrouter.ai/credits",
        403 => "Key limit exceeded",
        404 => "No endpoints found for this model",
        408 => "Request timed out",
        413 => "Request body too large",
        429 => "Rate limit exceeded",
        502 => "Provider returned error",
        503 => "No available model provider",
        504 => "Provider timed out",
        529 => "Provider overloaded",
        500..=599 => "Internal Server Error",
        _ => "Error",
    }
}
