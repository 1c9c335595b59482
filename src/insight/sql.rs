//! The statements that the two databases spell differently: how a list comes in as one parameter, and
//! how a transaction begins that is alone in writing.

use super::store::{Pool, Store};

/// Statements of one database.
pub(super) struct Sql {
    /// Begins a transaction that writes.
    pub(super) begin: &'static str,
    /// Makes it the only one, where beginning did not.
    pub(super) lock: &'static str,
    /// Rows as JSON: those that were not there, by `attempt_id`.
    pub(super) insert: &'static str,
    /// Texts as JSON: those whose row is there, by `attempt_id`.
    pub(super) texts: &'static str,
    /// What is added to buckets of an hour, as JSON.
    pub(super) add_hours: &'static str,
    /// Takes away the days that are in a JSON list of model and day.
    pub(super) drop_days: &'static str,
    /// Makes them again from their hours.
    pub(super) make_days: &'static str,
    /// Tombstones of a JSON list of digests.
    pub(super) forgotten: &'static str,
}

impl Store {
    pub(super) fn sql(&self) -> &'static Sql {
        match self.pool {
            Pool::Sqlite(_) => &SQLITE,
            Pool::Postgres(_) => &POSTGRES,
        }
    }
}

const SQLITE: Sql = Sql {
    begin: "BEGIN IMMEDIATE",
    lock: "SELECT 1",
    insert: "INSERT INTO model_insights (
            attempt_id, trace_id, request_id, log_id, at_ms, model, provider, agent_id, user_id, key_id,
            prompt_tokens, completion_tokens, input_nano_usd, nano_usd, latency_ms, first_byte_ms,
            http_status, status, error, billing, metadata)
        SELECT value ->> 'attempt_id', value ->> 'trace_id', value ->> 'request_id', value ->> 'log_id',
            value ->> 'at_ms', value ->> 'model', value ->> 'provider', value ->> 'agent_id',
            value ->> 'user_id', value ->> 'key_id', value ->> 'prompt_tokens',
            value ->> 'completion_tokens', value ->> 'input_nano_usd', value ->> 'nano_usd',
            value ->> 'latency_ms', value ->> 'first_byte_ms', value ->> 'http_status',
            value ->> 'status', value ->> 'error', value ->> 'billing', value -> 'metadata'
        FROM json_each($1) WHERE true
        ON CONFLICT DO NOTHING RETURNING attempt_id",
    texts: "UPDATE model_insights SET
            messages = t.value -> 'messages', response_text = t.value ->> 'response_text',
            temperature = t.value ->> 'temperature', max_tokens = t.value ->> 'max_tokens'
        FROM json_each($1) AS t WHERE model_insights.attempt_id = t.value ->> 'attempt_id'
        RETURNING attempt_id",
    add_hours: "INSERT INTO model_stats_hourly (
            model, hour_ms, request_count, success_count, prompt_tokens, completion_tokens, nano_usd,
            latency_count, latency_sum_ms)
        SELECT value ->> 'model', value ->> 'hour_ms', value ->> 'request_count',
            value ->> 'success_count', value ->> 'prompt_tokens', value ->> 'completion_tokens',
            value ->> 'nano_usd', value ->> 'latency_count', value ->> 'latency_sum_ms'
        FROM json_each($1) WHERE true
        ON CONFLICT (model, hour_ms) DO UPDATE SET
            request_count = model_stats_hourly.request_count + excluded.request_count,
            success_count = model_stats_hourly.success_count + excluded.success_count,
            prompt_tokens = model_stats_hourly.prompt_tokens + excluded.prompt_tokens,
            completion_tokens = model_stats_hourly.completion_tokens + excluded.completion_tokens,
            nano_usd = model_stats_hourly.nano_usd + excluded.nano_usd,
            latency_count = model_stats_hourly.latency_count + excluded.latency_count,
            latency_sum_ms = model_stats_hourly.latency_sum_ms + excluded.latency_sum_ms,
            stale = 1",
    drop_days: "DELETE FROM model_cost_trends WHERE (model, day_ms) IN
            (SELECT value ->> 'model', value ->> 'day_ms' FROM json_each($1))",
    make_days: "INSERT INTO model_cost_trends (
            model, day_ms, total_requests, total_tokens, nano_usd, peak_hour)
        SELECT t.model, t.day_ms, CAST(sum(h.request_count) AS bigint),
            CAST(sum(h.prompt_tokens + h.completion_tokens) AS bigint), CAST(sum(h.nano_usd) AS bigint),
            (SELECT (p.hour_ms - t.day_ms) / 3600000 FROM model_stats_hourly p
                WHERE p.model = t.model AND p.hour_ms >= t.day_ms AND p.hour_ms < t.day_ms + 86400000
                ORDER BY p.request_count DESC, p.hour_ms LIMIT 1)
        FROM (SELECT value ->> 'model' AS model, value ->> 'day_ms' AS day_ms FROM json_each($1)) t
        JOIN model_stats_hourly h
            ON h.model = t.model AND h.hour_ms >= t.day_ms AND h.hour_ms < t.day_ms + 86400000
        GROUP BY t.model, t.day_ms",
    forgotten: "SELECT kind, digest, until_ms FROM insight_forgotten
        WHERE digest IN (SELECT value FROM json_each($1))",
};

