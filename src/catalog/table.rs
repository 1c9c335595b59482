//! The price table as a file: a header, then one entry per model.
//!
//! Decides what a well-formed table is. What an entry means is [`super::entry`]'s matter, what
//! the vendors' entries add is [`super::vendors`]'s.

use super::entry::{self, FieldError};
use super::fields::Fields;
use super::price::ModelPrice;
use super::vendors;
use std::collections::BTreeMap;

/// What the first field of every table says.
pub(super) const FORMAT: &str = "weir-prices/1";

const FIELDS: [&str; 6] = ["format", "version", "source", "licence", "date", "models"];

/// Where a table comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The version that bills are marked with, such as `litellm-1.83.0`.
    pub version: String,
    /// The file or address the prices are from.
    pub source: String,
    /// The licence of the source.
    pub licence: String,
    /// The day of the source, `YYYY-MM-DD`; empty when nobody said.
    pub date: String,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("cannot read the price table: {0}")]
    Io(std::io::Error),
    /// It is no JSON.
    #[error("the price table is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// It is some other file.
    #[error("not a Weir price table (format {FORMAT}); `weir prices refresh` makes one")]
    Format,
    /// A field that no table has.
    #[error("a price table has no field `{0}`")]
    Field(String),
    /// Nothing to mark bills with.
    #[error("the price table states no `version`")]
    Version,
    /// A model is listed twice.
    #[error("model `{0}` is listed twice")]
    Twice(String),
    /// An entry cannot be read.
    #[error("model `{model}`, {error}")]
    Entry {
        /// The model.
        model: String,
        /// What is wrong.
        error: FieldError,
    },
    /// An entry states no price per token.
    #[error("model `{0}` has no price per input and output token")]
    Unpriced(String),
}

// The messages hold their causes, so a chain of causes would say everything twice.
impl From<std::io::Error> for TableError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<serde_json::Error> for TableError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// A table, read.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) header: Header,
    models: BTreeMap<Box<str>, ModelPrice>,
}

/// Takes a table's file apart: the header, and the entries as raw text.
pub(super) fn parts(text: &str) -> Result<(Header, Fields<'_>), TableError> {
    let file: Fields<'_> = serde_json::from_str(text)?;
    let string = |name: &str| match file.get(name) {
        Some(json) => serde_json::from_str::<String>(json),
        None => Ok(String::new()),
    };
    if file.get("format").is_none() || string("format")? != FORMAT {
        return Err(TableError::Format);
    }
    for (name, _) in &file.0 {
        if !FIELDS.contains(&name.as_ref()) {
            return Err(TableError::Field(name.to_string()));
        }
    }
    let header = Header {
        version: string("version")?,
        source: string("source")?,
        licence: string("licence")?,
        date: string("date")?,
    };
    if header.version.is_empty() {
        return Err(TableError::Version);
    }
    let models = file.get("models").ok_or(TableError::Format)?;
    Ok((header, serde_json::from_str(models)?))
}

impl Table {
    pub(super) fn parse(text: &str) -> Result<Self, TableError> {
        let (header, raw) = parts(text)?;
        if let Some(model) = raw.duplicate() {
            return Err(TableError::Twice(model.to_owned()));
        }
        let mut models = BTreeMap::new();
        for (model, value) in &raw.0 {
            let price = entry::object(value.get())
                .and_then(|fields| entry::read(model, &fields))
                .map_err(|error| TableError::Entry {
                    model: model.to_string(),
                    error,
                })?
                .ok_or_else(|| TableError::Unpriced(model.to_string()))?;
            models.insert(Box::from(model.as_ref()), price);
        }
        vendors::complete(&mut models);
        Ok(Self { header, models })
    }

    pub(super) fn get(&self, name: &str) -> Option<&ModelPrice> {
        self.models.get(name)
    }

    #[cfg(test)]
    /// In the order of names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ModelPrice> {
        self.models.values()
    }

    pub(super) fn len(&self) -> usize {
        self.models.len()
    }
}
