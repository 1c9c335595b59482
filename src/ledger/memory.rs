//! Balances in memory: one short lock per account, taken in the order of the account ids.
//!
//! Decides atomicity: a step over several accounts happens on all of them or on none, and the
//! `_with` methods run a closure while the accounts are locked, so that the order of records in a
//! log is the order of the steps on each account. The rules themselves are in
//! [`crate::budget::account`] and [`Decision`]. Nothing here survives the process.

use super::shared::{Granted, Moved};
use super::warned::Warned;
use super::{Ask, Decision, Denied, Grant, Hold, Ledger, Push};
use crate::budget::account::{Account, Changes, Charged, Pushed};
use crate::budget::{AccountSpec, Balance};
use crate::identity::{AccountId, AttemptId};
use crate::money::Nanos;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

type Cell = Arc<Mutex<Account>>;

/// Every account, in memory.
#[derive(Debug, Default)]
pub struct Memory {
    accounts: RwLock<HashMap<AccountId, Cell>>,
    /// Hears of warning levels that are passed.
    pub(super) warned: Warned,
}

/// Locked accounts of one step, addressed in the order of the step.
struct Locked<'a> {
    guards: Vec<MutexGuard<'a, Account>>,
    /// Which guard stands for which account of the step.
    place: Vec<usize>,
}

impl Locked<'_> {
    fn get(&mut self, index: usize) -> &mut Account {
        &mut self.guards[self.place[index]]
    }
}

/// An account's lock. A panic elsewhere leaves whole steps behind, never half of one.
fn lock(cell: &Mutex<Account>) -> MutexGuard<'_, Account> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An account that has gone over to another period.
const PERIOD: Changes = Changes {
    opened: false,
    period: true,
};

/// Unix seconds of Unix milliseconds.
pub(super) fn seconds(millis: u64) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}

impl Memory {
    /// No accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves, and runs `then` before the accounts are unlocked. When `then` refuses, nothing is
    /// held. `adopted` hears of every account that the ask's specs or the clock
    /// changed. With `given`, a grant of a store that several gateways share, nothing is decided here
    /// and that much is held.
    pub(super) fn reserve_with<T>(
        &self,
        ask: &Ask<'_>,
        given: Option<&Granted>,
        mut adopted: impl FnMut(&AccountSpec, &Account, Changes),
        then: impl FnOnce(&Grant) -> Result<T, Denied>,
    ) -> Result<(Grant, T), Denied> {
        let now = seconds(ask.now_millis);
        self.with(ask.accounts.iter().map(|spec| &spec.id), |locked| {
            let mut balances = Vec::with_capacity(ask.accounts.len());
            for (index, spec) in ask.accounts.iter().enumerate() {
                let account = locked.get(index);
                if account.held(ask.id).is_some() {
                    return Err(Denied::Unavailable);
                }
                let moved = given.and_then(|given| given.moved.get(index));
                keep_up(
                    account,
                    spec,
                    now,
                    moved.copied(),
                    &mut adopted,
                    &self.warned,
                );
                balances.push(account.standing(spec));
            }
            let grant = match given {
                Some(Granted { grant, .. }) => {
                    for (index, window) in grant.windows.iter().enumerate() {
                        let account = locked.get(index);
                        account.roll_to(*window);
                        account.hold_in(ask.id, grant.held, *window);
                    }
                    grant.clone()
                }
                None => held(ask, &mut balances, locked)?,
            };
            match then(&grant) {
                Ok(value) => Ok((grant, value)),
                Err(denied) => {
                    for index in 0..ask.accounts.len() {
                        locked.get(index).void(ask.id);
                    }
                    Err(denied)
                }
            }
        })
    }

    /// Settles (or with `None` voids) a hold, and runs `then` with the first account's state before
    /// the accounts are unlocked; `then` is not run for a hold that has ended.
    pub(super) fn end_with<T>(
        &self,
        hold: &Hold,
        actual: Option<Nanos>,
        then: impl FnOnce(&[Balance], &[(usize, Charged)]) -> T,
    ) -> (Vec<Balance>, Option<T>) {
        self.with(hold.accounts.iter().map(|spec| &spec.id), |locked| {
            let mut ended = Vec::with_capacity(hold.accounts.len());
            let mut balances = Vec::with_capacity(hold.accounts.len());
            for (index, spec) in hold.accounts.iter().enumerate() {
                let account = locked.get(index);
                // An account named twice ends its hold once.
                let charged = account.settle(hold.id, actual.unwrap_or_default());
                self.warn(account);
                ended.extend(charged.map(|charged| (index, charged)));
                balances.push(account.standing(spec));
            }
            let value = (!ended.is_empty()).then(|| then(&balances, &ended));
            (balances, value)
        })
    }

