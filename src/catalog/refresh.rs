//! Makes a price table from what others publish: litellm's price file, OpenRouter's list of models.
//!
//! Decides which entries and fields a table keeps, and says of everything else why it was left out.
//! Rates are copied as decimal text, never through a float. It reads and writes text only; files
//! are the command's business.

use super::entry::{self, FieldError};
use super::fields::Fields;
use super::table::{self, FORMAT, Header, TableError};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

mod openrouter;

/// The modes of which a table keeps entries.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];

/// Price fields that nothing here is billed by, as parts of their names: batches, media by the
/// second or the piece, other currencies of account. An entry may state them beside its rates.
const OTHER_UNITS: [&str; 10] = [
    "_batch",
    "_per_second",
    "_per_character",
    "_per_video",
    "_per_pixel",
    "dbu_cost",
    "_per_session",
    "citation_cost",
    "output_cost_per_image",
    "_per_page",
];

/// What was made of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries taken from the input.
    pub taken: usize,
    /// Entries of the whole table.
    pub total: usize,
    /// Why entries were left out, and their names.
    pub left_out: BTreeMap<String, Vec<String>>,
    /// Price fields that entries taken state and the table does not keep, and how many entries do.
    pub unused: BTreeMap<String, usize>,
}

/// Why no table was made.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The input is no JSON.
    #[error("not valid JSON: {0}")]
    Json(serde_json::Error),
    /// The input is JSON of another kind.
    #[error(
        "neither litellm's price file (an object of models) nor OpenRouter's list of models (`data`)"
    )]
    Unknown,
    /// Entries that cannot be read; all of them.
    #[error("{} malformed:\n{}", plural(.0.len()), lines(.0))]
    Malformed(Vec<(String, FieldError)>),
    /// The table that the input is to be merged into cannot be used.
    #[error("the table to merge into: {0}")]
    Base(TableError),
}

// The messages hold their causes, so a chain of causes would say everything twice.
impl From<serde_json::Error> for RefreshError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<TableError> for RefreshError {
    fn from(error: TableError) -> Self {
        Self::Base(error)
    }
}

fn plural(count: usize) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

fn lines(errors: &[(String, FieldError)]) -> String {
    let lines: Vec<String> = errors
        .iter()
        .map(|(model, error)| format!("  entry `{model}`, {error}"))
        .collect();
    lines.join("\n")
}

/// An entry on its way into a table: field name to raw JSON.
type Entry<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// The text of the bundled table, to merge into when there is no other.
pub fn bundled() -> &'static str {
    super::BUNDLED
}

/// Makes a table of `input`. litellm's file replaces `base`; OpenRouter's list is merged into it,
/// each model under `openrouter/<id>`. `header` is the new table's; empty fields of it are taken
/// from what the kind of input implies. The same inputs give the same bytes.
///
/// # Errors
/// [`RefreshError`]; nothing is left out because it cannot be read.
pub fn refresh(input: &str, base: &str, header: &Header) -> Result<(String, Report), RefreshError> {
    let raw: Fields<'_> = serde_json::from_str(input)?;
    if let Some(twice) = raw.duplicate() {
        return Err(malformed(twice, "the entry itself", "given twice"));
    }
    let mut report = Report::default();
    let (header, entries) = if let Some(data) = raw.get("data") {
        let (old, old_entries) = table::parts(base)?;
        let mut entries = verbatim(&old_entries)?;
        entries.extend(openrouter::entries(data, &mut report)?);
        let implied = Header {
            version: format!("{}+openrouter", old.version),
            source: format!("{}; OpenRouter GET /api/v1/models", old.source),
            ..old
        };
        (or_implied(header, implied), entries)
    } else {
        if raw.0.is_empty() || raw.get("format").is_some() {
            return Err(RefreshError::Unknown);
        }
        let implied = Header {
            version: "litellm".to_owned(),
            source: "litellm model_prices_and_context_window.json".to_owned(),
            licence: "MIT".to_owned(),
            date: String::new(),
        };
        (or_implied(header, implied), litellm(&raw, &mut report)?)
    };
    report.total = entries.len();
    Ok((write(&header, &entries), report))
}

fn malformed(model: &str, field: &str, reason: &str) -> RefreshError {
    let error = FieldError {
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    RefreshError::Malformed(vec![(model.to_owned(), error)])
}

fn or_implied(given: &Header, implied: Header) -> Header {
    let pick = |given: &String, implied: String| {
        if given.is_empty() {
            implied
        } else {
            given.clone()
        }
    };
    Header {
        version: pick(&given.version, implied.version),
        source: pick(&given.source, implied.source),
        licence: pick(&given.licence, implied.licence),
        date: pick(&given.date, implied.date),
    }
}

/// The entries of an existing table.
fn verbatim<'a>(models: &Fields<'a>) -> Result<BTreeMap<String, Entry<'a>>, RefreshError> {
    let mut entries = BTreeMap::new();
    for (model, value) in &models.0 {
        let fields: Fields<'a> = serde_json::from_str(value.get())?;
        let entry = fields
            .0
            .iter()
            .map(|(k, v)| (k.clone(), Cow::Borrowed(v.get())))
            .collect();
        entries.insert(model.to_string(), entry);
    }
    Ok(entries)
}

