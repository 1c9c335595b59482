//! Gives texts in the store their vectors.
//!
//! Decides in which order (those without any, the newest first, then those of another name), how many at
//! a time, and what becomes of a text that has no vector: it is marked, so that nobody tries again. What
//! could not be had now is tried again in a later pass.

use super::{SearchError, Similar, Source};
use crate::insight::embed::model::{Model, ModelError};
use crate::insight::embed::vector::Vector;
use crate::insight::embed::{self, text};
use crate::insight::store::{Pool, Store};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, SqlitePool};

/// Rows of one batch without a model. PostgreSQL's index takes some milliseconds for each.
const BATCH: usize = 64;

/// Held by whoever fills, so that a model is not paid twice: an advisory lock of PostgreSQL, by a number
/// of our own.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(7738151127)";

/// What is to be filled, each by an index: rows without a name, then those with another one.
const WHICH: [&str; 3] = [
    "embedding_name IS NULL AND $1 <> ''",
    "embedding_name < $1",
    "embedding_name > $1",
];

/// A row that waits for its vectors.
struct Waiting {
    attempt_id: String,
    model: String,
    request: String,
    response: Option<String>,
}

/// A row's vectors: that of the request, that of the answer.
type Vectors = (Option<Vector>, Option<Vector>);

/// Rows that are to be filled, from either store. What the agent asks that pays for vectors is left
/// out: it is asked for the sake of the others.
macro_rules! waiting {
    ($executor:expr, $similar:expr, $batch:expr) => {{
        let mut rows = Vec::new();
        for which in WHICH {
            let sql = format!(
                "SELECT attempt_id, model, CAST(messages AS text) AS messages, response_text
                FROM model_insights WHERE messages IS NOT NULL AND {which} AND agent_id <> $2
                ORDER BY at_ms DESC LIMIT $3"
            );
            let left = i64::try_from($batch - rows.len()).unwrap_or_default();
            let found = sqlx::query(AssertSqlSafe(sql))
                .bind($similar.name())
                .bind($similar.agent())
                .bind(left)
                .fetch_all($executor)
                .await?;
            for row in found {
                let messages: String = row.try_get("messages")?;
                rows.push(Waiting {
                    attempt_id: row.try_get("attempt_id")?,
                    model: row.try_get("model")?,
                    request: text::of_request(&messages),
                    response: row.try_get("response_text")?,
                });
            }
            if rows.len() >= $batch {
                break;
            }
        }
        rows
    }};
}

impl Similar {
    /// Fills one batch, and says whether there may be more.
    ///
    /// # Errors
    /// [`SearchError`] when the store or the model is away; then the rest is for a later pass.
    pub async fn fill(&self, store: &Store) -> Result<bool, SearchError> {
        self.codes.rest().await;
        if !store.has_vectors() {
            return Ok(false);
        }
        let batch = match &self.source {
            Source::Local => BATCH,
            Source::Model(model) => model.batch(),
        };
        match &store.pool {
            Pool::Sqlite(pool) => {
                let rows = waiting!(pool, self, batch);
                let vectors = self.vectors(&rows).await?;
                write_sqlite(pool, self.name(), &rows, &vectors).await?;
                Ok(rows.len() == batch)
            }
            Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let lock = sqlx::query_scalar(LOCK);
                let mine: bool = lock.fetch_one(&mut *transaction).await?;
                if !mine {
                    return Ok(false);
                }
                let rows = waiting!(&mut *transaction, self, batch);
                let vectors = self.vectors(&rows).await?;
                write_postgres(&mut transaction, self.name(), &rows, &vectors).await?;
                transaction.commit().await?;
                Ok(rows.len() == batch)
            }
        }
    }

    /// Whose requests get no vectors; no agent has the empty name.
    fn agent(&self) -> &str {
        match &self.source {
            Source::Local => "",
            Source::Model(model) => model.agent(),
        }
    }

    async fn vectors(&self, rows: &[Waiting]) -> Result<Vec<Vectors>, ModelError> {
        let model = match &self.source {
            Source::Model(model) => model,
            Source::Local => {
                let local = |row: &Waiting| {
                    let response = row.response.as_deref().and_then(embed::embed);
                    (embed::embed(&row.request), response)
                };
                return Ok(rows.iter().map(local).collect());
            }
        };
        let requests: Vec<&str> = rows.iter().map(|row| row.request.as_str()).collect();
        let requests = by_model(model, &requests).await?;
        let responses = if model.responses() {
            let texts = rows.iter().map(|row| row.response.as_deref());
            let texts: Vec<&str> = texts.map(Option::unwrap_or_default).collect();
            by_model(model, &texts).await?
        } else {
            vec![None; rows.len()]
        };
        Ok(requests.into_iter().zip(responses).collect())
    }
}

