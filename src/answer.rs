//! Answers that Weir gives itself, and refusals as HTTP: which status, which body, which headers.
//!
//! The one place that maps [`Refusal`] to a status. Bodies have OpenAI's error shape, which every
//! SDK reads, with the fields that the Execwall OR Gate gave under `detail` beside it. Writing an
//! answer to a socket is the proxy's business.

use crate::refusal::{Exhausted, Refusal};
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

    /// What a refusal looks like to a client.
    pub fn refusal(refusal: &Refusal) -> Self {
        let status = status(refusal);
        let mut answer = Self::json(
            status,
            &json!({
                "error": {
                    "message": refusal.to_string(),
                    "type": kind(status),
                    "param": param(refusal),
                    "code": refusal.code(),
                },
                "detail": detail(refusal),
            }),
        );
        match refusal {
            Refusal::BudgetExhausted(_) => answer.set(SHOULD_RETRY, "false"),
            Refusal::BudgetInFlight(_) | Refusal::LedgerUnavailable => {
                answer.set(header::RETRY_AFTER, "1");
            }
            Refusal::MissingKey(_)
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
        | Refusal::Unpriced { .. } => StatusCode::BAD_REQUEST,
        Refusal::MissingKey(_)
        | Refusal::InvalidKey
        | Refusal::ExpiredKey
        | Refusal::AdminToken(_) => StatusCode::UNAUTHORIZED,
        Refusal::ForeignAgent { .. } | Refusal::ForeignUser { .. } | Refusal::AdminOnly(_) => {
            StatusCode::FORBIDDEN
        }
        Refusal::BudgetExhausted(_) => StatusCode::PAYMENT_REQUIRED,
        Refusal::BudgetInFlight(_) | Refusal::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Refusal::NotFound(_) | Refusal::AgentNotFound { .. } => StatusCode::NOT_FOUND,
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

fn param(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::InvalidField { field, .. } => Some(field),
        Refusal::Unpriced { .. } => Some("model"),
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
mod tests {
    use super::*;
    use crate::identity::{AccountId, AgentId};
    use crate::money::Nanos;

    #[test]
    fn an_exhausted_budget_reads_as_the_execwall_or_gate_wrote_it() {
        let agent = AgentId::new("agent-1").unwrap();
        let answer = Answer::refusal(&Refusal::BudgetExhausted(Box::new(Exhausted {
            account: AccountId::agent(&agent),
            agent,
            total: Nanos::usd(50),
            spent: Nanos::usd(50),
            pending: Nanos::ZERO,
            tier: 2,
            models: vec!["mistralai/mistral-7b-instruct".into()],
            hard: true,
        })));
        assert_eq!(answer.status, 402);
        assert!(
            answer
                .headers
                .contains(&(SHOULD_RETRY, HeaderValue::from_static("false")))
        );
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["error"]["code"], "budget_exhausted");
        let detail = &body["detail"];
        assert_eq!(detail["error"], "budget_exhausted");
        assert_eq!(detail["agent_id"], "agent-1");
        assert_eq!(detail["budget_total"], 50.0);
        assert_eq!(detail["budget_remaining"], 0.0);
        assert_eq!(detail["budget_percentage"], 0.0);
        assert_eq!(detail["exhausted"], true);
        assert_eq!(detail["hard_cap"], true);
    }
}
