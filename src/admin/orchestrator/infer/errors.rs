//! What `/infer` says when a request goes no further.

use crate::admin::orchestrator::Denied;
use crate::guard::finding::Severity;
use crate::guard::quarantine::Quarantined;
use crate::refusal::CostLimit;
use http::StatusCode;
use serde_json::{Value, json};

/// A caller whose strike was one too many.
pub(super) fn in_quarantine_now(state: Quarantined) -> Denied {
    let denied = Denied::quarantined(state);
    match state.remaining() {
        Some(left) => denied
            .with("status", "temporarily_blocked")
            .with("duration", left)
            .with("durationMinutes", left.div_ceil(60_000)),
        None => denied.with("status", "permanently_blocked"),
    }
}

/// Texts that are not valid.
pub(super) fn invalid(details: &Value) -> Denied {
    Denied::new(
        StatusCode::BAD_REQUEST,
        json!({"error": "INPUT_VALIDATION_FAILED", "details": details}),
    )
}

/// A level of the breaker at which it does not run.
pub(super) fn too_dear(limit: &CostLimit) -> Denied {
    Denied::new(
        StatusCode::PAYMENT_REQUIRED,
        json!({
            "error": "COST_LIMIT_EXCEEDED",
            "level": limit.level,
            "total": limit.total.as_usd_f64(),
            "threshold": limit.threshold.as_usd_f64(),
            "message": format!("The cost limit is reached: {limit}"),
        }),
    )
}

/// A model that gave no answer.
pub(super) fn failed(status: StatusCode, details: &str) -> Denied {
    Denied::new(
        status,
        json!({"error": "MODEL_API_FAILED", "details": details}),
    )
}

/// An answer that may not be shown.
pub(super) fn unsafe_output(findings: &Value, severity: Option<Severity>) -> Denied {
    let mut body = json!({
        "error": "OUTPUT_SECURITY_CHECK_FAILED",
        "message": "Model output contains sensitive information and was blocked",
        "details": {"findings": findings},
    });
    if let Some(severity) = severity {
        body["severity"] = severity.name().into();
        body["details"]["error"] = "PROMPT_INJECTION_DETECTED".into();
    }
    Denied::new(StatusCode::FORBIDDEN, body)
}

/// What there is to say of a model's error: its JSON, else the beginning of its text.
pub(super) fn details(body: &Value, raw: &[u8]) -> Value {
    const SHOWN: usize = 500;
    if !body.is_null() {
        return body.clone();
    }
    let text = String::from_utf8_lossy(raw);
    text.chars().take(SHOWN).collect::<String>().into()
}
