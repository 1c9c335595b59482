-- Amounts are nano-dollars in bigint columns; the dollars beside them are made of those, so that the two
-- cannot differ. Times are Unix milliseconds in `at_ms`, with a readable column beside them.

CREATE TABLE model_insights (
    attempt_id      text PRIMARY KEY,
    trace_id        text NOT NULL UNIQUE,
    request_id      text NOT NULL,
    log_id          text NOT NULL,
    at_ms           bigint NOT NULL,
    timestamp       timestamptz GENERATED ALWAYS AS (to_timestamp(at_ms / 1000.0::double precision)) STORED,
    model           text NOT NULL,
    provider        text,
    agent_id        text NOT NULL,
    user_id         text,
    key_id          text,
    messages        jsonb,
    temperature     double precision,
    max_tokens      bigint,
    response_text   text,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    total_tokens      bigint GENERATED ALWAYS AS (prompt_tokens + completion_tokens) STORED,
    input_nano_usd  bigint NOT NULL,
    output_nano_usd bigint GENERATED ALWAYS AS (nano_usd - input_nano_usd) STORED,
    nano_usd        bigint NOT NULL,
    input_cost      numeric(20, 12) GENERATED ALWAYS AS (input_nano_usd * 0.000000001) STORED,
    output_cost     numeric(20, 12) GENERATED ALWAYS AS ((nano_usd - input_nano_usd) * 0.000000001) STORED,
    total_cost      numeric(20, 12) GENERATED ALWAYS AS (nano_usd * 0.000000001) STORED,
    latency_ms      bigint,
    first_byte_ms   bigint,
    http_status     integer,
    status          text NOT NULL,
    error           text,
    billing         text NOT NULL,
    metadata        jsonb NOT NULL
);
CREATE INDEX model_insights_at ON model_insights (at_ms, attempt_id);
CREATE INDEX model_insights_model_at ON model_insights (model, at_ms, latency_ms);
CREATE INDEX model_insights_agent_at ON model_insights (agent_id, at_ms);
CREATE INDEX model_insights_user_at ON model_insights (user_id, at_ms) WHERE user_id IS NOT NULL;
CREATE INDEX model_insights_request ON model_insights (request_id);

CREATE TABLE model_stats_hourly (
    model             text NOT NULL,
    hour_ms           bigint NOT NULL,
    hour              timestamptz GENERATED ALWAYS AS (to_timestamp(hour_ms / 1000.0::double precision)) STORED,
    request_count     bigint NOT NULL,
    success_count     bigint NOT NULL,
    error_count       bigint GENERATED ALWAYS AS (request_count - success_count) STORED,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    total_tokens      bigint GENERATED ALWAYS AS (prompt_tokens + completion_tokens) STORED,
    nano_usd          bigint NOT NULL,
    total_cost        numeric(20, 12) GENERATED ALWAYS AS (nano_usd * 0.000000001) STORED,
    latency_count     bigint NOT NULL,
    latency_sum_ms    bigint NOT NULL,
    avg_latency_ms    double precision GENERATED ALWAYS AS
        (latency_sum_ms::double precision / nullif(latency_count, 0)) STORED,
    p95_latency_ms    bigint,
    p99_latency_ms    bigint,
    -- Rows came in since the percentiles were found.
    stale             integer NOT NULL DEFAULT 1,
    PRIMARY KEY (model, hour_ms),
    UNIQUE (model, hour)
);
CREATE INDEX model_stats_hourly_hour ON model_stats_hourly (hour_ms);
CREATE INDEX model_stats_hourly_stale ON model_stats_hourly (hour_ms) WHERE stale = 1;

CREATE TABLE model_cost_trends (
    model          text NOT NULL,
    day_ms         bigint NOT NULL,
    date           date GENERATED ALWAYS AS (date '1970-01-01' + (day_ms / 86400000)::integer) STORED,
    total_requests bigint NOT NULL,
    total_tokens   bigint NOT NULL,
    nano_usd       bigint NOT NULL,
    total_cost     numeric(20, 12) GENERATED ALWAYS AS (nano_usd * 0.000000001) STORED,
    -- The hour of the day (UTC) with the most requests, the first of several.
    peak_hour      integer NOT NULL,
    avg_cost_per_request   numeric(20, 12) GENERATED ALWAYS AS
        (nano_usd * 0.000000001 / nullif(total_requests, 0)) STORED,
    avg_tokens_per_request double precision GENERATED ALWAYS AS
        (total_tokens::double precision / nullif(total_requests, 0)) STORED,
    PRIMARY KEY (model, day_ms),
    UNIQUE (date, model)
);
CREATE INDEX model_cost_trends_day ON model_cost_trends (day_ms);

-- How far each spend log has been read.
CREATE TABLE insight_logs (
    log_id     text PRIMARY KEY,
    position   text NOT NULL,
    updated_ms bigint NOT NULL
);

-- Whose records until when are not to come back: the name as a digest.
CREATE TABLE insight_forgotten (
    kind     text NOT NULL,
    digest   text NOT NULL,
    until_ms bigint NOT NULL,
    PRIMARY KEY (kind, digest)
);

CREATE TABLE insight_facts (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);
