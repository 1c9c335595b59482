//! Requests like a text: the nearest neighbours of its vector among those kept.
//!
//! Decides which vectors texts get (made here, or by a model), when (in the background, in batches, the
//! newest first), and that only vectors of one name are compared. How neighbours are found is decided
//! for each store: `sqlite` and `postgres`.

mod fill;
mod postgres;
mod sqlite;

use super::Insights;
use super::embed::model::{Model, ModelError};
use super::embed::vector::Vector;
use super::embed::{self, NAME};
use super::store::{Pool, Store, StoreError, on};
use crate::money::Nanos;
use crate::settings::embedding::Embedding;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The waits for a store or a model that is away: the first, doubled up to the last.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// After a batch that is not the last, it rests so many times as long as the batch took.
const REST: u32 = 1;

/// A request that is like the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its name for whoever asked.
    pub trace_id: String,
    /// The model that answered.
    pub model: String,
    /// Its messages, as JSON text.
    pub messages: Option<String>,
    /// The answer's text.
    pub response: Option<String>,
    /// What it cost.
    pub cost: Nanos,
    /// How long it took.
    pub latency_ms: Option<i64>,
    /// When it ended, in Unix milliseconds.
    pub at_ms: i64,
    /// How alike it is: 1 the same, 0 nothing in common.
    pub similarity: f32,
}

/// What a search gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The nearest first.
    pub neighbours: Vec<Neighbour>,
    /// Why there are none, where there are none.
    pub reason: Option<Reason>,
}

impl Found {
    /// Nothing, and why.
    pub fn nothing(reason: Reason) -> Self {
        Self {
            neighbours: Vec::new(),
            reason: Some(reason),
        }
    }
}

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No request is kept with its text.
    NoTexts,
    /// Texts are kept, and none has a vector yet.
    NotYet,
    /// The query has no letter or digit.
    EmptyQuery,
    /// The store cannot keep vectors.
    NoVectors,
}

impl Reason {
    /// What it says to people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoTexts => {
                "no texts are kept (insights.text), so there is nothing to compare with"
            }
            Self::NotYet => "the texts that are kept are not embedded yet",
            Self::EmptyQuery => "the query has no letter or digit",
            Self::NoVectors => "PostgreSQL has no pgvector",
        }
    }
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The store is away.
    #[error("insights: {0}")]
    Store(#[from] StoreError),
    /// The model that makes the vectors gives none.
    #[error("insights.embedding.model: {0}")]
    Model(#[from] ModelError),
}

impl From<sqlx::Error> for SearchError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a search asks for.
struct Wanted<'q> {
    vector: &'q Vector,
    /// Which vectors may be compared with it.
    name: &'q str,
    model: Option<&'q str>,
    limit: usize,
}

/// Where vectors come from.
enum Source {
    Local,
    Model(Model),
}

/// Makes and compares the vectors of one store.
pub struct Similar {
    source: Source,
    ef_search: u32,
    codes: sqlite::Codes,
}

impl Similar {
    /// By these settings.
    ///
    /// # Errors
    /// When a model cannot be asked at all.
    pub fn new(settings: &Embedding) -> Result<Self, ModelError> {
        let source = match &settings.model {
            Some(model) => Source::Model(Model::new(model, settings.at)?),
            None => Source::Local,
        };
        Ok(Self {
            source,
            ef_search: settings.ef_search,
            codes: sqlite::Codes::default(),
        })
    }

    /// The name of the vectors that are made now.
    pub fn name(&self) -> &str {
        match &self.source {
            Source::Local => NAME,
            Source::Model(model) => model.name(),
        }
    }

    /// The requests whose text is nearest to that of `query`, the nearest first and at most `most`. A
    /// database that ends statements by itself ends them after `limit`.
    ///
    /// # Errors
    /// [`SearchError`] when the store or the model is away.
    pub async fn find(
        &self,
        store: &Store,
        query: &str,
        model: Option<&str>,
        most: usize,
        limit: Duration,
    ) -> Result<Found, SearchError> {
        if !store.has_vectors() {
            return Ok(Found::nothing(Reason::NoVectors));
        }
        let vector = match &self.source {
            Source::Local => embed::embed(query),
            Source::Model(_) if query.trim().is_empty() => None,
            Source::Model(model) => model.embed(&[query]).await?.pop().flatten(),
        };
        let Some(vector) = vector else {
            return Ok(Found::nothing(Reason::EmptyQuery));
        };
        let wanted = Wanted {
            vector: &vector,
            name: self.name(),
            model,
            limit: most,
        };
        let neighbours = match &store.pool {
            Pool::Sqlite(pool) => self.codes.find(pool, &wanted).await?,
            Pool::Postgres(pool) => postgres::find(pool, &wanted, self.ef_search, limit).await?,
        };
        let reason = match neighbours.is_empty() {
            true => self.reason(store).await?,
            false => None,
        };
        Ok(Found { neighbours, reason })
    }

    /// Why there is nothing; `None` when there is, but not of that model.
    async fn reason(&self, store: &Store) -> Result<Option<Reason>, SearchError> {
        let texts = "SELECT 1 AS one FROM model_insights WHERE messages IS NOT NULL LIMIT 1";
        let named = "SELECT 1 AS one FROM model_insights
            WHERE messages IS NOT NULL AND embedding_name = $1 LIMIT 1";
        let texts = on!(store, pool => sqlx::query(texts).fetch_optional(pool).await?.is_some());
        if !texts {
            return Ok(Some(Reason::NoTexts));
        }
        let query = on!(store, pool => sqlx::query(named)
            .bind(self.name())
            .fetch_optional(pool)
            .await?
            .is_some());
        Ok((!query).then_some(Reason::NotYet))
    }
}

/// Gives every text its vectors, for as long as the process lives.
pub(super) async fn keep_filling(insights: Arc<Insights>) {
    let mut failures = 0_u32;
    while !insights.leaving.load(Ordering::Acquire) {
        let began = tokio::time::Instant::now();
        let filled = async {
            match insights.store.load_full() {
                Some(store) => insights.similar.fill(&store).await,
                None => Ok(false),
            }
        };
        // What is under way when the process leaves is done again by the next one.
        let filled = tokio::select! {
            filled = filled => filled,
            () = insights.settled.notified() => return,
        };
        let pause = match filled {
            Ok(more) => {
                if failures > 0 {
                    tracing::info!("texts are embedded again");
                }
                failures = 0;
                if more {
                    began.elapsed() * REST
                } else {
                    insights.options.interval
                }
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "texts wait to be embedded");
                }
                let doubled = AWAY.0 * 2_u32.saturating_pow(failures.min(16));
                failures = failures.saturating_add(1);
                doubled.min(AWAY.1) * fastrand::u32(50..=100) / 100
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = insights.settled.notified() => return,
        }
    }
}

/// A row as both stores give it, with the similarity found for it.
macro_rules! neighbour {
    ($row:expr, $similarity:expr) => {
        Neighbour {
            trace_id: $row.try_get("trace_id")?,
            model: $row.try_get("model")?,
            messages: $row.try_get("messages")?,
            response: $row.try_get("response_text")?,
            cost: Nanos($row.try_get("nano_usd")?),
            latency_ms: $row.try_get("latency_ms")?,
            at_ms: $row.try_get("at_ms")?,
            similarity: $similarity,
        }
    };
}
use neighbour;

#[cfg(test)]
mod tests;
