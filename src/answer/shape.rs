//! Errors in the shapes of the other surfaces, whole and in the middle of a stream.

use crate::dialect::form::{Failure, FailureKind};
use crate::refusal::Refusal;
use crate::surface::{ErrorShape, Surface};
use serde_json::{Value, json};

/// The message and code of a stream that its provider broke off.
const BROKEN_OFF: (&str, &str) = (
    "The upstream provider broke off its answer",
    "upstream_broken_off",
);

/// Anthropic's error, with the stable code beside its type.
pub(super) fn anthropic(status: u16, message: &str, code: &str, request: &str) -> Value {
    json!({
        "type": "error",
        "error": {
            "type": anthropic_type(FailureKind::of_status(status)),
            "message": message,
            "code": code,
        },
        "request_id": request,
    })
}

/// Anthropic's word for a kind of error.
const fn anthropic_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Invalid => "invalid_request_error",
        FailureKind::Authentication => "authentication_error",
        FailureKind::Payment => "billing_error",
        FailureKind::Permission => "permission_error",
        FailureKind::NotFound => "not_found_error",
        FailureKind::TooLarge => "request_too_large",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::Timeout => "timeout_error",
        FailureKind::Server => "api_error",
    }
}

/// OpenAI's word for a kind of error.
const fn openai_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Authentication => "authentication_error",
        FailureKind::Payment => "insufficient_quota",
        FailureKind::Permission => "permission_error",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Invalid | FailureKind::NotFound | FailureKind::TooLarge => {
            "invalid_request_error"
        }
        FailureKind::Overloaded | FailureKind::Timeout | FailureKind::Server => "api_error",
    }
}

/// The Model Gateway's error, in its own words where it had some.
pub(super) fn titan(refusal: &Refusal) -> Value {
    let detail = match refusal {
        Refusal::BudgetExhausted(_) => "Daily budget exceeded".to_owned(),
        Refusal::ModelNotFound { model } => format!("Unknown model: {model}"),
        Refusal::MissingKey(_) => "Missing authorization header".to_owned(),
        Refusal::AuthorizationFormat => "Invalid authorization format".to_owned(),
        Refusal::InvalidKey | Refusal::ExpiredKey | Refusal::AdminToken(_) => {
            "Invalid token".to_owned()
        }
        other => other.to_string(),
    };
    json!({ "detail": detail, "code": refusal.code() })
}

/// A provider's error in the shape that a client expects.
pub fn failure(shape: ErrorShape, status: u16, failure: &Failure) -> Value {
    let kind = failure.kind;
    match shape {
        ErrorShape::OpenAi => json!({
            "error": {
                "message": failure.message,
                "type": openai_type(kind),
                "param": null,
                "code": failure.code,
            },
        }),
        ErrorShape::Anthropic => json!({
            "type": "error",
            "error": { "type": anthropic_type(kind), "message": failure.message },
        }),
        ErrorShape::Titan => json!({ "detail": failure.message, "status": status }),
    }
}

/// The event that tells a client in the middle of a stream that there will be no more.
pub fn broken_off(surface: Surface) -> Vec<u8> {
    let (message, code) = BROKEN_OFF;
    let (name, data) = match surface {
        Surface::Messages | Surface::CountTokens => (
            Some("error"),
            json!({"type": "error", "error": {"type": "api_error", "message": message}}),
        ),
        Surface::Responses => (
            Some("error"),
            json!({"type": "error", "code": code, "message": message, "param": null}),
        ),
        Surface::Titan => (
            None,
            json!({"error": message, "status": 502, "budget_stats": {}}),
        ),
        Surface::Chat | Surface::Completions | Surface::Embeddings => (
            None,
            json!({"error": {"message": message, "type": "api_error", "param": null, "code": code}}),
        ),
    };
    let name = name.map_or(String::new(), |name| format!("event: {name}\n"));
    format!("{name}data: {data}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    #[test]
    fn every_surface_has_its_own_shape() {
        let refusal = Refusal::ModelNotFound { model: "x".into() };
        let body = |shape| -> Value {
            let answer = Answer::refusal_in(shape, &refusal, "req_1");
            assert_eq!(answer.status, 404);
            serde_json::from_slice(&answer.body).unwrap()
        };
        let openai = body(ErrorShape::OpenAi);
        assert_eq!(openai["error"]["code"], "model_not_found");
        assert_eq!(openai["error"]["param"], "model");
        let anthropic = body(ErrorShape::Anthropic);
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "not_found_error");
        assert_eq!(anthropic["request_id"], "req_1");
        assert_eq!(body(ErrorShape::Titan)["detail"], "Unknown model: x");
    }

    #[test]
    fn a_limit_says_when_to_come_back() {
        let refusal = Refusal::RateLimited {
            what: "requests",
            scope: "key",
            limit: 3,
            retry_after: 17,
        };
        for shape in [ErrorShape::OpenAi, ErrorShape::Anthropic, ErrorShape::Titan] {
            let answer = Answer::refusal_in(shape, &refusal, "");
            assert_eq!(answer.status, 429);
            let header = answer
                .headers
                .iter()
                .find(|(name, _)| name == "retry-after");
            assert_eq!(header.unwrap().1, "17");
        }
    }

    #[test]
    fn a_stream_that_broke_off_ends_with_an_event_of_its_surface() {
        let text = |surface| String::from_utf8(broken_off(surface)).unwrap();
        assert!(text(Surface::Messages).starts_with("event: error\ndata: {"));
        assert!(text(Surface::Chat).starts_with("data: {\"error\":{"));
        for surface in [Surface::Responses, Surface::Titan, Surface::Completions] {
            let event = text(surface);
            let data = event.split("data: ").nth(1).unwrap();
            assert!(serde_json::from_str::<Value>(data).is_ok());
            assert!(event.ends_with("\n\n"));
        }
    }
}
