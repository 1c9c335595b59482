//! Percentiles of latency, and making the sums again from the rows.
//!
//! A percentile needs all rows of its hour, so it is not found with each batch but when there is
//! nothing more urgent; until then its hour is marked as stale. It is the value of nearest rank: the
//! smallest latency that at least so many of a hundred did not exceed.

use super::bucket::json;
use super::store::{Store, StoreError, on};
use super::write::{EMPTY_HOURS, FACT, PRUNED};
use serde::Serialize;
use sqlx::Row as _;

const HOUR: i64 = 3_600_000;

const STALE: &str = "SELECT model, hour_ms, request_count, latency_count FROM model_stats_hourly
    WHERE stale = 1 ORDER BY hour_ms DESC LIMIT $1";
const RANK: &str = "SELECT latency_ms FROM model_insights
    WHERE model = $1 AND at_ms >= $2 AND at_ms < $3 AND latency_ms IS NOT NULL
    ORDER BY latency_ms LIMIT 1 OFFSET $4";
/// Only when no row came meanwhile; else the hour stays stale.
const SET: &str =
    "UPDATE model_stats_hourly SET p95_latency_ms = $1, p99_latency_ms = $2, stale = 0
    WHERE model = $3 AND hour_ms = $4 AND request_count = $5";

const SUMS: &str = "INSERT INTO model_stats_hourly (
        model, hour_ms, request_count, success_count, prompt_tokens, completion_tokens, nano_usd,
        latency_count, latency_sum_ms)
    SELECT model, at_ms / 3600000 * 3600000, count(*),
        CAST(sum(CASE status WHEN 'success' THEN 1 ELSE 0 END) AS bigint),
        CAST(sum(prompt_tokens) AS bigint), CAST(sum(completion_tokens) AS bigint),
        CAST(sum(nano_usd) AS bigint), count(latency_ms),
        CAST(coalesce(sum(latency_ms), 0) AS bigint)
    FROM model_insights WHERE at_ms >= $1 GROUP BY model, at_ms / 3600000 * 3600000";
const DROP_HOURS: &str = "DELETE FROM model_stats_hourly WHERE hour_ms >= $1";
const DROP_DAYS: &str = "DELETE FROM model_cost_trends WHERE day_ms >= $1";
const MODELS: &str = "SELECT DISTINCT model, hour_ms / 86400000 * 86400000 FROM model_stats_hourly
    WHERE hour_ms >= $1";

/// What was made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Hours of a model.
    pub hours: u64,
    /// Days of a model.
    pub days: u64,
}

#[derive(Serialize)]
struct Day {
    model: String,
    day_ms: i64,
}

/// The number of rows before the one of nearest rank.
fn rank(count: i64, percent: i64) -> i64 {
    (count.saturating_mul(percent).saturating_add(99) / 100 - 1).max(0)
}

impl Store {
    /// Finds the percentiles of at most `most` stale hours, the latest first, and says of how many.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away.
    pub async fn find_percentiles(&self, most: i64) -> Result<usize, StoreError> {
        on!(self, pool => {
            let stale = sqlx::query(STALE).bind(most).fetch_all(pool).await?;
            for row in &stale {
                let (model, hour_ms): (String, i64) = (row.get(0), row.get(1));
                let (requests, count): (i64, i64) = (row.get(2), row.get(3));
                let mut found: [Option<i64>; 2] = [None; 2];
                for (percent, latency) in [95, 99].into_iter().zip(&mut found) {
                    let row = sqlx::query(RANK)
                        .bind(&model)
                        .bind(hour_ms)
                        .bind(hour_ms + HOUR)
                        .bind(rank(count, percent))
                        .fetch_optional(pool)
                        .await?;
                    *latency = row.map(|row| row.get(0));
                }
                sqlx::query(SET)
                    .bind(found[0])
                    .bind(found[1])
                    .bind(&model)
                    .bind(hour_ms)
                    .bind(requests)
                    .execute(pool)
                    .await?;
            }
            Ok(stale.len())
        })
    }

    /// Makes the sums since `since_ms` again from the rows, whole days at a time. What is past
    /// keeping stays as it is: its rows are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away.
    pub async fn aggregate(&self, since_ms: i64) -> Result<Made, StoreError> {
        let sql = self.sql();
        let made = on!(self, pool => {
            let mut transaction = pool.begin_with(sql.begin).await?;
            sqlx::query(sql.lock).execute(&mut *transaction).await?;
            let row = sqlx::query(FACT)
                .bind(PRUNED)
                .fetch_optional(&mut *transaction)
                .await?;
            let pruned: Option<i64> = row.map(|row| row.get(0));
            let from = super::record::day_of(since_ms).max(pruned.unwrap_or(i64::MIN));
            for statement in [DROP_HOURS, DROP_DAYS] {
                sqlx::query(statement).bind(from).execute(&mut *transaction).await?;
            }
            let hours = sqlx::query(SUMS).bind(from).execute(&mut *transaction).await?;
            let rows = sqlx::query(MODELS).bind(from).fetch_all(&mut *transaction).await?;
            let days: Vec<Day> = rows
                .iter()
                .map(|row| Day { model: row.get(0), day_ms: row.get(1) })
                .collect();
            sqlx::query(sql.make_days).bind(json(&days)).execute(&mut *transaction).await?;
            sqlx::query(EMPTY_HOURS).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Made {
                hours: hours.rows_affected(),
                days: u64::try_from(days.len()).unwrap_or(u64::MAX),
            }
        });
        let most = i64::try_from(made.hours).unwrap_or(i64::MAX).max(1);
        self.find_percentiles(most).await?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn the_nearest_rank_is_the_smallest_that_enough_do_not_exceed() {
        for (count, percent, expected) in [
            (0, 95, 0),
            (1, 95, 0),
            (1, 99, 0),
            (20, 95, 18),
            (21, 95, 19),
            (100, 95, 94),
            (100, 99, 98),
            (101, 99, 99),
        ] {
            assert_eq!(rank(count, percent), expected, "{count} {percent}");
        }
    }
}
