//! W3C trace context: `traceparent` and `tracestate`.
//!
//! Decides what is valid. Nothing that is not goes anywhere: a `traceparent` that cannot be read
//! counts as none, and a `tracestate` that cannot be read is left out.

use http::{HeaderMap, HeaderValue};
use std::fmt;

/// The header that names the caller's span.
const TRACEPARENT: &str = "traceparent";

/// The header with what other systems want to be handed on.
const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is handed on, in bytes: what the standard asks for at least.
const LONGEST_STATE: usize = 512;

/// The most members of a `tracestate`.
const MEMBERS: usize = 32;

/// The number of a trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The number of a span; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// A new number.
    pub fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Its last eight bytes, which are random in every standard.
    pub(super) fn low(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl SpanId {
    /// A new number.
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The caller's span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace: TraceId,
    /// Its number.
    pub span: SpanId,
    /// Whether the caller records it.
    pub sampled: bool,
    /// What other systems want to be handed on.
    pub state: Option<HeaderValue>,
}

impl Parent {
    /// What a request says about its caller; `None` when it says nothing, or nothing that is valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let text = all.next()?.to_str().ok()?;
        if all.next().is_some() {
            return None;
        }
        let (trace, span, sampled) = traceparent(text.trim())?;
        Some(Self {
            trace,
            span,
            sampled,
            state: state(headers),
        })
    }

    /// The `traceparent` that says this.
    pub fn header(&self) -> Option<HeaderValue> {
        header(self.trace, self.span, self.sampled)
    }
}

/// The `traceparent` of a span.
pub(super) fn header(trace: TraceId, span: SpanId, sampled: bool) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("00-{trace}-{span}-{:02x}", u8::from(sampled))).ok()
}

fn traceparent(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = hex(parts.next()?, 16)?;
    let flags = hex(parts.next()?, 2)?;
    // What a later version adds comes behind; this one has nothing there.
    let known = version == 0;
    if version == 0xff || (known && parts.next().is_some()) || trace == 0 || span == 0 {
        return None;
    }
    let span = u64::try_from(span).ok()?;
    Some((TraceId(trace), SpanId(span), flags & 1 == 1))
}

/// A number of exactly so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == digits && text.bytes().all(digit);
    valid.then(|| u128::from_str_radix(text, 16).ok())?
}

/// The `tracestate` in one line; `None` when it is empty or not valid.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        let text = value.to_str().ok()?;
        let found = text
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']));
        members.extend(found.filter(|member| !member.is_empty()));
        if members.len() > MEMBERS {
            return None;
        }
    }
    let mut keys = Vec::with_capacity(members.len());
    for member in &members {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    let text = members.join(",");
    if text.is_empty() || text.len() > LONGEST_STATE {
        return None;
    }
    HeaderValue::try_from(text).ok()
}

/// A name, or a name at a tenant.
fn is_key(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let first = text.bytes().next();
    text.len() <= 256
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(plain)
        && text.bytes().filter(|byte| *byte == b'@').count() <= 1
}

fn is_value(text: &str) -> bool {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=';
    !text.is_empty() && text.len() <= 256 && text.bytes().all(plain)
}
