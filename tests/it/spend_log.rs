//! The record of truth: what is in it, and what it survives.

use crate::support::faults::{append, cut_tail, damage_line};
use crate::support::{Agent, Gateway, Provider, eventually};
use serde_json::Value;
use weir::money::Nanos;

/// The total as a script for the Execwall OR Gate's log would compute it: rows without `event`.
fn seed_total(text: &str, agent: &str) -> Nanos {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| row.get("event").is_none() && row["agent_id"] == agent)
        .map(|row| {
            assert!(
                row["timestamp"].as_str().is_some_and(|at| at.len() == 26),
                "{row}"
            );
            assert!(row["model"].is_string() && row["tokens"].is_u64(), "{row}");
            // As exactly as it is written.
            Nanos::parse_usd(&row["cost"].to_string()).unwrap()
        })
        .fold(Nanos::ZERO, |sum, cost| sum + cost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_made_for_the_execwall_or_gate_sums_to_the_same_total() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("a", "10"))
        .agent(Agent::new("b", "10"))
        .start()
        .await;
    for number in 1..=10 {
        for agent in ["a", "b"] {
            let prompt = format!("[[cost=0.00000000{number}]]");
            let call = gateway.chat(&prompt).agent(agent);
            call.field("stream", number % 2 == 0).send().await;
        }
    }
    gateway.chat("[[status=500]]").agent("a").send().await;
    let text = std::fs::read_to_string(gateway.log_path()).unwrap();
    for agent in ["a", "b"] {
        assert_eq!(seed_total(&text, agent), gateway.spend(agent));
        assert_eq!(gateway.spend(agent), Nanos(45 + 1));
    }
    let bill = gateway.bills("a").remove(0);
    for field in [
        "timestamp",
        "agent_id",
        "cost",
        "model",
        "tokens",
        "request_id",
        "id",
        "nano_usd",
        "status",
        "source",
        "usage",
        "prices",
        "period",
        "tier",
        "seq",
        "prev",
        "crc",
    ] {
        assert!(bill.get(field).is_some(), "{field} is missing from {bill}");
    }
    gateway.post("/api/reset/a", "").await;
    let reset = gateway.events("reset").remove(0);
    assert_eq!(reset["agent_id"], "a");
    assert_eq!(reset["previous_spent"].to_string(), "4.6e-8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_by_kill_9_is_charged_at_its_hold_and_only_once() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    gateway.chat("[[cost=0.5]]").send().await;
    let prompt = "[[chunks=1000 delay_ms=20 tag=open]]";
    let mut open = gateway.chat(prompt).max_tokens(1000).stream().open().await;
    assert!(open.chunk().await.unwrap().is_some());
    let held = gateway.events("intent")[1]["held"].as_i64().unwrap();
    gateway.kill9();
    let gateway = gateway.again().await;
    let bills = gateway.billed("default", 2).await;
    assert_eq!(bills[1]["status"], "unresolved");
    assert_eq!(bills[1]["nano_usd"], held);
    assert!(held >= 1000 * 600);
    let account = gateway.account("default").await;
    assert_eq!(account["budget_held"], 0.0);
    let gateway = gateway.restart().await;
    assert_eq!(gateway.bills("default").len(), 2);
    assert_eq!(gateway.account("default").await, account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_line_is_cut_off_and_its_request_charged_at_its_hold() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    for _ in 0..2 {
        gateway.chat("[[cost=0.25]]").max_tokens(10).send().await;
    }
    let path = gateway.log_path();
    gateway.kill9();
    cut_tail(&path, 9);
    let mut gateway = gateway.again().await;
    let bills = gateway.bills("default");
    assert_eq!(bills.len(), 2);
    assert_eq!(bills[0]["nano_usd"], 250_000_000);
    assert_eq!(bills[1]["status"], "unresolved");
    gateway.kill9();
    append(&path, br#"{"timestamp":"2026-01-01T00:0"#);
    let gateway = gateway.again().await;
    assert_eq!(gateway.bills("default").len(), 2);
    assert!(
        gateway.output().contains("cut_bytes="),
        "{}",
        gateway.output()
    );
    assert_eq!(gateway.chat("x").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_middle_refuses_to_start_and_names_the_byte() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    for _ in 0..4 {
        gateway.chat("x").send().await;
    }
    gateway.kill9();
    let path = gateway.log_path();
    let whole = std::fs::read(&path).unwrap();
    for line in [0, 3] {
        let at = damage_line(&path, line);
        let said = gateway.setup().fails_in(&gateway.directory).await;
        assert!(
            said.contains(&format!("damaged at byte {at}")),
            "line {line}: {said}"
        );
        std::fs::write(&path, &whole).unwrap();
    }
    let gateway = gateway.again().await;
    assert_eq!(gateway.bills("default").len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_hard_budgets_and_no_others() {
    let provider = Provider::start().await;
    // No file may grow beyond 64 blocks of 512 bytes; without the trap the signal would end it.
    let gateway = Gateway::over(&provider)
        .through("trap '' XFSZ; ulimit -f 64; exec \"$@\"")
        .env("WEIR_LOG", "off")
        .agent(Agent::new("hard", "10"))
        .agent(Agent::new("soft", "10").soft())
        .start()
        .await;
    let mut served = 0;
    let refused = loop {
        let reply = gateway.chat("[[chunks=1]]").agent("hard").send().await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < 1000, "the disk is never full");
    };
    assert_eq!(
        (refused.status, refused.code()),
        (503, "ledger_unavailable".into())
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(served > 0);
    for _ in 0..3 {
        assert_eq!(gateway.chat("x").agent("hard").send().await.status, 503);
        assert_eq!(gateway.chat("x").agent("soft").send().await.status, 200);
    }
    let push = gateway.push("hard", r#"{"budget_total": 20}"#).await;
    assert_eq!(
        (push.status, push.code()),
        (503, "ledger_unavailable".into())
    );
    assert_eq!(gateway.account("hard").await["budget_total"], 10.0);
    assert_eq!(gateway.metric("weir_spend_log_failed").await, 1.0);
    assert!(gateway.metric("weir_spend_log_lost_records").await > 0.0);
    // What was served is in the log or held, and never more than was held.
    assert!(gateway.account("soft").await["budget_spent"].as_f64() > Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_log_without_writing_over_each_other() {
    let provider = Provider::start().await;
    let first = Gateway::over(&provider).start().await;
    let second = first.beside().await;
    for gateway in [&first, &second, &first, &second, &second] {
        assert_eq!(gateway.chat("[[cost=0.125]]").send().await.status, 200);
    }
    assert_eq!(first.spend("default"), Nanos(625_000_000));
    let files = std::fs::read_dir(&first.directory)
        .unwrap()
        .filter(|file| {
            file.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|kind| kind == "jsonl")
        })
        .count();
    assert_eq!(files, 2, "each process writes its own");
    // Each learns what the other spent.
    for gateway in [&first, &second] {
        let start = std::time::Instant::now();
        while gateway.account("default").await["budget_spent"] != 0.625 {
            assert!(start.elapsed() < crate::support::PATIENCE, "never learned");
            tokio::time::sleep(crate::support::LOOK).await;
        }
    }
    drop(second);
    let first = first.restart().await;
    assert_eq!(first.account("default").await["budget_spent"], 0.625);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_were_rotated_away_still_count() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("spend_log: {segment_bytes: 64KiB}")
        .start()
        .await;
    let files = || {
        let entries = std::fs::read_dir(&gateway.directory).unwrap();
        entries
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|kind| kind == "jsonl")
            })
            .count()
    };
    let mut sent = 0_u32;
    while files() < 3 {
        gateway.chat("[[cost=0.001]]").send().await;
        sent += 1;
        assert!(sent < 2000, "never rotated");
    }
    let before = gateway.account("default").await;
    let spent = before["budget_spent"].as_f64().unwrap();
    assert!((spent - f64::from(sent) * 0.001).abs() < 1e-9);
    let gateway = gateway.restart().await;
    assert_eq!(gateway.account("default").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_durability_serves_and_survives_like_the_other() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("spend_log: {durability: strict, group_commit: 2ms}")
        .start()
        .await;
    let calls: Vec<_> = (0..20)
        .map(|_| tokio::spawn(gateway.chat("[[cost=0.01]]").send()))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    let gateway = gateway.restart().await;
    assert_eq!(gateway.account("default").await["budget_spent"], 0.2);
    eventually("its log", || {
        (gateway.bills("default").len() == 20).then_some(())
    })
    .await;
}