fn litellm<'a>(
    models: &Fields<'a>,
    report: &mut Report,
) -> Result<BTreeMap<String, Entry<'a>>, RefreshError> {
    let mut entries = BTreeMap::new();
    let mut errors = Vec::new();
    for (model, value) in &models.0 {
        let Ok(fields) = serde_json::from_str::<Fields<'a>>(value.get()) else {
            return Err(RefreshError::Unknown);
        };
        match litellm_entry(model, &fields) {
            Ok(Kept::Entry(entry)) => {
                for (field, _) in &fields.0 {
                    if is_price(field) && !entry.contains_key(field) {
                        *report.unused.entry(field.to_string()).or_default() += 1;
                    }
                }
                report.taken += 1;
                entries.insert(model.to_string(), entry);
            }
            Ok(Kept::No(why)) => leave_out(report, why, model),
            Err(error) => errors.push((model.to_string(), error)),
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(RefreshError::Malformed(errors))
    }
}

fn leave_out(report: &mut Report, why: impl Into<String>, model: &str) {
    report
        .left_out
        .entry(why.into())
        .or_default()
        .push(model.to_owned());
}

/// Whether an entry is kept, or why not.
enum Kept<'a> {
    Entry(Entry<'a>),
    No(String),
}

fn litellm_entry<'a>(model: &str, fields: &Fields<'a>) -> Result<Kept<'a>, FieldError> {
    let no = |why: &str| Ok(Kept::No(why.to_owned()));
    if model == "sample_spec" {
        return no("the file's own description of its format");
    }
    let Some(mode) = fields.get("mode") else {
        return no("no mode");
    };
    let mode = mode.trim_matches('"');
    if !MODES.contains(&mode) {
        return Ok(Kept::No(format!("mode {mode}")));
    }
    if super::lookup::is_router(model) {
        return no("a router: it costs what the model it picks costs");
    }
    if entry::has_implausible_rate(fields) {
        return no("a rate above a cent per token, surely per thousand or million");
    }
    let Some(price) = entry::read(model, fields)? else {
        return no("no price per input and output token");
    };
    let other_unit = |(name, value): &(Cow<'a, str>, &'a RawValue)| {
        OTHER_UNITS.iter().any(|unit| name.contains(unit))
            && !name.contains("_batch")
            && value.get().bytes().any(|b| (b'1'..=b'9').contains(&b))
    };
    if price.is_free() && fields.0.iter().any(other_unit) {
        return no("free by the token, but billed by another unit");
    }
    let legacy = fields.get("max_output_tokens").is_none();
    let keep = |name: &str| match name {
        "litellm_provider"
        | "mode"
        | "max_input_tokens"
        | "max_output_tokens"
        | "input_cost_per_request"
        | "input_cost_per_image"
        | "search_context_cost_per_query"
        | "tiered_pricing" => true,
        "max_tokens" => legacy,
        _ => entry::rate_field(name).is_some(),
    };
    let kept = fields.0.iter().filter(|(name, _)| keep(name));
    Ok(Kept::Entry(
        kept.map(|(name, value)| (name.clone(), compact(value.get())))
            .collect(),
    ))
}

/// Whether a field states a price that is not kept. Fields of other names state no price.
fn is_price(field: &str) -> bool {
    field.contains("cost") || field.contains("pricing") || field.contains("price")
}

/// JSON without the spaces between its tokens; numbers and strings as they are.
fn compact(json: &str) -> Cow<'_, str> {
    if !json.contains(['\n', ' ']) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if quoted || !c.is_ascii_whitespace() {
            out.push(c);
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    Cow::Owned(out)
}

/// One line per model, sorted, so that a change of prices is a readable diff.
fn write(header: &Header, entries: &BTreeMap<String, Entry<'_>>) -> String {
    let mut out = String::with_capacity(256 * entries.len());
    out.push_str("{\n");
    for (name, value) in [
        ("format", FORMAT),
        ("version", &header.version),
        ("source", &header.source),
        ("licence", &header.licence),
        ("date", &header.date),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}:{},", quote(name), quote(value));
    }
    out.push_str("\"models\":{");
    for (index, (model, entry)) in entries.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        let _ = write!(out, "{}:{}", quote(model), json_object(entry));
    }
    out.push_str("\n}}\n");
    out
}

fn json_object(entry: &Entry<'_>) -> String {
    let fields: Vec<String> = entry
        .iter()
        .map(|(name, value)| format!("{}:{value}", quote(name)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
