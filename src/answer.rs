//! Answers that Weir gives itself, and refusals as HTTP: which status, which body, which headers.
//!
//! The one place that maps [`Refusal`] to a status. Bodies have the error shape that the client's SDK
//! reads: OpenAI's, with the fields that the Execwall OR Gate gave under `detail` beside it,
//! Anthropic's, or the Model Gateway's. Writing an answer to a socket is the proxy's business.

pub mod event;

use crate::dialect::form::Failure;
use crate::refusal::{Exhausted, Refusal};
use crate::surface::ErrorShape;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::{Value, json};

/// Tells OpenAI's SDKs whether to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What follows an answer's header and is not known when that is sent, piece by piece.
pub type Rest = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A whole answer that Weir gives itself.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that describe the framing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with a JSON body.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            headers: vec![(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )],
            body: Bytes::from(body.to_string()),
        }
    }

    /// What a refusal looks like to a client that reads OpenAI's errors.
    pub fn refusal(refusal: &Refusal) -> Self {
        Self::refusal_in(ErrorShape::OpenAi, refusal, "")
    }

    /// What a refusal looks like to a client that reads errors of this shape.
    pub fn refusal_in(shape: ErrorShape, refusal: &Refusal, request_id: &str) -> Self {
        let status = status_in(shape, refusal);
        let body = match shape {
            ErrorShape::OpenAi => json!({
                "error": {
                    "message": refusal.to_string(),
                    "type": kind(status),
                    "param": param(refusal),
                    "code": refusal.code(),
                },
                "detail": detail(refusal),
            }),
            ErrorShape::Anthropic => json!({
                "type": "error",
                "error": {
                    "type": anthropic_kind(status),
                    "message": refusal.to_string(),
                    "code": refusal.code(),
                },
                "request_id": request_id,
            }),
            ErrorShape::Titan => json!({"detail": titan(refusal)}),
        };
        let mut answer = Self::json(status, &body);
        if let (ErrorShape::Titan, Refusal::BudgetExhausted(state)) = (shape, refusal)
            && state.stream
        {
            answer = Self {
                status,
                headers: vec![(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/event-stream"),
                )],
                body: event::over_budget(status, &titan(refusal), &budget_stats(state)),
            };
        }
        match refusal {
            // The Model Gateway's is a 429, which SDKs would send again.
            Refusal::BudgetExhausted(_) | Refusal::CostLimit(_) => {
                answer.set(SHOULD_RETRY, "false");
            }
            Refusal::BudgetInFlight(_) | Refusal::LedgerUnavailable => {
                answer.set(header::RETRY_AFTER, "1");
            }
            Refusal::RateLimited {
                retry_after_seconds,
                ..
            }
            | Refusal::Paused {
                retry_after_seconds,
                ..
            } => {
                let seconds = HeaderValue::from((*retry_after_seconds).max(1));
                answer.headers.push((header::RETRY_AFTER, seconds));
            }
            Refusal::KeyQuarantined(left) => {
                // Trying again does not help before that.
                answer.set(SHOULD_RETRY, "false");
                if let Some(left) = left {
                    let seconds = HeaderValue::from(left.div_ceil(1000).max(1));
                    answer.headers.push((header::RETRY_AFTER, seconds));
                }
            }
            Refusal::MissingKey(_)
            | Refusal::AuthorizationFormat
            | Refusal::InvalidKey
            | Refusal::ExpiredKey
            | Refusal::AdminToken(_) => {
                answer.set(header::WWW_AUTHENTICATE, "Bearer");
            }
            Refusal::MethodNotAllowed { allow } => answer.set(header::ALLOW, allow),
            _ => {}
        }
        answer
    }

    /// What a provider's error looks like to a client that reads errors of this shape.
    pub fn failure_in(shape: ErrorShape, status: u16, failure: &Failure) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = match shape {
            ErrorShape::OpenAi => json!({
                "error": {
                    "message": failure.message,
                    "type": kind(status),
                    "param": null,
                    "code": failure.code,
                },
            }),
            ErrorShape::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_kind(status), "message": failure.message},
            }),
            ErrorShape::Titan => json!({"detail": failure.message}),
        };
        Self::json(status, &body)
    }

    fn set(&mut self, name: HeaderName, value: &'static str) {
        self.headers.push((name, HeaderValue::from_static(value)));
    }
}

/// The status of a refusal.
pub const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::InvalidJson { .. }
        | Refusal::InvalidField { .. }
        | Refusal::Untranslatable { .. }
        | Refusal::BadRequest(_)
        | Refusal::UnknownAgent { .. }
        | Refusal::InvalidConfig { .. }
        | Refusal::PromptBlocked(_)
        | Refusal::Unpriced { .. } => StatusCode::BAD_REQUEST,
        Refusal::MissingKey(_)
        | Refusal::AuthorizationFormat
        | Refusal::InvalidKey
        | Refusal::ExpiredKey
        | Refusal::AdminToken(_) => StatusCode::UNAUTHORIZED,
        Refusal::ForeignAgent { .. }
        | Refusal::ForeignUser { .. }
        | Refusal::ModelNotAllowed { .. }
        | Refusal::AnswerBlocked(_)
        | Refusal::AdminOnly(_) => StatusCode::FORBIDDEN,
        Refusal::BudgetExhausted(_) | Refusal::CostLimit(_) => StatusCode::PAYMENT_REQUIRED,
        Refusal::BudgetInFlight(_)
        | Refusal::RateLimited { .. }
        | Refusal::Paused { .. }
        | Refusal::KeyQuarantined(_)
        | Refusal::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Refusal::NotFound(_)
        | Refusal::AgentNotFound { .. }
        | Refusal::AccountNotFound { .. }
        | Refusal::ModelNotFound { .. } => StatusCode::NOT_FOUND,
        Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::UpstreamUnreachable | Refusal::UpstreamInvalid => StatusCode::BAD_GATEWAY,
        Refusal::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Refusal::LedgerUnavailable
        | Refusal::InsightsUnavailable(_)
        | Refusal::GuardUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a refusal for a client that reads errors of this shape: the Model Gateway's clients
