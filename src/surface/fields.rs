//! Fields that several dialects share, and what their values must be.
//!
//! Decides what a field's type is. Absent and `null` are the same here, as they are to every
//! provider.

use super::Request;
use crate::json::{self, Cursor, Limits, Object};
use crate::refusal::Refusal;
use crate::usage::ServiceTier;
use crate::wire::Dialect;
use std::borrow::Cow;

/// The most choices (`n`) a request may ask for.
const MAX_CHOICES: u64 = 128;

/// Checks a body.
pub(super) fn object(body: &[u8], limits: Limits) -> Result<Object<'_>, Refusal> {
    json::object(body, limits).map_err(|error| Refusal::InvalidJson {
        reason: error.reason,
        at: error.at,
    })
}

/// What every dialect says in the same fields, OpenRouter's own among them: it takes them in all of
/// its dialects. The output limit, `include_usage` and tools are the dialect's own to read.
pub(super) fn common(dialect: Dialect, object: Object<'_>) -> Result<Request<'_>, Refusal> {
    let model = string(&object, "model")?;
    let fallbacks = fallbacks(&object)?;
    let online = |name: &Cow<'_, str>| name.ends_with(":online");
    let server_tools = present(&object, "plugins").is_some_and(|raw| !empty_array(raw))
        || present(&object, "web_search_options").is_some()
        || model.as_ref().is_some_and(online)
        || fallbacks.iter().any(online);
    let (audio, images) = modalities(&object)?;
    Ok(Request {
        user: user(&object),
        dialect,
        stream: boolean(&object, "stream")?,
        include_usage: true,
        max_tokens: None,
        max_tokens_field: dialect.output_limit(),
        choices: choices(&object, "n")?,
        service_tier: service_tier(&object)?,
        server_tools,
        prediction_bytes: present(&object, "prediction").map_or(0, str::len),
        audio_output: audio || present(&object, "audio").is_some(),
        image_output: images,
        media_parts: object.media_parts(),
        unseen_input: false,
        model,
        fallbacks,
        object,
    })
}

/// The refusal of a field that is not `expected`.
pub(super) fn invalid(field: &'static str, expected: &str) -> Refusal {
    Refusal::InvalidField {
        field: Cow::Borrowed(field),
        message: format!("'{field}' must be {expected}"),
    }
}

/// The raw value of a field that is there and not null.
pub(super) fn present<'a>(object: &Object<'a>, field: &str) -> Option<&'a str> {
    object.get(field).filter(|raw| *raw != "null")
}

pub(super) fn string<'a>(
    object: &Object<'a>,
    field: &'static str,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    present(object, field)
        .map(|raw| json::string(raw).ok_or_else(|| invalid(field, "a string")))
        .transpose()
}

pub(super) fn boolean(object: &Object<'_>, field: &'static str) -> Result<bool, Refusal> {
    match present(object, field) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid(field, "true or false")),
    }
}

/// A positive whole number, written with digits only.
pub(super) fn tokens(object: &Object<'_>, field: &'static str) -> Result<Option<u64>, Refusal> {
    present(object, field)
        .map(|raw| {
            raw.parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| invalid(field, "a positive whole number"))
        })
        .transpose()
}

pub(super) fn choices(object: &Object<'_>, field: &'static str) -> Result<u64, Refusal> {
    match present(object, field) {
        None => Ok(1),
        Some(raw) => raw
            .parse::<u64>()
            .ok()
            .filter(|number| (1..=MAX_CHOICES).contains(number))
            .ok_or_else(|| invalid(field, "a whole number from 1 to 128")),
    }
}

fn service_tier(object: &Object<'_>) -> Result<Option<ServiceTier>, Refusal> {
    let asked = string(object, "service_tier")?;
    let named = asked.as_deref().filter(|name| *name != "auto");
    Ok(named.map(ServiceTier::of_request))
}

/// Whether the client asked for usage in its stream: OpenAI's way, or OpenRouter's former one.
pub(super) fn include_usage(object: &Object<'_>) -> Result<bool, Refusal> {
    let Some(options) = present(object, "stream_options") else {
        return Ok(
            flag(present(object, "usage").unwrap_or("null"), "include").flatten() == Some(true),
        );
    };
    if !options.starts_with('{') {
        return Err(invalid("stream_options", "an object"));
    }
    let asked = flag(options, "include_usage").ok_or_else(|| {
        invalid(
            "stream_options",
            "an object whose 'include_usage' is true or false",
        )
    })?;
    let former = flag(present(object, "usage").unwrap_or("null"), "include").flatten();
    Ok(asked.or(former).unwrap_or(false))
}

/// A boolean inside an object: `None` when it is of another type, `Some(None)` when absent or null.
fn flag(raw: &str, name: &str) -> Option<Option<bool>> {
    let mut found = Some(None);
    Cursor::new(raw).object(|key, value| {
        let raw = value.skip()?;
        if key == name {
            found = match raw {
                "true" => Some(Some(true)),
                "false" => Some(Some(false)),
                "null" => Some(None),
                _ => None,
            };
        }
        Some(())
    });
    found
}

/// The strings of an array; `None` when the value is anything else.
fn strings(raw: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut found = Vec::new();
    raw.starts_with('[').then_some(())?;
    Cursor::new(raw).array(|value| {
        found.push(json::unescape(value.string()??));
        Some(())
    })?;
    Some(found)
}

fn fallbacks<'a>(object: &Object<'a>) -> Result<Vec<Cow<'a, str>>, Refusal> {
    present(object, "models").map_or(Ok(Vec::new()), |raw| {
        strings(raw).ok_or_else(|| invalid("models", "an array of strings"))
    })
}

/// Whether sound and whether images are among the `modalities` of the answer.
fn modalities(object: &Object<'_>) -> Result<(bool, bool), Refusal> {
    let Some(raw) = present(object, "modalities") else {
        return Ok((false, false));
    };
    let kinds = strings(raw).ok_or_else(|| invalid("modalities", "an array of strings"))?;
    let has = |kind: &str| kinds.iter().any(|one| one == kind);
    Ok((has("audio"), has("image")))
}

pub(super) fn empty_array(raw: &str) -> bool {
    raw.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.trim().is_empty())
}

/// The text of the next value if it is a string; skips it if it is not. `None` where the text is no
/// JSON.
pub(super) fn text<'a>(value: &mut Cursor<'a>) -> Option<Option<Cow<'a, str>>> {
    Some(value.string()?.map(json::unescape))
}

/// How many elements of the array `raw` have a `type` that is not `ordinary`; what is no object has
/// none.
pub(super) fn other_kinds(raw: &str, ordinary: impl Fn(Option<&str>) -> bool) -> usize {
    let mut others = 0;
    let walked = Cursor::new(raw).array(|element| {
        let mut kind = None;
        element.object(|key, value| {
            if key == "type" {
                kind = text(value)?;
            } else {
                value.skip()?;
            }
            Some(())
        })?;
        others += usize::from(!ordinary(kind.as_deref()));
        Some(())
    });
    // Nested deeper than is walked: nothing is known about it.
    walked.map_or(usize::MAX, |()| others)
}

/// The field `user`, where it is a text.
pub(super) fn user<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    object.get("user").and_then(json::string)
}
