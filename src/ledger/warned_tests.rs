//! Warning levels as a book tells them.

use super::Book;
use super::contract::account;
use super::scratch::{Scratch, bill, noon};
use super::tests::reserve;
use crate::budget::AccountSpec;
use crate::money::Nanos;
use std::sync::{Arc, Mutex};

/// What a book tells from now on: posted, and the level in per cent.
fn heard(book: &Book) -> Arc<Mutex<Vec<(i64, u32)>>> {
    let all: Arc<Mutex<Vec<(i64, u32)>>> = Arc::default();
    let heard = Arc::clone(&all);
    book.on_warning(move |passed| {
        let percent = passed.level.0 / 10_000_000;
        heard.lock().unwrap().push((passed.total.0, percent));
    });
    all
}

fn taken(heard: &Mutex<Vec<(i64, u32)>>) -> Vec<(i64, u32)> {
    std::mem::take(&mut *heard.lock().unwrap())
}

async fn spend(book: &Arc<Book>, spec: &Arc<AccountSpec>, cost: i64) {
    let held = reserve(book, spec, cost).await.unwrap();
    let _ = held.settle(bill(cost));
}

#[tokio::test]
async fn a_settlement_tells_and_so_does_what_happened_before_anybody_listened() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (book, _) = scratch.open(&at, &[&spec]);
    spend(&book, &spec, 85).await;
    let heard = heard(&book);
    assert_eq!(taken(&heard), [(85, 80)]);
    spend(&book, &spec, 5).await;
    assert_eq!(taken(&heard), []);
    book.reset(&spec, "test").await.unwrap();
    spend(&book, &spec, 80).await;
    assert_eq!(taken(&heard), [(80, 80)]);
}

#[tokio::test]
async fn a_dropped_reservation_and_a_bill_above_the_hold_tell_like_any_other() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (book, _) = scratch.open(&at, &[&spec]);
    let heard = heard(&book);
    drop(reserve(&book, &spec, 85).await.unwrap());
    assert_eq!(taken(&heard), [(85, 80)]);
    book.push(&spec, None, Some(Nanos(10)), "test")
        .await
        .unwrap();
    let held = reserve(&book, &spec, 20).await.unwrap();
    assert_eq!(taken(&heard), [], "what is held passes nothing");
    let _ = held.settle(bill(75));
    assert_eq!(taken(&heard), [(85, 80)]);
}

#[tokio::test]
async fn a_crash_repeats_nothing_and_its_orphans_are_news() {
    let (scratch, at) = (Scratch::new(), noon());
    let (told, open) = (
        Arc::new(account("agent:told", 100)),
        Arc::new(account("agent:open", 100)),
    );
    let (book, _) = scratch.open(&at, &[&told, &open]);
    let before = heard(&book);
    spend(&book, &told, 85).await;
    assert_eq!(taken(&before), [(85, 80)]);
    let held = reserve(&book, &open, 90).await.unwrap();
    let killed = scratch.killed();
    let (again, recovery) = killed.open(&at, &[&told, &open]);
    assert_eq!(recovery.orphans, 1);
    let after = heard(&again);
    assert_eq!(taken(&after), [(90, 80)]);
    spend(&again, &told, 5).await;
    assert_eq!(taken(&after), []);
    held.void("test");
}

#[tokio::test]
async fn a_lower_limit_tells_and_a_higher_one_arms() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let heard = heard(&book);
    spend(&book, &spec, 90).await;
    for (limit, expected) in [
        (100, Some((90, 80))),
        (100, None),
        (1000, None),
        (110, Some((90, 80))),
    ] {
        book.adopt(&[Arc::new(account("agent:a", limit))]);
        assert_eq!(taken(&heard), Vec::from_iter(expected), "{limit}");
    }
}

#[tokio::test]
async fn of_two_processes_the_one_that_settles_tells() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 100));
    let (first, _) = scratch.open(&at, &[&spec]);
    let (second, _) = scratch.open(&at, &[&spec]);
    let (one, other) = (heard(&first), heard(&second));
    spend(&first, &spec, 85).await;
    second.follow();
    assert_eq!((taken(&one), taken(&other)), (vec![(85, 80)], vec![]));
    spend(&second, &spec, 5).await;
    assert_eq!(taken(&other), [], "it knows");
}