/// know an exhausted budget as 429.
pub const fn status_in(shape: ErrorShape, refusal: &Refusal) -> StatusCode {
    match (shape, refusal) {
        (ErrorShape::Titan, Refusal::BudgetExhausted(_)) => StatusCode::TOO_MANY_REQUESTS,
        _ => status(refusal),
    }
}

/// OpenAI's `error.type` for a status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Anthropic's `error.type` for a status.
fn anthropic_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// What the Model Gateway said in such a case; where it had no such case, what everybody reads.
fn titan(refusal: &Refusal) -> String {
    match refusal {
        Refusal::MissingKey(_) => "Missing authorization header".into(),
        Refusal::AuthorizationFormat => "Invalid authorization format".into(),
        Refusal::InvalidKey | Refusal::ExpiredKey | Refusal::AdminToken(_) => {
            "Invalid token".into()
        }
        Refusal::BudgetExhausted(_) => "Daily budget exceeded".into(),
        Refusal::ModelNotFound { model } => format!("Unknown model: {model}"),
        other => other.to_string(),
    }
}

fn param(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::InvalidField { field, .. } => Some(field),
        Refusal::Untranslatable { field, .. } => Some(field),
        Refusal::Unpriced { .. }
        | Refusal::ModelNotFound { .. }
        | Refusal::ModelNotAllowed { .. } => Some("model"),
        _ => None,
    }
}

fn detail(refusal: &Refusal) -> Value {
    match refusal {
        Refusal::BudgetExhausted(state) | Refusal::BudgetInFlight(state) => {
            exhausted(refusal.code(), state)
        }
        Refusal::CostLimit(limit) => json!({
            "error": refusal.code(),
            "level": limit.level,
            "total": limit.total.as_usd_f64(),
            "threshold": limit.threshold.as_usd_f64(),
        }),
        Refusal::UnknownAgent { agent, available } => {
            json!({"error": "unknown_agent", "agent_id": agent, "available_agents": available})
        }
        Refusal::InvalidConfig { problems } => {
            json!({"error": refusal.code(), "problems": problems})
        }
        Refusal::ForeignAgent { agent } | Refusal::AgentNotFound { agent } => {
            json!({"error": refusal.code(), "agent_id": agent})
        }
        Refusal::AccountNotFound { account } => {
            json!({"error": refusal.code(), "account": account})
        }
        Refusal::ModelNotFound { model } | Refusal::ModelNotAllowed { model } => {
            json!({"error": refusal.code(), "model": model})
        }
        Refusal::KeyQuarantined(left) => quarantined(*left),
        _ => json!({"error": refusal.code()}),
    }
}

/// A quarantine as the API Orchestrator's clients know it.
pub fn quarantined(left: Option<u64>) -> Value {
    let mut body = json!({
        "error": "API_KEY_QUARANTINED",
        "quarantined": true,
        "type": if left.is_some() { "temporary" } else { "permanent" },
        "message": Refusal::KeyQuarantined(left).to_string(),
    });
    if let Some(left) = left {
        body["remaining"] = left.into();
        body["remainingMinutes"] = left.div_ceil(60_000).into();
    }
    body
}

fn exhausted(code: &str, state: &Exhausted) -> Value {
    let remaining = state.total - state.spent;
    json!({
        "error": code,
        "agent_id": state.agent,
        "account": state.account,
        "budget_total": state.total.usd_6dp(),
        "budget_spent": state.spent.usd_6dp(),
        "budget_remaining": remaining.usd_6dp(),
        "budget_held": state.pending.usd_6dp(),
        "budget_percentage": percentage(state),
        "current_tier": state.tier,
        "models_allowed": state.models,
        "hard_cap": state.hard,
        "exhausted": remaining.0 <= 0,
    })
}

/// A budget as the Model Gateway's clients know it.
fn budget_stats(state: &Exhausted) -> Value {
    json!({
        "daily_limit_usd": state.total.as_usd_f64(),
        "daily_spent_usd": state.spent.as_usd_f64(),
        "remaining_usd": (state.total - state.spent).as_usd_f64(),
    })
}

/// Remaining in per cent of the total, one decimal; 0 when nothing is left.
fn percentage(state: &Exhausted) -> f64 {
    let remaining = (state.total - state.spent).at_least_zero().as_usd_f64();
    let total = state.total.as_usd_f64();
    if total <= 0.0 {
        return 0.0;
    }
    (remaining / total * 1000.0).round() / 10.0
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
