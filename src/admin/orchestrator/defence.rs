//! `/validate-input`, `/prepare-system-prompt`, `/filter-output`: the injection defence by itself.

use super::body::{Fields, fields, name, text};
use super::caller::Caller;
use super::judge::{self, findings};
use super::said::{self, Verdict};
use super::{Denied, judge::now};
use crate::admin::{Peer, Shared, reply};
use crate::gateway::guard::Direction;
use crate::guard::audit::{Entry, Event, Found};
use crate::guard::canary::Canary;
use crate::guard::finding::{Finding, Severity};
use crate::guard::quarantine::Struck;
use crate::guard::session::Tokens;
use crate::guard::validate::{self, Limits};
use crate::identity::RequestId;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use std::net::IpAddr;

/// What a caller's session is called that has no name: a prompt and the answer to it come in two requests, and
/// the token of the first is to be found in the second.
const NAMELESS: &str = "";

/// Why a caller was struck.
pub(super) const BLOCKED: &str = "blocked_pattern";
pub(super) const LEAKED: &str = "canary_leak";

/// `POST /validate-input`.
pub(super) async fn validate_input(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    let (caller, fields) = admitted(&shared, &headers, peer, &body)?;
    let message = text(&fields, "message").ok_or_else(|| Denied::missing("message"))?;
    let data = fields.get("sessionData");
    let data: Value = data
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let turns = turns(&data["turns"]);
    let limits = limits(&shared);
    let report = guarded(move || validate::input(&message, turns, &limits)).await?;
    let mut note = Note::new(&caller, Event::InputValidation);
    let session = data["sessionId"].as_str();
    note.session(session.map(|session| caller.session(session).masked()));
    if report.valid {
        let outcome = if report.warnings.is_empty() {
            "passed"
        } else {
            "sanitized"
        };
        note.write(&shared, Severity::Low, outcome, &[]);
        return Ok(reply(&json!({
            "valid": true,
            "message": report.sanitized,
            "sanitized": report.sanitized,
            "warnings": report.warnings,
        })));
    }
    let found = findings(&report.blocked);
    note.write(&shared, blocked_severity(&found), "blocked", &found);
    if !report.blocked.is_empty()
        && let Some(struck) = strike(&shared, &caller, BLOCKED).await
        && let Some(denied) = Denied::struck(struck)
    {
        return Err(denied);
    }
    Err(Denied::new(
        StatusCode::BAD_REQUEST,
        json!({"error": "VALIDATION_FAILED", "report": judge::shown(&report)}),
    ))
}

/// `POST /prepare-system-prompt`.
pub(super) async fn prepare_system_prompt(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    let (caller, fields) = admitted(&shared, &headers, peer, &body)?;
    let prompt = text(&fields, "systemPrompt").unwrap_or_default();
    let errors = validate::system_prompt(&prompt, &limits(&shared));
    if !errors.is_empty() {
        return Err(Denied::new(
            StatusCode::BAD_REQUEST,
            json!({"error": "SYSTEM_PROMPT_INVALID", "errors": errors}),
        ));
    }
    let session = name(&fields, "sessionId").unwrap_or_else(|| NAMELESS.to_owned());
    let tokens = tokens(&shared, &caller, Some(&session)).await?;
    let canary = &tokens.current;
    Ok(reply(&json!({
        "prompt": prompt + &canary.instruction(),
        "canaryToken": canary.token(),
    })))
}

/// `POST /filter-output`.
pub(super) async fn filter_output(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    let (caller, fields) = admitted(&shared, &headers, peer, &body)?;
    let output = text(&fields, "output").ok_or_else(|| Denied::missing("output"))?;
    let length = output.chars().count();
    let session = name(&fields, "sessionId");
    let session = caller.session(session.as_deref().unwrap_or(NAMELESS));
    let tokens = shared.gateway.canaries.watched(&session).await;
    let live = shared.gateway.live();
    let work = move || said::text(&live.policy.rules.screen, &output, tokens.as_ref());
    let verdict = guarded(work).await?;
    let mut note = Note::new(&caller, Event::OutputFilter);
    note.session(Some(session.masked()));
    judged(&shared, &caller, note, &verdict).await;
    if verdict.leaked {
        return Err(Denied::new(
            StatusCode::FORBIDDEN,
            json!({
                "error": "PROMPT_INJECTION_DETECTED",
                "message": "The output holds the canary token of its session",
                "severity": Severity::Critical.name(),
            }),
        ));
    }
    if !verdict.safe {
        return Err(Denied::new(
            StatusCode::FORBIDDEN,
            json!({
                "error": "UNSAFE_OUTPUT",
                "message": "The output contains sensitive information",
                "findings": verdict.told,
            }),
        ));
    }
    let mut answer = json!({"safe": true, "output": verdict.output});
    if verdict.told.as_array().is_some_and(|told| !told.is_empty()) {
        answer["report"] = json!({
            "timestamp": now(),
            "outputLength": length,
            "findings": verdict.told,
            "safe": true,
        });
        answer["findings"] = verdict.told;
    }
    Ok(reply(&answer))
}

