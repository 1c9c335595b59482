//! Every change of level is told once, to everybody who wants to know.

use super::receiver::{Message, Receiver};
use super::{events, guarded, level, levels, spend, tells};
use crate::support::{LOOK, PATIENCE, Provider};
use serde_json::{Value, json};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_level_is_told_once_to_everybody() {
    let (provider, receiver) = (Provider::start().await, Receiver::start().await);
    let secret = "0123456789abcdef0123456789abcdef";
    let webhook = format!(
        ", webhook: {{url: '{}', secret: '${{HOOK_SECRET}}'}}",
        receiver.url()
    );
    let gateway = guarded(&provider, &levels(&webhook))
        .env("HOOK_SECRET", secret)
        .start()
        .await;
    // The first try is not taken, and neither is a redirect followed.
    receiver.answers(&[500, 307]);
    spend(&gateway, "1").await;
    level(&gateway, "WARNING").await;
    receiver.taken(1).await;
    spend(&gateway, "0.5").await;
    spend(&gateway, "1.6").await;
    level(&gateway, "HARD").await;
    receiver.taken(2).await;
    let reset = gateway.post("/admin/costs/reset", "").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    let messages = receiver.taken(3).await;
    tells(&gateway, &["OK>WARNING", "WARNING>HARD", "HARD>OK"]).await;
    let bodies: Vec<Value> = messages.iter().map(Message::json).collect();
    let changes: Vec<_> = bodies
        .iter()
        .map(|body| format!("{}>{}", body["before"], body["level"]).replace('"', ""))
        .collect();
    assert_eq!(changes, ["OK>WARNING", "WARNING>HARD", "HARD>OK"]);
    assert_eq!(bodies[1]["type"], "breaker.level");
    assert_eq!(
        (&bodies[1]["total"], &bodies[1]["threshold"]),
        (&json!(3.1), &json!(3.0))
    );
    for message in &messages {
        assert!(message.is_signed_with(secret), "{message:?}");
    }
    let tries = receiver.all();
    let first = |at: usize| tries[at].header("x-weir-delivery");
    assert_eq!(
        (first(0), first(1)),
        (first(2), first(2)),
        "one message, three tries"
    );
    assert_ne!(first(2), first(3));
    let events = events(&gateway, r#""type":"breaker.level""#, 3).await;
    assert_eq!((events.len(), &events[1]["level"]), (3, &json!("HARD")));
    assert_eq!(gateway.metric("weir_breaker_changes_total").await, 3.0);
    assert!(!gateway.output().contains(secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_gone_holds_nothing_up() {
    let provider = Provider::start().await;
    let gone = crate::support::gateway::free_port();
    let webhook = format!(", webhook: {{url: 'http://127.0.0.1:{gone}/', timeout: 200ms}}");
    let gateway = guarded(&provider, &levels(&webhook)).start().await;
    spend(&gateway, "1").await;
    level(&gateway, "WARNING").await;
    let start = Instant::now();
    while gateway.metric("weir_breaker_webhook_total").await < 1.0 {
        assert!(start.elapsed() < PATIENCE, "it never gave up");
        tokio::time::sleep(LOOK).await;
    }
    let text = gateway.get("/metrics").await.text();
    assert!(text.contains(r#"weir_breaker_webhook_total{result="failed"} 1"#));
    spend(&gateway, "0.1").await;
    assert_eq!(gateway.terminate().await, Some(0));
}
