//! Routes that are answered inside the process: health, spend, budgets, resets, reload, metrics, the
//! lists of models, and a caller's own budget.
//!
//! Paths and shapes are those of the systems before, so that their consoles and scripts go on
//! working: `/api/*` is the Execwall OR Gate's, `/models` and `/budget/*` are the Model Gateway's,
//! `/v1/models` is everybody's,
//! `/track`, `/state` and `/admin/costs` are the API Orchestrator's, `/v1/budget` is Weir's. Everything under `/api` and `/budget` that shows or changes budgets
//! needs the admin token, or a loopback peer while no token is set. Changes are logged before they
//! are applied, by [`crate::ledger::Book`]. `/events` shows what happens, for as long as one watches.

mod amiss;
mod attempts;
mod breaker;
mod budgets;
mod caller;
mod daily;
mod events;
mod insights;
mod models;
mod orchestrator;
mod own;
mod party;

use crate::answer::{Answer, Rest};
use crate::auth;
use crate::event::{Change, Kind};
use crate::gateway::inner::Inner;
use crate::gateway::reload::Trigger;
use crate::gateway::{Gateway, Live};
use crate::guard::audit::{Entry, Event};
use crate::guard::finding::Severity;
use crate::identity::AgentId;
use crate::metrics::Levels;
use crate::refusal::Refusal;
use crate::settings::problem::Problem;
use amiss::{no_route, not_found, speaks_orchestrator, wrong_method};
use attempts::Attempts;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
pub use events::Door;
use events::Endless;
use http_body_util::BodyExt as _;
use orchestrator::Denied;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use tower::ServiceExt as _;

/// What stands before a task's name among the other names of models; without it they are there, too.
const TASK: &str = "task:";

/// The other end of the connection, where it is known.
type Peer = Extension<Option<IpAddr>>;

/// The admin API over a running gateway.
pub struct Admin {
    router: Router,
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    attempts: Arc<Attempts>,
    /// The way by which models are asked.
    inner: Arc<OnceLock<Arc<dyn Inner>>>,
    /// What is known of providers.
    reached: Arc<orchestrator::Reached>,
}

impl Admin {
    /// Builds the routes.
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        let shared = Shared {
            gateway: Arc::clone(gateway),
            attempts: Arc::default(),
            inner: Arc::default(),
            reached: Arc::default(),
        };
        let router = orchestrator::routes(Router::new())
            .route("/health", get(health))
            .route("/models", get(daily::models))
            .route("/budget/stats", get(daily::stats))
            .route("/budget/reset", post(daily::reset))
            .route("/track", post(breaker::track))
            .route("/state", get(breaker::state))
            .route("/admin/costs", get(breaker::costs))
            .route("/admin/costs/reset", post(breaker::reset))
            .route("/admin/costs/limits", put(breaker::limits))
            .route("/insights/stats", get(insights::stats))
            .route("/insights/trends", get(insights::trends))
            .route("/insights/similar", get(insights::similar))
            .route("/insights/aggregate", post(insights::aggregate))
            .route("/v1/budget", get(own::budget))
            .route("/v1/models", get(models::all))
            .route("/v1/models/{*model}", get(models::one))
            .route("/api/health", get(health))
            .route("/api/spend", get(budgets::all_spend))
            .route("/api/spend/{agent}", get(budgets::spend))
            .route("/api/budget", get(budgets::all))
            .route("/api/budget/{name}", get(budgets::one).post(budgets::push))
            .route("/api/reset/{name}", post(budgets::reset))
            .route("/api/reload", post(reload))
            .route("/events", get(events::events))
            .route("/metrics", get(metrics))
            .fallback(no_route)
            .with_state(shared.clone());
        Self { router, shared }
    }

    /// Whether `path` belongs to these routes.
    pub fn serves(path: &str) -> bool {
        const EXACT: [&str; 10] = [
            "/track",
            "/state",
            "/events",
            "/metrics",
            "/health",
            "/models",
            "/budget/stats",
            "/budget/reset",
            "/v1/models",
            "/v1/budget",
        ];
        EXACT.contains(&path)
            || path.starts_with("/api/")
            || path.starts_with("/insights/")
            || is_costs(path)
            || orchestrator::is_for_callers(path)
            || orchestrator::is_for_operators(path)
            || path.strip_prefix("/v1/models/").is_some_and(models::named)
    }

    /// Whether `path` is one that shows or changes what is not for clients: these routes move to the
    /// admin listener where there is one.
    pub fn is_for_operators(path: &str) -> bool {
        if orchestrator::is_for_callers(path) {
            return false;
        }
        path == "/metrics"
            || path == "/events"
            || path.starts_with("/api/")
            || path.starts_with("/budget/")
            || path.starts_with("/insights/")
            || is_costs(path)
            || orchestrator::is_for_operators(path)
    }

    /// Whether `path` is one of the API Orchestrator's or of its cost breaker's, which may have a listener of
    /// their own.
    pub fn is_of_orchestrator(path: &str) -> bool {
        path == "/health" || speaks_orchestrator(path)
    }

    /// What is answered on a listener that has nothing at `path`, in the API Orchestrator's words.
    pub fn nothing_at(path: &str) -> Answer {
        Denied::from(not_found(path)).into_answer()
    }

    /// Whether requests to `path` may be as large as those to models.
    pub fn takes_conversations(path: &str) -> bool {
        orchestrator::takes_conversations(path)
    }

    /// How models are asked by routes that do so. Called once, when there is a way.
    pub fn asks(&self, inner: Arc<dyn Inner>) {
        // The first way is as good as any other.
        let _ = self.shared.inner.set(inner);
    }

    /// Answers one request. With a rest, that follows the answer as long as it lasts.
    pub async fn answer(
        &self,
        request: Request<Bytes>,
        peer: Option<IpAddr>,
    ) -> (Answer, Option<Rest>) {
        let path = request.uri().path().to_owned();
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(peer);
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter();
        let headers = headers.filter(|(name, _)| *name != header::CONTENT_LENGTH);
        let mut answer = Answer {
            status: parts.status,
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: Bytes::new(),
        };
        if parts.extensions.get::<Endless>().is_some() {
            return (answer, Some(body.map_err(Into::into).boxed_unsync()));
        }
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            return (wrong_method(&path, &answer), None);
        }
        match body.collect().await {
            Ok(body) => answer.body = body.to_bytes(),
            Err(_) => answer = Answer::refusal(&Refusal::Internal),
        }
        (answer, None)
    }
}

