//! What a book does when the store and the log are told of each other at a bad moment.

use super::*;
use crate::ledger::contract::account;
use crate::ledger::scratch::{Scratch, noon};
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
        assert_eq!(end.cost, None);
        self.given_back.lock().unwrap().push(end.id);
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
