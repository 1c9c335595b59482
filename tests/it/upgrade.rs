//! One process after another on the same listeners: nobody notices, nothing is lost, nothing is spent
//! twice.

use crate::support::client::{chat_body, request};
use crate::support::gateway::upgrade::server;
use crate::support::{Agent, Gateway, Provider, Reply, eventually};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

fn signal(name: &str, pid: u32) -> bool {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status();
    status.unwrap().success()
}

/// The spend logs in a directory, by file name.
fn logs(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

/// Waits until an account shows this; amounts of another process arrive within a moment.
async fn shows(gateway: &Gateway, field: &str, amount: f64) {
    let start = std::time::Instant::now();
    loop {
        let account = gateway.account("default").await;
        if account[field] == amount {
            return;
        }
        let waited = start.elapsed() < crate::support::PATIENCE;
        assert!(waited, "{field} was never {amount}: {account}");
        tokio::time::sleep(crate::support::LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_waits_changes_nothing_until_it_is_handed_the_listeners() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    let waiting = gateway.successor().await;
    assert_eq!(server(&gateway.directory), Some(gateway.pid()));
    let mut raw = gateway.raw().await;
    raw.send(&request(&[], &chat_body("[[cost=0.5]]", false)))
        .await;
    let answer = raw.reply().await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    let said = waiting.output();
    let asked = format!("send QUIT to process {}", gateway.pid());
    assert!(said.contains(&asked), "{said}");
    let successor = gateway.hand_over(waiting).await;
    assert_eq!(server(&gateway.directory), Some(successor.pid()));
    shows(&successor, "budget_spent", 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_is_told_and_the_old_process_leaves_once_nothing_is_in_flight() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    let small = request(&[], &chat_body("[[cost=0.5]]", false));
    let mut kept = gateway.raw().await;
    kept.send(&small).await;
    assert!(!kept.reply().await.closes());
    let waiting = gateway.successor().await;
    let successor = gateway.hand_over(waiting).await;
    // On the old connection the old process answers, and says that it ends.
    kept.send(&small).await;
    let last = kept.reply().await;
    assert_eq!((last.status, last.closes()), (200, true));
    assert!(kept.is_closed().await);
    assert_eq!(gateway.wait_exit().await, Some(0));
    let mut raw = successor.raw().await;
    raw.send(&small).await;
    let first = raw.reply().await;
    assert_eq!((first.status, first.closes()), (200, false));
    shows(&successor, "budget_spent", 1.5).await;
    let text = std::fs::read_to_string(successor.log_path()).unwrap();
    let footer = text.lines().last().unwrap();
    assert!(footer.contains(r#""event":"footer""#), "{footer}");
    assert_eq!(successor.bills("default").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_finished_by_the_old_process_and_stays_held_in_the_new_one() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "1").unit())
        .unit_prices()
        .start()
        .await;
    let prompt = "[[chunks=400 delay_ms=10 cost=0.25 tag=open]]";
    let call = gateway.chat(prompt).max_tokens(1000).stream();
    let mut open = call.open().await;
    let first = open.chunk().await.unwrap().unwrap();
    let held = gateway.events("intent")[0]["held"].as_i64().unwrap();
    assert!(held > 0);
    let waiting = gateway.successor().await;
    let successor = gateway.hand_over(waiting).await;
    let account = successor.account("default").await;
    let shown = account["budget_held"].as_f64().unwrap();
    assert!((shown - held as f64 / 1e9).abs() < 1e-6, "{account}");
    // Both spend from one budget: what the stream holds is not there for others.
    let rest = 1.0 - shown;
    let push = format!(r#"{{"budget_total": {}}}"#, shown + 0.000001);
    assert_eq!(successor.push("default", &push).await.status, 200, "{rest}");
    let refused = successor.chat("[[cost=0.1]]").max_tokens(1000).send().await;
    assert_eq!(refused.code(), "budget_in_flight", "{}", refused.text());
    let mut reply = Reply::read(open).await;
    reply.body = [first, reply.body].concat().into();
    assert!(reply.complete && reply.done(), "{}", reply.text());
    assert_eq!(provider.ended("open").await.produced, 400);
    assert_eq!(gateway.wait_exit().await, Some(0));
    shows(&successor, "budget_held", 0.0).await;
    shows(&successor, "budget_spent", 0.25).await;
    let bills = successor.bills("default");
    assert_eq!(bills.len(), 1);
    assert_eq!(bills[0]["status"], "settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_upgrades_in_a_row_lose_no_cent() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    for number in 1..=5_u32 {
        assert_eq!(gateway.chat("[[cost=0.125]]").send().await.status, 200);
        let (code, successor) = gateway.upgrade().await;
        assert_eq!(code, Some(0));
        shows(&successor, "budget_spent", 0.125 * f64::from(number)).await;
        gateway = successor;
    }
    assert_eq!(gateway.bills("default").len(), 5);
    assert!(logs(&gateway.directory).len() <= 4);
    let gateway = gateway.restart().await;
    shows(&gateway, "budget_spent", 0.625).await;
    let verified = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["spend", "verify"])
        .arg(gateway.log_path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_successor_quit_is_an_ordinary_end_and_says_so() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    let call = gateway.chat("[[chunks=60 delay_ms=10]]").stream();
    let mut open = call.open().await;
    assert!(open.chunk().await.unwrap().is_some());
    gateway.signal("QUIT");
    assert!(Reply::read(open).await.done());
    assert_eq!(gateway.wait_exit().await, Some(0));
    let said = gateway.output();
    assert!(said.contains("nobody waits to take over"), "{said}");
    assert_eq!(gateway.bill("default").await["status"], "settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nobody_to_take_over_from_it_starts_as_usual() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).upgrading().start().await;
    assert_eq!(gateway.chat("[[cost=0.5]]").send().await.status, 200);
    assert_eq!(server(&gateway.directory), Some(gateway.pid()));
    assert!(gateway.output().contains("starting without one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_nobody_hands_over_to_gives_up_and_says_what_to_do() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let setup = gateway.setup().settings("upgrade: {wait: 300ms}");
    let said = gateway.start_beside(&setup).gives_up().await;
    assert!(
        said.contains("upgrade.wait") && said.contains("QUIT"),
        "{said}"
    );
    assert!(!gateway.upgrade_socket().exists());
    let mut raw = gateway.raw().await;
    raw.send(&request(&[], &chat_body("x", false))).await;
    let answer = raw.reply().await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    let (code, successor) = gateway.upgrade().await;
    assert_eq!(code, Some(0));
    assert_eq!(successor.chat("x").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_found_before_anything_is_touched() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let before = logs(&gateway.directory);
    let tls = "listen: {tls: {address: '127.0.0.1:1', cert: weir.yaml, key: weir.yaml}}";
    for (wrong, why) in [("limits: {bodybytes: 1}", "unknown key"), (tls, "TLS")] {
        let setup = gateway.setup().settings(wrong);
        let said = gateway.start_beside(&setup).gives_up().await;
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(logs(&gateway.directory), before);
    assert_eq!(server(&gateway.directory), Some(gateway.pid()));
    assert_eq!(gateway.chat("x").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_process_can_wait_and_a_socket_left_behind_is_in_nobodys_way() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    drop(UnixListener::bind(gateway.upgrade_socket()).unwrap());
    let waiting = gateway.successor().await;
    let said = gateway.start_beside(&gateway.setup()).gives_up().await;
    assert!(said.contains("another process waits"), "{said}");
    signal("KILL", waiting.pid());
    drop(waiting);
    assert!(
        gateway.upgrade_socket().exists(),
        "killed, it removed nothing"
    );
    let waiting = gateway.successor().await;
    let successor = gateway.hand_over(waiting).await;
    assert_eq!(successor.chat("x").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_others_may_enter_is_no_place_to_hand_over() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let place = gateway.directory.join("weir");
    let mode = |mode| {
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(
        std::fs::metadata(&place).unwrap().permissions().mode() & 0o777,
        0o700
    );
    mode(0o755);
    let said = gateway.start_beside(&gateway.setup()).gives_up().await;
    assert!(said.contains("open to others"), "{said}");
    mode(0o700);
    let waiting = gateway.successor().await;
    mode(0o770);
    gateway.signal("QUIT");
    eventually("that it says so", || {
        gateway.output().contains("not handed over").then_some(())
    })
    .await;
    assert_eq!(gateway.chat("x").send().await.status, 200);
    assert_eq!(server(&gateway.directory), Some(gateway.pid()));
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_fails_in_the_middle_costs_nothing() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let small = request(&[], &chat_body("[[cost=0.5]]", false));
    let lock = gateway.directory.join("weir/upgrade.sock.wait");
    let lock = std::fs::File::create(lock).unwrap();
    lock.lock().unwrap();
    let listener = UnixListener::bind(gateway.upgrade_socket()).unwrap();
    gateway.signal("QUIT");
    // It takes the listeners, serves nobody, and ends.
    drop(listener.accept().unwrap());
    eventually("that the old one goes on", || {
        gateway.output().contains("not handed over").then_some(())
    })
    .await;
    let mut raw = gateway.raw().await;
    raw.send(&small).await;
    let answer = raw.reply().await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    drop((lock, listener));
    let (code, successor) = gateway.upgrade().await;
    assert_eq!(code, Some(0));
    shows(&successor, "budget_spent", 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_another_gateway_is_not_taken_for_ones_own() {
    let provider = Provider::start().await;
    let first = Gateway::over(&provider).start().await;
    // The same place, another address.
    let second = first.beside().await;
    assert!(second.output().contains("no other process can take over"));
    let mut second = second;
    let mut first = first;
    let waiting = first.successor().await;
    second.signal("QUIT");
    eventually("that it says so", || {
        second.output().contains("of another gateway").then_some(())
    })
    .await;
    assert_eq!(second.chat("x").send().await.status, 200);
    let successor = first.hand_over(waiting).await;
    assert_eq!(first.wait_exit().await, Some(0));
    assert_eq!(successor.chat("x").send().await.status, 200);
    second.kill9();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_or_leaves_is_followed_by_the_one_that_waits() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    let call = gateway
        .chat("[[chunks=1000 delay_ms=20]]")
        .max_tokens(1000)
        .stream();
    let mut open = call.open().await;
    assert!(open.chunk().await.unwrap().is_some());
    let held = gateway.events("intent")[0]["held"].as_i64().unwrap();
    let waiting = gateway.successor().await;
    gateway.kill9();
    let mut successor = waiting.serves(&gateway).await;
    let bill = successor.bill("default").await;
    assert_eq!(
        (&bill["status"], &bill["nano_usd"]),
        (&"unresolved".into(), &held.into())
    );
    let waiting = successor.successor().await;
    successor.signal("TERM");
    let last = waiting.serves(&successor).await;
    assert_eq!(successor.wait_exit().await, Some(0));
    assert_eq!(last.chat("[[cost=0.5]]").send().await.status, 200);
    assert_eq!(last.bills("default").len(), 2);
    // The directory is the last one's to remove.
    gateway = gateway.keeping();
    successor = successor.keeping();
    drop((gateway, successor));
}

/// Ends a process that is nobody's child.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        signal("KILL", self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_so_a_process_starts_its_own_successor() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::over(&provider).start().await;
    let old = gateway.pid();
    let good = gateway.setup();
    gateway.write_policy(&good.clone().routing("retriess: 1"));
    gateway.signal("USR2");
    eventually("that it says so", || {
        gateway.output().contains("not handed over").then_some(())
    })
    .await;
    assert_eq!(gateway.chat("[[cost=0.5]]").send().await.status, 200);
    gateway.write_policy(&good);
    gateway.signal("USR2");
    let new = eventually("another process that serves", || {
        server(&gateway.directory).filter(|pid| *pid != old)
    })
    .await;
    let orphan = Orphan(new);
    assert_eq!(gateway.wait_exit().await, Some(0));
    shows(&gateway, "budget_spent", 0.5).await;
    assert_eq!(gateway.chat("[[cost=0.5]]").send().await.status, 200);
    signal("TERM", orphan.0);
    eventually("its end", || {
        (server(&gateway.directory).is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once_and_the_next_start_charges_what_was_open() {
    let provider = Provider::start().await;
    for name in ["TERM", "INT"] {
        let mut gateway = Gateway::over(&provider).start().await;
        let prompt = "[[chunks=100000 delay_ms=10]]";
        let call = gateway.chat(prompt).max_tokens(1000).stream();
        let mut open = call.open().await;
        assert!(open.chunk().await.unwrap().is_some());
        let held = gateway.events("intent")[0]["held"].as_i64().unwrap();
        gateway.signal("TERM");
        eventually("that it leaves", || {
            gateway.output().contains("leaving").then_some(())
        })
        .await;
        gateway.signal(name);
        assert_eq!(gateway.wait_exit().await, Some(1));
        drop(open);
        let gateway = gateway.again().await;
        assert_eq!(gateway.bill("default").await["nano_usd"], held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_hears_which_process_serves() {
    let provider = Provider::start().await;
    let directory = crate::support::gateway::new_directory();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    let hear = || {
        let mut buffer = [0; 500];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let gateway = Gateway::over(&provider)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .start_in(directory.clone())
        .await;
    let said = hear();
    assert!(
        said.starts_with(&format!("READY=1\nMAINPID={}\n", gateway.pid())),
        "{said}"
    );
    let (_, gateway) = gateway.upgrade().await;
    let said = hear();
    assert!(
        said.starts_with(&format!("READY=1\nMAINPID={}\n", gateway.pid())),
        "{said}"
    );
    assert_eq!(gateway.terminate().await, Some(0));
    assert!(hear().starts_with("STOPPING=1"));
}
