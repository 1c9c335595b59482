//! Stories about a book and its log, on real files.

use super::contract::{DAY, NOON, Request, account, attempt, every, fixed};
use super::log::{Durability, LogError, LogOptions, verify};
use super::scratch::{Scratch, bill, noon};
use super::{Book, Denied, Reservation};
use crate::budget::AccountSpec;
use crate::budget::period::PeriodKind;
use crate::money::{MAX_AMOUNT, Nanos};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) async fn reserve(
    book: &Arc<Book>,
    spec: &Arc<AccountSpec>,
    cost: i64,
) -> Result<Reservation, Denied> {
    book.reserve(Request::new(&[spec], fixed(cost)).ask(attempt(), NOON))
        .await
}

#[tokio::test]
async fn a_book_that_was_closed_opens_with_the_same_balance() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(AccountSpec {
        opening: Nanos(5),
        ..account("agent:a", 1000)
    });
    let (book, recovery) = scratch.open(&at, &[&spec]);
    assert_eq!(recovery.records, 0);
    let settled = reserve(&book, &spec, 100).await.unwrap().settle(bill(40));
    assert_eq!((settled.cost, settled.over_bound), (Nanos(40), false));
    assert_eq!(settled.balance.remaining(), Nanos(955));
    reserve(&book, &spec, 100).await.unwrap().void("refused");
    book.close();
    drop(book);
    let (book, recovery) = scratch.open(&at, &[&spec]);
    assert_eq!(book.glance(&spec).posted, Nanos(45));
    assert_eq!((recovery.orphans, recovery.cut_bytes), (0, 0));
    assert!(verify(&scratch.log()).unwrap().is_sound());
}

#[tokio::test]
async fn a_settlement_reads_as_a_row_of_the_execwall_or_gate() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 10_000_000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let reservation = reserve(&book, &spec, 5_000_000).await.unwrap();
    let id = reservation.id();
    let _ = reservation.settle(bill(1_500_000));
    book.reset(&spec, "test").await.unwrap();
    let text = scratch.read();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let row = rows.iter().find(|row| row.get("event").is_none()).unwrap();
    assert_eq!(row["timestamp"], "2025-01-31T12:00:00.000000");
    assert_eq!(row["agent_id"], "a");
    assert_eq!(row["cost"], 0.0015);
    assert_eq!(row["model"], "m/\"one\"");
    assert_eq!(row["tokens"], 12);
    assert_eq!(row["request_id"], id.request.to_string());
    assert_eq!(
        (&row["nano_usd"], &row["status"]),
        (&1_500_000.into(), &"settled".into())
    );
    let reset = rows.iter().find(|row| row["event"] == "reset").unwrap();
    assert_eq!(
        (&reset["agent_id"], &reset["previous_spent"]),
        (&"a".into(), &0.0015.into())
    );
}

#[tokio::test]
async fn what_a_killed_process_held_is_charged_in_full() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let _open = reserve(&book, &spec, 300).await.unwrap();
    let killed = scratch.killed();
    let (after, recovery) = killed.open(&at, &[&spec]);
    assert_eq!((recovery.orphans, recovery.orphaned), (1, Nanos(300)));
    assert_eq!(after.glance(&spec).posted, Nanos(300));
    assert_eq!(after.open_reservations(), 0);
    drop(after);
    let (again, recovery) = killed.open(&at, &[&spec]);
    assert_eq!(recovery.orphans, 0, "once");
    assert_eq!(again.glance(&spec).posted, Nanos(300));
    let summary = verify(&killed.log()).unwrap();
    assert_eq!((summary.open, summary.unresolved), (0, 1));
    assert_eq!(summary.settled["a"], Nanos(300));
}

#[tokio::test]
async fn a_reservation_that_nobody_ends_is_charged_and_one_never_handed_out_is_not() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    drop(reserve(&book, &spec, 300).await.unwrap());
    assert_eq!(book.glance(&spec).posted, Nanos(300));
    let request = Request::new(&[&spec], fixed(200));
    let mut waiting = Box::pin(book.reserve(request.ask(attempt(), NOON)));
    let woken = std::future::poll_fn(|context| {
        std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())
    });
    assert!(woken.await, "it waits for others to append");
    assert_eq!(book.glance(&spec).pending, Nanos(200));
    drop(waiting);
    assert_eq!(
        book.glance(&spec).remaining(),
        Nanos(700),
        "the client left before dispatch"
    );
    assert_eq!(book.open_reservations(), 0);
}

#[tokio::test]
async fn a_torn_end_is_cut_and_the_log_goes_on() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let _ = reserve(&book, &spec, 300).await.unwrap().settle(bill(30));
    let killed = scratch.killed();
    let whole = killed.read();
    killed.write(&whole[..whole.len() - 20]);
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    let (book, recovery) = killed.open(&at, &[&spec]);
    assert_eq!(recovery.cut_bytes, (whole.len() - 20 - last) as u64);
    assert_eq!(recovery.orphans, 1, "its settlement was torn");
    assert_eq!(book.glance(&spec).posted, Nanos(300));
    let _ = reserve(&book, &spec, 300).await.unwrap().settle(bill(50));
    drop(book);
    let (book, recovery) = killed.open(&at, &[&spec]);
    assert_eq!(
        (recovery.cut_bytes, book.glance(&spec).posted),
        (0, Nanos(350))
    );
}

