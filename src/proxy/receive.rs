//! Receiving a request's body: its type, its size, its deadline, and ways to stop.
//!
//! Decides how a body is read. What is in it is for others.

use crate::gateway::Gateway;
use crate::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use pingora_core::Error;
use pingora_proxy::Session;

/// Why a request goes no further.
pub(super) enum Stop {
    /// It is refused; `close` when what it still sends is not worth reading.
    Refuse { refusal: Refusal, close: bool },
    /// The connection is broken: there is nobody to answer.
    Broken(Box<Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse {
            refusal,
            close: false,
        }
    }
}

/// A refusal after which the connection must not be used again.
pub(super) fn last(refusal: Refusal) -> Stop {
    Stop::Refuse {
        refusal,
        close: true,
    }
}

/// A header as text, if it is there and printable.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// JSON that is not compressed. A missing or different type is refused: browsers send such
/// requests across origins without asking.
pub(super) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refusal::UnsupportedMedia(
            "Compressed request bodies are not accepted",
        ));
    }
    let kind = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::UnsupportedMedia(
        "The request needs 'Content-Type: application/json'",
    ))
}

/// Reads the whole body within its deadline, at most `limit` bytes.
pub(super) async fn read_body(
    gateway: &Gateway,
    session: &mut Session,
    limit: usize,
) -> Result<Bytes, Stop> {
    let headers = &session.req_header().headers;
    let length =
        text(headers, header::CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(last(Refusal::TooLarge { limit }));
    }
    let waits = headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits {
        // Without this the final answer would carry `Connection: close`.
        session
            .downstream_session
            .set_close_on_response_before_downstream_finish(false);
        session
            .downstream_session
            .write_continue_response()
            .await
            .map_err(Stop::Broken)?;
        session
            .downstream_session
            .set_close_on_response_before_downstream_finish(true);
    }
    match tokio::time::timeout(
        gateway.settings.timeouts.body,
        collect(session, length, limit),
    )
    .await
    {
        Ok(body) => body,
        Err(_) => Err(last(Refusal::RequestTimeout)),
    }
}

async fn collect(
    session: &mut Session,
    length: Option<usize>,
    limit: usize,
) -> Result<Bytes, Stop> {
    let downstream = &mut session.downstream_session;
    let Some(first) = downstream.read_request_body().await.map_err(broken)? else {
        return Ok(Bytes::new());
    };
    if length == Some(first.len()) {
        // The usual case: the body came in one piece and needs no copy. Reading once more lets
        // the session see its end.
        return match downstream.read_request_body().await.map_err(broken)? {
            None => Ok(first),
            Some(_) => Err(last(Refusal::BadRequest(
                "The body is longer than announced",
            ))),
        };
    }
    let mut body = BytesMut::with_capacity(length.unwrap_or(first.len() * 2).min(limit));
    body.extend_from_slice(&first);
    while body.len() <= limit {
        match downstream.read_request_body().await.map_err(broken)? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(body.freeze()),
        }
    }
    Err(last(Refusal::TooLarge { limit }))
}

fn broken(error: Box<Error>) -> Stop {
    if matches!(error.etype(), pingora_core::ErrorType::ReadTimedout) {
        return last(Refusal::RequestTimeout);
    }
    Stop::Broken(error.into_down())
}