    /// Ends a hold that is known by its record only; `then` as in [`Memory::end_with`].
    pub(super) fn end<T>(
        &self,
        id: AttemptId,
        accounts: &[AccountId],
        actual: Nanos,
        then: impl FnOnce(&[(usize, Charged)]) -> T,
    ) -> Option<T> {
        self.with(accounts.iter(), |locked| {
            let end = |index| {
                let charged = locked.get(index).settle(id, actual)?;
                self.warn(locked.get(index));
                Some((index, charged))
            };
            let ended: Vec<_> = (0..accounts.len()).filter_map(end).collect();
            (!ended.is_empty()).then(|| then(&ended))
        })
    }

    /// Ends a hold as the record of another process says, and where it is charged.
    pub(super) fn end_elsewhere(
        &self,
        id: AttemptId,
        accounts: &[AccountId],
        actual: Nanos,
    ) -> Vec<(AccountId, Charged)> {
        self.with(accounts.iter(), |locked| {
            let mut charged = Vec::new();
            for (index, account) in accounts.iter().enumerate() {
                let ended = locked.get(index).settle_elsewhere(id, actual);
                // Whoever charged it has told it.
                locked.get(index).look();
                charged.extend(ended.map(|ended| (account.clone(), ended)));
            }
            charged
        })
    }

    /// Runs `step` on one locked account: what a record says, of which whoever wrote it has told.
    pub(super) fn one<T>(&self, id: &AccountId, step: impl FnOnce(&mut Account) -> T) -> T {
        self.with(std::iter::once(id), |locked| {
            let value = step(locked.get(0));
            locked.get(0).look();
            value
        })
    }

    /// Takes the warning levels of accounts. What they have passed by now counts as told.
    pub(super) fn watch(&self, specs: &[Arc<AccountSpec>]) {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        for spec in specs {
            if let Some(cell) = accounts.get(&spec.id) {
                lock(cell).watch(spec, true);
            }
        }
    }

    /// Tells of a warning level that a charge has passed.
    fn warn(&self, account: &mut Account) {
        if account.is_due() {
            self.warned.tell(account.look());
        }
    }

    /// Like [`Memory::one`], after the account has adopted `spec` and rolled to `now`.
    pub(super) fn current<T>(
        &self,
        spec: &Arc<AccountSpec>,
        now_millis: u64,
        moved: Option<Moved>,
        mut adopted: impl FnMut(&AccountSpec, &Account, Changes),
        step: impl FnOnce(&mut Account) -> T,
    ) -> T {
        let now = seconds(now_millis);
        self.with(std::iter::once(&spec.id), |locked| {
            let account = locked.get(0);
            keep_up(account, spec, now, moved, &mut adopted, &self.warned);
            let value = step(account);
            self.warned.tell(account.look());
            value
        })
    }

    /// Locks every account at once and runs `look` on them, in the order of their ids.
    pub(super) fn freeze<T>(&self, look: impl FnOnce(&BTreeMap<&AccountId, &Account>) -> T) -> T {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut cells: Vec<_> = accounts.iter().collect();
        cells.sort_unstable_by_key(|(id, _)| *id);
        let guards: Vec<_> = cells.iter().map(|(id, cell)| (*id, lock(cell))).collect();
        look(&guards.iter().map(|(id, guard)| (*id, &**guard)).collect())
    }

    /// Puts an account in place of whatever is known under its id.
    pub(super) fn put(&self, id: AccountId, account: Account) {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        accounts.insert(id, Arc::new(Mutex::new(account)));
    }

    /// The state of an account without changing it.
    pub(super) fn look(&self, spec: &AccountSpec, now_millis: u64) -> Balance {
        let cell = {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            accounts.get(&spec.id).map(Arc::clone)
        };
        let now = seconds(now_millis);
        match cell {
            Some(cell) => lock(&cell).balance(spec, now),
            None => Account::new().balance(spec, now),
        }
    }

    /// How many holds are open.
    fn count(&self) -> usize {
        self.freeze(|accounts| {
            let ids = accounts
                .values()
                .flat_map(|account| account.holds().map(|(id, _)| id));
            ids.collect::<std::collections::HashSet<_>>().len()
        })
    }

