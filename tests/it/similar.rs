//! Requests like a text, as the Model Gateway's clients ask for them, from both stores.

use crate::insights::{Answers, comes};
use crate::support::client;
use crate::support::postgres::Postgres;
use crate::support::{Agent, Gateway, Provider, Reply, Seen, Setup};
use serde_json::{Value, json};
use weir::insight::embed::NAME;

const TOKEN: &str = "admin-0123456789abcdef0123456789abcdef";

const TEXTS: &str = "insights: {interval: 50ms, text: full}\n";

const PROMPTS: [&str; 4] = [
    "What is Kubernetes and how does it work?",
    "Explain Kubernetes to me, please.",
    "Bake sourdough bread",
    "Tell me the history of the Roman Empire",
];

/// How many rows have a vector, by the name of their embedding.
const FILLED: &str = "SELECT embedding_name || '|' || count(request_embedding) FROM model_insights
    WHERE embedding_name IS NOT NULL GROUP BY embedding_name ORDER BY 1";

async fn ask(gateway: &Gateway, query: &str) -> Reply {
    gateway.get(&format!("/insights/similar?{query}")).await
}

async fn told(gateway: &Gateway, prompts: &[&str]) {
    for prompt in prompts {
        assert_eq!(gateway.chat(prompt).send().await.status, 200);
    }
}

/// The trace ids, costs and so on of what was found.
fn found(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["similar_requests"].as_array().unwrap().clone()
}

fn text_of(neighbour: &Value) -> &str {
    neighbour["messages"][0]["content"].as_str().unwrap()
}

