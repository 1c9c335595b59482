//! Stories about two processes on one log: never more is granted than there is.

use super::contract::account;
use super::log::verify;
use super::scratch::{Scratch, bill, noon};
use super::tests::reserve;
use super::{Book, Denied};
use crate::budget::AccountSpec;
use crate::money::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const LIMIT: i64 = 3_000;
const COST: i64 = 10;

/// Reserves until nothing is left, and settles every third hold at half of it. The sum of what it
/// charged and still holds.
async fn spend(book: Arc<Book>, spec: Arc<AccountSpec>, total: Arc<AtomicU64>) {
    let mut open = Vec::new();
    let mut turn = 0_u64;
    loop {
        match reserve(&book, &spec, COST).await {
            Ok(reservation) => {
                turn += 1;
                if turn.is_multiple_of(3) {
                    // What is freed may be granted to anybody.
                    let _ = reservation.settle(bill(COST / 2));
                    total.fetch_add(5, Ordering::Relaxed);
                } else {
                    open.push(reservation);
                }
            }
            Err(Denied::Exhausted { .. } | Denied::InFlight { .. }) => break,
            Err(denied) => panic!("{denied}"),
        }
    }
    total.fetch_add(open.len() as u64 * 10, Ordering::Relaxed);
    for reservation in open {
        let _ = reservation.settle(bill(COST));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_race_for_a_hard_limit_never_pass_it() {
    for round in 0..5 {
        let (scratch, at) = (Scratch::new(), noon());
        let spec = Arc::new(account("agent:a", LIMIT));
        let total = Arc::new(AtomicU64::new(0));
        let mut books = Vec::new();
        let mut tasks = Vec::new();
        for process in 0..3 {
            let (book, recovery) = scratch.open(&at, &[&spec]);
            assert_eq!(recovery.live, process, "round {round}");
            for _ in 0..4 {
                let spending = spend(Arc::clone(&book), Arc::clone(&spec), Arc::clone(&total));
                tasks.push(tokio::spawn(spending));
            }
            books.push(book);
            // The next process comes into the middle of it.
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        for book in &books {
            book.follow();
        }
        let total = i64::try_from(total.load(Ordering::Relaxed)).unwrap();
        for book in &books {
            book.follow();
            let balance = book.glance(&spec);
            assert_eq!(
                (balance.posted, balance.pending),
                (Nanos(total), Nanos::ZERO)
            );
        }
        assert!(total <= LIMIT, "{total} of {LIMIT} in round {round}");
        assert!(total > LIMIT - COST, "and all of it can be spent: {total}");
        assert!(verify(&scratch.log()).unwrap().is_sound());
    }
}

#[tokio::test]
async fn a_process_that_was_idle_gives_the_turn_on_and_learns_what_others_hold() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (first, _) = scratch.open(&at, &[&spec]);
    let (second, _) = scratch.open(&at, &[&spec]);
    let held = reserve(&second, &spec, 70).await.unwrap();
    // Without waiting for a look: nothing else is known to be left.
    let denied = reserve(&first, &spec, 70).await.unwrap_err();
    assert!(matches!(denied, Denied::InFlight { .. }), "{denied:?}");
    let other = reserve(&first, &spec, 30).await.unwrap();
    held.void("refused");
    let again = reserve(&first, &spec, 70).await.unwrap();
    assert!(reserve(&second, &spec, 1).await.is_err());
    let _ = (other.settle(bill(30)), again.settle(bill(70)));
    let denied = reserve(&second, &spec, 1).await.unwrap_err();
    assert!(matches!(denied, Denied::Exhausted { .. }), "{denied:?}");
}

#[tokio::test]
async fn a_process_that_goes_on_in_the_log_of_a_dead_one_is_followed() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (first, _) = scratch.open(&at, &[&spec]);
    let _ = reserve(&first, &spec, 5).await.unwrap().settle(bill(5));
    let (second, _) = scratch.open(&at, &[&spec]);
    first.close();
    drop(first);
    second.follow();
    let (third, recovery) = scratch.open(&at, &[&spec]);
    assert_eq!(recovery.segment, scratch.log());
    let held = reserve(&third, &spec, 60).await.unwrap();
    assert!(reserve(&second, &spec, 40).await.is_err());
    third.rotate().unwrap();
    let _ = held.settle(bill(20));
    let last = reserve(&second, &spec, 75).await.unwrap();
    assert!(reserve(&third, &spec, 1).await.is_err());
    drop(third);
    second.follow();
    assert_eq!(second.glance(&spec).posted, Nanos(25));
    let _ = last.settle(bill(75));
    assert_eq!(second.glance(&spec).remaining(), Nanos::ZERO);
}

#[tokio::test]
async fn what_a_process_leaves_open_in_a_log_it_took_over_is_charged_by_the_one_that_lives() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (first, _) = scratch.open(&at, &[&spec]);
    let (second, _) = scratch.open(&at, &[&spec]);
    drop(first);
    let (third, _) = scratch.open(&at, &[&spec]);
    let held = reserve(&third, &spec, 60).await.unwrap();
    second.follow();
    assert_eq!(second.glance(&spec).pending, Nanos(60));
    // The reservation keeps its book, so the process lives as long as it.
    let killed = scratch.killed();
    let (after, recovery) = killed.open(&at, &[&spec]);
    assert_eq!(
        (recovery.orphans, after.glance(&spec).posted),
        (1, Nanos(60))
    );
    drop(held);
    drop(third);
    second.follow();
    let balance = second.glance(&spec);
    assert_eq!((balance.posted, balance.pending), (Nanos(60), Nanos::ZERO));
}
