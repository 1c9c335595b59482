//! Neighbours in PostgreSQL, by pgvector.
//!
//! Decides between the index, which finds almost all neighbours among any number of rows, and comparing
//! with every row, which finds all of them. Where a filter leaves few rows, the index would look at many
//! that do not count, so all of those few are compared.

use super::{Neighbour, SearchError, Wanted, neighbour};
use crate::money::Nanos;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use std::time::Duration;

/// Up to so many rows are compared one by one.
const FEW: i64 = 5_000;

/// How many rows could be found, up to one more than [`FEW`].
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM model_insights
    WHERE request_embedding IS NOT NULL AND embedding_name = $1 AND ($2::text IS NULL OR model = $2)
    LIMIT $3) AS few";

/// pgvector's own settings are there once something of it was used on a connection.
const LOAD: &str = "SELECT vector_dims('[1]'::vector)";

/// For this transaction only: how far the index is searched, and that it goes on where a filter took too
/// many away. Before pgvector 0.8 there was no such going on, and the setting is left alone. A plan for
/// any filter would not be one by the index.
const PREPARE: &str = "SELECT set_config(name, CASE name
        WHEN 'hnsw.ef_search' THEN $1 WHEN 'hnsw.iterative_scan' THEN 'strict_order' ELSE 'force_custom_plan' END, true)
    FROM pg_settings WHERE name IN ('hnsw.ef_search', 'hnsw.iterative_scan', 'plan_cache_mode')";

/// The database itself ends what takes too long.
const LIMIT: &str = "SELECT set_config('statement_timeout', $1, true)";

/// What both ways select. A distance plus nothing is none that the index knows of.
fn statement(exact: bool) -> String {
    let nothing = if exact { " + 0" } else { "" };
    format!(
        "SELECT trace_id, model, messages::text AS messages, response_text, nano_usd, latency_ms, at_ms,
            1 - (request_embedding <=> $1) AS similarity
        FROM model_insights
        WHERE request_embedding IS NOT NULL AND embedding_name = $2 AND ($3::text IS NULL OR model = $3)
        ORDER BY (request_embedding <=> $1){nothing} LIMIT $4"
    )
}

/// The nearest first.
pub(super) async fn find(
    pool: &PgPool,
    wanted: &Wanted<'_>,
    ef_search: u32,
    limit: Duration,
) -> Result<Vec<Neighbour>, SearchError> {
    let mut transaction = pool.begin().await?;
    sqlx::query(LIMIT)
        .bind(limit.as_millis().to_string())
        .execute(&mut *transaction)
        .await?;
    let rows: i64 = sqlx::query_scalar(COUNT)
        .bind(wanted.name)
        .bind(wanted.model)
        .bind(FEW + 1)
        .fetch_one(&mut *transaction)
        .await?;
    let exact = rows <= FEW;
    if !exact {
        sqlx::query(LOAD).execute(&mut *transaction).await?;
        sqlx::query(PREPARE)
            .bind(ef_search.to_string())
            .execute(&mut *transaction)
            .await?;
    }
    let most = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let found = sqlx::query(AssertSqlSafe(statement(exact)))
        .bind(pgvector::Vector::from(wanted.vector.numbers().to_vec()))
        .bind(wanted.name)
        .bind(wanted.model)
        .bind(most)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    let mut neighbours = Vec::with_capacity(found.len());
    for row in found {
        let similarity: f64 = row.try_get("similarity")?;
        neighbours.push(neighbour!(row, single(similarity)));
    }
    Ok(neighbours)
}

/// A similarity in single precision, which is what the vectors have.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only digits that say nothing are lost"
)]
fn single(similarity: f64) -> f32 {
    similarity.clamp(-1.0, 1.0) as f32
}
