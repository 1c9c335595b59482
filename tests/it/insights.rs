//! Insights: every attempt that was sent is a row, and what rows cost is what the spend log says, to the
//! nano-dollar, whatever is killed, rotated or replaced.

mod forget;
mod postgres;
mod shapes;
mod texts;

use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Setup};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use std::collections::BTreeMap;
use std::time::Instant;

/// The settings of a gateway whose rows are there soon.
pub(crate) const SOON: &str = "insights: {interval: 50ms}";

fn watched(provider: &Provider) -> Setup {
    Gateway::over(provider)
        .settings(SOON)
        .agent(Agent::new("one", "10").unit())
        .agent(Agent::new("two", "10").unit())
        .unit_prices()
}

/// Every attempt that was sent, by the log, with what it cost.
pub(crate) fn logged(gateway: &Gateway) -> BTreeMap<String, i64> {
    let rows = gateway.log().into_iter().filter(|row| {
        let event = row.get("event").and_then(Value::as_str);
        event.is_none() || (event == Some("void") && row.get("provider").is_some())
    });
    rows.map(|row| {
        let id = row["id"].as_str().unwrap().to_owned();
        (id, row["nano_usd"].as_i64().unwrap_or(0))
    })
    .collect()
}

/// Whoever answers questions in SQL: each row as text, with bars between.
pub(crate) trait Answers {
    async fn answer(&self, sql: &str) -> Vec<String>;
}

