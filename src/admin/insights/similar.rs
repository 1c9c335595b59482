//! The Model Gateway's question for requests like a text.
//!
//! Decides what may be asked, and how neighbours are shown: in the Model Gateway's shape with the
//! similarity beside it, and with a reason where there are none.

use super::{Parameters, away, number, store, wrong};
use crate::admin::daily::{Denied, allow};
use crate::admin::{Peer, Shared};
use crate::insight::similar::{Found, Neighbour, Reason, SearchError};
use crate::refusal::Refusal;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

/// Neighbours by default, and at most.
const LIMIT: u32 = 10;
const MOST: u32 = 100;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    query: String,
    model: Option<String>,
    limit: u32,
}

impl Asked {
    fn read(parameters: Parameters) -> Result<Self, Refusal> {
        let Query(parameters) =
            parameters.map_err(|_| Refusal::BadRequest("The query cannot be read"))?;
        let (mut query, mut model, mut limit) = (None, None, None);
        for (name, value) in parameters {
            let twice = match name.as_str() {
                "query" => query.replace(value).is_some(),
                "model" => model.replace(value).is_some(),
                "limit" => limit.replace(number(&name, &value, 1, MOST)?).is_some(),
                _ => return Err(wrong(&name, "is not known; there are query, model, limit")),
            };
            if twice {
                return Err(wrong(&name, "is there twice"));
            }
        }
        let query = query.filter(|query| !query.trim().is_empty());
        Ok(Self {
            query: query.ok_or_else(|| wrong("query", "is missing: the text to look for"))?,
            model: model.filter(|model| !model.is_empty()),
            limit: limit.unwrap_or(LIMIT),
        })
    }
}

#[derive(Serialize)]
struct Body {
    similar_requests: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Row {
    trace_id: String,
    model: String,
    messages: Option<Box<RawValue>>,
    response: Option<String>,
    cost: Box<RawValue>,
    latency_ms: Option<i64>,
    timestamp: String,
    similarity: Box<RawValue>,
}

impl Row {
    fn of(neighbour: Neighbour) -> Self {
        let at = jiff::Timestamp::from_millisecond(neighbour.at_ms).unwrap_or_default();
        let messages = neighbour.messages.map(RawValue::from_string);
        let similarity = format!("{:.4}", neighbour.similarity);
        Self {
            trace_id: neighbour.trace_id,
            model: neighbour.model,
            messages: messages.and_then(Result::ok),
            response: neighbour.response,
            cost: neighbour.cost.usd_exact(),
            latency_ms: neighbour.latency_ms,
            timestamp: at.to_string(),
            similarity: RawValue::from_string(similarity).unwrap_or_default(),
        }
    }
}

/// `GET /insights/similar`.
pub(in crate::admin) async fn similar(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Denied> {
    allow(&shared, &headers, peer)?;
    let asked = Asked::read(parameters).map_err(Denied)?;
    let most = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let found = store(&shared)?
        .similar(asked.query, asked.model, most)
        .await;
    Ok(answer(found.map_err(|error| match error {
        SearchError::Store(error) => away(&error),
        SearchError::Model(error) => {
            tracing::warn!(%error, "a query could not be embedded");
            Denied(Refusal::InsightsUnavailable(
                "the model that embeds texts gives no answer",
            ))
        }
    })?))
}

fn answer(found: Found) -> Response {
    let body = Body {
        similar_requests: found.neighbours.into_iter().map(Row::of).collect(),
        reason: found.reason.map(Reason::text),
    };
    let json = HeaderValue::from_static("application/json");
    // Nothing here can fail to serialise: keys are text, numbers are written already.
    let body = serde_json::to_string(&body).unwrap_or_default();
    ([(header::CONTENT_TYPE, json)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::similar::Reason;
    use crate::money::Nanos;
    use serde_json::{Value, json};

    fn read(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let pairs = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let asked = Asked::read(Ok(Query(pairs.collect())));
        asked.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named() {
        for (query, said) in [
            (&[][..], "`query` is missing"),
            (&[("query", " ")], "`query` is missing"),
            (
                &[("query", "a"), ("limit", "0")],
                "`limit` must be a number between 1 and 100",
            ),
            (&[("query", "a"), ("limit", "101")], "`limit`"),
            (&[("query", "a"), ("limit", "ten")], "`limit`"),
            (&[("query", "a"), ("query", "b")], "`query` is there twice"),
            (&[("query", "a"), ("hours", "1")], "`hours` is not known"),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let asked = read(&[("query", "explain kubernetes"), ("model", "gpt-4o")]).unwrap();
        assert_eq!((asked.model.as_deref(), asked.limit), (Some("gpt-4o"), 10));
        assert_eq!(read(&[("query", "a"), ("model", "")]).unwrap().model, None);
    }

    #[test]
    fn a_neighbour_has_the_model_gateways_fields_and_its_similarity() {
        let row = Row::of(Neighbour {
            trace_id: "t".to_owned(),
            model: "gpt-4o".to_owned(),
            messages: Some(r#"[{"role":"user","content":"Hi"}]"#.to_owned()),
            response: None,
            cost: Nanos(750_000),
            latency_ms: Some(12),
            at_ms: 1_738_281_600_123,
            similarity: 0.5,
        });
        assert_eq!(
            serde_json::to_value(&row).unwrap(),
            json!({
                "trace_id": "t", "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}],
                "response": null, "cost": 0.00075, "latency_ms": 12,
                "timestamp": "2025-01-31T00:00:00.123Z", "similarity": 0.5,
            })
        );
        let body = Body {
            similar_requests: Vec::new(),
            reason: Some(Reason::NoTexts.text()),
        };
        let body: Value = serde_json::to_value(&body).unwrap();
        assert_eq!(body["similar_requests"], json!([]));
        assert!(body["reason"].as_str().unwrap().contains("insights.text"));
    }
}
