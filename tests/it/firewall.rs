//! The AI Firewall's environment: five variables are a whole configuration.

use crate::support::gateway::Setup;
use crate::support::{Provider, Reply, Seen};
use serde_json::json;

const KEY: &str = "an-internal-key-of-some-length";

fn environment(provider: &Provider) -> Setup {
    let base = provider.base_url();
    Setup::bare()
        .env("INTERNAL_API_KEY", KEY)
        .env("UPSTREAM_BASE_URL", base.trim_end_matches("/v1"))
        .env("UPSTREAM_API_KEY", "sk-upstream-0123456789")
        .env("DAILY_BUDGET_LIMIT", "0.01")
}

async fn ask(gateway: &crate::support::Gateway, key: &str, stream: bool, prompt: &str) -> Reply {
    let body = json!({"model": "openai/gpt-4o-mini", "stream": stream, "max_tokens": 20,
        "messages": [{"role": "user", "content": prompt}]});
    gateway.chat("").raw(body.to_string()).key(key).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_lines_alone_are_a_gateway_with_a_daily_budget() {
    let provider = Provider::start().await;
    let gateway = environment(&provider).start().await;
    assert_eq!(gateway.get("/health").await.status, 200);
    let reply = ask(&gateway, KEY, true, "Hello!").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.done());
    assert!(reply.metadata().is_none(), "the AI Firewall added nothing");
    let record = provider.only_record().await;
    assert_eq!(
        record.header("authorization").as_deref(),
        Some("Bearer sk-upstream-0123456789")
    );
    assert_eq!(record.body()["model"], "openai/gpt-4o-mini");

    for key in ["wrong-key-of-some-length", "changeme-internal-key"] {
        let reply = ask(&gateway, key, false, "Hello!").await;
        assert_eq!(reply.status, 401, "{key}");
    }
    // The day's budget is the user's, and nobody is served beyond it.
    let spent = ask(&gateway, KEY, false, "[[cost=0.0099999]]").await;
    assert_eq!(spent.status, 200, "{}", spent.text());
    gateway.quiet().await;
    let refused = ask(&gateway, KEY, false, "Hello!").await;
    assert_eq!(
        (refused.status, refused.code()),
        (402, "budget_exhausted".into())
    );
    assert_eq!(refused.json()["detail"]["account"], "user:default");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let arrived = provider.records().len();
    assert_eq!(arrived, 2, "refused requests go nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_error_keeps_its_status_and_costs_nothing() {
    let provider = Provider::start().await;
    let gateway = environment(&provider).start().await;
    for stream in [false, true] {
        let reply = ask(&gateway, KEY, stream, "[[status=400]]").await;
        assert_eq!(reply.status, 400, "not a 200 with the error inside");
    }
    gateway.quiet().await;
    assert!(gateway.bills("default").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_key_works_on_this_machine_only() {
    let provider = Provider::start().await;
    let gateway = environment(&provider)
        .env("INTERNAL_API_KEY", "changeme-internal-key")
        .start()
        .await;
    let reply = ask(&gateway, "changeme-internal-key", false, "Hello!").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let directory = crate::support::gateway::new_directory();
    let said = environment(&provider)
        .env("INTERNAL_API_KEY", "changeme-internal-key")
        .env("ADAPTER_HOST", "0.0.0.0")
        .fails_in(&directory)
        .await;
    assert!(said.contains("INTERNAL_API_KEY"), "{said}");
    // The directory is of no use to anybody any more.
    let _ = std::fs::remove_dir_all(directory);
}
