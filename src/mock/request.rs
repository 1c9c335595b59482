//! A request and what it asks for, and refusing heads that no gateway may send.
//!
//! A real provider forgives much; the mock forgives nothing, because a request that is wrong here
//! is a fault of the gateway in front of it. The checks of framing that need raw bytes are in
//! `http1`, the checks of bodies with their interfaces in `dialect`.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::value::RawValue;

use super::api::{Api, Place};

/// A request that was read in full, over whichever protocol.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) protocol: &'static str,
    /// The host, from the header or from `:authority`.
    pub(super) has_host: bool,
    /// What is wrong with the framing; the body was not read then.
    pub(super) problem: Option<&'static str>,
}

impl Request {
    /// A header as text, the first when it is repeated.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a request asks for, whichever interface it came to.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) model: Option<String>,
    pub(super) models: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) max_tokens: Option<u64>,
    /// Zero: there is no content at all.
    pub(super) choices: u64,
    /// A quarter of the bytes of all texts, rounded up, at least one.
    pub(super) prompt_tokens: u64,
    /// The names of the tools.
    pub(super) tools: Vec<String>,
    /// Whether reasoning is to be shown.
    pub(super) thinks: bool,
    /// The texts to embed, as they were written; and how the vectors are to be.
    pub(super) embed: Vec<String>,
    pub(super) dimensions: usize,
    pub(super) base64: bool,
    /// The whole body and its field with the messages.
    pub(super) body: &'a [u8],
    pub(super) messages: &'static str,
}

impl<'a> Asked<'a> {
    /// The value of the field with the messages, byte for byte.
    pub(super) fn messages(&self) -> &'a str {
        // The body was read before, so it is read again without an error.
        let fields: Result<std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>, _> =
            serde_json::from_slice(self.body);
        let found = fields
            .ok()
            .and_then(|mut fields| fields.remove(self.messages));
        found.map_or("", RawValue::get)
    }
}

/// A quarter of the bytes, rounded up, at least one.
pub(super) fn tokens(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(4).max(1)
}

/// Why a request is refused, with the status that says so.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) code: Option<&'static str>,
}

impl Refused {
    pub(super) fn new(status: u16, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            code: None,
        }
    }

    /// A bad request.
    pub(super) fn bad<T>(reason: impl Into<String>) -> Result<T, Self> {
        Err(Self::new(400, reason))
    }

    /// The same with a code.
    pub(super) fn coded(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }
}

/// Headers that belong to one connection and must not have come through a proxy.
const HOP_BY_HOP: &[&str] = &[
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "trailer",
    "upgrade",
];

/// Checks framing and headers.
pub(super) fn check_head(
    request: &Request,
    place: &Place,
    require_key: Option<&str>,
) -> Result<(), Refused> {
    if let Some(problem) = request.problem {
        return Refused::bad(problem);
    }
    let headers = &request.headers;
    if !request.has_host {
        return Refused::bad("no Host");
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Refused::bad("more than one Host");
    }
    for name in HOP_BY_HOP {
        if headers.contains_key(*name) {
            return Refused::bad(format!("hop-by-hop header {name} was passed on"));
        }
    }
    for value in headers.get_all(header::CONNECTION) {
        let known = |option: &str| {
            ["", "close", "keep-alive"]
                .iter()
                .any(|known| option.trim().eq_ignore_ascii_case(known))
        };
        if !value
            .to_str()
            .is_ok_and(|options| options.split(',').all(known))
        {
            return Refused::bad("Connection names a header of the hop before");
        }
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        return Refused::bad("hop-by-hop header te was passed on");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Refused::bad("the body is compressed");
    }
    let media = request
        .header("content-type")
        .map(|text| text.split(';').next().unwrap_or(text));
    if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Refused::bad("Content-Type is not application/json");
    }
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Refused::bad("more than one Authorization");
    }
    check_key(request, place, require_key)
}

/// Headers that carry a key, wherever they are understood.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The header that carries the key.
pub(super) fn auth_header(request: &Request) -> Option<&'static str> {
    KEYS.into_iter()
        .find(|name| request.headers.contains_key(*name))
}

/// Checks that the key is where the interface wants it, and nowhere else.
fn check_key(request: &Request, place: &Place, require_key: Option<&str>) -> Result<(), Refused> {
    let sent = KEYS
        .iter()
        .filter(|name| request.headers.contains_key(**name));
    if sent.count() > 1 {
        return Refused::bad("a key is in more than one header");
    }
    let understood = place.key_headers();
    let header = auth_header(request);
    let (strict, missing) = match place.api {
        Api::Gemini | Api::GeminiCount => (
            true,
            Refused::new(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
            ),
        ),
        _ => (place.azure, Refused::new(401, super::shape::message(401))),
    };
    if (strict || require_key.is_some())
        && !header.is_some_and(|header| understood.contains(&header))
    {
        return Err(missing);
    }
    if let (Some(key), Some(header)) = (require_key, header) {
        let value = request.header(header);
        let given = if header == "authorization" {
            value.and_then(|text| text.strip_prefix("Bearer "))
        } else {
            value
        };
        if given != Some(key) {
            return Err(Refused::new(401, super::shape::message(401)));
        }
    }
    Ok(())
}
