//! How answers look: events, JSON bodies, usage and errors, as text.
//!
//! Pure: no clock, no I/O. What goes into an answer is decided in `answer` and `stream`; here it
//! only gets its punctuation, in the dialect of OpenRouter or of OpenAI.

use std::io::Write as _;

use super::behaviour::{Cost, Dialect, UsageForm};
use super::record::Announced;
use crate::money::Nanos;

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
    pub(super) fn error_event(&self, out: &mut Vec<u8>, usage: Option<&str>) {
        self.open(out);
        out.extend_from_slice(
            br#""error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"Mock","error_type":"provider_unavailable"}},"choices":[{"index":0,"delta":{"role":"assistant","content":""}"#,
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

/// Usage as it will be announced: the JSON text and what it says.
pub(super) struct UsageText {
    pub(super) json: String,
    pub(super) says: Option<Announced>,
}

/// Token counts before they are bent into a form.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
}

/// The usage object in the form that was asked for; `None` when there is to be none.
pub(super) fn usage(
    dialect: Dialect,
    form: UsageForm,
    counts: Counts,
    cost: &Cost,
    model: &str,
) -> Option<UsageText> {
    let honest = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (input, output) = match form {
        UsageForm::Off => return None,
        UsageForm::Null => {
            return Some(UsageText {
                json: "null".to_owned(),
                says: None,
            });
        }
        UsageForm::Negative => (-honest(counts.input).max(1), -honest(counts.output).max(1)),
        UsageForm::Huge => (i64::MAX - 1, i64::MAX - 1),
        UsageForm::Zero => (0, 0),
        _ => (honest(counts.input), honest(counts.output)),
    };
    let total = i128::from(input) + i128::from(output);
    let quote = if form == UsageForm::Text { "\"" } else { "" };
    let (amount, amount_text) = match cost {
        Cost::Off => (None, None),
        Cost::Exactly(amount) => (Some(*amount), Some(format!("{quote}{amount}{quote}"))),
        Cost::Wrong(text) => (None, Some(text.clone())),
        Cost::Computed if dialect == Dialect::OpenAi => (None, None),
        Cost::Computed => {
            let amount = match form {
                UsageForm::Zero => Nanos::ZERO,
                _ => super::price::cost(model, counts.input, counts.output),
            };
            (Some(amount), Some(format!("{quote}{amount}{quote}")))
        }
    };
    let mut json = format!(
        r#"{{"prompt_tokens":{quote}{input}{quote},"completion_tokens":{quote}{output}{quote},"total_tokens":{quote}{total}{quote}"#
    );
    if let Some(text) = amount_text {
        json.push_str(&format!(r#","cost":{text},"is_byok":false"#));
    }
    json.push_str(&format!(
        r#","prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{}}}}}"#,
        counts.cached, counts.reasoning
    ));
    let says = Announced {
        prompt_tokens: input,
        completion_tokens: output,
        cost_nanos: amount.map(|a| a.0),
    };
    Some(UsageText {
        json,
        says: Some(says),
    })
}

/// The body of an error answer.
pub(super) fn error(
    dialect: Dialect,
    status: u16,
    message: &str,
    limit_source: Option<&str>,
) -> String {
    let message = quoted(message);
    match dialect {
        Dialect::OpenRouter => {
            let source = limit_source
                .map_or_else(String::new, |s| format!(r#","limit_source":{}"#, quoted(s)));
            format!(
                r#"{{"error":{{"message":{message},"code":{status},"metadata":{{"provider_name":"Mock"{source}}}}},"user_id":"user_mock"}}"#
            )
        }
        Dialect::OpenAi => {
            let (kind, code) = match status {
                401 => ("invalid_request_error", "\"invalid_api_key\""),
                403 => ("invalid_request_error", "\"permission_denied\""),
                404 => ("invalid_request_error", "\"model_not_found\""),
                402 | 429 => ("insufficient_quota", "\"rate_limit_exceeded\""),
                500..=599 => ("server_error", "null"),
                _ => ("invalid_request_error", "null"),
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
