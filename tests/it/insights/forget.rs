//! Rows that go: of somebody who is forgotten, and those past keeping.

use super::{Answers, agrees, comes, logged, rows, sums_agree, watched};
use crate::support::{Gateway, Provider};
use std::process::Command;

async fn said_by(gateway: &Gateway, user: &str, count: usize) {
    for _ in 0..count {
        let call = gateway.chat("[[cost=0.000002]]").key(&format!("sk-{user}"));
        assert_eq!(call.send().await.status, 200);
    }
}

/// `weir insights forget`, beside the gateway.
pub(super) fn forget(gateway: &Gateway, who: &[&str], variables: &[(&str, &str)]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["insights", "forget"])
        .args(who)
        .args(["--policy", "policy.yaml", "--config", "weir.yaml"])
        .current_dir(&gateway.directory)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    );
    assert!(done.status.success(), "{out}{err}");
    assert!(
        !err.contains("pr1vate") && !out.contains("pr1vate"),
        "{out}{err}"
    );
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_is_forgotten_does_not_come_back_from_the_spend_log() {
    let provider = Provider::start().await;
    let gateway = watched(&provider)
        .key("k1", "sk-ann", "one", "user: ann")
        .key("k2", "sk-bob", "one", "user: bob")
        .start()
        .await;
    said_by(&gateway, "ann", 4).await;
    said_by(&gateway, "bob", 3).await;
    agrees(&gateway, &[&gateway]).await;
    let out = forget(&gateway, &["--user", "ann"], &[]);
    assert!(out.contains("user ann: 4 records removed"), "{out}");
    let users = "SELECT user_id || count(*) FROM model_insights GROUP BY user_id ORDER BY user_id";
    assert_eq!(gateway.answer(users).await, ["bob3"]);
    sums_agree(&gateway).await;
    let again = forget(&gateway, &["--user", "ann"], &[]);
    assert!(again.contains("user ann: 0 records removed"), "{again}");

    // The whole log is read again: the position is lost, and then the whole store but its tombstones.
    let mut gateway = gateway;
    let rows_and_sums = ["model_insights", "model_stats_hourly", "model_cost_trends"];
    for lost in [&[][..], &rows_and_sums] {
        gateway.kill9();
        for table in [&["insight_logs"], lost].concat() {
            let sql = format!("DELETE FROM {table} RETURNING 'gone'");
            gateway.answer(&sql).await;
        }
        gateway = gateway.again().await;
        comes(
            "bob, and nobody else",
            &vec!["bob3".to_owned()],
            async || gateway.answer(users).await,
        )
        .await;
    }
    // What is done from now on is new.
    said_by(&gateway, "ann", 2).await;
    comes(
        "ann again",
        &vec!["ann2".to_owned(), "bob3".to_owned()],
        async || gateway.answer(users).await,
    )
    .await;
    let names = gateway.answer("SELECT digest FROM insight_forgotten").await;
    assert!(
        !names.is_empty() && !names.concat().contains("ann"),
        "{names:?}"
    );

    let out = forget(&gateway, &["--agent", "one"], &[]);
    assert!(out.contains("agent one: 5 records removed"), "{out}");
    assert!(rows(&gateway).await.is_empty());
    let sums = "SELECT model FROM model_stats_hourly UNION ALL SELECT model FROM model_cost_trends";
    assert!(gateway.answer(sums).await.is_empty());
    assert_eq!(logged(&gateway).len(), 9, "the spend log keeps its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_keeping_goes_and_its_sums_stay() {
    let provider = Provider::start().await;
    let mut gateway = watched(&provider).start().await;
    super::spend(&gateway, 6).await;
    agrees(&gateway, &[&gateway]).await;
    gateway.kill9();
    // Half of the rows become a hundred days old, with their sums.
    let old = "UPDATE model_insights SET at_ms = at_ms - 100 * 86400000
        WHERE attempt_id IN (SELECT attempt_id FROM model_insights LIMIT 3) RETURNING attempt_id";
    assert_eq!(gateway.answer(old).await.len(), 3);
    let gateway = gateway.again().await;
    let count = "SELECT count(*) || '' FROM model_insights";
    comes("the old rows are gone", &vec!["3".to_owned()], async || {
        gateway.answer(count).await
    })
    .await;
    let sums = "SELECT sum(request_count) || '' FROM model_stats_hourly";
    assert_eq!(gateway.answer(sums).await, ["6"]);
    // Read again, the records of those days would be left out; these are of today.
    super::spend(&gateway, 1).await;
    comes("a new row", &vec!["4".to_owned()], async || {
        gateway.answer(count).await
    })
    .await;
}
