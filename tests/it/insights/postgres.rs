//! The same in a real PostgreSQL, which several gateways share and which may be away.

use super::forget::forget;
use super::{Answers, SOON, agrees, comes, rows, spend};
use crate::support::postgres::{Encrypted, Postgres};
use crate::support::{Agent, Gateway, Provider, Setup};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

impl Answers for Postgres {
    async fn answer(&self, sql: &str) -> Vec<String> {
        let Ok(mut database) = PgConnection::connect(&self.url()).await else {
            return Vec::new();
        };
        // Before the first gateway there are no tables.
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&mut database)
            .await;
        let rows = rows.unwrap_or_default();
        database.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn sharing(provider: &Provider, server: &Postgres) -> Setup {
    Gateway::over(provider)
        .settings(SOON)
        .agent(Agent::new("one", "10").unit())
        .agent(Agent::new("two", "10").unit())
        .unit_prices()
        .env("DATABASE_URL", &server.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_write_into_one_database_and_nothing_is_missing_or_doubled() {
    let (provider, mut server) = (Provider::start().await, Postgres::stopped());
    // It is away when the first one starts, and nobody waits for it.
    let mut first = sharing(&provider, &server).start().await;
    spend(&first, 20).await;
    assert_eq!(first.metric("weir_insights_up").await, 0.0);
    let away = first.get("/insights/stats").await;
    assert_eq!(away.status, 503, "{}", away.text());
    server.again();
    let mut second = sharing(&provider, &server).start().await;
    for turn in 0..4 {
        let (one, two) = (spend(&first, 20), spend(&second, 20));
        tokio::join!(one, two);
        match turn {
            0 => server.stop(),
            1 => {
                first = first.restart().await;
                server.again();
            }
            2 => {
                let (code, next) = second.upgrade().await;
                assert_eq!(code, Some(0));
                second = next;
            }
            _ => {}
        }
    }
    agrees(&server, &[&first, &second]).await;
    assert_eq!(rows(&server).await.len(), 180);
    let logs = server.answer("SELECT log_id FROM insight_logs").await;
    assert_eq!(logs.len(), 2);
    for gateway in [&first, &second] {
        comes("a store that takes rows", &1, async || {
            i32::from(gateway.metric("weir_insights_up").await == 1.0)
        })
        .await;
        let output = gateway.output();
        assert!(!output.contains("pr1vate"), "{output}");
        assert!(!gateway.directory.join("spend.insights.sqlite").exists());
        let stats = gateway.get("/insights/stats?hours=1").await.json();
        assert_eq!(stats["test/unit"]["total_requests"], 180);
        let agents = gateway.get("/insights/trends?group_by=agent").await.json();
        assert_eq!(agents["trends"].as_array().unwrap().len(), 2);
    }

    // The columns are those of the Model Gateway's tables, filled.
    let cost: i64 = rows(&server).await.values().sum();
    let exact = server
        .answer(
            "SELECT sum(total_cost)::text || '|' || sum(input_cost + output_cost)::text || '|' ||
                sum(nano_usd)::text FROM model_insights",
        )
        .await;
    let dollars = format!("{}.{:09}000", cost / 1_000_000_000, cost % 1_000_000_000);
    assert_eq!(exact, [format!("{dollars}|{dollars}|{cost}")]);
    let filled = "SELECT (count(*) = count(hour) AND bool_and(p95_latency_ms <= p99_latency_ms)
            AND bool_and(stale = 0))::text FROM model_stats_hourly";
    comes("percentiles", &vec!["true".to_owned()], async || {
        server.answer(filled).await
    })
    .await;
    let trends = server
        .answer(
            "SELECT (bool_and(date = (now() AT TIME ZONE 'UTC')::date)
                AND bool_and(peak_hour BETWEEN 0 AND 23) AND bool_and(avg_cost_per_request > 0)
                AND bool_and(avg_tokens_per_request > 0))::text FROM model_cost_trends",
        )
        .await;
    assert_eq!(trends, ["true"]);
    let vectors = server
        .answer(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
              WHERE attrelid = 'model_insights'::regclass AND attname = 'request_embedding'",
        )
        .await;
    assert_eq!(vectors, ["vector(384)"]);

    let url = server.url();
    let out = forget(&first, &["--agent", "two"], &[("DATABASE_URL", &url)]);
    let gone: usize =
        super::logged(&first).len() + super::logged(&second).len() - rows(&server).await.len();
    assert!(
        out.contains(&format!("agent two: {gone} records removed")) && gone > 50,
        "{out}"
    );
    super::sums_agree(&server).await;
    assert!(
        server
            .answer("SELECT trace_id FROM model_insights WHERE agent_id = 'two'")
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_pgvector_everything_else_goes_on() {
    let (provider, server) = (Provider::start().await, Postgres::start());
    // A user who may make tables and no extensions.
    for sql in [
        "CREATE USER plain",
        "CREATE SCHEMA AUTHORIZATION plain",
        "ALTER USER plain SET search_path = plain",
    ] {
        server.answer(sql).await;
    }
    let gateway = sharing(&provider, &server)
        .env("DATABASE_URL", &server.url().replace("weir:", "plain:"))
        .start()
        .await;
    spend(&gateway, 5).await;
    let count = "SELECT count(*)::text FROM plain.model_insights";
    comes("rows", &vec!["5".to_owned()], async || {
        server.answer(count).await
    })
    .await;
    assert!(
        gateway.output().contains("PostgreSQL has no pgvector"),
        "{}",
        gateway.output()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_a_database_would_refuse_are_kept_all_the_same() {
    let (provider, server) = (Provider::start().await, Postgres::start());
    let gateway = Gateway::over(&provider)
        .settings("insights: {interval: 50ms, text: full}")
        .env("DATABASE_URL", &server.url())
        .start()
        .await;
    for prompt in ["plain", "a zero \u{0} and a \\u0000", "\u{1F600} ü"] {
        assert_eq!(gateway.chat(prompt).send().await.status, 200);
    }
    let texts = "SELECT (messages -> 0 ->> 'content') || '|' || (response_text <> '')::text
        FROM model_insights ORDER BY at_ms, attempt_id";
    let expected = vec![
        "plain|true".to_owned(),
        "a zero \u{fffd} and a \\u0000|true".to_owned(),
        "\u{1F600} ü|true".to_owned(),
    ];
    comes("texts", &expected, async || server.answer(texts).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_encrypted_and_the_server_is_who_it_should_be() {
    let (provider, server) = (Provider::start().await, Postgres::start());
    let encrypted = Encrypted::before(&server).await;
    let setup = || {
        Gateway::over(&provider)
            .settings(SOON)
            .env("DATABASE_URL", &encrypted.url())
    };
    let ca_file = encrypted.ca_file.display();
    let gateway = setup()
        .settings(&format!("stores: {{postgres: {{ca_file: \"{ca_file}\"}}}}"))
        .start()
        .await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    agrees(&server, &[&gateway]).await;

    // The system's certificates do not vouch for it.
    let gateway = setup().start().await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    comes("a server that is not trusted", &true, async || {
        gateway.output().contains("no insights are written")
    })
    .await;
    assert_eq!(gateway.metric("weir_insights_up").await, 0.0);
    assert_eq!(rows(&server).await.len(), 1);
}