impl Admin {
    /// The listener that has nothing but `/events`.
    pub fn door(&self) -> Door {
        Door::new(self.shared.clone())
    }
}

/// Whether `path` is one of the cost breaker's for operators.
fn is_costs(path: &str) -> bool {
    path == "/admin/costs" || path.starts_with("/admin/costs/")
}

/// A refusal as an axum response.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        response(Answer::refusal(&self.0))
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    response
}

type Reply = Result<Response, Refused>;

fn reply(body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, json)],
        body.to_string(),
    )
        .into_response()
}

impl Shared {
    fn allow(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<(), Refused> {
        let token = self.gateway.settings.admin.token.as_ref();
        if token.is_none() && auth::page::may_have_sent(headers) {
            return Err(Refusal::AdminOnly(
                "Web pages, and requests to a public name (Host), may use the admin API with ADMIN_TOKEN only",
            )
            .into());
        }
        let presented = auth::presented(
            headers
                .get(header::AUTHORIZATION)
                .and_then(|v| v.to_str().ok()),
            None,
        );
        self.allow_presented(presented, peer)
    }

    /// The same by a token that was found elsewhere; what web pages may do is decided there, too.
    fn allow_presented(
        &self,
        presented: Option<&str>,
        peer: Option<IpAddr>,
    ) -> Result<(), Refused> {
        let token = self.gateway.settings.admin.token.as_ref();
        let loopback = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        if !self.attempts.may_try(peer) {
            return Err(Refusal::TooManyAttempts.into());
        }
        auth::admin_allowed(token, presented, loopback).map_err(|refusal| {
            if presented.is_some() {
                self.attempts.failed(peer);
            }
            Refused(refusal)
        })
    }
}

impl Shared {
    /// Somebody changed something.
    fn told(&self, action: &'static str, subject: &str, peer: Option<IpAddr>) {
        self.announced(action, subject, peer);
        let entry = Entry::new(Event::AdminChange, Severity::Medium, "changed");
        let entry = entry.with("action", action).with("subject", subject);
        self.gateway.audit.record(entry.with("by", origin(peer)));
    }

    /// The same for whoever watches, and nobody else.
    fn announced(&self, action: &'static str, subject: &str, peer: Option<IpAddr>) {
        self.gateway.feed.tell(|| {
            Kind::Change(Change {
                action,
                subject: subject.into(),
                by: origin(peer).into(),
            })
        });
    }
}

fn timestamp(unix_seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(unix_seconds)
        .ok()
        .map(|at| at.to_string())
}

fn ids(live: &Live) -> Vec<&AgentId> {
    live.policy.agents.keys().collect()
}

async fn health(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Response {
    let live = shared.gateway.live();
    // Names and addresses are for operators; that the gateway lives is for everybody.
    let trusted = shared.allow(&headers, peer).is_ok();
    let agents = if trusted { ids(&live) } else { Vec::new() };
    let url = trusted.then(|| live.policy.upstream.base_url.text.clone());
    reply(&json!({
        "status": "ok",
        "service": "weir",
        "version": env!("CARGO_PKG_VERSION"),
        "agents": agents,
        "openrouter_url": url,
    }))
}

async fn reload(State(shared): State<Shared>, Extension(peer): Peer, headers: HeaderMap) -> Reply {
    shared.allow(&headers, peer)?;
    let lines = |problems: &[Problem]| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    };
    let by = Trigger::Admin(origin(peer));
    let reloaded = shared.gateway.reload(by).await.map_err(|problems| {
        let problems = lines(&problems.0);
        Refusal::InvalidConfig { problems }
    })?;
    shared.told("reload", "configuration", peer);
    Ok(reply(&json!({
        "status": "reloaded",
        "agents": ids(&reloaded.live),
        "result": reloaded.name(),
        "changes": reloaded.changes,
        "warnings": lines(&reloaded.warnings),
        "needs_restart": reloaded.needs_restart,
    })))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let gateway = &shared.gateway;
    let counters = gateway.book.counters();
    let live = gateway.live();
    let agents = live.policy.agents.values();
    let used = agents.map(|agent| (agent.id.as_str(), gateway.book.glance(&agent.account)));
    gateway.metrics.used(used);
    let text = gateway.metrics.expose(Levels {
        reservations: counters.open,
        in_flight: gateway.in_flight.load(std::sync::atomic::Ordering::Relaxed),
        lost_records: counters.lost,
        log_bytes: counters.log_bytes,
        log_failed: counters.poisoned,
        shared: gateway.fleet.as_ref().map(|fleet| fleet.figures()),
        events: gateway.feed.figures(),
        breaker: Some(gateway.breaker.standing()),
        insights: gateway.insights.as_ref().map(|insights| insights.levels()),
    });
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn origin(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "unknown".into(), |ip| ip.to_string())
}

fn unavailable(error: &dyn std::error::Error) -> Refused {
    tracing::error!(%error, "a budget change could not be logged, so it was not made");
    Refused(Refusal::LedgerUnavailable)
}
