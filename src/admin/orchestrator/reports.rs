//! `GET /admin/audit`, `/admin/flagged` and `/admin/stats`: what the audit says.
//!
//! Decides what may be asked and how much is given at a time: the newest first, page by page.

use super::Denied;
use crate::admin::{Peer, Refused, Shared, reply};
use crate::custody::audit::{Page, Query, Stats};
use crate::guard::finding::Severity;
use crate::refusal::Refusal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query as Asked, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Days that are looked back unless somebody says otherwise, and at most.
const DAYS: u64 = 7;
const MOST_DAYS: u64 = 3660;

/// Lines of a page unless somebody says otherwise, and at most.
const LINES: usize = 100;
const MOST_LINES: usize = 1000;

/// How long an answer waits for what is being written.
const PATIENCE: Duration = Duration::from_secs(1);

/// What may be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    days: Option<u64>,
    severity: Option<String>,
    event: Option<String>,
    limit: Option<usize>,
    before: Option<u64>,
}

type Parameters = Result<Asked<Wanted>, QueryRejection>;

/// `GET /admin/audit`.
pub(super) async fn audit(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    wanted: Parameters,
) -> Result<Response, Denied> {
    let wanted = allowed(&shared, peer, &headers, wanted)?;
    let page = page(&shared, &wanted, false).await?;
    Ok(reply(&shown(&wanted, "events", page)))
}

/// `GET /admin/flagged`.
pub(super) async fn flagged(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    wanted: Parameters,
) -> Result<Response, Denied> {
    let wanted = allowed(&shared, peer, &headers, wanted)?;
    let page = page(&shared, &wanted, true).await?;
    let mut body = shown(&wanted, "flagged", page);
    body["severity"] = json!(wanted.severity()?);
    Ok(reply(&body))
}

/// `GET /admin/stats`.
pub(super) async fn stats(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    wanted: Parameters,
) -> Result<Response, Denied> {
    let wanted = allowed(&shared, peer, &headers, wanted)?;
    let since = wanted.since();
    let stats = read(&shared, move |path| Stats::since(path, since)).await?;
    let (temporary, permanent) = shared.gateway.quarantine.held();
    let head = stats
        .head
        .map(|(seq, hash)| json!({"seq": seq, "hash": hash}));
    Ok(reply(&json!({
        "days": wanted.days(),
        "total": stats.total,
        "byEvent": stats.events,
        "bySeverity": stats.severities,
        "byOutcome": stats.outcomes,
        "byRule": stats.rules,
        "quarantined": {"temporary": temporary, "permanent": permanent},
        "sessions": shared.gateway.canaries.count(),
        "head": head,
    })))
}

fn allowed(
    shared: &Shared,
    peer: Option<std::net::IpAddr>,
    headers: &HeaderMap,
    wanted: Parameters,
) -> Result<Wanted, Denied> {
    let allowed = shared.allow(headers, peer);
    allowed.map_err(|Refused(refusal)| Denied::from(refusal))?;
    let wrong = "The query parameters are 'days', 'severity', 'event', 'limit' and 'before'";
    let Asked(wanted) = wanted.map_err(|_| Denied::from(Refusal::BadRequest(wrong)))?;
    if wanted
        .days
        .is_some_and(|days| !(1..=MOST_DAYS).contains(&days))
    {
        return Err(Refusal::BadRequest("'days' must be between 1 and 3660").into());
    }
    let lines = 1..=MOST_LINES;
    if wanted.limit.is_some_and(|limit| !lines.contains(&limit)) {
        return Err(Refusal::BadRequest("'limit' must be between 1 and 1000").into());
    }
    wanted.severity()?;
    Ok(wanted)
}

impl Wanted {
    fn days(&self) -> u64 {
        self.days.unwrap_or(DAYS)
    }

    fn since(&self) -> u64 {
        let now = jiff::Timestamp::now().as_millisecond();
        let now = u64::try_from(now).unwrap_or_default();
        now.saturating_sub(self.days().saturating_mul(DAY))
    }

    /// The severity asked for, by its name.
    fn severity(&self) -> Result<Option<&'static str>, Denied> {
        let Some(text) = &self.severity else {
            return Ok(None);
        };
        let all = [
            Severity::Low,
            Severity::Medium,
            Severity::High,
            Severity::Critical,
        ];
        let found = all.map(Severity::name).into_iter();
        let mut found = found.filter(|name| name.eq_ignore_ascii_case(text.trim()));
        found.next().map(Some).ok_or_else(|| {
            Refusal::BadRequest("'severity' must be LOW, MEDIUM, HIGH or CRITICAL").into()
        })
    }
}

async fn page(shared: &Shared, wanted: &Wanted, flagged: bool) -> Result<Page, Denied> {
    let query = Query {
        since: wanted.since(),
        before: wanted.before,
        event: wanted.event.clone(),
        severity: wanted.severity()?,
        flagged,
        limit: wanted.limit.unwrap_or(LINES),
    };
    read(shared, move |path| query.page(path)).await
}

fn shown(wanted: &Wanted, name: &str, page: Page) -> Value {
    let mut body = Map::new();
    body.insert("days".into(), wanted.days().into());
    body.insert("count".into(), page.events.len().into());
    body.insert(name.into(), page.events.into());
    body.insert("next".into(), page.next.into());
    Value::Object(body)
}

/// Reads the audit's files, where nobody else has to wait for it.
async fn read<T: Default + Send + 'static>(
    shared: &Shared,
    read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Denied> {
    let audit = std::sync::Arc::clone(&shared.gateway.audit);
    let path: Option<PathBuf> = audit.files().map(|files| files.path.clone());
    let Some(path) = path else {
        return Ok(T::default());
    };
    let work = move || {
        audit.flush(PATIENCE);
        read(&path)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "the audit cannot be read");
            Err(Refusal::Internal.into())
        }
        Err(_) => Err(Refusal::Internal.into()),
    }
}
