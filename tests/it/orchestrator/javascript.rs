//! The three ways to use it that the document names, as it writes them, by Node.js.

use super::setup;
use crate::support::Provider;
use crate::support::gateway::free_port;
use serde_json::{Value, json};
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_ways_work_as_they_are_written() {
    let provider = Provider::that("text=Hello~there");
    let port = free_port();
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .start()
        .await;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/orchestrator/options.mjs"
    );
    let address = format!("http://127.0.0.1:{port}");
    let ran = tokio::task::spawn_blocking(move || {
        let mut node = Command::new("node");
        node.arg(script).arg(address).output().expect("node runs")
    });
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{}", gateway.output());
    let done: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(done["simple"]["output"], "Hello there");
    assert_eq!(done["simple"]["metadata"]["canary"]["injected"], true);
    assert_eq!(done["direct"]["text"], "Hello there");
    assert!(done["direct"]["tokens"].is_u64());
    let passed = json!({"success": true, "output": "Hello there"});
    assert_eq!(done["middleware"], passed);
    assert_eq!(
        done["subagent"],
        json!({"status": 200, "output": "Hello there"})
    );
}
