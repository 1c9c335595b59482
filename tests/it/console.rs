//! The console: budgets from it act, spend arrives there exactly once, and it is not needed.

use crate::support::console::{CONSOLE_KEY, Console, Trick, told};
use crate::support::gateway::Setup;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;
use weir::money::Nanos;

/// A gateway whose agent `remote` has ten dollars until the console says otherwise.
fn watched(provider: &Provider, console: &Console) -> Setup {
    Gateway::over(provider)
        .routing(&console.lines())
        .env("JETPATCH_API_KEY", CONSOLE_KEY)
        .agent(Agent::new("remote", "10").line("budget_source: console"))
        .agent(Agent::new("local", "10"))
}

/// Settlements of all agents in the log, by id, with their amounts.
fn settled(gateway: &Gateway) -> BTreeMap<String, i64> {
    let log = gateway.log();
    let rows = log.iter().filter(|row| row.get("event").is_none());
    rows.map(|row| (text(&row["id"]), amount(row))).collect()
}

/// The same, at the console.
fn arrived(rows: &BTreeMap<String, Value>) -> BTreeMap<String, i64> {
    rows.iter()
        .map(|(id, row)| (id.clone(), amount(row)))
        .collect()
}

fn amount(row: &Value) -> i64 {
    row["nano_usd"].as_i64().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// How often its output says `part`.
fn said(gateway: &Gateway, part: &str) -> usize {
    gateway.output().matches(part).count()
}

async fn reaches(gateway: &Gateway, metric: &str, level: f64) {
    let start = Instant::now();
    while gateway.metric(metric).await < level {
        assert!(start.elapsed() < PATIENCE, "{metric} never reached {level}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_from_the_console_acts_with_the_next_exchange() {
    let (provider, console) = (Provider::start().await, Console::start());
    let gateway = watched(&provider, &console).start().await;
    let first = console.exchanged().await;
    let state = told(&first, "agent:remote");
    assert_eq!(state["agent_id"], "remote");
    assert_eq!(state["budget_total"], 10.0);
    assert_eq!(state["budget_source"], "console");
    assert_eq!(
        (&state["pushed"], &state["revision"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(told(&first, "agent:local")["budget_source"], "local");

    console.want(json!([{"agent_id": "remote", "budget_total": 0, "revision": 1}]));
    console.exchanged().await;
    let refused = gateway.chat("x").agent("remote").send().await;
    assert_eq!(
        (refused.status, refused.code()),
        (402, "budget_exhausted".into())
    );
    // The very next message says that it is in force.
    let next = console.first_wanted().unwrap() + 1;
    let state = told(&console.messages()[next], "agent:remote");
    assert_eq!(
        (&state["budget_total"], &state["revision"]),
        (&json!(0.0), &json!("1"))
    );

    console.want(json!([
        {"account": "agent:remote", "budget_total": "25.5", "revision": "two"},
        {"agent_id": "local", "budget_total": 1, "revision": 1},
        {"agent_id": "stranger", "budget_total": 1, "revision": 1},
        {"account": "gateway", "budget_total": 1, "revision": 1},
    ]));
    console.exchanged().await;
    assert_eq!(gateway.chat("x").agent("remote").send().await.status, 200);
    let account = gateway.account("remote").await;
    assert_eq!(account["budget_total"], 25.5);
    assert_eq!(account["budget_source"], "console");
    assert_eq!(gateway.account("local").await["budget_total"], 10.0);

    // Said again and again, it is done once.
    console.exchanged().await;
    console.exchanged().await;
    let pushes = gateway.events("budget");
    assert_eq!(pushes.len(), 2, "{pushes:?}");
    assert_eq!(pushes[1]["by"], format!("console {}", console.url()));
    assert_eq!(said(&gateway, "budget_source is local"), 1);
    assert_eq!(said(&gateway, "no agent of the policy"), 2);

    // A revision that has acted acts no more: what was set here since then stays, restarts or not.
    gateway.push("remote", r#"{"budget_total": 30}"#).await;
    let gateway = gateway.restart().await;
    console.exchanged().await;
    assert_eq!(gateway.account("remote").await["budget_total"], 30.0);
    console.want(json!([{"agent_id": "remote", "budget_total": 31, "revision": "three"}]));
    console.exchanged().await;
    assert_eq!(gateway.account("remote").await["budget_total"], 31.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spend_arrives_exactly_once_whatever_is_killed_or_lost() {
    let (provider, mut console) = (Provider::start().await, Console::start());
    let mut gateway = watched(&provider, &console)
        .settings("spend_log: {segment_bytes: 64KiB}")
        .start()
        .await;
    let mut names = Vec::new();
    for turn in 0..6_usize {
        match turn {
            1 | 2 => console.trick(Trick::LoseAnswer),
            3 => {
                console.stop();
                console.again().await;
            }
            4 => gateway = gateway.restart().await,
            _ => {}
        }
        let calls: Vec<_> = (0..20)
            .map(|number| {
                let prompt = format!("[[cost=0.00000{turn}{number:02}]]");
                let agent = if number % 2 == 0 { "remote" } else { "local" };
                tokio::spawn(gateway.chat(&prompt).agent(agent).send())
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().status, 200);
        }
        if turn == 2 {
            // The batch is stored and its answer lost, and then the gateway is killed.
            console.played().await;
            gateway = gateway.restart().await;
        }
        names.push(console.exchanged().await["gateway_id"].clone());
    }
    let expected = settled(&gateway);
    assert_eq!(expected.len(), 120);
    let rows = console.received(120).await;
    assert_eq!(arrived(&rows), expected);
    names.dedup();
    assert_eq!(names.len(), 1, "it keeps its name: {names:?}");

    let bill = gateway.bills("remote").remove(0);
    let row = &rows[&text(&bill["id"])];
    for field in [
        "agent_id", "model", "tokens", "usage", "cost", "nano_usd", "status", "source", "seq",
    ] {
        assert_eq!(row[field], bill[field], "{field}");
    }
    assert_eq!(row["request_id"], bill["request_id"]);
    assert!(text(&row["at"]).parse::<jiff::Timestamp>().is_ok());
    assert_eq!(row["period_start"], Value::Null);

    // What was stored and not confirmed came again, under the same ids; nothing else did.
    let again = console.again_count();
    assert!((2..=40).contains(&again), "{again} rows came again");
    let gateway = gateway.restart().await;
    let message = console.exchanged().await;
    assert_eq!(message["spend"], json!([]));
    assert_eq!(console.again_count(), again);
    reaches(&gateway, "weir_console_last_success_timestamp_seconds", 1.0).await;
    assert_eq!(gateway.metric("weir_console_backlog_records").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_away_is_not_needed_and_gets_everything_when_it_is_back() {
    let (provider, mut console) = (Provider::start().await, Console::start());
    console.want(json!([{"agent_id": "remote", "budget_total": 0.5, "revision": 1}]));
    let gateway = watched(&provider, &console).start().await;
    console.exchanged().await;
    console.stop();
    reaches(&gateway, "weir_console_sync_total", 3.0).await;
    for _ in 0..3 {
        let call = gateway
            .chat("[[cost=0.125]]")
            .agent("remote")
            .max_tokens(10);
        assert_eq!(call.send().await.status, 200);
    }
    reaches(&gateway, "weir_console_backlog_records", 3.0).await;
    // Its budget stays in force, restarts or not.
    let gateway = gateway.restart().await;
    assert_eq!(gateway.account("remote").await["budget_total"], 0.5);
    gateway
        .chat("[[cost=0.125]]")
        .agent("remote")
        .max_tokens(10)
        .send()
        .await;
    let refused = gateway.chat("x").agent("remote").send().await;
    assert_eq!(refused.status, 402);
    reaches(&gateway, "weir_console_backlog_records", 4.0).await;
    assert_eq!(said(&gateway, "spend is kept for it"), 1, "told once");
    console.again().await;
    let rows = console.received(4).await;
    assert_eq!(arrived(&rows), settled(&gateway));
    console.exchanged().await;
    assert_eq!(said(&gateway, "the console is back"), 1);
    assert_eq!(gateway.metric("weir_console_backlog_records").await, 0.0);
    let text = gateway.get("/metrics").await.text();
    assert!(
        text.contains(r#"weir_console_sync_total{result="unreachable"}"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_can_raise_what_was_spent_and_never_lower_it() {
    let (provider, console) = (Provider::start().await, Console::start());
    let gateway = watched(&provider, &console).start().await;
    gateway.chat("[[cost=2]]").agent("remote").send().await;
    console.exchanged().await;
    let spent = |amount: &str, revision: u32| {
        console.want(json!([{"agent_id": "remote", "budget_spent": amount, "revision": revision}]));
    };
    spent("0", 1);
    console.exchanged().await;
    assert_eq!(gateway.account("remote").await["budget_spent"], 2.0);
    console.exchanged().await;
    assert_eq!(
        said(&gateway, "the gateway's own figure stays"),
        1,
        "told once"
    );
    assert!(gateway.events("budget").is_empty());
    // Other gateways have spent as well.
    spent("9.999999999", 2);
    let message = console.exchanged().await;
    assert_eq!(
        told(&message, "agent:remote")["budget_spent"].to_string(),
        "9.999999999"
    );
    let refused = gateway
        .chat("x")
        .agent("remote")
        .max_tokens(1000)
        .send()
        .await;
    assert_eq!(refused.status, 402);
    spent("3", 3);
    console.exchanged().await;
    let gateway = gateway.restart().await;
    let account = gateway.account("remote").await;
    assert_eq!(account["budget_spent"].to_string(), "9.999999999");
    assert_eq!(account["budget_total"], 10.0);
    assert_eq!(gateway.events("budget").len(), 1);
    assert_eq!(
        gateway.spend("remote"),
        Nanos::usd(2),
        "nothing was billed for it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_none_change_nothing_and_end() {
    let (provider, console) = (Provider::start().await, Console::start());
    let elsewhere = Console::start();
    let gateway = watched(&provider, &console).start().await;
    gateway.chat("[[cost=0.25]]").agent("remote").send().await;
    console.received(1).await;
    let account = gateway.account("remote").await;
    let lowered = r#"{"agent_id":"remote","budget_total":1,"revision":1}"#;
    for (trick, name) in [
        (Trick::Endless, "bad_answer"),
        (Trick::Say("<html>sesame</html>".into()), "bad_answer"),
        (
            Trick::Say(format!(r#"{{"budgets":[{lowered}]}}"#)),
            "bad_answer",
        ),
        (
            Trick::Say(format!(
                r#"{{"acknowledged":{{}},"budgets":[{lowered},{{"agent_id":"local","budget_total":-1,"revision":1}}]}}"#
            )),
            "bad_answer",
        ),
        (
            Trick::Redirect(format!("{}/api/v1/gateways/x/sync", elsewhere.url())),
            "status",
        ),
        (Trick::Status(500), "status"),
        (Trick::Silent, "timeout"),
    ] {
        let shown = format!("{trick:?}");
        console.trick(trick);
        console.played().await;
        gateway.chat("[[cost=0.25]]").agent("local").send().await;
        console.exchanged().await;
        let text = gateway.get("/metrics").await.text();
        let counted = format!(r#"weir_console_sync_total{{result="{name}"}}"#);
        assert!(text.contains(&counted), "{shown}: {text}");
        assert_eq!(gateway.account("remote").await, account, "{shown}");
        assert_eq!(
            gateway.account("local").await["budget_total"],
            10.0,
            "{shown}"
        );
    }
    assert_eq!(elsewhere.refused() + elsewhere.messages().len(), 0);
    assert!(gateway.events("budget").is_empty());
    assert_eq!(arrived(&console.received(8).await), settled(&gateway));
    assert!(
        !gateway.output().contains("sesame"),
        "answers are not quoted"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_refused_is_told_and_never_shown() {
    let (provider, console) = (Provider::start().await, Console::start());
    let gateway = watched(&provider, &console)
        .env("JETPATCH_API_KEY", "jp-wrong-key-of-ours")
        .env("WEIR_LOG", "trace")
        .start()
        .await;
    gateway.chat("x").agent("remote").send().await;
    reaches(&gateway, "weir_console_sync_total", 2.0).await;
    assert!(console.refused() >= 2 && console.messages().is_empty());
    let output = gateway.output();
    assert!(output.contains("check console.api_key"), "{output}");
    let mut shown = output + &gateway.get("/metrics").await.text();
    for file in std::fs::read_dir(&gateway.directory).unwrap() {
        shown += &std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
    }
    assert!(!shown.contains("jp-wrong-key"), "the key is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_either_side_forgot_is_told_again() {
    let (provider, console) = (Provider::start().await, Console::start());
    let mut gateway = watched(&provider, &console).start().await;
    for _ in 0..3 {
        gateway.chat("[[cost=0.5]]").agent("remote").send().await;
    }
    console.received(3).await;
    let name = console.exchanged().await["gateway_id"].clone();
    // The gateway has lost its notes: the console knows.
    for damage in [None, Some(&b"{\"version\":1,"[..])] {
        gateway.kill9();
        let notes = gateway.directory.join("spend.jsonl.console");
        match damage {
            None => std::fs::remove_file(notes).unwrap(),
            Some(bytes) => std::fs::write(notes, bytes).unwrap(),
        }
        let before = console.messages().len();
        gateway = gateway.again().await;
        gateway.chat("[[cost=0.5]]").agent("remote").send().await;
        console.exchanged().await;
        let asked = &console.messages()[before];
        assert_eq!(
            (&asked["cursor"], &asked["gateway_id"]),
            (&Value::Null, &name)
        );
    }
    console.received(5).await;
    assert_eq!(console.again_count(), 0, "nothing came twice");
    // The console has lost everything: the log knows.
    console.forget();
    let rows = console.received(5).await;
    assert_eq!(arrived(&rows), settled(&gateway));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_log_speak_to_the_console_one_at_a_time() {
    let (provider, console) = (Provider::start().await, Console::start());
    let mut first = watched(&provider, &console).start().await;
    console.exchanged().await;
    let second = first.beside().await;
    for gateway in [&first, &second, &second] {
        gateway.chat("[[cost=0.25]]").agent("local").send().await;
    }
    let rows = console.received(3).await;
    assert_eq!(arrived(&rows), settled(&first));
    let chains: std::collections::BTreeSet<_> =
        rows.values().map(|row| text(&row["chain"])).collect();
    assert_eq!(chains.len(), 2, "{chains:?}");
    assert_eq!(second.metric("weir_console_sync_total").await, 0.0);
    // A budget that one was told is the other's as well.
    console.want(json!([{"agent_id": "remote", "budget_total": 4, "revision": 1}]));
    let start = Instant::now();
    while second.account("remote").await["budget_total"] != 4.0 {
        assert!(start.elapsed() < PATIENCE, "never learned");
        tokio::time::sleep(LOOK).await;
    }
    first.kill9();
    second.chat("[[cost=0.25]]").agent("local").send().await;
    assert_eq!(console.received(4).await.len(), 4);
    reaches(&second, "weir_console_sync_total", 1.0).await;
    assert_eq!(console.again_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_without_downtime_goes_on_where_the_other_left() {
    let (provider, console) = (Provider::start().await, Console::start());
    let first = watched(&provider, &console).start().await;
    first.chat("[[cost=0.25]]").agent("local").send().await;
    let name = console.exchanged().await["gateway_id"].clone();
    let (code, second) = first.upgrade().await;
    assert_eq!(code, Some(0));
    second.chat("[[cost=0.25]]").agent("local").send().await;
    assert_eq!(arrived(&console.received(2).await), settled(&second));
    assert_eq!(console.exchanged().await["gateway_id"], name);
    assert_eq!(console.again_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_switched_on_and_off_without_a_restart_and_hears_the_last_word() {
    let (provider, console) = (Provider::start().await, Console::start());
    let on = watched(&provider, &console);
    let off = Gateway::over(&provider)
        .env("JETPATCH_API_KEY", CONSOLE_KEY)
        .agent(Agent::new("remote", "10").line("budget_source: console"));
    let gateway = off.clone().start().await;
    gateway.chat("[[cost=0.25]]").agent("remote").send().await;
    gateway.write_policy(&on);
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    console.received(1).await;
    gateway.write_policy(&off);
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    gateway.chat("[[cost=0.25]]").agent("remote").send().await;
    gateway.write_policy(&on);
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    console.received(2).await;
    // What is settled while it leaves arrives before it has left.
    let long = gateway
        .chat("[[chunks=40 delay_ms=20 cost=0.25]]")
        .agent("remote")
        .stream();
    let open = long.open().await;
    gateway.signal("TERM");
    let reply = crate::support::Reply::read(open).await;
    assert!(reply.complete);
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit().await, Some(0));
    assert_eq!(arrived(&console.received(3).await), settled(&gateway));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_cannot_prove_who_it_is_gets_no_key() {
    let (provider, console) = (Provider::start().await, Console::start());
    let (port, certificate) = console.with_tls().await;
    let lines = console
        .lines()
        .replace(&console.url(), &format!("https://localhost:{port}"));
    let setup = |lines: &str| {
        Gateway::over(&provider)
            .routing(lines)
            .env("JETPATCH_API_KEY", CONSOLE_KEY)
    };
    let gateway = setup(&lines).start().await;
    gateway.chat("x").send().await;
    reaches(&gateway, "weir_console_sync_total", 1.0).await;
    assert_eq!(console.refused() + console.messages().len(), 0);
    std::fs::write(gateway.directory.join("console.pem"), certificate).unwrap();
    gateway.write_policy(&setup(&format!("{lines}\n  ca_file: console.pem")));
    assert_eq!(gateway.post("/api/reload", "").await.status, 200);
    assert_eq!(arrived(&console.received(1).await), settled(&gateway));
}