impl Answers for Gateway {
    /// From the file beside the spend log.
    async fn answer(&self, sql: &str) -> Vec<String> {
        let path = self.directory.join("spend.insights.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE);
        let Ok(mut file) = SqliteConnection::connect_with(&options).await else {
            return Vec::new();
        };
        // Before the first look of the gateway there are no tables.
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut file).await;
        let rows = rows.unwrap_or_default();
        file.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// The rows of a store, with what they cost.
pub(crate) async fn rows(store: &impl Answers) -> BTreeMap<String, i64> {
    let sql = "SELECT attempt_id || '|' || nano_usd FROM model_insights";
    let rows = store.answer(sql).await;
    let rows = rows.iter().map(|row| row.split_once('|').unwrap());
    rows.map(|(id, cost)| (id.to_owned(), cost.parse().unwrap()))
        .collect()
}

/// Waits until `look` gives what is expected.
pub(crate) async fn comes<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    mut look: impl AsyncFnMut() -> T,
) {
    let start = Instant::now();
    loop {
        let found = look().await;
        if found == *expected {
            return;
        }
        assert!(
            start.elapsed() < 2 * PATIENCE,
            "{what}: {found:?} is not {expected:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// The rows of the store are the attempts of the logs, and its sums are those of its rows.
pub(crate) async fn agrees(store: &impl Answers, gateways: &[&Gateway]) {
    let start = Instant::now();
    loop {
        let found = rows(store).await;
        // Read after the rows, and each time: an attempt that was refused ends after its answer.
        let mut expected = BTreeMap::new();
        for gateway in gateways {
            expected.extend(logged(gateway));
        }
        if found == expected {
            break;
        }
        let missing = expected
            .keys()
            .filter(|id| !found.contains_key(*id))
            .count();
        assert!(
            start.elapsed() < 2 * PATIENCE,
            "{} rows, {} attempts, {missing} missing; the gateway said\n{}",
            found.len(),
            expected.len(),
            gateways[0].output()
        );
        tokio::time::sleep(LOOK).await;
    }
    sums_agree(store).await;
}

/// The tables of sums say what the rows say.
pub(crate) async fn sums_agree(store: &impl Answers) {
    let by_hour = store
        .answer(
            "SELECT model || '|' || (at_ms / 3600000 * 3600000) || '|' || count(*) || '|' ||
                sum(CASE status WHEN 'success' THEN 1 ELSE 0 END) || '|' || sum(total_tokens) || '|' ||
                sum(nano_usd) || '|' || count(latency_ms) || '|' || coalesce(sum(latency_ms), 0) AS row
            FROM model_insights GROUP BY model, at_ms / 3600000 ORDER BY row",
        )
        .await;
    let hours = store
        .answer(
            "SELECT model || '|' || hour_ms || '|' || request_count || '|' || success_count || '|' ||
                total_tokens || '|' || nano_usd || '|' || latency_count || '|' || latency_sum_ms AS row
            FROM model_stats_hourly ORDER BY row",
        )
        .await;
    assert_eq!(hours, by_hour);
    let by_day = store
        .answer(
            "SELECT model || '|' || (at_ms / 86400000 * 86400000) || '|' || count(*) || '|' ||
                sum(total_tokens) || '|' || sum(nano_usd) AS row
            FROM model_insights GROUP BY model, at_ms / 86400000 ORDER BY row",
        )
        .await;
    let days = store
        .answer(
            "SELECT model || '|' || day_ms || '|' || total_requests || '|' || total_tokens || '|' ||
                nano_usd AS row FROM model_cost_trends ORDER BY row",
        )
        .await;
    assert_eq!(days, by_day);
}

async fn spend(gateway: &Gateway, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|number| {
            let prompt = format!("[[cost=0.0000{number:05}]]");
            let agent = if number % 3 == 0 { "two" } else { "one" };
            let call = gateway.chat(&prompt).agent(agent).max_tokens(50);
            let call = if number % 2 == 0 { call.stream() } else { call };
            tokio::spawn(call.send())
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_the_attempts_of_the_spend_log_whatever_is_killed_rotated_or_replaced() {
    let provider = Provider::start().await;
    let mut gateway = watched(&provider)
        .settings("spend_log: {segment_bytes: 64KiB}")
        .start()
        .await;
    for turn in 0..4 {
        spend(&gateway, 40).await;
        match turn {
            // In the middle of writing, or before.
            0 | 1 => gateway = gateway.restart().await,
            2 => {
                let (code, next) = gateway.upgrade().await;
                assert_eq!(code, Some(0));
                gateway = next;
            }
            _ => {}
        }
    }
    let rotated = std::fs::read_dir(&gateway.directory)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("spend-")
        });
    assert!(rotated.count() > 0, "the log was never rotated");
    agrees(&gateway, &[&gateway]).await;
    assert_eq!(rows(&gateway).await.len(), 160);
    assert_eq!(gateway.metric("weir_insights_up").await, 1.0);
    assert_eq!(gateway.metric("weir_insights_backlog_records").await, 0.0);

    // A store that is lost is made again from the log; a position that is lost doubles nothing.
    gateway.kill9();
    for end in ["", "-wal", "-shm"] {
        let file = gateway
            .directory
            .join(format!("spend.insights.sqlite{end}"));
        let _ = std::fs::remove_file(file);
    }
    let mut gateway = gateway.again().await;
    agrees(&gateway, &[&gateway]).await;
    gateway
        .answer("DELETE FROM insight_logs RETURNING log_id")
        .await;
    gateway.kill9();
    let gateway = gateway.again().await;
    spend(&gateway, 1).await;
    agrees(&gateway, &[&gateway]).await;
    assert_eq!(rows(&gateway).await.len(), 161);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_tells_how_its_attempt_went() {
    let provider = Provider::start().await;
    let gateway = watched(&provider)
        .key("k1", "sk-one", "one", "user: ann")
        .start()
        .await;
    let good = gateway
        .chat("[[cost=0.000001]] hello")
        .key("sk-one")
        .send()
        .await;
    assert_eq!(good.status, 200);
    let bad = gateway.chat("[[status=400]]").key("sk-one").send().await;
    assert_eq!(bad.status, 400);
    agrees(&gateway, &[&gateway]).await;
    let told = gateway
        .answer(
            "SELECT status || '|' || http_status || '|' || coalesce(error, '-') || '|' || billing || '|' ||
                model || '|' || provider || '|' || agent_id || '|' || user_id || '|' || key_id || '|' ||
                (latency_ms >= first_byte_ms) || '|' || (trace_id = request_id)
            FROM model_insights ORDER BY http_status",
        )
        .await;
    assert_eq!(
        told,
        [
            "success|200|-|settled|test/unit|openrouter|one|ann|k1|1|1",
            "error|400|refused|void|test/unit|openrouter|one|ann|k1|1|1",
        ]
    );
    let bill = gateway.bills("one").remove(0);
    let costs = gateway
        .answer(
            "SELECT input_nano_usd || '|' || total_cost || '|' || prompt_tokens || '|' || completion_tokens
                || '|' || (metadata ->> 'seq') || '|' || timestamp
            FROM model_insights WHERE status = 'success'",
        )
        .await;
    let at = bill["timestamp"].as_str().unwrap();
    let expected = format!(
        "{}|0.000001000|{}|{}|{}|{}Z",
        bill["input_nano_usd"],
        bill["usage"]["input"],
        bill["usage"]["output"],
        bill["seq"],
        at.strip_suffix("000").unwrap()
    );
    assert_eq!(costs, [expected]);
    let percentiles = "SELECT count(*) || '' FROM model_stats_hourly
        WHERE stale = 0 AND p95_latency_ms <= p99_latency_ms AND avg_latency_ms <= p99_latency_ms";
    comes("percentiles", &vec!["1".to_owned()], async || {
        gateway.answer(percentiles).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_where_that_is_switched_off() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("insights: {enabled: off}")
        .start()
        .await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    let reply = gateway.get("/insights/stats").await;
    assert_eq!(reply.status, 503);
    let detail = reply.json()["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("switched off"),
        "{detail}"
    );
    assert!(
        !gateway
            .get("/metrics")
            .await
            .text()
            .contains("weir_insights")
    );
    let gateway = gateway.restart().await;
    for name in ["spend.insights.sqlite", "spend.jsonl.insights"] {
        assert!(!gateway.directory.join(name).exists());
    }
}
