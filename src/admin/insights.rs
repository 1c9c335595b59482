//! The Model Gateway's questions about finished requests: sums of some hours, and day by day.
//!
//! Decides what may be asked, and how it is said: in the Model Gateway's shapes, or as CSV. Amounts and
//! averages are decimal text from integers. Errors are written as the Model Gateway wrote them.

mod similar;

use super::daily::{Denied, allow};
use super::{Peer, Shared, reply};
use crate::insight::store::StoreError;
use crate::insight::{Figures, Group, Insights, Page};
use crate::money::Nanos;
use crate::refusal::Refusal;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
pub(super) use similar::similar;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// The longest windows: a year of hours, ten years of days.
const MOST_HOURS: u32 = 8784;
const MOST_DAYS: u32 = 3660;

/// Rows of an answer, by default and at most.
const ROWS: u32 = 1000;
const MOST_ROWS: u32 = 10_000;

const MOST_OFFSET: u32 = 10_000_000;

/// Where the next page begins, if there is one.
const NEXT: HeaderName = HeaderName::from_static("x-next-offset");

const HOUR: i64 = 3_600_000;

type Parameters = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// Hours or days.
    span: u32,
    group: Group,
    page: Page,
    csv: bool,
}

fn wrong(field: &str, expected: &str) -> Refusal {
    let field: String = field.chars().take(64).collect();
    Refusal::InvalidField {
        message: format!("The parameter `{field}` {expected}"),
        field: field.into(),
    }
}

/// A number in a parameter.
fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, Refusal> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            wrong(
                name,
                &format!("must be a number between {least} and {most}"),
            )
        })
}

impl Asked {
    /// Reads the parameters, of which `span` names the window.
    fn read(
        parameters: Parameters,
        headers: &HeaderMap,
        (span, default, most): (&str, u32, u32),
    ) -> Result<Self, Refusal> {
        let Query(parameters) =
            parameters.map_err(|_| Refusal::BadRequest("The query cannot be read"))?;
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        let mut asked = Self {
            span: default,
            group: Group::Model,
            page: Page {
                limit: ROWS,
                offset: 0,
            },
            csv: accept.is_some_and(|accept| accept.trim_start().starts_with("text/csv")),
        };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &parameters {
            if seen.contains(&name.as_str()) {
                return Err(wrong(name, "is there twice"));
            }
            seen.push(name);
            match name.as_str() {
                name if name == span => asked.span = number(name, value, 1, most)?,
                "limit" => asked.page.limit = number(name, value, 1, MOST_ROWS)?,
                "offset" => asked.page.offset = number(name, value, 0, MOST_OFFSET)?,
                "group_by" => {
                    asked.group = Group::of(value)
                        .ok_or_else(|| wrong(name, "must be model, agent, user or provider"))?;
                }
                "format" => {
                    asked.csv = match value.as_str() {
                        "csv" => true,
                        "json" => false,
                        _ => return Err(wrong(name, "must be json or csv")),
                    };
                }
                _ => {
                    let known =
                        format!("is not known; there are {span}, group_by, limit, offset, format");
                    return Err(wrong(name, &known));
                }
            }
        }
        Ok(asked)
    }

    /// The page with a row more, to see whether there is one.
    fn one_more(&self) -> Page {
        Page {
            limit: self.page.limit + 1,
            ..self.page
        }
    }
}

fn store(shared: &Shared) -> Result<&Arc<Insights>, Denied> {
    let none = Refusal::InsightsUnavailable("they are switched off (insights.enabled)");
    shared.gateway.insights.as_ref().ok_or(Denied(none))
}

fn away(error: &StoreError) -> Denied {
    if !matches!(error, StoreError::Away | StoreError::Slow) {
        tracing::warn!(%error, "the insights could not be asked");
    }
    Denied(Refusal::InsightsUnavailable(match error {
        StoreError::Slow => "the answer took too long; ask for a shorter time",
        _ => "the store is away",
    }))
}

/// `GET /insights/stats`.
pub(super) async fn stats(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let asked = Asked::read(parameters, &headers, ("hours", 24, MOST_HOURS)).map_err(Denied)?;
    let since = now_ms() - i64::from(asked.span) * HOUR;
    let (group, page) = (asked.group, asked.one_more());
    let figures = store(&shared)?
        .ask(move |store, limit| async move { store.stats(group, since, page, limit).await });
    let figures = figures.await.map_err(|error| away(&error))?;
    Ok(answer(&asked, figures, stat, |rows| {
        let rows = rows
            .iter()
            .map(|(figures, row)| (figures.name.as_str(), row));
        serde_json::to_string(&rows.collect::<BTreeMap<_, _>>())
    }))
}

/// `GET /insights/trends`.
pub(super) async fn trends(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let asked = Asked::read(parameters, &headers, ("days", 7, MOST_DAYS)).map_err(Denied)?;
    let (group, page, days, now) = (asked.group, asked.one_more(), asked.span, now_ms());
    let figures = store(&shared)?
        .ask(move |store, limit| async move { store.trends(group, now, days, page, limit).await });
    let figures = figures.await.map_err(|error| away(&error))?;
    Ok(answer(&asked, figures, trend, |rows| {
        let rows: Vec<&Row> = rows.iter().map(|(_, row)| row).collect();
        serde_json::to_string(&json_of(&rows))
    }))
}

