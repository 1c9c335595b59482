//! What is said of a route that is not there, or not by that method.
//!
//! Decides in whose words: callers of the API Orchestrator and of its cost breaker read `error` as a word, all
//! others as OpenAI writes it.

use super::orchestrator::{self, Denied};
use crate::answer::Answer;
use crate::refusal::Refusal;
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;

/// Whether whoever asks at `path` reads errors as the API Orchestrator wrote them.
pub(super) fn speaks_orchestrator(path: &str) -> bool {
    matches!(path, "/track" | "/state")
        || super::is_costs(path)
        || orchestrator::is_for_callers(path)
        || orchestrator::is_for_operators(path)
}

/// A refusal as whoever asks at `path` reads it.
fn refused_at(path: &str, refusal: Refusal) -> Answer {
    if speaks_orchestrator(path) {
        return Denied::from(refusal).into_answer();
    }
    Answer::refusal(&refusal)
}

/// What to say to a method that a route does not have; `answer` names those that it has.
pub(super) fn wrong_method(path: &str, answer: &Answer) -> Answer {
    let mut headers = answer.headers.iter();
    let allowed = headers.find(|(name, _)| *name == header::ALLOW);
    let allowed = allowed.map_or("", |(_, value)| value.to_str().unwrap_or_default());
    let has = |method: &str| allowed.split(',').any(|one| one.trim() == method);
    let allow = match (has("GET"), has("POST"), has("PUT")) {
        (true, false, false) => "GET",
        (false, true, false) => "POST",
        (false, false, true) => "PUT",
        _ => "GET, POST",
    };
    let mut answer = refused_at(path, Refusal::MethodNotAllowed { allow });
    answer.headers.retain(|(name, _)| *name != header::ALLOW);
    let allow = HeaderValue::from_static(allow);
    answer.headers.push((header::ALLOW, allow));
    answer
}

pub(super) async fn no_route(request: Request<Body>) -> Response {
    let path = request.uri().path();
    super::response(refused_at(path, not_found(path)))
}

pub(super) fn not_found(path: &str) -> Refusal {
    Refusal::NotFound(path.chars().take(128).collect())
}
