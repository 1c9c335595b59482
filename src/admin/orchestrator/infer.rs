//! `/infer` and `/api/messages`: what a request says is judged, a model is asked, what it says is judged.
//!
//! Decides the order: texts, canary, breaker, model, answer. The model is asked by way of this process itself
//! with the caller's own credentials. Where the guard fails, nothing passes; that a cost is written late keeps
//! no answer back.

mod errors;

use super::Denied;
use super::body::{Conversation, Form, in_anthropics_form};
use super::caller::Caller;
use super::defence::{BLOCKED, Note, blocked_severity, guarded, judged, limits, strike, tokens};
use super::judge::{self, Judged, findings};
use super::said::{self, Verdict};
use crate::admin::{Peer, Shared, reply};
use crate::breaker::Standing;
use crate::budget::Balance;
use crate::gateway::breaker::Verdict as Cost;
use crate::gateway::inner::{Asker, NoAnswer, Said};
use crate::guard::audit::Event;
use crate::guard::finding::Severity;
use crate::guard::plant;
use crate::guard::quarantine::{Quarantined, Struck};
use crate::guard::session::Tokens;
use crate::guard::validate::{self, Limits};
use crate::identity::RequestId;
use crate::money::Nanos;
use crate::refusal::CostLimit;
use crate::wire::Dialect;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use errors::{details, failed, in_quarantine_now, invalid, too_dear, unsafe_output};
use http::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::time::Instant;

/// Headers of the caller that go on to the model's route.
const PASSED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-agent-id"),
    HeaderName::from_static("x-user-id"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// `POST /infer`.
pub(super) async fn infer(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    let began = Instant::now();
    let caller = Caller::of(&shared, &headers, peer)?;
    let conversation = Conversation::read(&shared, &body, false)?;
    let caller = caller.named(conversation.api_key.as_deref());
    let done = Inference::new(&shared, &headers, peer, &caller)
        .run(conversation)
        .await?;
    Ok(reply(&json!({
        "success": true,
        "output": done.verdict.output,
        "metadata": done.metadata(began),
    })))
}

/// `POST /api/messages`.
pub(super) async fn messages(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let began = Instant::now();
    let mut form = Form::Anthropic;
    let answer = async {
        let caller = Caller::of(&shared, &headers, peer)?;
        let conversation = Conversation::read(&shared, &body, true)?;
        form = conversation.form;
        let caller = caller.named(conversation.api_key.as_deref());
        let inference = Inference::new(&shared, &headers, peer, &caller);
        inference.run(conversation).await
    };
    match answer.await {
        Ok(done) => {
            let metadata = done.metadata(began);
            let mut message = done.message;
            message.insert("metadata".into(), metadata);
            if form == Form::Orchestrator {
                message.insert("success".into(), true.into());
                message.insert("output".into(), done.verdict.output.into());
            }
            reply(&Value::Object(message))
        }
        Err(denied) if form == Form::Anthropic => in_anthropics_form(denied).into_response(),
        Err(denied) => denied.into_response(),
    }
}

/// What is being done for one request.
struct Inference<'a> {
    shared: &'a Shared,
    headers: &'a HeaderMap,
    peer: Option<IpAddr>,
    caller: &'a Caller,
    id: RequestId,
}

/// What came of it.
struct Done {
    /// The answer in Anthropic's form, as it may be shown.
    message: Map<String, Value>,
    verdict: Verdict,
    sanitized: bool,
    warnings: Vec<String>,
    charged: Nanos,
    standing: Standing,
    /// The model that was taken instead of the one asked for.
    downgraded: Option<String>,
}

impl Done {
    fn metadata(&self, began: Instant) -> Value {
        let duration = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut metadata = json!({
            "sanitized": self.sanitized,
            "findings": self.verdict.told,
            "cost": {
                "thisCycle": self.charged.as_usd_f64(),
                "total": self.standing.total.as_usd_f64(),
                "state": self.standing.level.name(),
            },
            "canary": {"injected": true},
            "duration": duration,
        });
        if !self.warnings.is_empty() {
            metadata["warnings"] = json!(self.warnings);
        }
        if let Some(model) = &self.downgraded {
            metadata["cost"]["downgradedTo"] = model.as_str().into();
        }
        metadata
    }
}

