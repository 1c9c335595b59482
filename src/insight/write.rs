//! Rows on their way into the store.
//!
//! Decides what one transaction is: the rows of a batch, the sums that they change, and how far the log
//! has been read then. So a batch is there whole or not at all, and a reader that goes on at the
//! position that stands beside the rows gives each row exactly once. What was forgotten or is past
//! keeping does not come back.

use super::bucket::{Buckets, json};
use super::record::Record;
use super::store::{Store, StoreError, on};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Rows of one log, and its positions before and after them.
pub struct Batch<'a> {
    /// What the log is called.
    pub log_id: &'a str,
    /// Where the store must stand; `None` for a log of which it knows nothing.
    pub before: Option<&'a str>,
    /// Where it stands then.
    pub after: &'a str,
    /// The rows between.
    pub records: Vec<Record>,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New rows.
    pub rows: u64,
    /// Rows that were there already.
    pub known: u64,
    /// Rows of somebody who was forgotten.
    pub forgotten: u64,
    /// Rows that are past keeping.
    pub expired: u64,
}

/// The texts of one attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Text {
    /// Whose they are.
    pub attempt_id: String,
    /// The messages, as JSON.
    pub messages: Option<Box<RawValue>>,
    /// What was answered.
    pub response_text: Option<String>,
    /// A JSON number.
    pub temperature: Option<Box<RawValue>>,
    /// Output tokens asked for.
    pub max_tokens: Option<i64>,
}

/// The name of the fact that tells which rows are past keeping.
pub(super) const PRUNED: &str = "pruned_before_ms";
pub(super) const FACT: &str = "SELECT value FROM insight_facts WHERE name = $1";

const POSITION: &str = "SELECT position FROM insight_logs WHERE log_id = $1";
const MOVE: &str = "INSERT INTO insight_logs (log_id, position, updated_ms) VALUES ($1, $2, $3)
    ON CONFLICT (log_id) DO UPDATE SET position = excluded.position, updated_ms = excluded.updated_ms";

/// Changes the tables of sums, within a transaction.
macro_rules! shift {
    ($sql:expr, $transaction:expr, $buckets:expr) => {
        let days = $buckets.days();
        for (statement, parameter) in [
            ($sql.add_hours, $buckets.hours()),
            ($crate::insight::write::EMPTY_HOURS, String::new()),
            ($sql.drop_days, days.clone()),
            ($sql.make_days, days),
        ] {
            let query = sqlx::query(statement);
            let query = if parameter.is_empty() {
                query
            } else {
                query.bind(parameter)
            };
            query.execute(&mut *$transaction).await?;
        }
    };
}
pub(super) use shift;

/// Hours of which every row was forgotten.
pub(super) const EMPTY_HOURS: &str = "DELETE FROM model_stats_hourly WHERE request_count <= 0";

impl Store {
    /// How far the log has been read, as it was written with its rows.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away.
    pub async fn position(&self, log_id: &str) -> Result<Option<String>, StoreError> {
        on!(self, pool => {
            let row = sqlx::query(POSITION).bind(log_id).fetch_optional(pool).await?;
            Ok(row.map(|row| row.get(0)))
        })
    }

    /// Writes a batch, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when another process has read the log meanwhile; else when the store is
    /// away or will not have it.
    pub async fn write(&self, batch: Batch<'_>) -> Result<Written, StoreError> {
        let sql = self.sql();
        let digests = digests(&batch.records);
        on!(self, pool => {
            let mut transaction = pool.begin_with(sql.begin).await?;
            sqlx::query(sql.lock).execute(&mut *transaction).await?;
            let row = sqlx::query(POSITION)
                .bind(batch.log_id)
                .fetch_optional(&mut *transaction)
                .await?;
            let stands: Option<String> = row.map(|row| row.get(0));
            if stands.as_deref() != batch.before {
                return Err(StoreError::Moved);
            }
            let row = sqlx::query(FACT)
                .bind(PRUNED)
                .fetch_optional(&mut *transaction)
                .await?;
            let pruned: Option<i64> = row.map(|row| row.get(0));
            let rows = sqlx::query(sql.forgotten)
                .bind(json(&digests))
                .fetch_all(&mut *transaction)
                .await?;
            let tombstones = rows
                .iter()
                .map(|row| ((row.get(0), row.get(1)), row.get(2)))
                .collect();
            let (wanted, mut written) = sifted(batch.records, pruned, &tombstones);
            let rows = sqlx::query(sql.insert)
                .bind(json(&wanted))
                .fetch_all(&mut *transaction)
                .await?;
            let new: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
            let mut buckets = Buckets::default();
            for record in wanted.iter().filter(|record| new.contains(&record.attempt_id)) {
                buckets.add(record);
                written.rows += 1;
            }
            written.known = u64::try_from(wanted.len()).unwrap_or(u64::MAX) - written.rows;
            if !buckets.is_empty() {
                shift!(sql, transaction, buckets);
            }
            sqlx::query(MOVE)
                .bind(batch.log_id)
                .bind(batch.after)
                .bind(batch.now_ms)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(written)
        })
    }

    /// Puts texts beside the rows that are there, and says which they were.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away or will not have them.
    pub async fn write_texts(&self, texts: &[Text]) -> Result<HashSet<String>, StoreError> {
        let sql = self.sql();
        on!(self, pool => {
            let mut transaction = pool.begin_with(sql.begin).await?;
            sqlx::query(sql.lock).execute(&mut *transaction).await?;
            let rows = sqlx::query(sql.texts)
                .bind(json(&texts))
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }
}

/// The digest under which somebody is remembered to be forgotten.
pub(super) fn digest(kind: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{kind}\0{name}").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The kinds of those who can be forgotten.
pub(super) const USER: &str = "user";
pub(super) const AGENT: &str = "agent";

fn digests(records: &[Record]) -> BTreeSet<String> {
    let names: BTreeSet<(&str, &str)> = records
        .iter()
        .flat_map(|record| {
            let user = record.user_id.as_deref().map(|user| (USER, user));
            [Some((AGENT, record.agent_id.as_str())), user]
        })
        .flatten()
        .collect();
    let names = names.into_iter();
    names.map(|(kind, name)| digest(kind, name)).collect()
}

/// The rows that are to be written.
fn sifted(
    records: Vec<Record>,
    pruned: Option<i64>,
    tombstones: &BTreeMap<(String, String), i64>,
) -> (Vec<Record>, Written) {
    let mut written = Written::default();
    let gone = |kind: &str, name: &str, at_ms: i64| {
        !tombstones.is_empty()
            && tombstones
                .get(&(kind.to_owned(), digest(kind, name)))
                .is_some_and(|until| at_ms <= *until)
    };
    let mut seen = HashSet::new();
    let mut wanted = Vec::with_capacity(records.len());
    for record in records {
        let user = record.user_id.as_deref();
        let at = record.at_ms;
        if pruned.is_some_and(|before| at < before) {
            written.expired += 1;
        } else if gone(AGENT, &record.agent_id, at) || user.is_some_and(|user| gone(USER, user, at))
        {
            written.forgotten += 1;
        } else if seen.insert(record.attempt_id.clone()) {
            wanted.push(record);
        }
    }
    (wanted, written)
}
