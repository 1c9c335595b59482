//! The routes of the API Orchestrator and of its injection defence, under their paths and with their shapes.
//!
//! Decides who may use them and what is said when something is refused. `/infer` and `/api/messages` ask for
//! a model by way of this process itself, so that routing, budgets and bills are those of any other request;
//! what comes before and after that is in [`infer`]. What texts are blocked or changed is the guard's.

mod body;
mod caller;
mod defence;
mod infer;
mod judge;
mod lift;
mod reports;
mod said;
mod status;

pub(super) use status::Reached;

use super::Shared;
use crate::answer::{self, Answer};
use crate::guard::quarantine::{Quarantined, Struck};
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};

/// The routes that callers use.
const CALLERS: [&str; 6] = [
    "/infer",
    "/api/messages",
    "/validate-input",
    "/prepare-system-prompt",
    "/filter-output",
    "/status",
];

/// Whether a path is one of those that callers use.
pub(super) fn is_for_callers(path: &str) -> bool {
    CALLERS.contains(&path)
}

/// Whether a path is one of those that only operators use.
pub(super) fn is_for_operators(path: &str) -> bool {
    const EXACT: [&str; 5] = [
        "/admin/audit",
        "/admin/flagged",
        "/admin/stats",
        "/admin/unquarantine-temp",
        "/admin/unquarantine-permanent",
    ];
    EXACT.contains(&path)
}

/// Whether requests to a path may be as large as those to models.
pub(super) fn takes_conversations(path: &str) -> bool {
    is_for_callers(path) && path != "/status"
}

/// Adds the routes.
pub(super) fn routes(router: Router<Shared>) -> Router<Shared> {
    router
        .route("/infer", post(infer::infer))
        .route("/api/messages", post(infer::messages))
        .route("/validate-input", post(defence::validate_input))
        .route(
            "/prepare-system-prompt",
            post(defence::prepare_system_prompt),
        )
        .route("/filter-output", post(defence::filter_output))
        .route("/status", get(status::status))
        .route("/admin/audit", get(reports::audit))
        .route("/admin/flagged", get(reports::flagged))
        .route("/admin/stats", get(reports::stats))
        .route("/admin/unquarantine-temp", post(lift::temporary))
        .route("/admin/unquarantine-permanent", post(lift::permanent))
        // How large a body may be was decided before it came here.
        .layer(DefaultBodyLimit::disable())
}

/// An answer other than the one that was wished for.
#[derive(Debug)]
pub(super) struct Denied {
    status: StatusCode,
    body: Value,
    retry_after: Option<u64>,
}

impl Denied {
    fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            retry_after: None,
        }
    }

    /// Fields that are not there.
    fn missing(fields: &str) -> Self {
        let error = format!("Missing required fields: {fields}");
        Self::new(StatusCode::BAD_REQUEST, json!({ "error": error }))
    }

    /// A caller in quarantine.
    fn quarantined(state: Quarantined) -> Self {
        let left = state.remaining();
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            body: answer::quarantined(left),
            retry_after: left.map(|left| left.div_ceil(1000).max(1)),
        }
    }

    /// The strike that puts a caller into quarantine; `None` for one that does not.
    fn struck(struck: Struck) -> Option<Self> {
        let Struck::Quarantined(state) = struck else {
            return None;
        };
        let mut denied = Self::quarantined(state);
        let mut body = json!({
            "error": "QUOTA_EXCEEDED",
            "status": "permanently_blocked",
            "message": denied.body.get("message"),
        });
        if let Some(left) = state.remaining() {
            body["status"] = "temporarily_blocked".into();
            body["duration"] = left.into();
            body["durationMinutes"] = left.div_ceil(60_000).into();
        }
        denied.body = body;
        Some(denied)
    }

    /// The guard has failed: nothing passes.
    fn unguarded(why: &str) -> Self {
        tracing::error!(error = why, "the guard has failed; a request was refused");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({
                "error": "SECURITY_CHECK_UNAVAILABLE",
                "message": Refusal::GuardUnavailable.to_string(),
            }),
        )
    }

    /// The same as an answer.
    pub(super) fn into_answer(self) -> Answer {
        let mut answer = Answer::json(self.status, &self.body);
        if let Some(seconds) = self.retry_after {
            let after = (http::header::RETRY_AFTER, seconds.into());
            answer.headers.push(after);
        }
        answer
    }

    /// With another thing said.
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body[name] = value.into();
        self
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::KeyQuarantined(left) = refusal {
            return Self::quarantined(left.map_or(Quarantined::Permanent, |remaining| {
                Quarantined::Temporary { remaining }
            }));
        }
        let retry_after = match &refusal {
            Refusal::RateLimited {
                retry_after_seconds,
                ..
            } => Some((*retry_after_seconds).max(1)),
            _ => None,
        };
        Self {
            status: answer::status(&refusal),
            body: json!({
                "error": refusal.code().to_ascii_uppercase(),
                "message": refusal.to_string(),
            }),
            retry_after,
        }
    }
}

impl From<super::Refused> for Denied {
    fn from(super::Refused(refusal): super::Refused) -> Self {
        refusal.into()
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        super::response(self.into_answer())
    }
}
