//! The section `insights.embedding`: what texts become vectors with.
//!
//! Decides whether a model is asked, and as whom. Without a model it is done here and costs nothing.
//! Who serves the model, at which price and out of which budget, is the policy's, as for any request.

use super::problem::Complaint;
use super::reader::Section;
use super::units;
use crate::secret::Secret;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How many numbers a vector has in both stores.
const DIMENSIONS: u64 = 384;

/// What texts become vectors with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Where this gateway itself is asked: its own listener.
    pub at: SocketAddr,
    /// The model that is asked; without one the vectors are made here.
    pub model: Option<EmbeddingModel>,
    /// How many candidates PostgreSQL's index looks at for one query.
    pub ef_search: u32,
}

/// A model that makes vectors of texts.
#[derive(Clone)]
pub struct EmbeddingModel {
    /// Its name, as clients write it.
    pub name: String,
    /// Whether it is told how many numbers are wanted, for models that can do several.
    pub dimensions: bool,
    /// The agent whose budget pays.
    pub agent: String,
    /// A key of this gateway's own that may act for that agent, where keys are needed.
    pub api_key: Option<Secret>,
    /// Texts in one request.
    pub batch: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether answers get a vector, too.
    pub responses: bool,
}

impl fmt::Debug for EmbeddingModel {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddingModel({} as {})", self.name, self.agent)
    }
}

impl PartialEq for EmbeddingModel {
    fn eq(&self, other: &Self) -> bool {
        let plain = |model: &Self| {
            (
                model.name.clone(),
                model.dimensions,
                model.agent.clone(),
                model.batch,
                model.timeout,
                model.responses,
                model.api_key.as_ref().map(Secret::digest),
            )
        };
        plain(self) == plain(other)
    }
}

impl Eq for EmbeddingModel {}

impl Default for Embedding {
    fn default() -> Self {
        Self {
            at: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            model: None,
            ef_search: 100,
        }
    }
}

/// Reads the section.
pub(in crate::settings) fn read(section: &Section<'_>) -> Embedding {
    let default = Embedding::default();
    let ef_search = section.or(
        "ef_search",
        default.ef_search,
        |text| Ok(u32::try_from(between(text, 10, 1000)?).unwrap_or(1000)),
        ToString::to_string,
    );
    let model = section.optional("model", name, Clone::clone);
    let dimensions = section.optional("dimensions", dimensions, ToString::to_string);
    let agent = section.optional("agent", name, Clone::clone);
    let api_key = section.secret("api_key");
    let batch = section.optional(
        "batch",
        |text| usize::try_from(between(text, 1, 512)?).map_err(|_| Complaint::new("too large")),
        ToString::to_string,
    );
    let timeout = section.optional("timeout", timeout, |time| units::show_duration(*time));
    let responses = section.optional("responses", units::flag, ToString::to_string);
    let Some(name) = model else {
        let asked = dimensions.is_some() || batch.is_some() || timeout.is_some();
        if asked || agent.is_some() || api_key.is_some() || responses.is_some() {
            section.warn(
                Complaint::new("without `model` the vectors are made here, and nobody is asked")
                    .suggesting("set `model`, or leave the section away"),
            );
        }
        return Embedding {
            ef_search,
            ..default
        };
    };
    Embedding {
        model: Some(EmbeddingModel {
            name,
            dimensions: dimensions.is_some(),
            agent: agent.unwrap_or_else(|| "insights".to_owned()),
            api_key,
            batch: batch.unwrap_or(64),
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
            responses: responses.unwrap_or(false),
        }),
        ef_search,
        ..default
    }
}

fn name(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let sound = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
    if sound {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        "must be a name of at most 128 characters without spaces",
    ))
}

fn between(text: &str, least: u64, most: u64) -> Result<u64, Complaint> {
    let number = units::count(text)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Complaint::new(format!(
        "must be between {least} and {most}"
    )))
}

fn dimensions(text: &str) -> Result<u64, Complaint> {
    match units::count(text)? {
        DIMENSIONS => Ok(DIMENSIONS),
        _ => Err(
            Complaint::new(format!("must be {DIMENSIONS}, which both stores have"))
                .suggesting("leave it away for a model that gives 384 numbers without being told"),
        ),
    }
}

fn timeout(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&time) {
        return Ok(time);
    }
    Err(Complaint::new("must be between 1s and 600s"))
}

#[cfg(test)]
#[path = "embedding/tests.rs"]
mod tests;