/// Who asks, unless that is somebody in quarantine, and what the request says.
fn admitted(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    body: &[u8],
) -> Result<(Caller, Fields), Denied> {
    let caller = Caller::of(shared, headers, peer)?;
    let fields = fields(shared, body)?;
    let caller = caller.named(name(&fields, "apiKey").as_deref());
    caller.admit(shared)?;
    Ok((caller, fields))
}

/// Turns as a number, or as a list of them.
fn turns(value: &Value) -> usize {
    match value {
        Value::Array(turns) => turns.len(),
        value => value
            .as_u64()
            .map_or(0, |turns| usize::try_from(turns).unwrap_or(usize::MAX)),
    }
}

/// What a request may be at most.
pub(super) fn limits(shared: &Shared) -> Limits {
    let limits = &shared.gateway.settings.orchestrator.limits;
    Limits {
        message: limits.message,
        turns: limits.turns,
        system: limits.system,
    }
}

/// The canaries of a session; of nothing but this request where it has no name.
///
/// # Errors
/// When there are none: then nothing may be sent.
pub(super) async fn tokens(
    shared: &Shared,
    caller: &Caller,
    session: Option<&str>,
) -> Result<Tokens, Denied> {
    let made = match session {
        Some(name) => {
            let id = caller.session(name);
            let tokens = shared.gateway.canaries.canary_for(&id).await;
            tokens.map_err(|error| error.to_string())
        }
        None => Canary::new()
            .map(|current| Tokens {
                current,
                before: None,
            })
            .map_err(|error| error.to_string()),
    };
    made.map_err(|error| Denied::unguarded(&error))
}

/// Does the work of the guard where nobody else has to wait for it. Should it fail, nothing passes.
pub(super) async fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Denied> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Denied::unguarded(&error.to_string()))
}

/// Counts a strike, if there is somebody to count it for, and callers are counted.
pub(super) async fn strike(
    shared: &Shared,
    caller: &Caller,
    reason: &'static str,
) -> Option<Struck> {
    let who = caller.who().filter(|_| caller.is_counted())?;
    Some(shared.gateway.quarantine.strike(&who, reason).await)
}

/// How bad it is that a text is not valid: too long a text is no attack.
pub(super) fn blocked_severity(found: &[Finding]) -> Severity {
    if found.is_empty() {
        Severity::Low
    } else {
        Severity::High
    }
}

/// A line of the audit about a request of these routes.
pub(super) struct Note {
    entry: Entry,
    id: RequestId,
}

impl Note {
    pub(super) fn new(caller: &Caller, event: Event) -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self::of(
            caller,
            event,
            RequestId::new(u64::try_from(now).unwrap_or_default()),
        )
    }

    pub(super) fn of(caller: &Caller, event: Event, id: RequestId) -> Self {
        let mut entry = Entry::new(event, Severity::Low, "passed");
        entry.who = caller.who();
        entry.key = caller.key().cloned();
        entry.agent = caller.agent().cloned();
        entry.request = Some(id);
        Self { entry, id }
    }

    pub(super) fn session(&mut self, session: Option<String>) {
        self.entry.session = session;
    }

    /// Writes it, and tells of what was found.
    pub(super) fn write(
        mut self,
        shared: &Shared,
        severity: Severity,
        outcome: &'static str,
        found: &[Finding],
    ) {
        let direction = match self.entry.event {
            Event::InputValidation => Direction::In,
            _ => Direction::Out,
        };
        if let Some(agent) = &self.entry.agent {
            for finding in found {
                shared
                    .gateway
                    .guard_found(self.id, agent, direction, finding);
            }
        }
        self.entry.severity = severity;
        self.entry.outcome = outcome;
        self.entry.findings = found.iter().map(Found::from).collect();
        shared.gateway.audit.record(self.entry);
    }
}

/// Notes what was found in an answer. A token of its session in it is a strike.
pub(super) async fn judged(shared: &Shared, caller: &Caller, note: Note, verdict: &Verdict) {
    if verdict.leaked {
        let mut leak = Note::of(caller, Event::CanaryTokenLeak, note.id);
        leak.session(note.entry.session.clone());
        let found = [said::leak()];
        leak.write(shared, Severity::Critical, "blocked", &found);
        // The answer is refused whatever it leads to.
        let _ = strike(shared, caller, LEAKED).await;
    }
    let outcome = match (verdict.safe && !verdict.leaked, verdict.redacted) {
        (false, _) => "blocked",
        (true, true) => "redacted",
        (true, false) if verdict.findings.is_empty() => "passed",
        (true, false) => "flagged",
    };
    let worst = verdict
        .findings
        .iter()
        .map(|finding| finding.severity)
        .max();
    note.write(
        shared,
        worst.unwrap_or(Severity::Low),
        outcome,
        &verdict.findings,
    );
}
