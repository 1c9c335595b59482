//! Writing Weir's own answers to the client.

use crate::answer::{Answer, Rest};
use crate::identity::RequestId;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_proxy::Session;
use std::time::Duration;

/// The id of every answer, Weir's own and forwarded ones.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-weir-request-id");

/// How much of a refused body is read and dropped, so that the client sees the answer before the
/// connection ends, and for how long.
const LINGER: (usize, Duration) = (64 << 20, Duration::from_secs(5));

/// Writes the header of `answer` and then the `rest` of it, as it comes, until that ends or the client
/// leaves. The connection ends with it.
///
/// # Errors
/// When the client is gone, or takes nothing any more.
pub(crate) async fn pass(
    session: &mut Session,
    id: RequestId,
    answer: Answer,
    mut rest: Rest,
) -> Result<()> {
    let mut header = self::header(answer.status, answer.headers, id, 2)?;
    session.set_keepalive(None);
    if session.req_header().version == http::Version::HTTP_11 {
        header.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    session
        .write_response_header(Box::new(header), false)
        .await?;
    loop {
        let piece = tokio::select! {
            piece = rest.frame() => piece,
            // Whatever it still has to say: it is not listening.
            _ = session.downstream_session.read_body_or_idle(true) => return Ok(()),
        };
        let Some(Ok(piece)) = piece else {
            session.write_response_body(None, true).await?;
            return Ok(());
        };
        if let Ok(piece) = piece.into_data() {
            session.write_response_body(Some(piece), false).await?;
        }
    }
}

fn header(
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    id: RequestId,
    more: usize,
) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(status, Some(headers.len() + more))?;
    for (name, value) in headers {
        header.insert_header(name, value)?;
    }
    header.insert_header(REQUEST_ID, id.to_string())?;
    Ok(header)
}

/// Writes `answer`. With `close`, the connection ends after it, once what the client is still
/// sending was read and dropped.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn send(
    session: &mut Session,
    id: RequestId,
    answer: Answer,
    close: bool,
) -> Result<()> {
    let mut header = self::header(answer.status, answer.headers, id, 3)?;
    header.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    if close {
        session.set_keepalive(None);
    }
    let head = session.req_header().method == http::Method::HEAD;
    let body = (!head && !answer.body.is_empty()).then_some(answer.body);
    session
        .write_response_header(Box::new(header), body.is_none())
        .await?;
    session.write_response_body(body, true).await?;
    if close {
        linger(session).await;
    }
    Ok(())
}

/// Reads and drops what is left of the request, within [`LINGER`]: a socket closed with unread
/// bytes resets the connection, and the client might never see the answer.
async fn linger(session: &mut Session) {
    let (bytes, time) = LINGER;
    let drop_body = async {
        let mut seen = 0;
        while let Ok(Some(chunk)) = session.downstream_session.read_request_body().await {
            seen += chunk.len();
            if seen > bytes {
                break;
            }
        }
    };
    // Running out of time is as good as reaching the end.
    let _ = tokio::time::timeout(time, drop_body).await;
}
