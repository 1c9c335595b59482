//! What may be granted while nobody can be asked, and that it is never money of somebody else.

use super::super::server::Said;
use super::*;
use crate::ledger::contract::{Request, account, attempt, fixed};

const LIMIT: i64 = 1000;

/// Gateways that lease a share of what remains, in thousandths.
fn leasing(server: &RedisServer, thousandths: u32) -> settings::Redis {
    settings::Redis {
        lease: Some(settings::Lease {
            share: crate::budget::tier::Threshold(thousandths * 1_000_000),
            time: Duration::from_secs(20),
            ..settings::Lease::default()
        }),
        ..settings(server, "t")
    }
}

fn agent() -> Arc<AccountSpec> {
    Arc::new(account("agent:a", LIMIT))
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks once, whatever comes of it.
async fn ask(shelf: &Shelf, spec: &Arc<AccountSpec>, cost: i64) -> Result<Hold, Denied> {
    let request = Request::new(&[spec], fixed(cost));
    let ask = request.ask(attempt(), NOON);
    let reservation = shelf.book().reserve(ask).await?;
    let hold = Hold::new(&ask, reservation.grant());
    shelf.open.lock().unwrap().insert(ask.id, reservation);
    Ok(hold)
}

/// Asks until Redis answers.
async fn asked(shelf: &Shelf, spec: &Arc<AccountSpec>, cost: i64) -> Hold {
    let start = Instant::now();
    loop {
        shelf.is_up(true).await;
        match ask(shelf, spec, cost).await {
            Ok(hold) => return hold,
            Err(Denied::Unavailable | Denied::InFlight { .. }) => {}
            Err(denied) => panic!("{denied}"),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never granted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn settle(shelf: &Shelf, hold: &Hold, cost: i64) {
    let reservation = shelf.open.lock().unwrap().remove(&hold.id);
    let _ = reservation.unwrap().settle(bill(Nanos(cost)));
}

async fn leased(shelf: &Shelf, amount: i64) {
    let what = format!("a lease of {amount}");
    eventually(&what, || {
        let figures = shelf.figures();
        (figures.leased == Nanos(amount)).then_some(())
    })
    .await;
}

/// An account as it stands in Redis: posted and pending.
fn stands_or_nothing(server: &RedisServer) -> Option<(i64, i64)> {
    let words = ["HMGET", "weir:{t}:a:agent:a", "posted", "pending"];
    let Said::List(figures) = server.command(&words) else {
        return None;
    };
    match figures.as_slice() {
        [Said::Nil, _] | [_, Said::Nil] => None,
        [posted, pending] => Some((posted.clone().number(), pending.clone().number())),
        _ => None,
    }
}

fn stands(server: &RedisServer) -> (i64, i64) {
    stands_or_nothing(server).unwrap_or_default()
}

/// Until it is that: what is said of ends and leases is said beside requests.
async fn comes_to(server: &RedisServer, posted: i64, pending: i64) {
    let start = Instant::now();
    while stands(server) != (posted, pending) {
        let found = stands(server);
        let late = start.elapsed() > Duration::from_secs(30);
        assert!(!late, "{found:?}, not {:?}", (posted, pending));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Spends from a lease until nothing is left of it; what that was.
async fn use_up(shelf: &Shelf, spec: &Arc<AccountSpec>, cost: i64) -> i64 {
    let mut spent = 0;
    while let Ok(hold) = ask(shelf, spec, cost).await {
        settle(shelf, &hold, cost);
        spent += cost;
        assert!(spent <= LIMIT);
    }
    spent
}

#[tokio::test]
async fn leases_are_held_like_anything_and_leave_half_to_requests() {
    let server = RedisServer::start();
    let settings = leasing(&server, 300);
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = agent();
    let first = asked(&one, &spec, 100).await;
    settle(&one, &first, 100);
    leased(&one, 270).await;
    comes_to(&server, 100, 270).await;
    let second = asked(&two, &spec, 100).await;
    settle(&two, &second, 100);
    // Half of what remains is 400, or was 450 before the last charge.
    eventually("a lease of what is left of the half", || {
        let (one, two) = (one.figures().leased.0, two.figures().leased.0);
        let sum = one + two;
        (two > 0 && sum <= 400).then_some(())
    })
    .await;
    let sum = one.figures().leased + two.figures().leased;
    comes_to(&server, 200, sum.0).await;
    // Both go, and give it back.
    for shelf in [&one, &two] {
        shelf.book().close();
    }
    comes_to(&server, 200, 0).await;
}

#[tokio::test]
async fn requests_that_lack_what_is_leased_get_it() {
    let server = RedisServer::start();
    let settings = leasing(&server, 250);
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = agent();
    for shelf in [&one, &two] {
        let hold = asked(shelf, &spec, 10).await;
        settle(shelf, &hold, 10);
    }
    eventually("leases", || (two.figures().leases == 1).then_some(())).await;
    let refused = ask(&one, &spec, 900).await;
    assert!(
        matches!(refused, Err(Denied::InFlight { .. })),
        "{refused:?}"
    );
    let all = asked(&one, &spec, 980).await;
    settle(&one, &all, 980);
    comes_to(&server, LIMIT, 0).await;
    let refused = ask(&two, &spec, 1).await;
    assert!(
        matches!(refused, Err(Denied::Exhausted { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_redis_a_lease_is_spent_and_not_more_and_told_afterwards() {
    let mut server = RedisServer::start();
    let settings = leasing(&server, 200);
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let (spec, other) = (agent(), Arc::new(account("agent:b", LIMIT)));
    for shelf in [&one, &two] {
        let hold = asked(shelf, &spec, 50).await;
        settle(shelf, &hold, 50);
    }
    eventually("leases", || {
        (one.figures().leases == 1 && two.figures().leases == 1).then_some(())
    })
    .await;
    server.kill();
    // The one who finds out is served as well.
    let open = ask(&one, &spec, 30).await.unwrap();
    let spent = [use_up(&one, &spec, 7).await, use_up(&two, &spec, 7).await];
    assert!(spent.iter().all(|spent| *spent > 90), "{spent:?}");
    assert_eq!(ask(&one, &other, 1).await.unwrap_err(), Denied::Unavailable);
    assert!(one.figures().lease_grants > 10);
    server.again();
    let all: i64 = spent.iter().sum::<i64>() + 100;
    // Rolled over: what is left of the first leases goes back, and there are new ones.
    eventually("Redis knows what was spent", || {
        (stands(&server).0 == all).then_some(())
    })
    .await;
    settle(&one, &open, 30);
    let rest = LIMIT - all - 30;
    // Nothing was lost on the way.
    let last = asked(&two, &spec, rest).await;
    settle(&two, &last, rest);
    comes_to(&server, LIMIT, 0).await;
}

#[tokio::test]
async fn a_lease_outlives_the_state_that_it_was_taken_in() {
    let server = RedisServer::start();
    let settings = leasing(&server, 200);
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = agent();
    let hold = asked(&one, &spec, 100).await;
    settle(&one, &hold, 100);
    leased(&one, 180).await;
    two.is_up(true).await;
    for _ in 0..3 {
        let before = one.figures().lost;
        server.flush_all();
        eventually("it was noticed", || {
            (one.figures().lost > before).then_some(())
        })
        .await;
        comes_to(&server, 100, 180).await;
    }
}

/// It is not there when the state is put together, and grants from its lease.
#[tokio::test]
async fn what_a_gateway_leased_that_is_cut_off_nobody_else_spends_after_a_loss() {
    let server = RedisServer::start();
    let settings = settings::Redis {
        recovery_wait: Duration::from_secs(2),
        ..leasing(&server, 200)
    };
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = agent();
    let hold = asked(&one, &spec, 100).await;
    settle(&one, &hold, 100);
    leased(&one, 180).await;
    let news = two.figures();
    let hold = asked(&two, &spec, 100).await;
    settle(&two, &hold, 100);
    // The second asks for leases itself, and hears of those of others.
    eventually("a lease", || {
        (two.figures().leases > news.leases).then_some(())
    })
    .await;
    let second = two.figures().leased.0;
    let first = one.figures().leased.0;
    one.fleet.cut();
    server.flush_all();
    let spent = use_up(&one, &spec, 10).await;
    assert!(spent > 100, "{spent}");
    eventually("it goes on without the first", || {
        let (posted, pending) = stands_or_nothing(&server)?;
        (posted == 200 && pending == first + second).then_some(())
    })
    .await;
    two.is_up(true).await;
    let refused = ask(&two, &spec, LIMIT - 200 - first).await;
    assert!(refused.is_err() || spent <= first, "{refused:?}");
    // It comes back, and says itself what it was.
    let one = one.killed_and_started().await;
    eventually("what it was", || {
        (stands(&server).0 == 200 + spent).then_some(())
    })
    .await;
    assert_eq!(one.figures().leased, Nanos::ZERO);
}

#[tokio::test]
async fn the_lease_of_a_gateway_that_is_gone_is_charged_and_corrected() {
    let server = RedisServer::start();
    let settings = settings::Redis {
        orphan_after: Duration::from_secs(3),
        ..leasing(&server, 200)
    };
    let (one, two) = (Shelf::open(settings.clone()), Shelf::open(settings));
    let spec = agent();
    let hold = asked(&one, &spec, 100).await;
    settle(&one, &hold, 100);
    leased(&one, 180).await;
    two.is_up(true).await;
    one.fleet.cut();
    let spent = use_up(&one, &spec, 10).await;
    assert_eq!(spent, 180);
    comes_to(&server, 280, 0).await;
    let hold = asked(&two, &spec, LIMIT - 280 - 400).await;
    settle(&two, &hold, 0);
    let one = one.killed_and_started().await;
    eventually("what it charged itself", || {
        (stands(&server).0 == 280).then_some(())
    })
    .await;
    drop(one);
}

#[tokio::test]
async fn any_outages_overspend_nothing_and_lose_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut server = RedisServer::start();
    let settings = leasing(&server, 150);
    let shelves = [Shelf::open(settings.clone()), Shelf::open(settings)];
    let spec = Arc::new(account("agent:a", 20_000));
    let (mut open, mut charged) = (Vec::new(), 0);
    let mut there = true;
    for step in 0..160 {
        let which = chance.usize(0..2);
        let shelf = &shelves[which];
        match chance.u8(0..20) {
            0 => {
                server.kill();
                there = false;
            }
            1 if there => server.flush_all(),
            2..8 if !there => {
                server.again();
                there = true;
            }
            3 if there => {
                let _ = eventually("somebody is there", || shelf.figures().up.then_some(())).await;
            }
            4..9 if !open.is_empty() => {
                let (which, hold, held): (usize, Hold, i64) =
                    open.swap_remove(chance.usize(0..open.len()));
                let cost = chance.i64(0..=held);
                settle(&shelves[which], &hold, cost);
                charged += cost;
            }
            _ => {
                let cost = chance.i64(1..400);
                if let Ok(hold) = ask(shelf, &spec, cost).await {
                    open.push((which, hold, cost));
                }
            }
        }
        let held: i64 = open.iter().map(|(_, _, held)| held).sum();
        assert!(
            charged + held <= 20_000,
            "{charged} + {held} at step {step}"
        );
    }
    if !there {
        server.again();
    }
    for (which, hold, held) in open {
        settle(&shelves[which], &hold, held);
        charged += held;
    }
    for shelf in &shelves {
        shelf.is_up(true).await;
    }
    eventually("Redis says what was charged", || {
        stands_or_nothing(&server).filter(|(posted, _)| *posted == charged)
    })
    .await;
    for shelf in &shelves {
        shelf.book().close();
    }
    comes_to(&server, charged, 0).await;
}
