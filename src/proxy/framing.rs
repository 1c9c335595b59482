//! The shape of a request, before anything of it is believed.
//!
//! Decides which headers are refused because servers could read them differently, or because they are
//! larger than they may be.

use super::receive::{Stop, last};
use crate::gateway::Gateway;
use crate::refusal::Refusal;
use http::{Version, header};
use pingora_proxy::Session;

/// Refuses what proxies and servers could read differently, and headers beyond the limits.
///
/// # Errors
/// What is wrong with it; the connection ends then.
pub(super) fn framing(gateway: &Gateway, session: &Session) -> Result<(), Stop> {
    let request = session.req_header();
    let headers = &request.headers;
    let refuse = |why| Err(last(Refusal::BadRequest(why)));
    let limits = &gateway.settings.limits;
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size + request.raw_path().len() > limits.header_bytes {
        return refuse("The request header is too large");
    }
    if headers.len() > limits.headers {
        return refuse("The request has too many headers");
    }
    let sized = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if sized > 1 || (chunked && (sized == 1 || had_length(session))) {
        return refuse("The request's length is ambiguous");
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return refuse("The request names several hosts");
    }
    match request.version {
        Version::HTTP_11 if !headers.contains_key(header::HOST) => {
            return refuse("The request names no host");
        }
        Version::HTTP_10 if sized > 0 || chunked => {
            return refuse("HTTP/1.0 requests with a body are not served");
        }
        _ => {}
    }
    if headers.contains_key(header::UPGRADE) {
        return refuse("This route does not upgrade connections");
    }
    Ok(())
}

/// Whether the header had a `Content-Length` as it arrived: beside a transfer coding, Pingora takes
/// it out before anybody sees it.
fn had_length(session: &Session) -> bool {
    let Some(http1) = session.downstream_session.as_http1() else {
        return false;
    };
    let raw = http1.get_headers_raw_bytes();
    raw.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"content-length")
    })
}
