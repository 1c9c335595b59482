//! What becomes of budgets when Redis, or a gateway, forgets or goes.

use super::super::server::Said;
use super::*;
use crate::ledger::contract::{Request, account, attempt, fixed};

/// Reserves as soon as the store lets anybody.
async fn held(shelf: &Shelf, spec: &Arc<AccountSpec>, cost: i64) -> Hold {
    let request = Request::new(&[spec], fixed(cost));
    let start = Instant::now();
    loop {
        let ask = request.ask(attempt(), NOON);
        match shelf.reserve(&ask).await {
            Ok(grant) => return Hold::new(&ask, &grant),
            Err(Denied::Unavailable) => {}
            Err(denied) => panic!("{denied}"),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never granted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What all gateways see of an account: posted and pending.
async fn seen(shelves: &[&Shelf], spec: &AccountSpec) -> (i64, i64) {
    let mut all = Vec::new();
    for shelf in shelves {
        shelf.is_up(true).await;
        shelf.is_heard().await;
    }
    for shelf in shelves {
        let balance = shelf.balance(spec, NOON).await;
        all.push((balance.posted.0, balance.pending.0));
    }
    all.dedup();
    assert_eq!(all.len(), 1, "they see different things: {all:?}");
    all[0]
}

/// Until the gateway has found out that the state is another one, and is at work with it.
async fn found_out(shelf: &Shelf, lost_before: u64) {
    let start = Instant::now();
    while shelf.figures().lost == lost_before || !shelf.figures().up {
        assert!(start.elapsed() < Duration::from_secs(30), "never found out");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_redis_forgot_is_said_again_by_those_who_know_it() {
    let mut server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(AccountSpec {
        opening: Nanos(7),
        ..account("agent:a", 1000)
    });
    let other = Arc::new(account("agent:b", 1000));
    let first = held(&one, &spec, 100).await;
    let second = held(&two, &spec, 200).await;
    one.settle(&first, Nanos(40)).await;
    let third = held(&one, &spec, 50).await;
    let spent = Push {
        total: Some(Nanos(900)),
        spent: Some(Nanos(500)),
    };
    let _ = held(&one, &other, 30).await;
    two.push(&other, spent, NOON).await;
    let gone = held(&two, &other, 20).await;
    two.settle(&gone, Nanos(20)).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (47, 250));
    assert_eq!(seen(&[&one, &two], &other).await, (520, 30));
    for forget in [RedisServer::flush_all, |server: &RedisServer| {
        server.command(&["FUNCTION", "FLUSH"]);
        server.flush_all();
    }] {
        let before = (one.figures().lost, two.figures().lost);
        forget(&server);
        found_out(&one, before.0).await;
        found_out(&two, before.1).await;
        assert_eq!(seen(&[&one, &two], &spec).await, (47, 250));
        assert_eq!(seen(&[&one, &two], &other).await, (520, 30));
        assert_eq!(one.balance(&other, NOON).await.limit, Nanos(900));
    }
    let before = (one.figures().lost, two.figures().lost);
    server.kill();
    one.is_up(false).await;
    // What ends meanwhile is in the log, and told afterwards.
    let reservation = two.open.lock().unwrap().remove(&second.id).unwrap();
    let _ = reservation.settle(bill(Nanos(150)));
    server.again();
    found_out(&one, before.0).await;
    found_out(&two, before.1).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (197, 50));
    one.settle(&third, Nanos(50)).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (247, 0));
    assert_eq!(seen(&[&one, &two], &other).await, (520, 30));
}

#[tokio::test]
async fn a_reset_is_not_forgotten_with_the_state() {
    let server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(account("agent:a", 1000));
    for (shelf, cost) in [(&one, 100), (&two, 200)] {
        let hold = held(shelf, &spec, cost).await;
        shelf.settle(&hold, Nanos(cost)).await;
    }
    assert_eq!(one.reset(&spec, NOON).await, Nanos(300));
    let hold = held(&two, &spec, 50).await;
    two.settle(&hold, Nanos(50)).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (50, 0));
    let before = (one.figures().lost, two.figures().lost);
    server.flush_all();
    found_out(&one, before.0).await;
    found_out(&two, before.1).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (50, 0));
}