/// `POST /insights/aggregate`: the sums made again from the rows.
pub(super) async fn aggregate(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let asked = Asked::read(parameters, &headers, ("hours", 24, MOST_HOURS)).map_err(Denied)?;
    let since = now_ms() - i64::from(asked.span) * HOUR;
    let made = store(&shared)?.ask(move |store, _| async move { store.aggregate(since).await });
    let made = made.await.map_err(|error| away(&error))?;
    Ok(reply(&json!({
        "message": "Insights aggregated successfully",
        "hours": made.hours,
        "days": made.days,
    })))
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A cell: text, or a number as it is written.
enum Cell {
    Text(String),
    Number(Box<RawValue>),
}

/// The names of a row's cells, and the cells.
struct Row(Vec<(&'static str, Cell)>);

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, cell)| (name, cell)))
    }
}

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Number(raw) => raw.serialize(serializer),
        }
    }
}

fn json_of<'a, 'r>(rows: &'a [&'r Row]) -> BTreeMap<&'static str, &'a [&'r Row]> {
    BTreeMap::from([("trends", rows)])
}

fn count(count: i64) -> Cell {
    decimal(i128::from(count), 1, 0)
}

fn usd(nanos: i64) -> Cell {
    Cell::Number(Nanos(nanos).usd_exact())
}

/// A quotient of numbers that are not negative, with so many digits behind its point, rounded down;
/// 0 where there is nothing to divide by.
fn decimal(number: i128, by: i128, places: u32) -> Cell {
    let one = 10_i128.pow(places);
    let scaled = if by == 0 { 0 } else { number.max(0) * one / by };
    let mut text = (scaled / one).to_string();
    if places > 0 {
        let fraction = format!(
            "{:0width$}",
            scaled % one,
            width = usize::try_from(places).unwrap_or(0)
        );
        let fraction = fraction.trim_end_matches('0');
        let _ = write!(
            text,
            ".{}",
            if fraction.is_empty() { "0" } else { fraction }
        );
    }
    Cell::Number(RawValue::from_string(text).unwrap_or_default())
}

fn stat(_: Group, figures: &Figures) -> Row {
    let requests = i128::from(figures.requests);
    let latencies = i128::from(figures.latency_count);
    Row(vec![
        ("total_requests", count(figures.requests)),
        (
            "success_rate",
            decimal(100 * i128::from(figures.successes), requests, 4),
        ),
        ("total_tokens", count(figures.tokens)),
        ("total_cost", usd(figures.nano_usd)),
        (
            "avg_latency_ms",
            decimal(i128::from(figures.latency_sum_ms), latencies, 3),
        ),
        (
            "tokens_per_request",
            decimal(i128::from(figures.tokens), requests, 3),
        ),
    ])
}

fn trend(group: Group, figures: &Figures) -> Row {
    let requests = i128::from(figures.requests);
    let date = jiff::Timestamp::from_millisecond(figures.day_ms).unwrap_or_default();
    let date = jiff::tz::TimeZone::UTC.to_datetime(date).date().to_string();
    Row(vec![
        ("date", Cell::Text(date)),
        (group.name(), Cell::Text(figures.name.clone())),
        ("requests", count(figures.requests)),
        ("tokens", count(figures.tokens)),
        ("cost", usd(figures.nano_usd)),
        (
            "avg_cost_per_request",
            decimal(i128::from(figures.nano_usd), requests * 1_000_000_000, 12),
        ),
        (
            "avg_tokens_per_request",
            decimal(i128::from(figures.tokens), requests, 3),
        ),
    ])
}

fn answer(
    asked: &Asked,
    mut figures: Vec<Figures>,
    row: fn(Group, &Figures) -> Row,
    text: impl FnOnce(&[(Figures, Row)]) -> serde_json::Result<String>,
) -> Response {
    let most = usize::try_from(asked.page.limit).unwrap_or(usize::MAX);
    let more = figures.len() > most;
    figures.truncate(most);
    let rows = figures.into_iter().map(|figures| {
        let row = row(asked.group, &figures);
        (figures, row)
    });
    let rows: Vec<(Figures, Row)> = rows.collect();
    let (kind, body) = if asked.csv {
        ("text/csv; charset=utf-8", csv(asked.group, &rows))
    } else {
        // Maps with text keys serialise without fail.
        ("application/json", text(&rows).unwrap_or_default())
    };
    let kind = HeaderValue::from_static(kind);
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if more {
        let next = HeaderValue::from(asked.page.offset.saturating_add(asked.page.limit));
        response.headers_mut().insert(NEXT, next);
    }
    response
}

/// Rows as CSV (RFC 4180), with the group in front where a row does not hold it.
fn csv(group: Group, rows: &[(Figures, Row)]) -> String {
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        out.push_str(&cells.collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    };
    let names = rows
        .first()
        .map(|(_, row)| row.0.iter().map(|(name, _)| *name));
    let held = names
        .clone()
        .is_some_and(|mut names| names.any(|name| name == group.name()));
    let front = (!held).then(|| group.name().to_owned());
    line(
        &mut front
            .into_iter()
            .chain(names.into_iter().flatten().map(str::to_owned)),
    );
    for (figures, row) in rows {
        let front = (!held).then(|| quoted(&figures.name));
        let cells = row.0.iter().map(|(_, cell)| match cell {
            Cell::Text(text) => quoted(text),
            Cell::Number(raw) => raw.get().to_owned(),
        });
        line(&mut front.into_iter().chain(cells));
    }
    out
}

/// Text in a cell. One that a spreadsheet would take for a formula begins with an apostrophe.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests;
