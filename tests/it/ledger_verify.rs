//! `weir ledger verify`: what the logs say and what Redis says, side by side.

use crate::support::redis::RedisServer;
use crate::support::{Gateway, Provider, Setup, eventually};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A gateway that shares its budgets there.
fn sharing(provider: &Provider, redis: &RedisServer, more: &str) -> Setup {
    Gateway::over(provider).settings(&format!(
        "stores: {{redis: {{url: '{}', timeout: 2s{more}}}}}",
        redis.url()
    ))
}

/// What the command says and its exit code, with the files of the gateway in `directory`.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args([
            "ledger",
            "verify",
            "--policy=policy.yaml",
            "--config=weir.yaml",
        ])
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said + &errors)
}

/// The same as JSON, of these logs.
pub(crate) fn verified(directory: &Path, logs: &[PathBuf], wait: &str) -> (i32, Value) {
    let logs: Vec<&str> = logs.iter().map(|log| log.to_str().unwrap()).collect();
    let wait = format!("--wait={wait}");
    let (code, said) = run(directory, &[&["--json", &wait], &logs[..]].concat());
    let value = serde_json::from_str(&said);
    (
        code,
        value.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

/// The name that Redis knows a gateway by.
fn source(gateway: &Gateway) -> String {
    let id = std::fs::read_to_string(gateway.directory.join("spend.jsonl.id"));
    format!("{}:", id.unwrap().trim())
}

fn kinds(report: &Value) -> Vec<&str> {
    let items = report["unmatched"]["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["kind"].as_str().unwrap())
        .collect()
}

fn row(report: &Value) -> &Value {
    let rows = report["accounts"].as_array().unwrap();
    let row = rows.iter().find(|row| row["account"] == "agent:default");
    row.unwrap_or_else(|| panic!("no row: {report}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_of_two_gateways_agree_while_they_run() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let one = sharing(&provider, &redis, "").start().await;
    let two = sharing(&provider, &redis, "").start().await;
    for (gateway, cost) in [(&one, "0.25"), (&two, "0.5"), (&one, "1.0")] {
        let reply = gateway.chat(&format!("[[cost={cost}]]")).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let slow = two.chat("[[chunks=1000 delay_ms=50]]").stream();
    let mut open = slow.open().await;
    assert!(open.chunk().await.unwrap().is_some());
    let logs = [one.log_path(), two.log_path()];
    let (code, report) = verified(&one.directory, &logs, "30s");
    assert_eq!(
        (code, &report["agrees"]),
        (0, &Value::Bool(true)),
        "{report}"
    );
    assert_eq!(report["settled"]["count"], 3);
    assert_eq!(report["settled"]["nano_usd"], 1_750_000_000);
    assert_eq!(report["settled"]["usd"], "1.75");
    assert_eq!(report["unresolved"]["count"], 0);
    assert_eq!(report["redis"]["state"], "open");
    assert_eq!(report["redis"]["gateways"], 2);
    let account = row(&report);
    assert_eq!(account["logs_nano_usd"], 1_750_000_000);
    assert_eq!(account["redis_nano_usd"], 1_750_000_000);
    assert_eq!(account["posted_nano_usd"], 1_750_000_000);
    assert_eq!(account["difference_nano_usd"], 0);
    assert_eq!(report["holds"]["logs"]["count"], 1);
    assert_eq!(report["holds"]["logs"], report["holds"]["redis"]);
    assert_eq!(
        account["pending_nano_usd"],
        report["holds"]["redis"]["nano_usd"]
    );
    assert_eq!(report["unmatched"]["items"], Value::Array(vec![]));
    assert_eq!(report["oldest"], Value::Null);
    assert_eq!(report["not_given"], Value::Array(vec![]));
    // The other one's log is somewhere else: no reason to complain, and worth a word.
    let (code, report) = verified(&one.directory, &[], "30s");
    assert_eq!(
        (code, &report["agrees"]),
        (0, &Value::Bool(true)),
        "{report}"
    );
    assert_eq!(report["not_given"][0]["gateway"], source(&two));
    assert_eq!(row(&report)["logs_nano_usd"], 1_250_000_000);
    assert_eq!(row(&report)["others_nano_usd"], 500_000_000);
    let (code, said) = run(&one.directory, &[]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "settled    2 attempts, $1.25",
        "agent:default",
        "unmatched  0, $0.0",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_took_out_of_redis_is_found() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let gateway = sharing(&provider, &redis, "").start().await;
    gateway.chat("[[cost=0.25]]").send().await;
    assert_eq!(verified(&gateway.directory, &[], "30s").0, 0);
    let key = "weir:{weir}:w:agent:default:1:0";
    assert_eq!(redis.command(&["HDEL", key, &source(&gateway)]).number(), 1);
    let (code, report) = verified(&gateway.directory, &[], "0s");
    assert_eq!((code, &report["agrees"]), (1, &Value::Bool(false)));
    assert_eq!(kinds(&report), ["charged", "posted"], "{report}");
    let item = &report["unmatched"]["items"][0];
    assert_eq!(item["account"], "agent:default");
    assert_eq!(item["gateway"], source(&gateway));
    assert_eq!(item["expected_nano_usd"], 250_000_000);
    assert_eq!(item["found_nano_usd"], 0);
    assert_eq!(row(&report)["difference_nano_usd"], -250_000_000);
    assert_eq!(report["unmatched"]["count"], 2);
    let (code, said) = run(&gateway.directory, &["--wait=0s"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("charged by the log, and by Redis: expected $0.25, found $0.0;"),
        "{said}"
    );
    // A gateway that connects says what stands in its log, and everything is added up again.
    let gateway = gateway.restart().await;
    let (code, report) = verified(&gateway.directory, &[], "30s");
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report}");
    assert_eq!(row(&report)["posted_nano_usd"], 250_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_has_is_found_with_its_age() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let mut gateway = sharing(&provider, &redis, "").start().await;
    gateway.chat("x").send().await;
    assert_eq!(verified(&gateway.directory, &[], "30s").0, 0);
    // Alive, it would give the hold back by itself before long.
    gateway.kill9();
    let ended = gateway.events("intent")[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let orphan = "req_90000000010000000000000000-1";
    let key = format!("weir:{{weir}}:h:{}", source(&gateway));
    for id in [orphan, &ended] {
        let hold = "250000000\u{1}agent:default\u{2}1:0\u{2}1";
        assert_eq!(redis.command(&["HSET", &key, id, hold]).number(), 1);
    }
    let (code, report) = verified(&gateway.directory, &[], "0s");
    assert_eq!(code, 1);
    let mut found = kinds(&report);
    found.sort_unstable();
    assert_eq!(found, ["held", "hold_ended", "hold_not_in_log"], "{report}");
    assert_eq!(report["unmatched"]["nano_usd"], 1_000_000_000);
    assert_eq!(report["oldest"]["id"], orphan);
    assert_eq!(report["oldest"]["agent"], "default");
    assert!(report["oldest"]["age_ms"].as_u64() > Some(1_000_000));
    let (_, said) = run(&gateway.directory, &["--wait=0s"]);
    assert!(
        said.contains(&format!("oldest     {orphan} of default, ")),
        "{said}"
    );
    assert!(
        said.contains("held in Redis, unknown to the log: expected $0.0, found $0.25;"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_gateway_held_is_charged_once_however_late_it_comes_back() {
    let (provider, redis) = (Provider::start().await, RedisServer::start());
    let soon = ", orphan_after: 3s";
    let mut gateway = sharing(&provider, &redis, soon).start().await;
    gateway.chat("[[cost=0.25]]").send().await;
    let slow = gateway.chat("[[chunks=1000 delay_ms=50]]").max_tokens(1000);
    let mut open = slow.stream().open().await;
    assert!(open.chunk().await.unwrap().is_some());
    gateway.kill9();
    let held = gateway.events("intent")[1]["held"].as_i64().unwrap();
    let (code, report) = verified(&gateway.directory, &[], "30s");
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["holds"]["logs"]["nano_usd"], held);
    assert_eq!(report["holds"]["redis"]["nano_usd"], held);
    // Another gateway finds out that it is gone.
    let other = sharing(&provider, &redis, soon).start().await;
    let report = eventually("holds charged as lost", || {
        let (_, report) = verified(&gateway.directory, &[], "0s");
        (report["holds"]["lost"]["count"] == 1).then_some(report)
    })
    .await;
    assert_eq!(report["agrees"], true, "{report}");
    assert_eq!(report["holds"]["lost"]["nano_usd"], held);
    assert_eq!(report["holds"]["redis"]["count"], 0);
    assert_eq!(row(&report)["lost_nano_usd"], held);
    assert_eq!(row(&report)["posted_nano_usd"], 250_000_000 + held);
    // Charged by its log now, and therefore not as lost any more: twice over, in case it is killed
    // before it has said so.
    let mut gateway = gateway.again().await;
    for _ in 0..2 {
        gateway = gateway.restart().await;
        let logs = [gateway.log_path(), other.log_path()];
        let (code, report) = verified(&gateway.directory, &logs, "30s");
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["unresolved"]["count"], 1);
        assert_eq!(report["unresolved"]["nano_usd"], held);
        assert_eq!(report["holds"]["lost"]["count"], 0);
        assert_eq!(row(&report)["lost_nano_usd"], 0);
        assert_eq!(row(&report)["posted_nano_usd"], 250_000_000 + held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_log_is_checked_and_without_either_there_is_an_error() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    gateway.chat("[[cost=0.25]]").send().await;
    let (code, said) = run(&gateway.directory, &[]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "no Redis is set up",
        "default: $0.25 settled",
        "every record is whole",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (code, report) = verified(&gateway.directory, &[], "0s");
    assert_eq!((code, &report["redis"]), (0, &Value::Null));
    assert_eq!(report["settled"]["usd"], "0.25");
    let (code, said) = run(&gateway.directory, &["--json", "no-such.jsonl"]);
    assert_eq!(code, 2);
    assert!(said.contains("no-such.jsonl: there is no log"), "{said}");
    let redis = RedisServer::start();
    let settings = format!("stores: {{redis: {{url: '{}'}}}}\n", redis.url());
    std::fs::write(gateway.directory.join("weir.yaml"), &settings).unwrap();
    // Set up since, and this gateway has not been started again.
    let (code, report) = verified(&gateway.directory, &[], "0s");
    assert_eq!(
        (code, kinds(&report)),
        (1, vec!["log_not_shared"]),
        "{report}"
    );
    assert_eq!(report["redis"]["state"], "empty");
    drop(redis);
    let (code, said) = run(&gateway.directory, &[]);
    assert_eq!(code, 2);
    assert!(said.contains("weir: Redis at 127.0.0.1:"), "{said}");
}
