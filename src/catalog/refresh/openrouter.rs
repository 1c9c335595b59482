//! OpenRouter's `GET /api/v1/models`, in litellm's terms.
//!
//! Decides which of litellm's fields each of OpenRouter's prices is. A zero there means "not
//! charged apart" for everything but `prompt` and `completion`, and a negative price means that the
//! price depends on the model a router picks.

use super::super::entry::{self, FieldError};
use super::super::fields::Fields;
use super::{Entry, RefreshError, Report, leave_out, malformed};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// OpenRouter's name of a price and litellm's.
const PRICES: [(&str, &str); 13] = [
    ("prompt", "input_cost_per_token"),
    ("completion", "output_cost_per_token"),
    ("input_cache_read", "cache_read_input_token_cost"),
    ("input_cache_write", "cache_creation_input_token_cost"),
    (
        "input_cache_write_1h",
        "cache_creation_input_token_cost_above_1hr",
    ),
    ("internal_reasoning", "output_cost_per_reasoning_token"),
    ("audio", "input_cost_per_audio_token"),
    ("audio_output", "output_cost_per_audio_token"),
    ("image_token", "input_cost_per_image_token"),
    ("input_audio_cache", "cache_read_input_audio_token_cost"),
    ("request", "input_cost_per_request"),
    ("image", "input_cost_per_image"),
    ("web_search", SEARCH),
];

/// litellm's object of search fees; OpenRouter has one fee.
const SEARCH: &str = "search_context_cost_per_query";

/// The entries of the list, as `openrouter/<id>`.
pub(super) fn entries<'a>(
    data: &'a str,
    report: &mut Report,
) -> Result<BTreeMap<String, Entry<'a>>, RefreshError> {
    let list: Vec<Fields<'a>> = serde_json::from_str(data)
        .map_err(|_| malformed("data", "data", "not a list of models"))?;
    let mut entries = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, model) in list.iter().enumerate() {
        let id = model
            .get("id")
            .and_then(|id| serde_json::from_str::<String>(id).ok());
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            errors.push((
                format!("data[{index}]"),
                wrong("id", "missing or not a string"),
            ));
            continue;
        };
        let name = format!("openrouter/{id}");
        match convert(&name, model, report) {
            Ok(Some(entry)) => {
                report.taken += 1;
                if entries.insert(name.clone(), entry).is_some() {
                    errors.push((name, wrong("id", "given twice")));
                }
            }
            Ok(None) => {}
            Err(error) => errors.push((name, error)),
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(RefreshError::Malformed(errors))
    }
}

fn wrong(field: &str, reason: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: reason.to_owned(),
    }
}

fn object<'a>(field: &str, json: &'a str) -> Result<Fields<'a>, FieldError> {
    serde_json::from_str(json).map_err(|_| wrong(field, "not an object"))
}

fn convert<'a>(
    name: &str,
    model: &Fields<'a>,
    report: &mut Report,
) -> Result<Option<Entry<'a>>, FieldError> {
    let pricing = model
        .get("pricing")
        .ok_or_else(|| wrong("pricing", "missing"))?;
    let pricing = object("pricing", pricing)?;
    let is_variable = |(_, value): &(Cow<'a, str>, &'a serde_json::value::RawValue)| {
        decimal("", value.get()).is_ok_and(|price| price.starts_with('-'))
    };
    if super::super::lookup::is_router(name) || pricing.0.iter().any(is_variable) {
        leave_out(
            report,
            "a router: it costs what the model it picks costs",
            name,
        );
        return Ok(None);
    }
    let mut entry = Entry::new();
    entry.insert("litellm_provider".into(), "\"openrouter\"".into());
    entry.insert("mode".into(), "\"chat\"".into());
    prices("pricing", &pricing, "", &mut entry, report)?;
    if let Some(overrides) = pricing.get("overrides").filter(|json| *json != "null") {
        long(overrides, &mut entry, report)?;
    }
    limits(model, &mut entry)?;
    let text = super::json_object(&entry);
    let fields: Fields<'_> = object(name, &text)?;
    if entry::has_implausible_rate(&fields) {
        return Err(wrong("pricing", "a rate above a cent per token"));
    }
    if entry::read(name, &fields)?.is_none() {
        leave_out(report, "no price per input and output token", name);
        return Ok(None);
    }
    Ok(Some(entry))
}

/// Puts every price of a set under litellm's name with `suffix`.
fn prices<'a>(
    path: &str,
    set: &Fields<'a>,
    suffix: &str,
    entry: &mut Entry<'a>,
    report: &mut Report,
) -> Result<(), FieldError> {
    for (theirs, value) in &set.0 {
        if matches!(theirs.as_ref(), "overrides" | "min_prompt_tokens") {
            continue;
        }
        let field = format!("{path}.{theirs}");
        let price = decimal(&field, value.get())?;
        let counts = price.bytes().any(|b| (b'1'..=b'9').contains(&b));
        let known = PRICES.iter().find(|(name, _)| name == theirs);
        match known.map(|(_, ours)| *ours) {
            Some(SEARCH) if counts && suffix.is_empty() => {
                let fee = format!("{{\"search_context_size_high\":{price}}}");
                entry.insert(SEARCH.into(), fee.into());
            }
            Some(ours) if counts || matches!(theirs.as_ref(), "prompt" | "completion") => {
                entry.insert(format!("{ours}{suffix}").into(), price.into());
            }
            None if counts => *report.unused.entry(field).or_default() += 1,
            _ => {}
        }
    }
    Ok(())
}

/// `overrides`: sets that hold from a number of prompt tokens on.
fn long<'a>(json: &'a str, entry: &mut Entry<'a>, report: &mut Report) -> Result<(), FieldError> {
    let path = "pricing.overrides";
    let sets: Vec<Fields<'a>> =
        serde_json::from_str(json).map_err(|_| wrong(path, "not a list of objects"))?;
    for set in &sets {
        let from = set
            .get("min_prompt_tokens")
            .and_then(|text| text.parse::<u64>().ok());
        let Some(from) = from.filter(|from| *from > 1) else {
            return Err(wrong(path, "a set without `min_prompt_tokens`"));
        };
        // "From" includes the number itself; the table says "above".
        prices(
            path,
            set,
            &format!("_above_{}_tokens", from - 1),
            entry,
            report,
        )?;
    }
    Ok(())
}

fn limits<'a>(model: &Fields<'a>, entry: &mut Entry<'a>) -> Result<(), FieldError> {
    let provider = model.get("top_provider").filter(|json| *json != "null");
    let provider = provider
        .map(|json| object("top_provider", json))
        .transpose()?;
    let window = model.get("context_length").filter(|text| *text != "null");
    if let Some(window) = window {
        entry.insert("max_input_tokens".into(), window.into());
    }
    let most = provider
        .as_ref()
        .and_then(|p| p.get("max_completion_tokens"));
    if let Some(most) = most.filter(|text| *text != "null") {
        entry.insert("max_output_tokens".into(), most.into());
    }
    Ok(())
}

/// A price as decimal text, from a JSON string or number, checked to be a JSON number as it is.
fn decimal(field: &str, json: &str) -> Result<String, FieldError> {
    let text = if json.starts_with('"') {
        serde_json::from_str::<String>(json).map_err(|_| wrong(field, "not a string"))?
    } else {
        json.to_owned()
    };
    match serde_json::from_str::<serde_json::Number>(&text) {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(_) => Err(wrong(field, &format!("`{text}` is no decimal number"))),
    }
}
