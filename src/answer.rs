//! Answers that Weir gives itself, and refusals as HTTP: which status, which body, which headers.
//!
//! The one place that maps [`Refusal`] to a status. Bodies have the shape of the surface that the
//! client speaks: OpenAI's, with the fields that the Execwall OR Gate gave under `detail` beside it,
//! Anthropic's, or the Model Gateway's. Writing an answer to a socket is the proxy's business.

mod shape;

pub use shape::{broken_off, failure};

use crate::dialect::form::Failure;
use crate::refusal::{Exhausted, Refusal};
use crate::surface::ErrorShape;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Tells OpenAI's SDKs whether to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

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

    /// What a refusal looks like to a client of OpenAI's API.
    pub fn refusal(refusal: &Refusal) -> Self {
        Self::refusal_in(ErrorShape::OpenAi, refusal, "")
    }

    /// What a refusal looks like to a client that expects `shape`; `request` is the id of its
    /// request.
    pub fn refusal_in(shape: ErrorShape, refusal: &Refusal, request: &str) -> Self {
        let mut status = status(refusal);
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
            ErrorShape::Anthropic => shape::anthropic(
                status.as_u16(),
                &refusal.to_string(),
                refusal.code(),
                request,
            ),
            ErrorShape::Titan => {
                if matches!(refusal, Refusal::BudgetExhausted(_)) {
                    status = StatusCode::TOO_MANY_REQUESTS;
                }
                shape::titan(refusal)
            }
        };
        let mut answer = Self::json(status, &body);
        match refusal {
            Refusal::BudgetExhausted(_) => answer.set(SHOULD_RETRY, "false"),
            Refusal::BudgetInFlight(_) | Refusal::LedgerUnavailable => {
                answer.set(header::RETRY_AFTER, "1");
            }
            Refusal::RateLimited { retry_after, .. } => {
                let seconds = HeaderValue::from((*retry_after).max(1));
                answer.headers.push((header::RETRY_AFTER, seconds));
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

    /// What a provider's error looks like to a client that expects `shape`.
    pub fn failure_in(shape: ErrorShape, status: u16, failure: &Failure) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        Self::json(status, &shape::failure(shape, status.as_u16(), failure))
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
        | Refusal::BadRequest(_)
        | Refusal::UnknownAgent { .. }
        | Refusal::InvalidConfig { .. }
        | Refusal::Untranslatable { .. }
        | Refusal::Unpriced { .. } => StatusCode::BAD_REQUEST,
        Refusal::MissingKey(_)
        | Refusal::AuthorizationFormat
        | Refusal::InvalidKey
        | Refusal::ExpiredKey
        | Refusal::AdminToken(_) => StatusCode::UNAUTHORIZED,
        Refusal::ForeignAgent { .. }
        | Refusal::ForeignUser { .. }
        | Refusal::ModelNotAllowed { .. }
        | Refusal::AdminOnly(_) => StatusCode::FORBIDDEN,
        Refusal::BudgetExhausted(_) => StatusCode::PAYMENT_REQUIRED,
        Refusal::BudgetInFlight(_) | Refusal::RateLimited { .. } | Refusal::TooManyAttempts => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Refusal::NotFound(_) | Refusal::AgentNotFound { .. } | Refusal::ModelNotFound { .. } => {
            StatusCode::NOT_FOUND
        }
        Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::UpstreamUnreachable | Refusal::UpstreamInvalid => StatusCode::BAD_GATEWAY,
        Refusal::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Refusal::LedgerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
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
        Refusal::UnknownAgent { agent, available } => {
            json!({"error": "unknown_agent", "agent_id": agent, "available_agents": available})
        }
        Refusal::InvalidConfig { problems } => {
            json!({"error": refusal.code(), "problems": problems})
        }
        Refusal::ForeignAgent { agent } | Refusal::AgentNotFound { agent } => {
            json!({"error": refusal.code(), "agent_id": agent})
        }
        _ => json!({"error": refusal.code()}),
    }
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
