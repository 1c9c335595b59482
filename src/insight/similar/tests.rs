//! Neighbours in a file. What PostgreSQL does is told by the stories, which have a real one.

use super::*;
use crate::insight::store::Place;
use crate::settings::embedding::EmbeddingModel;
use sqlx::SqlitePool;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const LONG: Duration = Duration::from_secs(60);

/// A store in a directory of its own.
struct Kept {
    store: Store,
    directory: PathBuf,
    rows: i64,
}

impl Kept {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-insight-similar-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let place = Place::File(directory.join("insights.sqlite"));
        Self {
            store: Store::open(&place).await.unwrap(),
            directory,
            rows: 0,
        }
    }

    fn pool(&self) -> &SqlitePool {
        match &self.store.pool {
            Pool::Sqlite(pool) => pool,
            Pool::Postgres(_) => panic!("opened as a file"),
        }
    }

    async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.pool()).await.unwrap();
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// A request of that agent, with its text where it is kept.
    async fn row(&mut self, agent: &str, model: &str, text: Option<&str>) {
        self.rows += 1;
        let messages = text.map(|text| {
            serde_json::json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}])
        });
        let sql = "INSERT INTO model_insights (attempt_id, trace_id, request_id, log_id, at_ms, model, agent_id,
                messages, response_text, prompt_tokens, completion_tokens, input_nano_usd, nano_usd,
                latency_ms, status, billing, metadata)
            VALUES ($1, $2, $2, 'log', $3, $4, $5, $6, 'an answer', 10, 5, 100, 1500, 250, 'success', '', '{}')";
        sqlx::query(sql)
            .bind(format!("attempt-{}", self.rows))
            .bind(format!("trace-{}", self.rows))
            .bind(self.rows)
            .bind(model)
            .bind(agent)
            .bind(messages.map(|messages| messages.to_string()))
            .execute(self.pool())
            .await
            .unwrap();
    }

    async fn close(self) {
        self.store.close().await;
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

fn local() -> Similar {
    Similar::new(&Embedding::default()).unwrap()
}

/// A model where nobody listens.
fn away() -> Similar {
    let model = EmbeddingModel {
        name: "text-embedding-3-small".to_owned(),
        dimensions: true,
        agent: "insights".to_owned(),
        api_key: None,
        batch: 8,
        timeout: Duration::from_secs(5),
        responses: false,
    };
    let settings = Embedding {
        model: Some(model),
        at: "127.0.0.1:1".parse().unwrap(),
        ..Embedding::default()
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    Similar::new(&settings).unwrap()
}

async fn ids(similar: &Similar, kept: &Kept, query: &str, model: Option<&str>) -> Vec<String> {
    let found = similar
        .find(&kept.store, query, model, 2, LONG)
        .await
        .unwrap();
    let neighbours = found.neighbours.into_iter();
    neighbours.map(|neighbour| neighbour.trace_id).collect()
}

#[tokio::test]
async fn the_nearest_come_first_and_those_that_are_gone_never() {
    let (mut kept, similar) = (Kept::new().await, local());
    for (model, text) in [
        ("gpt-4o", "What is Kubernetes and how does it work?"),
        ("o3", "Explain Kubernetes to me"),
        ("gpt-4o", "Bake sourdough bread"),
        ("gpt-4o", "The history of the Roman Empire"),
    ] {
        kept.row("default", model, Some(text)).await;
    }
    kept.row("default", "gpt-4o", None).await;
    assert!(!similar.fill(&kept.store).await.unwrap());
    let query = "explain kubernetes";
    let found = similar
        .find(&kept.store, query, None, 2, LONG)
        .await
        .unwrap();
    assert_eq!(found.reason, None);
    let [first, second] = &found.neighbours[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (&*first.trace_id, &*second.trace_id),
        ("trace-2", "trace-1")
    );
    assert!(first.similarity > 0.9 && first.similarity > second.similarity);
    assert_eq!(first.cost, Nanos(1500));
    assert_eq!((first.at_ms, first.latency_ms), (2, Some(250)));
    assert_eq!(first.response.as_deref(), Some("an answer"));
    assert!(
        first
            .messages
            .as_ref()
            .unwrap()
            .contains("Explain Kubernetes")
    );
    assert_eq!(
        ids(&similar, &kept, query, Some("gpt-4o")).await[0],
        "trace-1"
    );
    assert!(ids(&similar, &kept, query, Some("none")).await.is_empty());

    // What comes later is found, and what goes is not, though its codes were read before.
    kept.row("default", "gpt-4o", Some("explain kubernetes"))
        .await;
    similar.fill(&kept.store).await.unwrap();
    assert_eq!(
        ids(&similar, &kept, query, None).await,
        ["trace-6", "trace-2"]
    );
    kept.run("DELETE FROM model_insights WHERE trace_id = 'trace-6'")
        .await;
    kept.run("UPDATE model_insights SET messages = NULL WHERE trace_id = 'trace-2'")
        .await;
    assert_eq!(ids(&similar, &kept, query, None).await[0], "trace-1");
    assert_eq!(kept.number("SELECT count(*) FROM insight_codes").await, 3);
    let left = "SELECT count(*) FROM model_insights WHERE request_embedding IS NOT NULL";
    assert_eq!(kept.number(left).await, 3);
    kept.close().await;
}

#[tokio::test]
async fn nothing_found_has_a_reason() {
    let (mut kept, similar) = (Kept::new().await, local());
    let reason = async |kept: &Kept, query: &str| {
        let found = similar
            .find(&kept.store, query, None, 10, LONG)
            .await
            .unwrap();
        assert!(found.neighbours.is_empty());
        found.reason
    };
    assert_eq!(reason(&kept, "?!").await, Some(Reason::EmptyQuery));
    kept.row("default", "gpt-4o", None).await;
    assert_eq!(reason(&kept, "hello").await, Some(Reason::NoTexts));
    kept.row("default", "gpt-4o", Some("!!!")).await;
    assert_eq!(reason(&kept, "hello").await, Some(Reason::NotYet));
    similar.fill(&kept.store).await.unwrap();
    // It has been looked at, and there is no vector of such a text.
    assert_eq!(reason(&kept, "hello").await, None);
    kept.close().await;
}

#[tokio::test]
async fn batches_follow_each_other_until_nothing_waits() {
    let (mut kept, similar) = (Kept::new().await, local());
    for nth in 0..150 {
        kept.row("default", "gpt-4o", Some(&format!("question number {nth}")))
            .await;
    }
    let mut passes = 1;
    while similar.fill(&kept.store).await.unwrap() {
        passes += 1;
    }
    assert_eq!(passes, 3);
    let filled = "SELECT count(*) FROM model_insights
        WHERE length(request_embedding) = 1536 AND length(response_embedding) = 1536";
    assert_eq!(kept.number(filled).await, 150);
    let found = similar
        .find(&kept.store, "question number 77", None, 60, LONG)
        .await
        .unwrap();
    assert_eq!(found.neighbours.len(), 60);
    assert_eq!(found.neighbours[0].trace_id, "trace-78");
    kept.close().await;
}

#[tokio::test]
async fn vectors_of_another_name_are_not_compared_but_made_anew() {
    let (mut kept, similar) = (Kept::new().await, local());
    kept.row("default", "gpt-4o", Some("explain kubernetes"))
        .await;
    similar.fill(&kept.store).await.unwrap();
    for other in ["model:older", "weir-ngram-9"] {
        kept.run("UPDATE model_insights SET embedding_name = NULL")
            .await;
        sqlx::query("UPDATE model_insights SET embedding_name = $1")
            .bind(other)
            .execute(kept.pool())
            .await
            .unwrap();
        let fresh = local();
        assert!(
            ids(&fresh, &kept, "explain kubernetes", None)
                .await
                .is_empty()
        );
        fresh.fill(&kept.store).await.unwrap();
        assert_eq!(
            ids(&fresh, &kept, "explain kubernetes", None).await,
            ["trace-1"]
        );
        assert_eq!(kept.number("SELECT count(*) FROM insight_codes").await, 1);
    }
    kept.close().await;
}

#[tokio::test]
async fn a_model_that_is_away_leaves_rows_as_they_are() {
    let (mut kept, similar) = (Kept::new().await, away());
    kept.row("default", "gpt-4o", Some("explain kubernetes"))
        .await;
    let failed = similar.fill(&kept.store).await.unwrap_err();
    assert!(matches!(
        failed,
        SearchError::Model(ModelError::Unreachable(_))
    ));
    let failed = similar
        .find(&kept.store, "hello", None, 1, LONG)
        .await
        .unwrap_err();
    assert!(matches!(failed, SearchError::Model(_)));
    let waiting = "SELECT count(*) FROM model_insights WHERE embedding_name IS NULL";
    assert_eq!(kept.number(waiting).await, 1);
    // What the agent asks that pays for vectors needs none.
    kept.run("UPDATE model_insights SET agent_id = 'insights'")
        .await;
    assert!(!similar.fill(&kept.store).await.unwrap());
    kept.close().await;
}
