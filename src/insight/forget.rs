//! Rows that go: of somebody who is to be forgotten, and those past keeping.
//!
//! Forgetting leaves a tombstone, so that a reader who comes upon the same records in the spend log
//! again leaves them out; it holds a digest in place of the name. The sums lose what was forgotten.
//! What is past keeping goes by whole days, and its sums stay: they name nobody.

use super::bucket::Buckets;
use super::record::{SUCCESS, day_of, hour_of};
use super::store::{Pool, Store, StoreError, on};
use super::write::{AGENT, FACT, PRUNED, USER, digest, shift};
use sqlx::Row as _;

/// Rows that go in one transaction.
const CHUNK: i64 = 1000;

/// Who is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// The person behind keys.
    User(&'a str),
    /// An agent.
    Agent(&'a str),
}

const TOMBSTONE: &str = "INSERT INTO insight_forgotten (kind, digest, until_ms) VALUES ($1, $2, $3)
    ON CONFLICT (kind, digest) DO UPDATE SET until_ms = excluded.until_ms
    WHERE excluded.until_ms > insight_forgotten.until_ms";

const OF_USER: &str = "DELETE FROM model_insights WHERE attempt_id IN
        (SELECT attempt_id FROM model_insights WHERE user_id = $1 AND at_ms <= $2 LIMIT $3)
    RETURNING model, at_ms, status, prompt_tokens, completion_tokens, nano_usd, latency_ms";
const OF_AGENT: &str = "DELETE FROM model_insights WHERE attempt_id IN
        (SELECT attempt_id FROM model_insights WHERE agent_id = $1 AND at_ms <= $2 LIMIT $3)
    RETURNING model, at_ms, status, prompt_tokens, completion_tokens, nano_usd, latency_ms";

const PRUNE_FROM: &str = "INSERT INTO insight_facts (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > insight_facts.value";
const PRUNE: &str = "DELETE FROM model_insights WHERE attempt_id IN
        (SELECT attempt_id FROM model_insights WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";

impl Store {
    /// Removes every row of theirs until `until_ms`, and sees to it that none comes back. Says how many
    /// there were.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away; what is gone by then stays gone, and so does the
    /// tombstone.
    pub async fn forget(&self, whose: Whose<'_>, until_ms: i64) -> Result<u64, StoreError> {
        let sql = self.sql();
        let (kind, name, statement) = match whose {
            Whose::User(name) => (USER, name, OF_USER),
            Whose::Agent(name) => (AGENT, name, OF_AGENT),
        };
        let mut gone = 0;
        loop {
            let chunk = on!(self, pool => {
                let mut transaction = pool.begin_with(sql.begin).await?;
                sqlx::query(sql.lock).execute(&mut *transaction).await?;
                // With the first rows that go: none that is written later is one of theirs.
                sqlx::query(TOMBSTONE)
                    .bind(kind)
                    .bind(digest(kind, name))
                    .bind(until_ms)
                    .execute(&mut *transaction)
                    .await?;
                let row = sqlx::query(FACT)
                    .bind(PRUNED)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let pruned: i64 = row.map_or(i64::MIN, |row| row.get(0));
                let rows = sqlx::query(statement)
                    .bind(name)
                    .bind(until_ms)
                    .bind(CHUNK)
                    .fetch_all(&mut *transaction)
                    .await?;
                let mut buckets = Buckets::default();
                for row in &rows {
                    let at_ms: i64 = row.get(1);
                    // The sums of what is past keeping stay.
                    if at_ms < pruned {
                        continue;
                    }
                    let status: String = row.get(2);
                    let share = super::bucket::Share {
                        success: status == SUCCESS,
                        prompt_tokens: row.get(3),
                        completion_tokens: row.get(4),
                        nano_usd: row.get(5),
                        latency_ms: row.get(6),
                    };
                    buckets.remove(row.get(0), hour_of(at_ms), share);
                }
                if !buckets.is_empty() {
                    shift!(sql, transaction, buckets);
                }
                transaction.commit().await?;
                rows.len()
            });
            gone += u64::try_from(chunk).unwrap_or(u64::MAX);
            if chunk == 0 {
                break;
            }
        }
        self.empty_journal().await?;
        Ok(gone)
    }

    /// Removes rows of days before the one of `before_ms`, at most a chunk of them, and says whether
    /// there may be more.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away.
    pub async fn prune(&self, before_ms: i64) -> Result<bool, StoreError> {
        let sql = self.sql();
        let before = day_of(before_ms);
        let gone = on!(self, pool => {
            let mut transaction = pool.begin_with(sql.begin).await?;
            sqlx::query(sql.lock).execute(&mut *transaction).await?;
            sqlx::query(PRUNE_FROM)
                .bind(PRUNED)
                .bind(before)
                .execute(&mut *transaction)
                .await?;
            let done = sqlx::query(PRUNE)
                .bind(before)
                .bind(CHUNK)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            done.rows_affected()
        });
        Ok(gone > 0)
    }

    /// SQLite's journal still holds what was removed, until it is folded into the file.
    async fn empty_journal(&self) -> Result<(), StoreError> {
        if let Pool::Sqlite(pool) = &self.pool {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(pool)
                .await?;
        }
        Ok(())
    }
}
