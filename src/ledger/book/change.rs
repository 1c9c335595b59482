//! Changes by hand: pushes and resets.
//!
//! Decides that a change is recorded before it acts, and made first where gateways share their
//! balances.

use super::super::Push;
use super::super::keeper::{Keeper, with_body};
use super::super::log::record;
use super::super::log::writer::Poisoned;
use super::super::log::{Durability, LogError};
use super::super::memory::pushed;
use super::super::shared::{Away, Changed};
use super::Book;
use crate::budget::account::Account;
use crate::budget::{AccountSpec, Balance};
use crate::money::{MAX_AMOUNT, Nanos};
use std::sync::Arc;

impl Book {
    /// Sets the limit of an account (until the policy's own number changes), the spend of its
    /// current window, or both. Recorded before it acts.
    ///
    /// # Errors
    /// [`LogError`] when an amount is out of range or the record cannot be written; nothing has
    /// changed then.
    pub async fn push(
        &self,
        spec: &AccountSpec,
        total: Option<Nanos>,
        spent: Option<Nanos>,
        by: &str,
    ) -> Result<Balance, LogError> {
        let sane = |amount: &Nanos| (Nanos::ZERO..=MAX_AMOUNT).contains(amount);
        if ![total, spent].iter().flatten().all(sane) {
            return Err(LogError::AmountOutOfRange);
        }
        let mut change = Push { total, spent };
        let changed = self.change_shared(spec, &mut change).await?;
        let local = self.change(spec, changed.as_ref(), |core, now, account| {
            // A push that leaves the limit alone takes it over all the same: from now on the
            // budget is the console's.
            let total = change.total.or_else(|| Some(account.standing(spec).limit));
            let change = Push { total, spent };
            let window = account.window().start;
            let based = changed.map(|changed| changed.based);
            with_body(
                |out| record::budget(out, now, spec, change, window, based, by),
                |body| core.log.put(body),
            )?;
            account.push(pushed(change, spec.limit, now), spent);
            if let Some(based) = based {
                account.rebase(based);
            }
            Ok(account.standing(spec))
        })?;
        Ok(changed.map_or(local, |changed| changed.balance))
    }

    /// Makes a change in the store that gateways share, if there is one.
    async fn change_shared(
        &self,
        spec: &AccountSpec,
        change: &mut Push,
    ) -> Result<Option<Changed>, LogError> {
        let Some(shared) = &self.core.shared else {
            return Ok(None);
        };
        if self.core.log.poisoned() {
            return Err(LogError::Poisoned);
        }
        let now = self.core.clock.millis();
        if change.total.is_none() && change.spent.is_some() {
            let limit = shared.balance(spec, now).await.map(|balance| balance.limit);
            change.total = Some(limit.map_err(|Away| LogError::Away)?);
        }
        let changed = shared.push(spec, *change, now).await;
        let changed = changed.map_err(|Away| LogError::Away)?;
        shared.arm(spec, &changed.balance, now).await;
        Ok(Some(changed))
    }

    /// Forgets the spend of an account's current window and says what it was. Recorded before it
    /// acts.
    ///
    /// # Errors
    /// [`LogError`] when the record cannot be written; nothing has changed then.
    pub async fn reset(&self, spec: &AccountSpec, by: &str) -> Result<Nanos, LogError> {
        let changed = match &self.core.shared {
            None => None,
            Some(_) if self.core.log.poisoned() => return Err(LogError::Poisoned),
            Some(shared) => {
                let nothing = Push {
                    total: None,
                    spent: Some(Nanos::ZERO),
                };
                let now = self.core.clock.millis();
                let changed = shared.push(spec, nothing, now).await;
                let changed = changed.map_err(|Away| LogError::Away)?;
                shared.arm(spec, &changed.balance, now).await;
                Some(changed)
            }
        };
        self.change(spec, changed.as_ref(), |core, now, account| {
            let window = account.window().start;
            let previous = changed.map_or(account.standing(spec).posted, |changed| changed.before);
            let based = changed.map(|changed| changed.based);
            with_body(
                |out| record::reset(out, now, &spec.id, previous, window, based, by),
                |body| core.log.put(body),
            )?;
            account.reset();
            if let Some(based) = based {
                account.rebase(based);
            }
            Ok(previous)
        })
    }

    /// Runs a recorded change, and returns once it is on the disk where that is asked for.
    pub(super) fn change<T>(
        &self,
        spec: &AccountSpec,
        changed: Option<&Changed>,
        step: impl FnOnce(&Keeper, u64, &mut Account) -> Result<T, Poisoned>,
    ) -> Result<T, LogError> {
        let core = &*self.core;
        let now = core.clock.millis();
        let note = |spec: &_, account: &_, changes| core.adopted(now, spec, account, changes);
        let (spec, moved) = (Arc::new(spec.clone()), changed.map(|changed| changed.moved));
        let value = core
            .projection
            .memory
            .current(&spec, now, moved, note, |account| step(core, now, account))?;
        if self.durability == Durability::Strict {
            core.log.sync()?;
        }
        Ok(value)
    }
}
