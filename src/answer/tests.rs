//! Refusals as clients of each API read them.

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
        asked: None,
        stream: false,
        window: 0,
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

fn exhausted_refusal() -> Refusal {
    let agent = AgentId::new("agent-1").unwrap();
    Refusal::BudgetExhausted(Box::new(Exhausted {
        account: AccountId::agent(&agent),
        agent,
        total: Nanos::usd(1),
        spent: Nanos::usd(1),
        pending: Nanos::ZERO,
        tier: 0,
        models: Vec::new(),
        hard: true,
        asked: None,
        stream: false,
        window: 0,
    }))
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let mut found = answer.headers.iter().filter(|(n, _)| n.as_str() == name);
    found
        .next()
        .map(|(_, value)| value.to_str().unwrap().to_owned())
}

#[test]
fn anthropics_clients_read_a_type_for_every_status() {
    for (refusal, status, kind) in [
        (Refusal::BadRequest("x"), 400, "invalid_request_error"),
        (Refusal::InvalidKey, 401, "authentication_error"),
        (exhausted_refusal(), 402, "billing_error"),
        (
            Refusal::ForeignUser { user: "u".into() },
            403,
            "permission_error",
        ),
        (
            Refusal::ModelNotFound { model: "m".into() },
            404,
            "not_found_error",
        ),
        (
            Refusal::MethodNotAllowed { allow: "POST" },
            405,
            "invalid_request_error",
        ),
        (Refusal::RequestTimeout, 408, "timeout_error"),
        (Refusal::TooLarge { limit: 1 }, 413, "request_too_large"),
        (Refusal::TooManyAttempts, 429, "rate_limit_error"),
        (Refusal::Internal, 500, "api_error"),
        (Refusal::UpstreamUnreachable, 502, "api_error"),
        (Refusal::UpstreamTimeout, 504, "timeout_error"),
    ] {
        let answer = Answer::refusal_in(ErrorShape::Anthropic, &refusal, "req-7");
        assert_eq!(answer.status, status, "{refusal:?}");
        let expected = json!({
            "type": "error",
            "error": {"type": kind, "message": refusal.to_string(), "code": refusal.code()},
            "request_id": "req-7",
        });
        assert_eq!(body(&answer), expected);
    }
}

#[test]
fn the_model_gateways_clients_read_what_it_said() {
    for (refusal, status, text) in [
        (
            Refusal::MissingKey("x"),
            401,
            "Missing authorization header",
        ),
        (
            Refusal::AuthorizationFormat,
            401,
            "Invalid authorization format",
        ),
        (Refusal::InvalidKey, 401, "Invalid token"),
        (exhausted_refusal(), 429, "Daily budget exceeded"),
        (
            Refusal::ModelNotFound { model: "m".into() },
            404,
            "Unknown model: m",
        ),
        (Refusal::Internal, 500, "Internal error"),
    ] {
        let answer = Answer::refusal_in(ErrorShape::Titan, &refusal, "");
        assert_eq!(answer.status, status);
        assert_eq!(body(&answer), json!({"detail": text}));
    }
}

#[test]
fn the_headers_are_the_same_in_every_shape() {
    let limited = Refusal::RateLimited {
        what: "tokens",
        scope: "agent a".into(),
        retry_after_seconds: 17,
    };
    for shape in [ErrorShape::OpenAi, ErrorShape::Anthropic, ErrorShape::Titan] {
        let answer = |refusal: &Refusal| Answer::refusal_in(shape, refusal, "");
        let limited = answer(&limited);
        assert_eq!(limited.status, 429);
        assert_eq!(header(&limited, "retry-after").as_deref(), Some("17"));
        let spent = answer(&exhausted_refusal());
        assert_eq!(header(&spent, "x-should-retry").as_deref(), Some("false"));
        let key = answer(&Refusal::InvalidKey);
        assert_eq!(header(&key, "www-authenticate").as_deref(), Some("Bearer"));
        let method = answer(&Refusal::MethodNotAllowed { allow: "POST" });
        assert_eq!(header(&method, "allow").as_deref(), Some("POST"));
    }
}

#[test]
fn a_field_that_cannot_be_said_is_named() {
    let refusal = Refusal::Untranslatable {
        field: "messages[3].content[1].type".into(),
        why: "cannot be sent to this provider".into(),
    };
    let answer = Answer::refusal(&refusal);
    assert_eq!(answer.status, 400);
    let error = &body(&answer)["error"];
    assert_eq!(error["param"], "messages[3].content[1].type");
    assert_eq!(error["code"], "unsupported_parameter");
    assert_eq!(
        error["message"],
        "'messages[3].content[1].type' cannot be sent to this provider"
    );
}