#[tokio::test]
async fn damage_in_the_middle_refuses_to_start_and_names_the_byte() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    for _ in 0..3 {
        let _ = reserve(&book, &spec, 300).await.unwrap().settle(bill(30));
    }
    drop(book);
    let whole = scratch.read();
    let starts: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    let without = format!("{}{}", &whole[..starts[2]], &whole[starts[3]..]);
    let changed = whole.replacen("\"nano_usd\":30,", "\"nano_usd\":10,", 1);
    let settle = starts[whole[..whole.find("nano_usd").unwrap()]
        .matches('\n')
        .count()
        - 1];
    for (text, byte) in [(without, starts[2]), (changed, settle)] {
        scratch.write(&text);
        let Err(LogError::Damaged {
            path, at: found, ..
        }) = scratch.try_open(&at, &[&spec])
        else {
            panic!("opened a damaged log");
        };
        assert_eq!((path, found), (scratch.log(), byte as u64));
        let damage = verify(&scratch.log()).unwrap().damage.unwrap();
        assert_eq!(damage.at, byte as u64);
        assert_eq!(scratch.read(), text, "nothing is cut");
    }
}

#[tokio::test]
async fn the_history_of_an_execwall_or_gate_is_taken_over() {
    let (scratch, at) = (Scratch::new(), noon());
    scratch.write(concat!(
        r#"{"timestamp": "2025-01-02T12:00:00.123456", "agent_id": "a", "cost": 9.5, "model": "m", "tokens": 3}"#,
        "\n",
        r#"{"timestamp": "2025-01-03T12:00:00.123456", "agent_id": "a", "event": "reset", "previous_spent": 9.5}"#,
        "\n",
        r#"{"timestamp": "2025-01-04T12:00:00.123456", "agent_id": "a", "cost": 1.5e-06, "model": "m", "tokens": 3, "request_id": "x"}"#,
        "\n",
        r#"{"timestamp": "2025-01-05T12:00:00+00:00", "agent_id": "b", "cost": 0.1, "model": "m", "tokens": 3}"#,
    ));
    let a = Arc::new(account("agent:a", 10_000));
    let period = every(PeriodKind::Weekly, "UTC");
    let b = Arc::new(AccountSpec {
        period,
        ..account("agent:b", 10_000)
    });
    for turn in 0..2 {
        let (book, recovery) = scratch.open(&at, &[&a, &b]);
        assert_eq!(recovery.legacy, 4);
        assert_eq!(book.glance(&a).posted, Nanos(1_500 + turn * 10));
        assert_eq!(book.glance(&b).posted, Nanos::ZERO, "an earlier week");
        let _ = reserve(&book, &a, 10).await.unwrap().settle(bill(10));
    }
    assert!(verify(&scratch.log()).unwrap().is_sound());
}

