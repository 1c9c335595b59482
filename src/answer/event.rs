//! Errors in the middle of a stream, as the clients of each surface read them.
//!
//! Decides the form of the event; when a stream ends with one is the proxy's to say. The status has
//! been sent by then, so the event names what it would have been where its form has room for that.

use super::{anthropic_kind, kind, status_in};
use crate::refusal::Refusal;
use crate::surface::Surface;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// The event that ends a stream with this error: whole server-sent event, empty line included.
/// `status` is what the answer would have had.
pub fn error_event(surface: Surface, status: StatusCode, message: &str, code: &str) -> Bytes {
    match surface {
        Surface::Chat | Surface::Completions | Surface::Embeddings => {
            let error = json!({
                "message": message,
                "type": kind(status),
                "param": null,
                "code": code,
            });
            data(&json!({ "error": error }))
        }
        Surface::Messages | Surface::CountTokens => named(&json!({
            "type": "error",
            "error": {"type": anthropic_kind(status), "message": message, "code": code},
        })),
        Surface::Responses => named(&json!({
            "type": "error",
            "code": code,
            "message": message,
            "param": null,
            "sequence_number": 0,
        })),
        Surface::Titan => data(&json!({
            "error": message,
            "status": status.as_u16(),
            "budget_stats": {},
        })),
    }
}

/// All that a stream of the Model Gateway consists of when its budget is used up.
pub(super) fn over_budget(status: StatusCode, message: &str, stats: &Value) -> Bytes {
    data(&json!({"error": message, "status": status.as_u16(), "budget_stats": stats}))
}

/// The event that ends a stream with a refusal.
pub fn refusal_event(surface: Surface, refusal: &Refusal) -> Bytes {
    let status = status_in(surface.shape(), refusal);
    error_event(surface, status, &refusal.to_string(), refusal.code())
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn named(value: &Value) -> Bytes {
    Bytes::from(format!("event: error\ndata: {value}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(surface: Surface) -> (Option<String>, Value) {
        let refusal = Refusal::UpstreamTimeout;
        let bytes = refusal_event(surface, &refusal);
        let text = std::str::from_utf8(&bytes).unwrap();
        let text = text.strip_suffix("\n\n").unwrap();
        let (name, data) = match text.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: ").map(str::to_owned), data),
            None => (None, text),
        };
        let data = data.strip_prefix("data: ").unwrap();
        (name, serde_json::from_str(data).unwrap())
    }

    #[test]
    fn every_surface_has_its_own_form() {
        let message = Refusal::UpstreamTimeout.to_string();
        let code = "upstream_timeout";
        for surface in [Surface::Chat, Surface::Completions] {
            let error =
                json!({"message": message, "type": "api_error", "param": null, "code": code});
            assert_eq!(event(surface), (None, json!({ "error": error })));
        }
        let error = json!({"type": "timeout_error", "message": message, "code": code});
        assert_eq!(
            event(Surface::Messages),
            (
                Some("error".into()),
                json!({"type": "error", "error": error})
            )
        );
        let (name, data) = event(Surface::Responses);
        assert_eq!(name.as_deref(), Some("error"));
        assert_eq!(
            (&data["type"], &data["code"], &data["message"]),
            (&json!("error"), &json!(code), &json!(message))
        );
        let titan = json!({"error": message, "status": 504, "budget_stats": {}});
        assert_eq!(event(Surface::Titan), (None, titan));
    }

    #[test]
    fn a_message_cannot_end_its_event() {
        let text = "a\n\ndata: [DONE]\n\n";
        let bytes = error_event(Surface::Chat, StatusCode::BAD_GATEWAY, text, "x");
        let whole = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(whole.matches('\n').count(), 2);
    }
}