    fn with<'i, T>(
        &self,
        ids: impl ExactSizeIterator<Item = &'i AccountId>,
        step: impl FnOnce(&mut Locked<'_>) -> T,
    ) -> T {
        let ids: Vec<&AccountId> = ids.collect();
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|index| ids[*index]);
        let cells = self.cells(&ids);
        let mut guards: Vec<MutexGuard<'_, Account>> = Vec::with_capacity(ids.len());
        let mut place = vec![0; ids.len()];
        let mut previous: Option<&AccountId> = None;
        for index in order {
            // An account named twice is locked once.
            if previous != Some(ids[index]) {
                guards.push(lock(&cells[index]));
                previous = Some(ids[index]);
            }
            place[index] = guards.len().saturating_sub(1);
        }
        step(&mut Locked { guards, place })
    }

    fn cells(&self, ids: &[&AccountId]) -> Vec<Cell> {
        let known: Option<Vec<Cell>> = {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            ids.iter()
                .map(|id| accounts.get(*id).map(Arc::clone))
                .collect()
        };
        known.unwrap_or_else(|| {
            let mut accounts = self
                .accounts
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            ids.iter()
                .map(|id| Arc::clone(accounts.entry((*id).clone()).or_default()))
                .collect()
        })
    }
}

/// Decides over `balances` and holds on every account.
fn held(
    ask: &Ask<'_>,
    balances: &mut Vec<Balance>,
    locked: &mut Locked<'_>,
) -> Result<Grant, Denied> {
    let Decision { tier, tokens, held } = Decision::make(ask, balances)?;
    let mut windows = Vec::with_capacity(ask.accounts.len());
    for (index, spec) in ask.accounts.iter().enumerate() {
        let account = locked.get(index);
        windows.push(account.hold(ask.id, held));
        balances[index] = account.standing(spec);
    }
    Ok(Grant {
        tier,
        tokens,
        fitted: tokens < ask.wanted(tier),
        held,
        balances: std::mem::take(balances),
        windows,
    })
}

/// Brings an account up to `spec` and `now`. Where several gateways share it, another one may have
/// taken it over to another period earlier, and that counts; `adopted` hears of each step.
fn keep_up(
    account: &mut Account,
    spec: &Arc<AccountSpec>,
    now: i64,
    moved: Option<Moved>,
    adopted: &mut impl FnMut(&AccountSpec, &Account, Changes),
    warned: &Warned,
) {
    if let Some(moved) = moved.filter(|moved| moved.turn > account.turn()) {
        let known = !account.tag().is_empty() && account.turn() > 0;
        let (next, tag) = (account.turn() + 1, spec.period.tag());
        if known && moved.turn == next && account.tag() != tag {
            account.roll_to(moved.last);
            adopted(spec, account, PERIOD);
        }
        if known && account.tag() != tag {
            account.enter(tag, moved.first);
        }
        if known && moved.turn != next {
            account.set_charged(moved.charged);
        }
        account.set_turn(moved.turn);
        if known {
            adopted(spec, account, PERIOD);
        }
    }
    let known = account.knows(spec);
    let changes = brought_up(account, spec, now);
    if !known {
        warned.tell(account.look());
    }
    if changes != Changes::default() {
        adopted(spec, account, changes);
    }
}

/// Adopts `spec` where it is new and begins the window that `now` falls in.
fn brought_up(account: &mut Account, spec: &Arc<AccountSpec>, now: i64) -> Changes {
    let mut changes = Changes::default();
    if !account.knows(spec) {
        changes = account.adopt(spec, now);
    }
    changes.period |= account.roll(spec, now);
    changes
}

/// A push of `change` as of now, when the policy's limit is `policy`.
pub(super) fn pushed(change: Push, policy: Nanos, at: u64) -> Option<Pushed> {
    change.total.map(|total| Pushed { total, policy, at })
}

#[async_trait::async_trait]
impl Ledger for Memory {
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Grant, Denied> {
        let (grant, ()) = self.reserve_with(ask, None, |_, _, _| {}, |_| Ok(()))?;
        Ok(grant)
    }

    async fn settle(&self, hold: &Hold, actual: Nanos) -> Vec<Balance> {
        self.end_with(hold, Some(actual), |_, _| {}).0
    }

    async fn void(&self, hold: &Hold) {
        self.end_with(hold, None, |_, _| {});
    }

    async fn push(&self, spec: &AccountSpec, change: Push, now_millis: u64) -> Balance {
        self.current(
            &Arc::new(spec.clone()),
            now_millis,
            None,
            |_, _, _| {},
            |account| {
                account.push(pushed(change, spec.limit, now_millis), change.spent);
                account.standing(spec)
            },
        )
    }

    async fn reset(&self, spec: &AccountSpec, now_millis: u64) -> Nanos {
        self.current(
            &Arc::new(spec.clone()),
            now_millis,
            None,
            |_, _, _| {},
            Account::reset,
        )
    }

    async fn balance(&self, spec: &AccountSpec, now_millis: u64) -> Balance {
        self.look(spec, now_millis)
    }

    async fn open_holds(&self) -> usize {
        self.count()
    }
}

#[cfg(test)]
mod tests;
