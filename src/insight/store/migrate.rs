//! Brings the tables up to date.
//!
//! Decides what is applied and in which order: every file of `conf/migrations` once, each in one
//! transaction, by one process at a time. Files that were applied are never changed.

use super::StoreError;
use sqlx::{Connection as _, PgPool, Row as _, SqlitePool};

/// A migration: its name and its statements.
type Migration = (&'static str, &'static str);

const SQLITE: &[Migration] = &[
    (
        "0001_tables",
        include_str!("../../../conf/migrations/sqlite/0001_tables.sql"),
    ),
    (
        "0002_embeddings",
        include_str!("../../../conf/migrations/sqlite/0002_embeddings.sql"),
    ),
];

const POSTGRES: &[Migration] = &[(
    "0001_tables",
    include_str!("../../../conf/migrations/postgres/0001_tables.sql"),
)];

/// Those that need pgvector, without which everything else goes on.
const VECTORS: &[Migration] = &[
    (
        "0002_vectors",
        include_str!("../../../conf/migrations/postgres/0002_vectors.sql"),
    ),
    (
        "0003_embeddings",
        include_str!("../../../conf/migrations/postgres/0003_embeddings.sql"),
    ),
];

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS insight_migrations (name text PRIMARY KEY NOT NULL)";
const APPLIED: &str = "SELECT name FROM insight_migrations ORDER BY name";
const NOTE: &str = "INSERT INTO insight_migrations (name) VALUES ($1)";

/// Held while migrations are applied: an advisory lock of PostgreSQL, by a number of our own.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7738151126)";

/// Those of `known` that are not `applied`.
///
/// # Errors
/// [`StoreError::Later`] when one is applied that no list knows.
fn missing(
    applied: &[String],
    known: &[Migration],
    all: &[&[Migration]],
) -> Result<Vec<Migration>, StoreError> {
    let is_known = |name: &String| {
        all.iter()
            .any(|list| list.iter().any(|(own, _)| own == name))
    };
    if let Some(name) = applied.iter().find(|name| !is_known(name)) {
        return Err(StoreError::Later(name.clone()));
    }
    let new = |(name, _): &&Migration| !applied.iter().any(|done| done == name);
    Ok(known.iter().filter(new).copied().collect())
}

pub(super) async fn sqlite(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    // The lock of writers, from the beginning: another process waits here.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(TABLE).execute(&mut *transaction).await?;
    let rows = sqlx::query(APPLIED).fetch_all(&mut *transaction).await?;
    let applied: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for (name, text) in missing(&applied, SQLITE, &[SQLITE])? {
        sqlx::raw_sql(text).execute(&mut *transaction).await?;
        sqlx::query(NOTE)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        tracing::debug!(migration = name, "applied to the insights");
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether there are columns for vectors afterwards.
pub(super) async fn postgres(pool: &PgPool) -> Result<bool, StoreError> {
    apply(pool, POSTGRES).await?;
    match apply(pool, VECTORS).await {
        Ok(()) => Ok(true),
        Err(StoreError::Database(sqlx::Error::Database(error))) => {
            tracing::error!(
                %error,
                "PostgreSQL has no pgvector, so similar requests cannot be looked for: install the extension, or let a superuser run CREATE EXTENSION vector. Everything else goes on"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn apply(pool: &PgPool, known: &[Migration]) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql(LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(TABLE).execute(&mut *transaction).await?;
    let rows = sqlx::query(APPLIED).fetch_all(&mut *transaction).await?;
    let applied: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for (name, text) in missing(&applied, known, &[POSTGRES, VECTORS])? {
        sqlx::raw_sql(text).execute(&mut *transaction).await?;
        sqlx::query(NOTE)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        tracing::info!(migration = name, "applied to the insights");
    }
    transaction.commit().await?;
    Ok(())
}
