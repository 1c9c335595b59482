//! What a book does when the store and the log are told of each other at a bad moment.

use super::*;
use crate::ledger::contract::account;
use crate::ledger::scratch::{Scratch, bill, noon};
use crate::ledger::tests::reserve;
use crate::ledger::{Book, log::LogOptions};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// Grants everything, and asks what stands in the log before the answer has arrived: as when the
/// connection breaks that it comes on.
#[derive(Debug, Default)]
struct Forgetful {
    witness: Mutex<Option<Weak<dyn Witness>>>,
    told: Mutex<Vec<Testimony>>,
    given_back: Mutex<Vec<AttemptId>>,
    remembers: std::sync::atomic::AtomicBool,
    log: Option<std::path::PathBuf>,
    /// What was charged, with what stood in the log when that was told.
    charged: Mutex<Vec<(AttemptId, String)>>,
}

#[async_trait::async_trait]
impl Shared for Forgetful {
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Granted, Denied> {
        if !self.remembers.load(Ordering::Relaxed) {
            let witness = self.witness.lock().unwrap().as_ref().unwrap().upgrade();
            self.told.lock().unwrap().push(witness.unwrap().testimony());
        }
        let accounts = ask.accounts.iter();
        Ok(Granted {
            grant: Grant {
                tier: 0,
                tokens: 1,
                fitted: false,
                held: ask.offers[0].fixed,
                balances: accounts.map(|_| Balance::default()).collect(),
                windows: vec![0; ask.accounts.len()],
            },
            moved: Vec::new(),
        })
    }

    fn end(&self, end: End) {
        if end.cost.is_none() {
            self.given_back.lock().unwrap().push(end.id);
            return;
        }
        let log = std::fs::read_to_string(self.log.as_ref().unwrap()).unwrap();
        self.charged.lock().unwrap().push((end.id, log));
    }

    async fn balance(&self, _spec: &AccountSpec, _now_millis: u64) -> Result<Balance, Away> {
        Err(Away)
    }

    fn glance(&self, _spec: &AccountSpec, _now_millis: u64) -> Option<Balance> {
        None
    }

    async fn push(
        &self,
        _spec: &AccountSpec,
        _change: Push,
        _now_millis: u64,
    ) -> Result<Changed, Away> {
        Err(Away)
    }

    fn adopt(&self, _specs: &[Arc<AccountSpec>], _now_millis: u64) {}

    fn begin(&self, witness: Weak<dyn Witness>) {
        *self.witness.lock().unwrap() = Some(witness);
    }

    fn leave(&self) {}
}

#[tokio::test]
async fn a_hold_that_was_not_told_of_with_the_rest_goes_nowhere() {
    let (scratch, at) = (Scratch::new(), noon());
    let store = Arc::new(Forgetful::default());
    let mut options = LogOptions::at(scratch.log());
    options.clock = crate::ledger::log::Clock::new(move || at.load(Ordering::Relaxed));
    let (book, _) = Book::open_sharing(options, &[], Some(Arc::clone(&store) as _)).unwrap();
    let spec = Arc::new(account("agent:a", 1000));
    let refused = reserve(&book, &spec, 100).await;
    assert_eq!(refused.unwrap_err(), Denied::Unavailable);
    assert!(store.told.lock().unwrap()[0].open.is_empty());
    assert_eq!(store.given_back.lock().unwrap().len(), 1);
    assert_eq!(book.open_reservations(), 0);
    // What nobody is held to is served all the same, and told of when it ends.
    let soft = Arc::new(AccountSpec {
        hard: false,
        ..account("agent:b", 1000)
    });
    let open = reserve(&book, &soft, 100).await.unwrap();
    store.remembers.store(true, Ordering::Relaxed);
    let granted = reserve(&book, &spec, 100).await.unwrap();
    for reservation in [open, granted] {
        reservation.void("test");
    }
    assert_eq!(store.given_back.lock().unwrap().len(), 3);
}

fn shared(store: &Arc<Forgetful>, scratch: &Scratch) -> Arc<Book> {
    store.remembers.store(true, Ordering::Relaxed);
    let (mut options, at) = (LogOptions::at(scratch.log()), noon());
    options.clock = crate::ledger::log::Clock::new(move || at.load(Ordering::Relaxed));
    let shared = Some(Arc::clone(store) as _);
    Book::open_sharing(options, &[], shared).unwrap().0
}

/// Killed in between, a process would leave a hold that the next one charges in full, though others were
/// granted what it did not cost.
#[tokio::test]
async fn a_kill_between_the_store_and_the_log_would_overspend_so_the_log_is_first() {
    let scratch = Scratch::new();
    let store = Arc::new(Forgetful {
        log: Some(scratch.log()),
        ..Forgetful::default()
    });
    let book = shared(&store, &scratch);
    let spec = Arc::new(account("agent:a", 1000));
    let settled = reserve(&book, &spec, 100).await.unwrap();
    let _ = settled.settle(bill(40));
    // What dead processes left open is recorded before it is told, too.
    let _open = reserve(&book, &spec, 200).await.unwrap();
    let killed = scratch.killed();
    let next = Arc::new(Forgetful {
        log: Some(killed.log()),
        ..Forgetful::default()
    });
    let again = shared(&next, &killed);
    assert_eq!(again.open_reservations(), 0);
    for (store, amount) in [(&store, "\"nano_usd\":40,"), (&next, "\"nano_usd\":200,")] {
        let charged = store.charged.lock().unwrap();
        assert_eq!(charged.len(), 1);
        let (id, log) = &charged[0];
        let id = format!("\"id\":\"{id}\"");
        let ends = |line: &str| line.contains(&id) && line.contains(amount);
        assert!(log.lines().any(ends), "not in the log: {log}");
    }
}

#[tokio::test]
async fn a_hold_whose_end_cannot_be_recorded_counts_as_open() {
    let scratch = Scratch::new();
    let store = Arc::new(Forgetful::default());
    let book = shared(&store, &scratch);
    let spec = Arc::new(account("agent:a", 1000));
    let (first, second) = (
        reserve(&book, &spec, 100).await.unwrap(),
        reserve(&book, &spec, 200).await.unwrap(),
    );
    let ids = [first.id(), second.id()];
    book.fill_disk();
    // The first fails to be written, the second to be taken.
    let _ = first.settle(bill(40));
    second.void("test");
    assert!(store.charged.lock().unwrap().is_empty());
    assert!(store.given_back.lock().unwrap().is_empty());
    let witness = store.witness.lock().unwrap().clone().unwrap();
    let witness = witness.upgrade().unwrap();
    assert!(ids.iter().all(|id| witness.has_open(*id)));
    let mut open: Vec<_> = witness.testimony().open.iter().map(|h| h.held.0).collect();
    open.sort_unstable();
    assert_eq!(open, [100, 200]);
}
