-- Amounts are nano-dollars in integer columns; the dollars beside them are made of those, as exact decimal
-- text. Times are Unix milliseconds in `at_ms`, with a readable column beside them. Embeddings are 384
-- numbers of 32 bits, little-endian.

CREATE TABLE model_insights (
    attempt_id      TEXT PRIMARY KEY NOT NULL,
    trace_id        TEXT NOT NULL UNIQUE,
    request_id      TEXT NOT NULL,
    log_id          TEXT NOT NULL,
    at_ms           INTEGER NOT NULL,
    timestamp       TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch')) VIRTUAL,
    model           TEXT NOT NULL,
    provider        TEXT,
    agent_id        TEXT NOT NULL,
    user_id         TEXT,
    key_id          TEXT,
    messages        TEXT,
    temperature     REAL,
    max_tokens      INTEGER,
    response_text   TEXT,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens      INTEGER GENERATED ALWAYS AS (prompt_tokens + completion_tokens) VIRTUAL,
    input_nano_usd  INTEGER NOT NULL,
    output_nano_usd INTEGER GENERATED ALWAYS AS (nano_usd - input_nano_usd) VIRTUAL,
    nano_usd        INTEGER NOT NULL,
    input_cost      TEXT GENERATED ALWAYS AS
        (printf('%d.%09d', input_nano_usd / 1000000000, input_nano_usd % 1000000000)) VIRTUAL,
    output_cost     TEXT GENERATED ALWAYS AS
        (printf('%d.%09d', (nano_usd - input_nano_usd) / 1000000000, (nano_usd - input_nano_usd) % 1000000000)) VIRTUAL,
    total_cost      TEXT GENERATED ALWAYS AS
        (printf('%d.%09d', nano_usd / 1000000000, nano_usd % 1000000000)) VIRTUAL,
    latency_ms      INTEGER,
    first_byte_ms   INTEGER,
    http_status     INTEGER,
    status          TEXT NOT NULL,
    error           TEXT,
    billing         TEXT NOT NULL,
    metadata        TEXT NOT NULL,
    request_embedding  BLOB,
    response_embedding BLOB
);
CREATE INDEX model_insights_at ON model_insights (at_ms, attempt_id);
CREATE INDEX model_insights_model_at ON model_insights (model, at_ms, latency_ms);
CREATE INDEX model_insights_agent_at ON model_insights (agent_id, at_ms);
CREATE INDEX model_insights_user_at ON model_insights (user_id, at_ms) WHERE user_id IS NOT NULL;
CREATE INDEX model_insights_request ON model_insights (request_id);

CREATE TABLE model_stats_hourly (
    model             TEXT NOT NULL,
    hour_ms           INTEGER NOT NULL,
    hour              TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%SZ', hour_ms / 1000, 'unixepoch')) VIRTUAL,
    request_count     INTEGER NOT NULL,
    success_count     INTEGER NOT NULL,
    error_count       INTEGER GENERATED ALWAYS AS (request_count - success_count) VIRTUAL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens      INTEGER GENERATED ALWAYS AS (prompt_tokens + completion_tokens) VIRTUAL,
    nano_usd          INTEGER NOT NULL,
    total_cost        TEXT GENERATED ALWAYS AS
        (printf('%d.%09d', nano_usd / 1000000000, nano_usd % 1000000000)) VIRTUAL,
    latency_count     INTEGER NOT NULL,
    latency_sum_ms    INTEGER NOT NULL,
    avg_latency_ms    REAL GENERATED ALWAYS AS (CAST(latency_sum_ms AS REAL) / nullif(latency_count, 0)) VIRTUAL,
    p95_latency_ms    INTEGER,
    p99_latency_ms    INTEGER,
    -- Rows came in since the percentiles were found.
    stale             INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (model, hour_ms)
) WITHOUT ROWID;
CREATE INDEX model_stats_hourly_hour ON model_stats_hourly (hour_ms);
CREATE INDEX model_stats_hourly_stale ON model_stats_hourly (hour_ms) WHERE stale = 1;

CREATE TABLE model_cost_trends (
    model          TEXT NOT NULL,
    day_ms         INTEGER NOT NULL,
    date           TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', day_ms / 1000, 'unixepoch')) VIRTUAL,
    total_requests INTEGER NOT NULL,
    total_tokens   INTEGER NOT NULL,
    nano_usd       INTEGER NOT NULL,
    total_cost     TEXT GENERATED ALWAYS AS
        (printf('%d.%09d', nano_usd / 1000000000, nano_usd % 1000000000)) VIRTUAL,
    -- The hour of the day (UTC) with the most requests, the first of several.
    peak_hour      INTEGER NOT NULL,
    avg_cost_per_request   REAL GENERATED ALWAYS AS (nano_usd * 0.000000001 / nullif(total_requests, 0)) VIRTUAL,
    avg_tokens_per_request REAL GENERATED ALWAYS AS (CAST(total_tokens AS REAL) / nullif(total_requests, 0)) VIRTUAL,
    PRIMARY KEY (model, day_ms)
) WITHOUT ROWID;
CREATE INDEX model_cost_trends_day ON model_cost_trends (day_ms);

-- How far each spend log has been read.
CREATE TABLE insight_logs (
    log_id     TEXT PRIMARY KEY NOT NULL,
    position   TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
);

-- Whose records until when are not to come back: the name as a digest.
CREATE TABLE insight_forgotten (
    kind     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, digest)
) WITHOUT ROWID;

CREATE TABLE insight_facts (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
);