const POSTGRES: Sql = Sql {
    begin: "BEGIN",
    lock: "SELECT pg_advisory_xact_lock(7738151127)",
    insert: "INSERT INTO model_insights (
            attempt_id, trace_id, request_id, log_id, at_ms, model, provider, agent_id, user_id, key_id,
            prompt_tokens, completion_tokens, input_nano_usd, nano_usd, latency_ms, first_byte_ms,
            http_status, status, error, billing, metadata)
        SELECT attempt_id, trace_id, request_id, log_id, at_ms, model, provider, agent_id, user_id, key_id,
            prompt_tokens, completion_tokens, input_nano_usd, nano_usd, latency_ms, first_byte_ms,
            http_status, status, error, billing, metadata
        FROM jsonb_to_recordset($1::jsonb) AS t(
            attempt_id text, trace_id text, request_id text, log_id text, at_ms bigint, model text,
            provider text, agent_id text, user_id text, key_id text, prompt_tokens bigint,
            completion_tokens bigint, input_nano_usd bigint, nano_usd bigint, latency_ms bigint,
            first_byte_ms bigint, http_status integer, status text, error text, billing text, metadata jsonb)
        ON CONFLICT DO NOTHING RETURNING attempt_id",
    texts: "UPDATE model_insights SET
            messages = t.messages, response_text = t.response_text, temperature = t.temperature,
            max_tokens = t.max_tokens
        FROM jsonb_to_recordset($1::jsonb) AS t(
            attempt_id text, messages jsonb, response_text text, temperature double precision,
            max_tokens bigint)
        WHERE model_insights.attempt_id = t.attempt_id
        RETURNING model_insights.attempt_id",
    add_hours: "INSERT INTO model_stats_hourly (
            model, hour_ms, request_count, success_count, prompt_tokens, completion_tokens, nano_usd,
            latency_count, latency_sum_ms)
        SELECT model, hour_ms, request_count, success_count, prompt_tokens, completion_tokens, nano_usd,
            latency_count, latency_sum_ms
        FROM jsonb_to_recordset($1::jsonb) AS t(
            model text, hour_ms bigint, request_count bigint, success_count bigint, prompt_tokens bigint,
            completion_tokens bigint, nano_usd bigint, latency_count bigint, latency_sum_ms bigint)
        ON CONFLICT (model, hour_ms) DO UPDATE SET
            request_count = model_stats_hourly.request_count + excluded.request_count,
            success_count = model_stats_hourly.success_count + excluded.success_count,
            prompt_tokens = model_stats_hourly.prompt_tokens + excluded.prompt_tokens,
            completion_tokens = model_stats_hourly.completion_tokens + excluded.completion_tokens,
            nano_usd = model_stats_hourly.nano_usd + excluded.nano_usd,
            latency_count = model_stats_hourly.latency_count + excluded.latency_count,
            latency_sum_ms = model_stats_hourly.latency_sum_ms + excluded.latency_sum_ms,
            stale = 1",
    drop_days: "DELETE FROM model_cost_trends d
        USING jsonb_to_recordset($1::jsonb) AS t(model text, day_ms bigint)
        WHERE d.model = t.model AND d.day_ms = t.day_ms",
    make_days: "INSERT INTO model_cost_trends (
            model, day_ms, total_requests, total_tokens, nano_usd, peak_hour)
        SELECT t.model, t.day_ms, CAST(sum(h.request_count) AS bigint),
            CAST(sum(h.prompt_tokens + h.completion_tokens) AS bigint), CAST(sum(h.nano_usd) AS bigint),
            (SELECT (p.hour_ms - t.day_ms) / 3600000 FROM model_stats_hourly p
                WHERE p.model = t.model AND p.hour_ms >= t.day_ms AND p.hour_ms < t.day_ms + 86400000
                ORDER BY p.request_count DESC, p.hour_ms LIMIT 1)
        FROM jsonb_to_recordset($1::jsonb) AS t(model text, day_ms bigint)
        JOIN model_stats_hourly h
            ON h.model = t.model AND h.hour_ms >= t.day_ms AND h.hour_ms < t.day_ms + 86400000
        GROUP BY t.model, t.day_ms",
    forgotten: "SELECT kind, digest, until_ms FROM insight_forgotten
        WHERE digest IN (SELECT jsonb_array_elements_text($1::jsonb))",
};
