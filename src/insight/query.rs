//! What is asked: sums by model, agent, user or provider, of some hours or day by day.
//!
//! Decides which table answers. Sums by model come from the tables of sums, and the part of an hour
//! that a window begins in from its rows; all other sums come from rows. Every question has a deadline
//! that the database itself keeps.

use super::record::{day_of, hour_of};
use super::store::{Pool, Store, StoreError};
use sqlx::{AssertSqlSafe, Row as _};
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 20_000;

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// The model that answered.
    #[default]
    Model,
    /// Whose budget it was charged to.
    Agent,
    /// The person behind the key.
    User,
    /// The block of the policy that was asked.
    Provider,
}

impl Group {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Provider => "provider",
        }
    }

    /// The group of that name.
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Model, Self::Agent, Self::User, Self::Provider];
        all.into_iter().find(|group| group.name() == name)
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent_id",
            Self::User => "coalesce(user_id, '')",
            Self::Provider => "coalesce(provider, '')",
        }
    }
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows at most.
    pub limit: u32,
    /// Rows before.
    pub offset: u32,
}

/// Sums of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The start of the day (UTC) in Unix milliseconds; 0 where it is not day by day.
    pub day_ms: i64,
    /// The group; empty for rows that tell of none.
    pub name: String,
    /// Attempts.
    pub requests: i64,
    /// Those that went well.
    pub successes: i64,
    /// Input and output together.
    pub tokens: i64,
    /// Nano-dollars.
    pub nano_usd: i64,
    /// Attempts of which it is known how long they took, and how long that was together.
    pub latency_count: i64,
    /// In milliseconds.
    pub latency_sum_ms: i64,
}

/// Runs an expression with a connection on which every statement ends at a deadline.
macro_rules! reading {
    ($store:expr, $limit:expr, $connection:ident => $body:expr) => {
        match &$store.pool {
            Pool::Sqlite(pool) => {
                let mut $connection = pool.acquire().await?;
                let deadline = Instant::now() + $limit;
                $connection
                    .lock_handle()
                    .await?
                    .set_progress_handler(STEPS, move || Instant::now() < deadline);
                $body
            }
            Pool::Postgres(pool) => {
                let mut $connection = pool.begin().await?;
                sqlx::query("SELECT set_config('statement_timeout', $1, true)")
                    .bind($limit.as_millis().to_string())
                    .execute(&mut *$connection)
                    .await?;
                $body
            }
        }
    };
}

/// The sums of rows, in the order of [`Figures`].
const SUMS: &str = "count(*), CAST(sum(CASE status WHEN 'success' THEN 1 ELSE 0 END) AS bigint),
    CAST(sum(prompt_tokens + completion_tokens) AS bigint), CAST(sum(nano_usd) AS bigint),
    count(latency_ms), CAST(coalesce(sum(latency_ms), 0) AS bigint)";

const BY_MODEL: &str = "SELECT CAST(0 AS bigint), model, CAST(sum(a) AS bigint), CAST(sum(b) AS bigint),
        CAST(sum(c) AS bigint), CAST(sum(d) AS bigint), CAST(sum(e) AS bigint), CAST(sum(f) AS bigint)
    FROM (
        SELECT model, request_count AS a, success_count AS b, prompt_tokens + completion_tokens AS c,
            nano_usd AS d, latency_count AS e, latency_sum_ms AS f
        FROM model_stats_hourly WHERE hour_ms >= $1
        UNION ALL
        SELECT model, 1, CASE status WHEN 'success' THEN 1 ELSE 0 END, prompt_tokens + completion_tokens,
            nano_usd, CASE WHEN latency_ms IS NULL THEN 0 ELSE 1 END, coalesce(latency_ms, 0)
        FROM model_insights WHERE at_ms >= $2 AND at_ms < $1
    ) AS parts GROUP BY model ORDER BY model LIMIT $3 OFFSET $4";

const DAYS_BY_MODEL: &str =
    "SELECT day_ms, model, total_requests, CAST(0 AS bigint), total_tokens, nano_usd,
        CAST(0 AS bigint), CAST(0 AS bigint)
    FROM model_cost_trends WHERE day_ms >= $1 ORDER BY day_ms, model LIMIT $2 OFFSET $3";

macro_rules! figures {
    ($rows:expr) => {
        $rows
            .iter()
            .map(|row| Figures {
                day_ms: row.get(0),
                name: row.get(1),
                requests: row.get(2),
                successes: row.get(3),
                tokens: row.get(4),
                nano_usd: row.get(5),
                latency_count: row.get(6),
                latency_sum_ms: row.get(7),
            })
            .collect()
    };
}

impl Store {
    /// Sums since `since_ms`, by group, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away or takes longer than `limit`.
    pub async fn stats(
        &self,
        group: Group,
        since_ms: i64,
        page: Page,
        limit: Duration,
    ) -> Result<Vec<Figures>, StoreError> {
        let (most, offset) = (i64::from(page.limit), i64::from(page.offset));
        if group == Group::Model {
            let whole = hour_of(since_ms - 1) + HOUR;
            return reading!(self, limit, connection => {
                let rows = sqlx::query(BY_MODEL)
                    .bind(whole)
                    .bind(since_ms)
                    .bind(most)
                    .bind(offset)
                    .fetch_all(&mut *connection)
                    .await?;
                Ok(figures!(rows))
            });
        }
        let column = group.column();
        let text = format!(
            "SELECT CAST(0 AS bigint), {column} AS name, {SUMS} FROM model_insights WHERE at_ms >= $1
            GROUP BY {column} ORDER BY {column} LIMIT $2 OFFSET $3"
        );
        reading!(self, limit, connection => {
            let rows = sqlx::query(AssertSqlSafe(text))
                .bind(since_ms)
                .bind(most)
                .bind(offset)
                .fetch_all(&mut *connection)
                .await?;
            Ok(figures!(rows))
        })
    }

    /// Sums of each of the last `days` days (UTC), the one of `now_ms` included, by group, in the
    /// order of days and names.
    ///
    /// # Errors
    /// [`StoreError`] when the store is away or takes longer than `limit`.
    pub async fn trends(
        &self,
        group: Group,
        now_ms: i64,
        days: u32,
        page: Page,
        limit: Duration,
    ) -> Result<Vec<Figures>, StoreError> {
        let (most, offset) = (i64::from(page.limit), i64::from(page.offset));
        let since = day_of(now_ms) - (i64::from(days) - 1) * DAY;
        let text = if group == Group::Model {
            DAYS_BY_MODEL.to_owned()
        } else {
            let (column, day) = (group.column(), "at_ms / 86400000 * 86400000");
            format!(
                "SELECT {day}, {column} AS name, {SUMS} FROM model_insights WHERE at_ms >= $1
                GROUP BY {day}, {column} ORDER BY {day}, {column} LIMIT $2 OFFSET $3"
            )
        };
        reading!(self, limit, connection => {
            let rows = sqlx::query(AssertSqlSafe(text))
                .bind(since)
                .bind(most)
                .bind(offset)
                .fetch_all(&mut *connection)
                .await?;
            Ok(figures!(rows))
        })
    }
}