#[tokio::test]
async fn an_account_that_somebody_deleted_is_put_together_again_with_its_holds() {
    let server = RedisServer::start();
    let one = Shelf::open(settings(&server, "t"));
    let spec = Arc::new(account("agent:a", 1000));
    let first = held(&one, &spec, 100).await;
    one.settle(&first, Nanos(40)).await;
    let _ = held(&one, &spec, 300).await;
    let before = one.figures().lost;
    server.command(&["DEL", "weir:{t}:a:agent:a"]);
    let request = Request::new(&[&spec], fixed(10));
    let refused = one.book().reserve(request.ask(attempt(), NOON)).await;
    assert_eq!(refused.unwrap_err(), Denied::Unavailable);
    found_out(&one, before).await;
    assert_eq!(seen(&[&one], &spec).await, (40, 300));
}

#[tokio::test]
async fn a_gateway_that_was_killed_is_charged_once_when_it_comes_back() {
    let server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(account("agent:a", 1000));
    let settled = held(&one, &spec, 100).await;
    one.settle(&settled, Nanos(40)).await;
    let _ = held(&one, &spec, 300).await;
    assert_eq!(seen(&[&two], &spec).await, (40, 300));
    let one = one.killed_and_started().await;
    assert_eq!(seen(&[&one, &two], &spec).await, (340, 0));
    let one = one.killed_and_started().await;
    assert_eq!(seen(&[&one, &two], &spec).await, (340, 0), "once");
}