#[tokio::test]
async fn pushes_and_resets_survive_and_the_policys_new_number_wins() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let balance = book
        .push(&spec, Some(Nanos(50)), Some(Nanos(20)), "test")
        .await
        .unwrap();
    assert_eq!(balance.remaining(), Nanos(30));
    for bad in [Nanos(-1), Nanos(MAX_AMOUNT.0 + 1)] {
        let refused = book.push(&spec, None, Some(bad), "test").await;
        assert!(matches!(refused, Err(LogError::AmountOutOfRange)));
    }
    assert!(matches!(
        reserve(&book, &spec, 31).await,
        Err(Denied::Exhausted { .. })
    ));
    drop(book);
    let (book, _) = scratch.open(&at, &[&spec]);
    assert_eq!(book.glance(&spec), balance);
    assert_eq!(book.reset(&spec, "test").await.unwrap(), Nanos(20));
    let raised = Arc::new(account("agent:a", 2000));
    book.adopt(std::slice::from_ref(&raised));
    drop(book);
    let (book, _) = scratch.open(&at, &[&spec]);
    let balance = book.glance(&spec);
    assert_eq!(
        (balance.limit, balance.posted),
        (Nanos(1000), Nanos::ZERO),
        "the push has ended"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_hard_budgets_and_only_those() {
    let (scratch, at) = (Scratch::new(), noon());
    let hard = Arc::new(account("agent:a", 1000));
    let soft = Arc::new(AccountSpec {
        hard: false,
        ..account("agent:b", 1000)
    });
    let (book, _) = scratch.open(&at, &[&hard, &soft]);
    let open = reserve(&book, &hard, 100).await.unwrap();
    book.fill_disk();
    assert_eq!(
        reserve(&book, &hard, 100).await.unwrap_err(),
        Denied::Unavailable
    );
    assert!(book.counters().poisoned);
    assert_eq!(
        reserve(&book, &hard, 100).await.unwrap_err(),
        Denied::Unavailable
    );
    assert_eq!(
        open.settle(bill(40)).balance.posted,
        Nanos(40),
        "memory goes on"
    );
    assert_eq!(book.glance(&hard).pending, Nanos::ZERO, "nothing leaks");
    let lost = book.counters().lost;
    let settled = reserve(&book, &soft, 100).await.unwrap().settle(bill(30));
    assert_eq!(settled.balance.posted, Nanos(30));
    assert_eq!(book.counters().lost, lost + 2);
    assert!(matches!(
        book.push(&hard, Some(Nanos(1)), None, "test").await,
        Err(LogError::Poisoned)
    ));
    assert_eq!(book.glance(&hard).limit, Nanos(1000), "nothing changed");
    assert!(book.flush().is_err());
}

#[tokio::test]
async fn strict_durability_waits_for_the_disk() {
    let (scratch, spec) = (Scratch::new(), Arc::new(account("agent:a", 1000)));
    let options = LogOptions {
        durability: Durability::Strict,
        ..LogOptions::at(scratch.log())
    };
    let (book, _) = Book::open(options, &[Arc::clone(&spec)]).unwrap();
    let _ = reserve(&book, &spec, 100).await.unwrap().settle(bill(1));
    book.fill_disk();
    assert_eq!(
        reserve(&book, &spec, 100).await.unwrap_err(),
        Denied::Unavailable
    );
}

#[tokio::test]
async fn replay_starts_at_the_newest_segment() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100_000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let open = reserve(&book, &spec, 500).await.unwrap();
    for _ in 0..5 {
        let _ = reserve(&book, &spec, 300).await.unwrap().settle(bill(30));
        book.rotate().unwrap();
    }
    let killed = scratch.killed();
    let (after, recovery) = killed.open(&at, &[&spec]);
    assert_eq!(recovery.records, 1, "the newest header says it all");
    assert_eq!(
        (recovery.orphans, after.glance(&spec).posted),
        (1, Nanos(650))
    );
    let settled = open.settle(bill(20));
    assert_eq!(
        settled.balance.posted,
        Nanos(170),
        "held over five rotations"
    );
    let summary = verify(&scratch.log()).unwrap();
    assert!(summary.is_sound(), "{summary:?}");
    assert_eq!((summary.segments, summary.open), (6, 0));
    assert_eq!(summary.settled["a"], Nanos(170));
}

#[tokio::test]
async fn a_charge_after_midnight_belongs_to_the_day_before_even_over_a_restart() {
    let (scratch, at) = (Scratch::new(), noon());
    let period = every(PeriodKind::Daily, "Europe/Berlin");
    let spec = Arc::new(AccountSpec {
        period,
        ..account("agent:a", 1000)
    });
    let (book, _) = scratch.open(&at, &[&spec]);
    let yesterday = reserve(&book, &spec, 100).await.unwrap();
    at.fetch_add(DAY, Ordering::Relaxed);
    let request = Request::new(&[&spec], fixed(70));
    let _ = book
        .reserve(request.ask(attempt(), NOON + DAY))
        .await
        .unwrap()
        .settle(bill(7));
    book.rotate().unwrap();
    let (after, _) = scratch.killed().open(&at, &[&spec]);
    assert_eq!(
        after.glance(&spec).posted,
        Nanos(7),
        "the orphan is yesterday's"
    );
    assert_eq!(yesterday.settle(bill(90)).balance.posted, Nanos(7));
}

#[test]
fn a_log_in_a_directory_that_cannot_be_is_an_error() {
    let options = LogOptions::at("/dev/null/spend.jsonl");
    assert!(matches!(Book::open(options, &[]), Err(LogError::Io { .. })));
}

#[test]
fn threads_that_share_a_book_never_pass_a_hard_limit_and_replay_agrees() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 20_000));
    let (book, _) = scratch.open(&at, &[&spec]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                for turn in 0..200 {
                    let reserved = runtime.block_on(reserve(&book, &spec, 150));
                    assert!(book.glance(&spec).remaining() >= Nanos::ZERO);
                    match (turn % 3, reserved) {
                        (0, Ok(reservation)) => reservation.void("test"),
                        (1, Ok(reservation)) => drop(reservation.settle(bill(turn))),
                        (_, outcome) => drop(outcome),
                    }
                    if turn % 50 == 0 {
                        book.rotate().unwrap();
                    }
                }
            });
        }
    });
    let balance = book.glance(&spec);
    assert_eq!(
        (balance.pending, book.open_reservations()),
        (Nanos::ZERO, 0)
    );
    assert!(balance.posted <= balance.limit && balance.posted > Nanos::ZERO);
    assert!(verify(&scratch.log()).unwrap().is_sound());
    let killed = scratch.killed();
    assert_eq!(killed.open(&at, &[&spec]).0.glance(&spec), balance);
}
