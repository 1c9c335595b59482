//! The fields that several dialects have, read strictly.

use crate::catalog::ServiceTier;
use crate::json::{self, Cursor, Limits, Object};
use crate::refusal::Refusal;
use std::borrow::Cow;

/// Checks a body and takes it apart.
pub(super) fn object(body: &[u8], limits: Limits) -> Result<Object<'_>, Refusal> {
    json::object(body, limits).map_err(|error| Refusal::InvalidJson {
        reason: error.reason,
        at: error.at,
    })
}

pub(super) fn invalid(field: &'static str, expected: &str) -> Refusal {
    Refusal::InvalidField {
        field: field.into(),
        message: format!("'{field}' must be {expected}"),
    }
}

/// The raw value of a field that is there and not null.
pub(super) fn present<'a>(object: &Object<'a>, field: &str) -> Option<&'a str> {
    object.get(field).filter(|raw| *raw != "null")
}

pub(super) fn string<'a>(object: &Object<'a>, field: &'static str) -> Result<Option<Cow<'a, str>>, Refusal> {
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

pub(super) fn service_tier(object: &Object<'_>) -> Result<Option<ServiceTier>, Refusal> {
    let asked = string(object, "service_tier")?;
    let named = asked.as_deref().filter(|name| *name != "auto");
    Ok(named.map(ServiceTier::of_request))
}

/// The strings of an array; `None` when the value is anything else.
pub(super) fn strings(raw: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut found = Vec::new();
    raw.starts_with('[').then_some(())?;
    Cursor::new(raw).array(|value| {
        found.push(json::unescape(value.string()??));
        Some(())
    })?;
    Some(found)
}