/// The model's vectors of these texts. A model refuses texts that are empty, so those are not sent; when
/// it refuses others, each is sent by itself, to find out which.
async fn by_model(model: &Model, texts: &[&str]) -> Result<Vec<Option<Vector>>, ModelError> {
    let mut vectors = vec![None; texts.len()];
    let sent: Vec<usize> = (0..texts.len())
        .filter(|at| !texts[*at].trim().is_empty())
        .collect();
    if sent.is_empty() {
        return Ok(vectors);
    }
    let all: Vec<&str> = sent.iter().map(|at| texts[*at]).collect();
    match model.embed(&all).await {
        Ok(found) => {
            for (at, vector) in sent.into_iter().zip(found) {
                vectors[at] = vector;
            }
        }
        Err(ModelError::Refused(_)) if sent.len() > 1 => {
            let mut taken = 0_usize;
            for at in &sent {
                match model.embed(&[texts[*at]]).await {
                    Ok(mut found) => {
                        vectors[*at] = found.pop().flatten();
                        taken += 1;
                    }
                    Err(ModelError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            // A model that takes none of them is not asked rightly; the texts are not at fault.
            if taken == 0 {
                return Err(ModelError::Later(400));
            }
        }
        Err(error) => return Err(error),
    }
    Ok(vectors)
}

async fn write_sqlite(
    pool: &SqlitePool,
    name: &str,
    rows: &[Waiting],
    vectors: &[Vectors],
) -> Result<(), SearchError> {
    if rows.is_empty() {
        return Ok(());
    }
    // One that forgets may have been here meanwhile: only what is still there and has its text is
    // written.
    let update = "UPDATE model_insights
        SET request_embedding = $2, response_embedding = $3, embedding_name = $4
        WHERE attempt_id = $1 AND messages IS NOT NULL";
    let insert = "INSERT INTO insight_codes (attempt_id, name, model, step, codes) VALUES ($1, $2, $3, $4, $5)";
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for (row, (request, response)) in rows.iter().zip(vectors) {
        let written = sqlx::query(update)
            .bind(&row.attempt_id)
            .bind(request.as_ref().map(Vector::bytes))
            .bind(response.as_ref().map(Vector::bytes))
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM insight_codes WHERE attempt_id = $1")
            .bind(&row.attempt_id)
            .execute(&mut *transaction)
            .await?;
        let Some(request) = request.as_ref().filter(|_| written.rows_affected() > 0) else {
            continue;
        };
        let codes = request.quantised();
        let bytes: Vec<u8> = codes
            .numbers
            .iter()
            .map(|code| code.cast_unsigned())
            .collect();
        sqlx::query(insert)
            .bind(&row.attempt_id)
            .bind(name)
            .bind(&row.model)
            .bind(f64::from(codes.step))
            .bind(bytes)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn write_postgres(
    connection: &mut PgConnection,
    name: &str,
    rows: &[Waiting],
    vectors: &[Vectors],
) -> Result<(), SearchError> {
    if rows.is_empty() {
        return Ok(());
    }
    let of = |vector: &Option<Vector>| {
        let numbers = vector.as_ref().map(|vector| vector.numbers().to_vec());
        numbers.map(pgvector::Vector::from)
    };
    let ids: Vec<&str> = rows.iter().map(|row| row.attempt_id.as_str()).collect();
    let requests: Vec<Option<pgvector::Vector>> =
        vectors.iter().map(|(of_it, _)| of(of_it)).collect();
    let responses: Vec<Option<pgvector::Vector>> =
        vectors.iter().map(|(_, of_it)| of(of_it)).collect();
    let update = "UPDATE model_insights AS i
        SET request_embedding = new.request, response_embedding = new.response, embedding_name = $4
        FROM unnest($1::text[], $2::vector[], $3::vector[]) AS new (attempt_id, request, response)
        WHERE i.attempt_id = new.attempt_id AND i.messages IS NOT NULL";
    sqlx::query(update)
        .bind(ids)
        .bind(requests)
        .bind(responses)
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}
