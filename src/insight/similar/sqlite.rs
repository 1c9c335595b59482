//! Neighbours in SQLite, which has no index for them: every vector is compared.
//!
//! Decides that this happens in memory with eight bits a number, 40 MB for 100,000 requests, and that
//! only the best are read from the store and compared in full. What is in memory is read when it is
//! first needed, kept up to date from search to search, and let go when nobody searches. A request that
//! is gone from the store is never found, whatever memory has.

use super::{Neighbour, SearchError, Wanted, neighbour};
use crate::insight::embed::DIMENSIONS;
use crate::insight::embed::vector::{Quantised, dot_quantised};
use crate::money::Nanos;
use futures_core::Stream;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlitePool};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long codes stay in memory after the last search.
const IDLE: Duration = Duration::from_secs(600);

/// Candidates for each neighbour, and at least so many.
const SPARE: usize = 4;
const LEAST: usize = 40;

/// The most requests whose codes are kept in memory, 400 MB of them; the newest.
const MOST: i64 = 1_000_000;

const NEW: &str = "SELECT seq, model, step, codes FROM insight_codes
    WHERE seq > max($1, (SELECT coalesce(max(seq), 0) - $3 FROM insight_codes)) AND name = $2 ORDER BY seq";

const FULL: &str =
    "SELECT trace_id, i.model AS model, messages, response_text, nano_usd, latency_ms, at_ms,
        request_embedding
    FROM insight_codes AS c JOIN model_insights AS i USING (attempt_id)
    WHERE c.seq IN (SELECT value FROM json_each($1)) AND i.embedding_name = $2
        AND request_embedding IS NOT NULL";

/// The codes of all requests with one name, in the order in which they were made.
#[derive(Default)]
pub(super) struct Codes {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Whose codes these are.
    name: String,
    /// The last that was read.
    last: i64,
    /// What was read: its number, its model among `models`, its factor; its codes are in `codes`.
    rows: Vec<(i64, u32, f32)>,
    codes: Vec<i8>,
    models: Vec<String>,
    by_name: HashMap<String, u32>,
    used: Option<Instant>,
}

impl Codes {
    /// The nearest first.
    pub(super) async fn find(
        &self,
        pool: &SqlitePool,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Neighbour>, SearchError> {
        let query = wanted.vector.quantised();
        let mut kept = self.kept.lock().await;
        kept.read_on(pool, wanted.name).await?;
        let mut candidates = wanted.limit.saturating_mul(SPARE).max(LEAST);
        let mut fresh = false;
        loop {
            let nearest = kept.nearest(&query, wanted.model, candidates);
            let mut found = compared(pool, wanted, &nearest).await?;
            if found.len() < nearest.len() / 2 && !fresh {
                // Most of what is in memory is gone from the store.
                *kept = Kept::default();
                kept.read_on(pool, wanted.name).await?;
                fresh = true;
                continue;
            }
            // Some may be gone; with all of them asked for there is nothing more to be had.
            if found.len() >= wanted.limit || nearest.len() < candidates {
                found.truncate(wanted.limit);
                return Ok(found);
            }
            candidates = candidates.saturating_mul(SPARE);
        }
    }

    /// Lets go of what nobody asked for in a while.
    pub(super) async fn rest(&self) {
        let mut kept = self.kept.lock().await;
        if kept.used.is_some_and(|used| used.elapsed() > IDLE) {
            *kept = Kept::default();
        }
    }
}

impl Kept {
    /// Reads what came since the last time.
    async fn read_on(&mut self, pool: &SqlitePool, name: &str) -> Result<(), SearchError> {
        if self.name != name {
            *self = Self {
                name: name.to_owned(),
                ..Self::default()
            };
        }
        self.used = Some(Instant::now());
        let rows = sqlx::query(NEW).bind(self.last).bind(name).bind(MOST);
        let mut rows = pin!(rows.fetch(pool));
        while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
            self.take(&row?)?;
        }
        Ok(())
    }

    fn take(&mut self, row: &SqliteRow) -> Result<(), sqlx::Error> {
        let codes: &[u8] = row.try_get("codes")?;
        self.last = row.try_get("seq")?;
        if codes.len() != DIMENSIONS {
            return Ok(());
        }
        let model: &str = row.try_get("model")?;
        let model = match self.by_name.get(model) {
            Some(model) => *model,
            None => {
                let number = u32::try_from(self.models.len()).unwrap_or(u32::MAX);
                self.models.push(model.to_owned());
                self.by_name.insert(model.to_owned(), number);
                number
            }
        };
        self.rows.push((self.last, model, row.try_get("step")?));
        self.codes
            .extend(codes.iter().map(|byte| byte.cast_signed()));
        Ok(())
    }

    /// The numbers of the nearest by their codes.
    fn nearest(&self, query: &Quantised, model: Option<&str>, count: usize) -> Vec<i64> {
        let model = model.map(|model| self.by_name.get(model));
        if model == Some(None) {
            return Vec::new();
        }
        let model = model.flatten();
        let rows = self.rows.iter().zip(self.codes.chunks_exact(DIMENSIONS));
        let mut near: Vec<(f32, i64)> = rows
            .filter(|((_, of, _), _)| model.is_none_or(|model| model == of))
            .map(|((seq, _, step), codes)| (score(&query.numbers, codes) * step, *seq))
            .collect();
        if near.len() > count {
            near.select_nth_unstable_by(count, |a, b| b.0.total_cmp(&a.0));
            near.truncate(count);
        }
        near.into_iter().map(|(_, seq)| seq).collect()
    }
}

/// A product of codes as a number. It is below 384 x 127 x 127, which a float of this size has
/// exactly.
#[expect(
    clippy::cast_precision_loss,
    reason = "whole numbers below 2^24 are exact"
)]
fn score(left: &[i8], right: &[i8]) -> f32 {
    dot_quantised(left, right) as f32
}

/// The candidates as they stand in the store, compared in full, the nearest first.
async fn compared(
    pool: &SqlitePool,
    wanted: &Wanted<'_>,
    candidates: &[i64],
) -> Result<Vec<Neighbour>, SearchError> {
    let rows = sqlx::query(FULL)
        .bind(serde_json::Value::from(candidates.to_vec()).to_string())
        .bind(wanted.name)
        .fetch_all(pool)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let bytes: &[u8] = row.try_get("request_embedding")?;
        if let Some(similarity) = wanted.vector.cosine_stored(bytes) {
            found.push(neighbour!(row, similarity));
        }
    }
    found.sort_by(|a, b| {
        let nearer = b.similarity.total_cmp(&a.similarity);
        nearer.then_with(|| b.at_ms.cmp(&a.at_ms))
    });
    Ok(found)
}