/// What both stores do.
async fn neighbours(gateway: &Gateway, store: &impl Answers) {
    told(gateway, &PROMPTS).await;
    let filled = vec![format!("{NAME}|4")];
    comes("vectors", &filled, async || store.answer(FILLED).await).await;

    // The curl line of the Model Gateway's own README.
    let near = found(&ask(gateway, "query=explain%20kubernetes").await);
    assert_eq!(near.len(), 4);
    assert_eq!(
        [text_of(&near[0]), text_of(&near[1])],
        [PROMPTS[1], PROMPTS[0]]
    );
    let similarity = |nth: usize| near[nth]["similarity"].as_f64().unwrap();
    assert!(similarity(0) > 0.9 && similarity(0) > similarity(1));
    assert!(similarity(1) > similarity(2) && similarity(2) >= similarity(3));
    let first = near[0].as_object().unwrap();
    let fields: Vec<&str> = first.keys().map(String::as_str).collect();
    for field in [
        "trace_id",
        "model",
        "messages",
        "response",
        "cost",
        "latency_ms",
        "timestamp",
    ] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}");
    }
    assert_eq!(fields.len(), 8);
    assert!(first["cost"].as_f64().unwrap() > 0.0);
    assert!(!first["response"].as_str().unwrap().is_empty());
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));

    let model = first["model"].as_str().unwrap();
    let limited = found(&ask(gateway, &format!("query=kubernetes&limit=1&model={model}")).await);
    assert_eq!(limited.len(), 1);
    let other = ask(gateway, "query=kubernetes&model=test/none").await;
    assert!(found(&other).is_empty());
    assert_eq!(other.json(), json!({"similar_requests": []}));

    // What comes later is found, too.
    told(gateway, &["explain kubernetes"]).await;
    let filled = vec![format!("{NAME}|5")];
    comes("vectors", &filled, async || store.answer(FILLED).await).await;
    let near = found(&ask(gateway, "query=explain%20kubernetes&limit=1").await);
    assert_eq!(text_of(&near[0]), "explain kubernetes");
    assert_eq!(near[0]["similarity"], 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_like_a_text_are_found_in_the_file() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).settings(TEXTS).start().await;
    neighbours(&gateway, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_like_a_text_are_found_in_postgresql_and_a_store_that_is_away_is_a_503() {
    let provider = Provider::start().await;
    let mut server = Postgres::start();
    let gateway = Gateway::over(&provider)
        .settings(TEXTS)
        .env("DATABASE_URL", &server.url())
        .start()
        .await;
    neighbours(&gateway, &server).await;
    server.stop();
    let away = ask(&gateway, "query=kubernetes").await;
    assert_eq!(away.status, 503, "{}", away.text());
    assert!(away.json()["detail"].is_string());
    // Requests for a model know nothing of it.
    told(&gateway, &["still served"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_the_model_gateways_and_nothing_found_says_why() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    let path = "/insights/similar?query=hello";
    for (authorization, said) in [
        (None, "Missing authorization header"),
        (Some("Basic abc"), "Invalid authorization format"),
        (Some("Bearer wrong-token-0123456789"), "Invalid token"),
    ] {
        let mut request = client::http().get(gateway.url(path));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let reply = Reply::read(request.send().await.unwrap()).await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.json(), json!({"detail": said}));
    }
    let with_token = async |query: &str| {
        let path = format!("/insights/similar{query}");
        gateway.admin(TOKEN, &path, None).await
    };
    for query in [
        "",
        "?query=",
        "?query=a&limit=0",
        "?query=a&limit=x",
        "?query=a&days=1",
    ] {
        let reply = with_token(query).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
        assert!(reply.json()["detail"].is_string());
    }
    // Texts are off unless somebody turns them on.
    told(&gateway, &["hello"]).await;
    let reply = with_token("?query=hello").await;
    assert!(found(&reply).is_empty());
    let reason = reply.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("insights.text"), "{reason}");
}

/// A gateway whose texts are embedded by a model behind itself, paid for by an agent with so many dollars.
fn embedding(provider: &Provider, dollars: &str) -> Setup {
    let settings = "insights:
  interval: 50ms
  text: full
  embedding: {model: openai/text-embedding-3-small, dimensions: 384, agent: librarian, batch: 2}
";
    Gateway::over(provider)
        .settings(settings)
        .agent(Agent::new("default", "10"))
        .agent(Agent::new("librarian", dollars).untiered())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_asked_through_the_gateway_and_billed_to_its_agent() {
    let provider = Provider::start().await;
    let gateway = embedding(&provider, "1").start().await;
    told(&gateway, &PROMPTS).await;
    let filled = vec!["model:openai/text-embedding-3-small|4".to_owned()];
    comes("vectors", &filled, async || gateway.answer(FILLED).await).await;
    // This model gives the same text the same vector, and any other text another one.
    let near = found(&ask(&gateway, "query=Bake%20sourdough%20bread&limit=1").await);
    assert_eq!(text_of(&near[0]), PROMPTS[2]);
    assert_eq!(near[0]["similarity"], 1.0);
    let asked: Vec<Value> = provider
        .records()
        .iter()
        .filter(|record| record.dialect == "embeddings")
        .map(Seen::body)
        .collect();
    assert!(asked.len() >= 3, "{asked:?}");
    for body in &asked {
        assert_eq!(body["dimensions"], 384);
        assert!(body["input"].as_array().unwrap().len() <= 2);
    }
    let spend = gateway.account("librarian").await;
    assert!(spend["budget_spent"].as_f64().unwrap() > 0.0, "{spend}");
    // Its own requests are rows, but nobody looks for them.
    let own = "SELECT CAST(count(embedding_name) AS text) FROM model_insights WHERE agent_id = 'librarian'";
    assert_eq!(gateway.answer(own).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_budget_texts_wait_and_are_embedded_once_there_is_some() {
    let provider = Provider::start().await;
    let gateway = embedding(&provider, "0.000000001").start().await;
    told(&gateway, &PROMPTS[..1]).await;
    let waiting = vec!["1".to_owned()];
    let sql = "SELECT CAST(count(*) AS text) FROM model_insights
        WHERE messages IS NOT NULL AND embedding_name IS NULL";
    comes("a text", &waiting, async || gateway.answer(sql).await).await;
    let reply = ask(&gateway, "query=hello").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    let mut embeddings = provider.records();
    embeddings.retain(|record| record.dialect == "embeddings");
    assert!(embeddings.is_empty());
    let reply = gateway.push("librarian", r#"{"budget_total": 5}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let filled = vec!["model:openai/text-embedding-3-small|1".to_owned()];
    comes("vectors", &filled, async || gateway.answer(FILLED).await).await;
}
