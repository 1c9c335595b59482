//! What the audit holds, who may read it, and that nobody can change it unseen.

use super::{ATTACK, TOKEN, infer, request, setup, validate};
use crate::support::{Gateway, Provider};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

async fn get(gateway: &Gateway, path: &str) -> Value {
    let reply = gateway.admin(TOKEN, path, None).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.directory.join("guard/audit.jsonl")
}

fn verify(path: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["guard", "audit", "verify"])
        .arg(path)
        .env_clear()
        .output();
    output.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_can_be_asked_and_outlives_a_crash() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).env("ADMIN_TOKEN", TOKEN).start().await;
    infer(&gateway, &request("Hello")).await;
    infer(&gateway, &request("[[text=My~system~prompt]]")).await;
    for _ in 0..3 {
        validate(&gateway, ATTACK, "a").await;
    }
    let body = json!({"apiKey": "a"}).to_string();
    gateway
        .admin(TOKEN, "/admin/unquarantine-temp", Some(&body))
        .await;
    let audit = get(&gateway, "/admin/audit?days=1").await;
    let events: Vec<(&str, &str)> = audit["events"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| {
            (
                event["event"].as_str().unwrap(),
                event["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        events,
        [
            ("input_validation", "passed"),
            ("output_filter", "passed"),
            ("input_validation", "passed"),
            ("output_filter", "blocked"),
            ("input_validation", "blocked"),
            ("input_validation", "blocked"),
            ("input_validation", "blocked"),
            ("quarantine", "quarantined"),
            ("quarantine_lifted", "lifted"),
        ]
    );
    let text = audit.to_string();
    for secret in [
        "api-key-for-tracking",
        "Ignore all",
        "user-session-123",
        "Hello",
        TOKEN,
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    let first = get(&gateway, "/admin/audit?limit=4").await;
    assert_eq!((&first["count"], &first["next"]), (&json!(4), &json!(6)));
    let second = get(&gateway, "/admin/audit?limit=4&before=6").await;
    assert_eq!(second["events"][0]["seq"], 5);
    let flagged = get(
        &gateway,
        "/admin/flagged?severity=high&days=1&event=input_validation",
    )
    .await;
    assert_eq!(flagged["count"], 3, "{flagged}");
    let stats = get(&gateway, "/admin/stats?days=1").await;
    assert_eq!(
        (&stats["total"], &stats["byEvent"]["output_filter"]),
        (&json!(9), &json!(2))
    );
    assert_eq!(stats["head"]["seq"], 9);

    for path in ["/admin/audit", "/admin/flagged", "/admin/stats"] {
        assert_eq!(gateway.get(path).await.status, 401, "{path}");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "days=0",
        "severity=awful",
        "other=1",
    ] {
        let reply = gateway
            .admin(TOKEN, &format!("/admin/audit?{query}"), None)
            .await;
        assert_eq!(reply.status, 400, "{query}");
    }
    let gateway = gateway.restart().await;
    validate(&gateway, "hello", "a").await;
    let stats = get(&gateway, "/admin/stats?days=1").await;
    assert_eq!(
        (&stats["total"], &stats["head"]["seq"]),
        (&json!(10), &json!(10))
    );
    let verified = verify(&file(&gateway));
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("10"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_audit_is_found_and_what_is_handed_over_is_written_at_the_end() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).start().await;
    for number in 0..50 {
        validate(&gateway, "hello", &format!("caller {number}")).await;
    }
    let path = file(&gateway);
    let kept = gateway.directory.join("kept.jsonl");
    gateway.signal("TERM");
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit().await, Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.lines().count(),
        50,
        "nothing is lost at an end in order"
    );
    assert!(verify(&path).status.success());
    let changed = text.replacen("\"outcome\":\"passed\"", "\"outcome\":\"failed\"", 1);
    std::fs::write(&kept, changed).unwrap();
    let verified = verify(&kept);
    assert!(!verified.status.success());
    let said =
        String::from_utf8_lossy(&verified.stdout) + String::from_utf8_lossy(&verified.stderr);
    assert!(said.contains("line 1"), "{said}");
}