#[tokio::test]
async fn what_a_gateway_that_never_comes_back_held_is_charged_and_corrected_if_it_does() {
    let server = RedisServer::start();
    let settings = settings::Redis {
        orphan_after: Duration::from_secs(3),
        ..settings(&server, "t")
    };
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings.clone()));
    let spec = Arc::new(account("agent:a", 1000));
    let _ = held(&one, &spec, 100).await;
    let lost = held(&one, &spec, 300).await;
    let copy = Arc::new(one.scratch.killed());
    one.fleet.cut();
    let start = Instant::now();
    while seen(&[&two], &spec).await != (400, 0) {
        assert!(start.elapsed() < Duration::from_secs(30), "never charged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It was alive all the time, and only cut off: one of the two has ended by then.
    let reservation = one.open.lock().unwrap().remove(&lost.id).unwrap();
    let _ = reservation.settle(bill(Nanos(120)));
    drop(copy);
    let scratch = Arc::new(one.scratch.killed());
    let again = Shelf::on(scratch, settings);
    again.clock.store(NOON, Ordering::Relaxed);
    assert_eq!(seen(&[&again, &two], &spec).await, (220, 0));
    for (_, reservation) in one.open.lock().unwrap().drain() {
        std::mem::forget(reservation);
    }
}

/// Told piece by piece, by a gateway that comes back: between two pieces others ask for money.
#[tokio::test]
async fn money_that_was_charged_as_lost_never_looks_free_while_its_gateway_tells() {
    let server = RedisServer::start();
    let settings = settings::Redis {
        orphan_after: Duration::from_secs(1),
        ..settings(&server, "t")
    };
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(account("agent:a", 1000));
    let lost = held(&one, &spec, 300).await;
    let name = name_of(&one);
    one.fleet.cut();
    let start = Instant::now();
    while seen(&[&two], &spec).await != (300, 0) {
        assert!(start.elapsed() < Duration::from_secs(30), "never charged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let epoch = server.command(&["HGET", "weir:{t}:state", "epoch"]).text();
    let share = r#"[{"account":"agent:a","tag":"none","gen":"1","win":"0","base":"0","bv":"0","pv":"0","charged":{}}]"#;
    let hold = format!(
        r#"{{"{name}":{{"{}":{{"held":"300","accounts":[["agent:a","0"]]}}}}}}"#,
        lost.id
    );
    let open = format!(r#"{{"{name}":["{}"]}}"#, lost.id);
    let pieces = [
        (share, "{}", "{}", "known", 300),
        ("[]", hold.as_str(), "{}", "known", 600),
        (share, "{}", "{}", "back", 300),
        ("[]", "{}", open.as_str(), "done", 300),
    ];
    for (shares, holds, open, part, taken) in pieces {
        let call = [
            "FCALL",
            "weir_assert_1",
            "1",
            "weir:{t}:state",
            &epoch,
            &name,
        ];
        let said = server.command(&[&call[..], &[shares, holds, open, part]].concat());
        assert_eq!(said.list()[0], "ok");
        let amount = |field| {
            let text = server
                .command(&["HGET", "weir:{t}:a:agent:a", field])
                .text();
            text.parse::<i64>().unwrap()
        };
        assert_eq!(amount("posted") + amount("pending"), taken, "{part}");
    }
    for (_, reservation) in one.open.lock().unwrap().drain() {
        std::mem::forget(reservation);
    }
}

#[tokio::test]
async fn a_replica_that_lags_behind_is_told_what_it_missed() {
    let mut master = RedisServer::start();
    let replica = RedisServer::replica_of(&master);
    let settings = settings(&master, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(account("agent:a", 1000));
    let first = held(&one, &spec, 100).await;
    one.settle(&first, Nanos(40)).await;
    let posted = |server: &RedisServer| server.command(&["HGET", "weir:{t}:a:agent:a", "posted"]);
    // From here on the replica hears nothing more.
    let start = Instant::now();
    while !matches!(posted(&replica), Said::Text(text) if text == "40") {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "never replicated"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    replica.promote();
    let second = held(&two, &spec, 200).await;
    two.settle(&second, Nanos(200)).await;
    let third = held(&two, &spec, 300).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (240, 300));
    let before = (one.figures().lost, two.figures().lost);
    master.replaced_by(replica);
    found_out(&one, before.0).await;
    found_out(&two, before.1).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (240, 300));
    two.settle(&third, Nanos(1)).await;
    assert_eq!(seen(&[&one, &two], &spec).await, (241, 0));
}

#[tokio::test]
async fn a_client_that_leaves_while_money_is_being_held_leaves_nothing_behind() {
    let server = RedisServer::start();
    let shelf = Shelf::open(settings(&server, "t"));
    let spec = Arc::new(account("agent:a", 1000));
    shelf.is_up(true).await;
    server.pause();
    for _ in 0..20 {
        let request = Request::new(&[&spec], fixed(10));
        let asked = shelf.book().reserve(request.ask(attempt(), NOON));
        let left = tokio::time::timeout(Duration::from_millis(1), asked).await;
        assert!(left.is_err() || left.unwrap().is_err());
    }
    server.resume();
    assert_eq!(seen(&[&shelf], &spec).await, (0, 0));
    assert_eq!(server.command(&["HLEN", &holds_of(&shelf)]).text(), "0");
}

/// The key of a gateway's holds.
fn holds_of(shelf: &Shelf) -> String {
    let id = identity(&shelf.scratch.log()).unwrap();
    format!("weir:{{t}}:h:{id}:")
}

#[tokio::test]
async fn soft_budgets_go_on_without_redis_and_are_told_later() {
    let mut server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let soft = Arc::new(AccountSpec {
        hard: false,
        ..account("agent:a", 1000)
    });
    let hard = Arc::new(account("agent:b", 1000));
    let first = held(&one, &soft, 100).await;
    one.settle(&first, Nanos(100)).await;
    server.kill();
    one.is_up(false).await;
    let refused = Request::new(&[&hard], fixed(10));
    let refused = one.book().reserve(refused.ask(attempt(), NOON)).await;
    assert_eq!(refused.unwrap_err(), Denied::Unavailable);
    let request = Request::new(&[&soft], fixed(2000));
    let granted = one.book().reserve(request.ask(attempt(), NOON)).await;
    let _ = granted.unwrap().settle(bill(Nanos(1500)));
    let open = one
        .book()
        .reserve(request.ask(attempt(), NOON))
        .await
        .unwrap();
    server.again();
    assert_eq!(seen(&[&one, &two], &soft).await, (1600, 2000));
    let _ = open.settle(bill(Nanos(1)));
    assert_eq!(seen(&[&one, &two], &soft).await, (1601, 0));
}

#[tokio::test]
async fn two_gateways_with_a_copy_of_one_log_are_told_apart() {
    let server = RedisServer::start();
    let settings = settings(&server, "t");
    let one = Shelf::open(settings.clone());
    one.is_up(true).await;
    let copy = Shelf::on(Arc::new(one.scratch.killed()), settings);
    let start = Instant::now();
    while one.figures().lost == 0 && copy.figures().lost == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "never noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// It knows of nobody, and Redis of nothing; whoever is alive must be heard first.
#[tokio::test]
async fn a_gateway_that_starts_after_a_loss_waits_for_those_that_were_there() {
    let server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = Arc::new(account("agent:a", 1000));
    for (shelf, cost) in [(&one, 10), (&two, 900)] {
        let hold = held(shelf, &spec, cost).await;
        shelf.settle(&hold, Nanos(cost)).await;
    }
    assert_eq!(seen(&[&one, &two], &spec).await, (910, 0));
    let scratch = Arc::new(one.scratch.killed());
    one.fleet.cut();
    server.flush_all();
    let again = Shelf::on(scratch, one.settings.clone());
    again.is_up(true).await;
    let request = Request::new(&[&spec], fixed(200));
    let refused = again.reserve(&request.ask(attempt(), NOON)).await;
    assert!(
        matches!(refused, Err(Denied::Exhausted { .. })),
        "{refused:?}"
    );
    assert_eq!(seen(&[&again, &two], &spec).await, (910, 0));
}

/// What a recovery waits for.
fn waiting(server: &RedisServer, tenant: &str) -> Vec<String> {
    let key = format!("weir:{{{tenant}}}:waiting");
    let mut names = server.command(&["SMEMBERS", &key]).list();
    names.sort();
    names
}

/// The name of a gateway that never had a second chain.
fn name_of(shelf: &Shelf) -> String {
    format!("{}:", identity(&shelf.scratch.log()).unwrap())
}

/// Killed one after the other before they noticed that Redis forgot everything, none of them has heard of
/// the other in this life.
#[tokio::test]
async fn gateways_that_were_all_killed_wait_for_each_other_after_a_loss() {
    let server = RedisServer::start();
    let settings = settings(&server, "t");
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings.clone()));
    let spec = Arc::new(account("agent:a", 1000));
    for (shelf, cost) in [(&one, 10), (&two, 900)] {
        let hold = held(shelf, &spec, cost).await;
        shelf.settle(&hold, Nanos(cost)).await;
    }
    assert_eq!(seen(&[&one, &two], &spec).await, (910, 0));
    let peers = one.scratch.log().with_extension("jsonl.peers");
    let start = Instant::now();
    while std::fs::read_to_string(&peers).is_ok_and(|text| text.lines().count() < 2) {
        assert!(start.elapsed() < Duration::from_secs(30), "never heard of");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (first, second) = (one.scratch.killed(), two.scratch.killed());
    one.fleet.cut();
    two.fleet.cut();
    server.flush_all();
    let one = Shelf::on(Arc::new(first), settings.clone());
    let start = Instant::now();
    let other = [name_of(&two)];
    // It has told all it knows, and that does not do.
    while waiting(&server, "t") != other {
        assert!(start.elapsed() < Duration::from_secs(30), "never waited");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let two = Shelf::on(Arc::new(second), settings);
    for shelf in [&one, &two] {
        shelf.is_up(true).await;
    }
    let request = Request::new(&[&spec], fixed(200));
    let refused = one.reserve(&request.ask(attempt(), NOON)).await;
    assert!(
        matches!(refused, Err(Denied::Exhausted { .. })),
        "{refused:?}"
    );
    assert_eq!(seen(&[&one, &two], &spec).await, (910, 0));
}

#[tokio::test]
async fn whoever_joins_a_recovery_adds_those_that_only_it_knows() {
    let server = RedisServer::start();
    let shelf = Shelf::open(settings(&server, "t"));
    // The functions are there.
    shelf.is_up(true).await;
    let begin = |known: &str, gateways: &[&str]| {
        let words = [
            "FCALL",
            "weir_begin_1",
            "1",
            "weir:{u}:state",
            known,
            "r",
            "0",
        ];
        server.command(&[&words[..], gateways].concat()).list()
    };
    assert_eq!(begin("", &["a:", "b:"]), ["1-r", "1"]);
    server.command(&["ZADD", "weir:{u}:live", "1", "a:"]);
    server.command(&["SREM", "weir:{u}:waiting", "a:"]);
    assert_eq!(begin("", &["c:", "a:", "d:"]), ["1-r", "0"]);
    assert_eq!(waiting(&server, "u"), ["b:", "c:", "d:"], "a has told");
    server.command(&["HSET", "weir:{u}:state", "phase", "open"]);
    server.command(&["DEL", "weir:{u}:waiting"]);
    assert_eq!(begin("", &["e:"]), ["1-r", "0"]);
    assert!(waiting(&server, "u").is_empty(), "too late");
}