impl<'a> Inference<'a> {
    fn new(
        shared: &'a Shared,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
        caller: &'a Caller,
    ) -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self {
            shared,
            headers,
            peer,
            caller,
            id: RequestId::new(u64::try_from(now).unwrap_or_default()),
        }
    }

    async fn run(&self, mut conversation: Conversation) -> Result<Done, Denied> {
        self.caller.admit(self.shared)?;
        let limits = match conversation.form {
            Form::Orchestrator => limits(self.shared),
            Form::Anthropic => Limits::NONE,
        };
        let judged = self.judge(&mut conversation, &limits).await?;
        self.prompt(&conversation, &limits)?;
        let session = conversation.session.as_deref();
        let tokens = tokens(self.shared, self.caller, session).await?;
        let downgraded = self.cost(&conversation.model)?;
        let model = downgraded.as_deref().unwrap_or(&conversation.model);
        let said = self.ask(&conversation, model, &tokens).await?;
        let (message, verdict) = self.answer(&conversation, said.response, tokens).await?;
        let standing = self.shared.gateway.costs_now().await;
        Ok(Done {
            message,
            verdict,
            sanitized: judged.sanitized.is_some(),
            warnings: judged.warnings,
            charged: said.charged,
            standing,
            downgraded,
        })
    }

    fn note(&self, conversation: &Conversation, event: Event) -> Note {
        let mut note = Note::of(self.caller, event, self.id);
        let session = conversation.session.as_deref();
        note.session(session.map(|name| self.caller.session(name).masked()));
        note
    }

    /// What the messages say.
    async fn judge(
        &self,
        conversation: &mut Conversation,
        limits: &Limits,
    ) -> Result<Judged, Denied> {
        let (messages, most) = (std::mem::take(&mut conversation.messages), *limits);
        let (messages, mut judged) = guarded(move || {
            let judged = judge::messages(&messages, &most);
            (messages, judged)
        })
        .await?;
        conversation.messages = match &mut judged.sanitized {
            Some(sanitized) => std::mem::take(sanitized),
            None => messages,
        };
        let note = self.note(conversation, Event::InputValidation);
        if judged.is_valid() {
            let outcome = if judged.sanitized.is_some() {
                "sanitized"
            } else {
                "passed"
            };
            note.write(self.shared, Severity::Low, outcome, &[]);
            return Ok(judged);
        }
        let found = findings(&judged.blocked);
        note.write(self.shared, blocked_severity(&found), "blocked", &found);
        if judged.blamed
            && let Some(Struck::Quarantined(state)) =
                strike(self.shared, self.caller, BLOCKED).await
        {
            return Err(in_quarantine_now(state).with("details", judged.shown()));
        }
        Err(invalid(&judged.shown()))
    }

    /// What the system prompt may be.
    fn prompt(&self, conversation: &Conversation, limits: &Limits) -> Result<(), Denied> {
        let prompt = conversation.prompt();
        if prompt.is_empty() {
            // Whether it may be missing was decided when the request was read.
            return Ok(());
        }
        let errors = validate::system_prompt(&prompt, limits);
        if errors.is_empty() {
            return Ok(());
        }
        let details = json!({"valid": false, "errors": errors, "field": "systemPrompt"});
        Err(invalid(&details))
    }

    /// What runs at the breaker's level. Gives the model that is taken instead of `model`.
    fn cost(&self, model: &str) -> Result<Option<String>, Denied> {
        let gateway = &self.shared.gateway;
        let standing = gateway.breaker.standing();
        match gateway.verdict(&gateway.live(), &standing, model) {
            Cost::Allowed => Ok(None),
            Cost::Downgraded(to) => Ok(Some(to)),
            Cost::Refused(limit) => Err(too_dear(&limit)),
        }
    }

    /// Asks the model, with the token behind the system prompt.
    async fn ask(
        &self,
        conversation: &Conversation,
        model: &str,
        tokens: &Tokens,
    ) -> Result<Said, Denied> {
        let most = self.shared.gateway.settings.orchestrator.max_tokens;
        let body = conversation.asking(model, most);
        let body = body.map_err(|error| Denied::unguarded(&error.to_string()))?;
        let call = Sha256::digest(&body).into();
        let sentence = tokens.current.instruction();
        let body = plant::behind_system(Dialect::Messages, &body, &sentence)
            .ok_or_else(|| Denied::unguarded("the system prompt takes no canary"))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/v1/messages")
            .body(Bytes::from(body))
            .map_err(|error| Denied::unguarded(&error.to_string()))?;
        let headers = request.headers_mut();
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        for name in &PASSED {
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let asker = Asker {
            peer: self.peer,
            operator: self.caller.operator,
            call: Some(call),
        };
        let asked = match self.shared.inner.get() {
            Some(inner) => inner.ask(request, asker).await,
            None => Err(NoAnswer::Nobody),
        };
        let said = asked.map_err(|error| failed(StatusCode::BAD_GATEWAY, &error.to_string()))?;
        if said.response.status() == StatusCode::OK {
            return Ok(said);
        }
        Err(self.refused(&said.response))
    }

    /// What a model's route refused, in the words of the original.
    fn refused(&self, response: &http::Response<Bytes>) -> Denied {
        let status = response.status();
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let code = body.pointer("/error/code").and_then(Value::as_str);
        let message = body.pointer("/error/message").and_then(Value::as_str);
        let mut denied = match code {
            Some("cost_limit_exceeded") => {
                let gateway = &self.shared.gateway;
                let standing = gateway.breaker.standing();
                too_dear(&CostLimit {
                    level: standing.level.name(),
                    total: standing.total,
                    threshold: standing.threshold(),
                })
            }
            Some("budget_exhausted") => self.exhausted(message),
            Some("prompt_blocked") => invalid(&json!({"valid": false, "errors": [message]})),
            Some("answer_blocked") => unsafe_output(&json!([]), None),
            Some("api_key_quarantined") => {
                let left = self.caller.who();
                let state = left.and_then(|who| self.shared.gateway.quarantine.check(&who));
                Denied::quarantined(state.unwrap_or(Quarantined::Permanent))
            }
            _ => Denied::new(
                status,
                json!({"error": "MODEL_API_FAILED", "details": details(&body, response.body())}),
            ),
        };
        let after = response.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        denied.retry_after = denied.retry_after.or(after);
        denied
    }

    /// A budget of the caller's that is used up.
    fn exhausted(&self, message: Option<&str>) -> Denied {
        let gateway = &self.shared.gateway;
        let live = gateway.live();
        let tightest = self.caller.accounts(&live.policy).into_iter();
        let tightest = tightest.filter(|spec| spec.hard);
        let tightest = tightest.map(|spec| gateway.book.glance(&spec));
        let tightest = tightest.min_by_key(Balance::remaining);
        let total = tightest.map(|balance| balance.posted.as_usd_f64());
        let threshold = tightest.map(|balance| balance.limit.as_usd_f64());
        Denied::new(
            StatusCode::PAYMENT_REQUIRED,
            json!({
                "error": "COST_LIMIT_EXCEEDED",
                "level": "BUDGET",
                "total": total,
                "threshold": threshold,
                "message": message,
            }),
        )
    }

    /// What the model has said.
    async fn answer(
        &self,
        conversation: &Conversation,
        response: http::Response<Bytes>,
        tokens: Tokens,
    ) -> Result<(Map<String, Value>, Verdict), Denied> {
        let unreadable = || failed(StatusCode::BAD_GATEWAY, "the model's answer cannot be read");
        let message: Value = serde_json::from_slice(response.body()).map_err(|_| unreadable())?;
        let Value::Object(mut message) = message else {
            return Err(unreadable());
        };
        let Some(Value::Array(mut parts)) = message.remove("content") else {
            return Err(unreadable());
        };
        let live = self.shared.gateway.live();
        let (parts, verdict) = guarded(move || {
            let rules = &live.policy.rules.screen;
            let verdict = said::parts(rules, &mut parts, Some(&tokens));
            (parts, verdict)
        })
        .await?;
        message.insert("content".into(), parts.into());
        let note = self.note(conversation, Event::OutputFilter);
        judged(self.shared, self.caller, note, &verdict).await;
        if verdict.leaked {
            let severity = Some(Severity::Critical);
            return Err(unsafe_output(
                &json!([{"type": "canary_token_leak", "severity": Severity::Critical.name()}]),
                severity,
            ));
        }
        if !verdict.safe {
            return Err(unsafe_output(&verdict.told, None));
        }
        Ok((message, verdict))
    }
}
