//! Spend elsewhere that an account is to count: it only ever rises.
//!
//! Decides that under the account's lock, so that a charge which is posted meanwhile is not lost.

use super::super::Push;
use super::super::keeper::with_body;
use super::super::log::LogError;
use super::super::log::record;
use super::Book;
use crate::budget::AccountSpec;
use crate::money::{MAX_AMOUNT, Nanos};

impl Book {
    /// Posts as much as it takes for the spend of the window that starts at `window` to be `floor`,
    /// and says whether that was anything. Nothing when as much is spent already, when another window
    /// has begun, and where gateways share their balances: those know of each other's spend. The
    /// limit stays as it is. Recorded before it acts.
    ///
    /// # Errors
    /// [`LogError`] when the amount is out of range or the record cannot be written; nothing has
    /// changed then.
    pub fn raise(
        &self,
        spec: &AccountSpec,
        floor: Nanos,
        window: i64,
        by: &str,
    ) -> Result<bool, LogError> {
        if !(Nanos::ZERO..=MAX_AMOUNT).contains(&floor) {
            return Err(LogError::AmountOutOfRange);
        }
        if self.core.shared.is_some() {
            return Ok(false);
        }
        self.change(spec, None, |core, now, account| {
            let current = account.window().start == window;
            if !current || account.standing(spec).posted >= floor {
                return Ok(false);
            }
            let change = Push {
                total: None,
                spent: Some(floor),
            };
            with_body(
                |out| record::budget(out, now, spec, change, window, None, by),
                |body| core.log.put(body),
            )?;
            account.push(None, Some(floor));
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::budget::period::{Period, PeriodKind};
    use crate::ledger::contract::account;
    use crate::ledger::scratch::{Scratch, bill, noon};
    use crate::ledger::tests::reserve;
    use crate::money::{MAX_AMOUNT, Nanos};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    #[tokio::test]
    async fn spend_rises_and_never_falls_and_survives() {
        let (scratch, at) = (Scratch::new(), noon());
        let spec = Arc::new(account("agent:a", 1000));
        let (book, _) = scratch.open(&at, &[&spec]);
        let held = reserve(&book, &spec, 100).await.unwrap();
        let raise = |floor| book.raise(&spec, Nanos(floor), 0, "console").unwrap();
        assert!(raise(300));
        let written = scratch.read().len();
        assert!(!raise(300) && !raise(299) && !raise(0));
        assert_eq!(scratch.read().len(), written, "no records about nothing");
        let _ = held.settle(bill(60));
        let balance = book.balance(&spec).await;
        assert_eq!((balance.posted, balance.limit), (Nanos(360), Nanos(1000)));
        assert!(!balance.pushed, "the limit is still the policy's");
        for floor in [-1, MAX_AMOUNT.0 + 1] {
            assert!(book.raise(&spec, Nanos(floor), 0, "console").is_err());
        }
        let killed = scratch.killed();
        let (again, _) = killed.open(&at, &[&spec]);
        assert_eq!(again.balance(&spec).await, balance);
    }

    #[tokio::test]
    async fn spend_of_a_window_that_is_over_changes_nothing() {
        let (scratch, at) = (Scratch::new(), noon());
        let mut spec = account("agent:a", 1000);
        spec.period = Period {
            kind: PeriodKind::Daily,
            ..spec.period
        };
        let spec = Arc::new(spec);
        let (book, _) = scratch.open(&at, &[&spec]);
        let today = book.balance(&spec).await.period_start;
        assert!(book.raise(&spec, Nanos(400), today, "console").unwrap());
        at.fetch_add(86_400_000, Ordering::Relaxed);
        assert!(!book.raise(&spec, Nanos(900), today, "console").unwrap());
        assert_eq!(book.balance(&spec).await.posted, Nanos::ZERO);
    }
}
