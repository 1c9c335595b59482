//! What was spent is not forgotten: not by a crash, not by a reload, but by a window that slides.

use super::{
    HAIKU, OPUS, SONNET, ask, asked, guarded, level, levels, put, spend, tells, told, total,
};
use crate::support::{LOOK, PATIENCE, Provider, eventually};
use serde_json::json;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spent_leaves_a_window_that_slides() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels(", window: 2s")).start().await;
    spend(&gateway, "5").await;
    level(&gateway, "EMERGENCY").await;
    let start = Instant::now();
    let refused = ask(&gateway, "chat", HAIKU, "refused").await;
    assert!(refused.status == 402 || start.elapsed().as_secs() >= 2);
    // Nobody asks it to look: the window moves on by itself.
    while gateway.metric("weir_breaker_level").await > 0.0 {
        assert!(start.elapsed() < PATIENCE, "it never became less");
        tokio::time::sleep(LOOK).await;
    }
    let reply = ask(&gateway, "chat", OPUS, "again").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    tells(&gateway, &["OK>EMERGENCY", "EMERGENCY>OK"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_forgets_nothing_and_tells_nothing_again() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    spend(&gateway, "2.25").await;
    let track = json!({"model": HAIKU, "inputTokens": 500_000, "outputTokens": 0}).to_string();
    let tracked = gateway.post("/track", &track).await;
    assert_eq!(tracked.status, 200, "{}", tracked.text());
    let sum = tracked.json()["total"].as_f64().unwrap();
    let limits = put(&gateway, "/admin/costs/limits", r#"{"HARD": 3.5}"#).await;
    assert_eq!(limits.status, 200, "{}", limits.text());
    level(&gateway, "SOFT").await;
    tells(&gateway, &["OK>SOFT"]).await;
    let before = level(&gateway, "SOFT").await;

    // What it kept for a quick start is of a moment ago, of long ago, or gone.
    let mut gateway = gateway.restart().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    gateway.kill9();
    std::fs::remove_file(gateway.directory.join("spend.jsonl.window")).unwrap();
    let mut gateway = gateway.again().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    gateway.kill9();
    std::fs::write(gateway.directory.join("spend.jsonl.window"), "{\"versi").unwrap();
    let gateway = gateway.again().await;
    assert_eq!(level(&gateway, "SOFT").await, before);
    // From its first request on.
    let reply = ask(&gateway, "chat", OPUS, "after").await;
    assert_eq!(asked(&provider, "after").await, SONNET, "{}", reply.text());
    assert!(told(&gateway).is_empty());

    // A crash in the middle of an answer charges what was held, and that counts.
    let call = gateway.chat("[[hang=headers]]").field("model", HAIKU);
    let open = tokio::spawn(call.stream().try_open());
    eventually("a hold", || {
        let intents = gateway.events("intent");
        intents
            .last()
            .filter(|intent| intent["held"].as_i64() > Some(0))?;
        (gateway.bills("default").len() + 1 == intents.len()).then_some(())
    })
    .await;
    let gateway = gateway.restart().await;
    open.abort();
    let spent = gateway.spend("default").0 as f64 / 1e9;
    assert!(spent > 2.25);
    total(&gateway, spent + sum - 2.25).await;

    let reset = gateway.post("/admin/costs/reset", "").await;
    assert_eq!(reset.json()["total"], 0.0);
    let gateway = gateway.restart().await;
    let state = level(&gateway, "OK").await;
    assert_eq!(state["total"], 0.0);
    assert_eq!(state["thresholds"]["HARD"], 3.5);
    spend(&gateway, "0.5").await;
    total(&gateway, 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_new_thresholds_and_keeps_what_was_spent() {
    let provider = Provider::start().await;
    let gateway = guarded(&provider, &levels("")).start().await;
    spend(&gateway, "1.5").await;
    level(&gateway, "WARNING").await;
    let lower = levels("").replace("soft: 2", "soft: 1.25");
    gateway.write_policy(&guarded(&provider, &lower));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let state = level(&gateway, "SOFT").await;
    assert_eq!(
        (&state["total"], &state["threshold"]),
        (&json!(1.5), &json!(1.25))
    );
    // Another window is put together from the log.
    let monthly = levels(", window: monthly");
    gateway.write_policy(&guarded(&provider, &monthly));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    let state = level(&gateway, "WARNING").await;
    assert_eq!(state["total"], 1.5);
    let costs = gateway.get("/admin/costs").await.json();
    assert_eq!(costs["costs"]["window"], "monthly");
    let wrong = levels("").replace("soft: 2", "soft: 0.5");
    gateway.write_policy(&guarded(&provider, &wrong));
    let refused = gateway.post("/api/reload", "").await;
    assert!(
        refused.text().contains("must be more than WARNING"),
        "{}",
        refused.text()
    );
    assert_eq!(level(&gateway, "WARNING").await["total"], 1.5);
}
