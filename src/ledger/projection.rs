//! What records do to balances.
//!
//! Decides the state that a sequence of records stands for: [`Projection::apply`] is the inverse of
//! what [`super::Book`] logs, and [`Projection::snapshot`] is a state as one record.

use super::log::line::{Action, Entry};
use super::log::record::{KeptAccount, KeptHold, Party, Snapshot};
use super::memory::Memory;
use crate::budget::AccountSpec;
use crate::budget::account::{Account, Pushed};
use crate::identity::{AccountId, AgentId, AttemptId};
use crate::money::Nanos;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Balances, and who holds what.
#[derive(Debug, Default)]
pub(super) struct Projection {
    pub(super) memory: Memory,
    open: [Mutex<HashMap<AttemptId, Arc<Party>>>; SHARDS],
}

/// Locks over the open reservations, so that few requests meet at one.
const SHARDS: usize = 16;

impl Projection {
    fn shard(&self, id: AttemptId) -> MutexGuard<'_, HashMap<AttemptId, Arc<Party>>> {
        let shard = usize::try_from(id.request.spread()).unwrap_or(0) % SHARDS;
        self.open[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an open reservation.
    pub(super) fn opened(&self, party: &Arc<Party>) {
        self.shard(party.id).insert(party.id, Arc::clone(party));
    }

    /// Forgets an open reservation.
    pub(super) fn ended(&self, id: AttemptId) -> Option<Arc<Party>> {
        self.shard(id).remove(&id)
    }

    /// Every open reservation, oldest first.
    pub(super) fn open(&self) -> Vec<Arc<Party>> {
        let mut all = Vec::new();
        for shard in &self.open {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.values().map(Arc::clone));
        }
        all.sort_unstable_by_key(|party| party.id);
        all
    }

    /// How many reservations are open.
    pub(super) fn count(&self) -> usize {
        let count = |shard: &Mutex<HashMap<_, _>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.open.iter().map(count).sum()
    }

    /// Does what a record says.
    pub(super) fn apply(&self, entry: Entry, specs: &BTreeMap<&AccountId, &Arc<AccountSpec>>) {
        match entry.action {
            Action::Intent(party) => {
                for (account, window) in &party.accounts {
                    self.memory.one(account, |account| {
                        account.roll_to(*window);
                        account.hold_in(party.id, party.held, *window);
                    });
                }
                self.opened(&Arc::new(party));
            }
            Action::Settle { id, cost, .. } => self.end(id, cost),
            Action::Void { id } => self.end(id, Nanos::ZERO),
            Action::Budget {
                account,
                total,
                spent,
                policy,
                window,
            } => {
                self.memory.one(&account, |account| {
                    account.roll_to(window);
                    account.push(total.map(|total| Pushed { total, policy }), spent);
                });
            }
            Action::Reset { account, window } => self.memory.one(&account, |account| {
                account.roll_to(window);
                account.reset();
            }),
            Action::Open {
                account,
                opening,
                every,
                window,
            } => {
                self.memory.one(&account, |account| {
                    account.enter(every, window);
                    account.open(opening);
                });
            }
            Action::Period {
                account,
                every,
                window,
            } => {
                self.memory
                    .one(&account, |account| account.enter(every, window));
            }
            Action::Limit { account } => self.memory.one(&account, Account::end_push),
            Action::Snapshot { state, .. } => self.restore(*state),
            Action::LegacySpend { agent, cost } => {
                self.legacy(agent.as_ref(), entry.at, specs, |account| {
                    account.post(cost)
                });
            }
            Action::LegacyReset { agent } => {
                self.legacy(agent.as_ref(), entry.at, specs, |account| {
                    account.reset();
                });
            }
        }
    }

    fn end(&self, id: AttemptId, cost: Nanos) {
        if let Some(party) = self.ended(id) {
            let accounts: Vec<_> = party.accounts.iter().map(|(id, _)| id.clone()).collect();
            self.memory.end(id, &accounts, cost, || ());
        }
    }

    /// Spend that knew no periods counts in the window its time falls in, if that is the newest.
    fn legacy(
        &self,
        agent: Option<&AgentId>,
        at: i64,
        specs: &BTreeMap<&AccountId, &Arc<AccountSpec>>,
        step: impl FnOnce(&mut Account),
    ) {
        let Some(agent) = agent else { return };
        let id = AccountId::agent(agent);
        let spec = specs.get(&id);
        let window = spec.map(|spec| spec.period.window(at.div_euclid(1_000_000)));
        self.memory.one(&id, |account| {
            if let (Some(spec), Some(window)) = (spec, window) {
                if account.tag().is_empty() {
                    account.change_period(spec.period.tag(), window);
                }
                if window.start < account.window().start {
                    return;
                }
                account.roll_to(window.start);
            }
            step(account);
        });
    }

    /// The whole state as one record, of accounts that are locked. `folded` names other chains that
    /// are part of it.
    pub(super) fn frozen(
        &self,
        accounts: &BTreeMap<&AccountId, &Account>,
        folded: &BTreeMap<String, u64>,
    ) -> Snapshot {
        let hold = |party: Arc<Party>| {
            // The window may have changed with the period since the hold was granted.
            let window = |(id, window): &(AccountId, i64)| {
                let held = accounts.get(id).and_then(|account| account.held(party.id));
                (id.clone(), held.map_or(*window, |held| held.window))
            };
            KeptHold {
                id: party.id.to_string(),
                agent_id: party.agent.clone(),
                key: party.key.clone(),
                user: party.user.clone(),
                model: party.model.clone(),
                tier: party.tier,
                held: party.held.0,
                accounts: party.accounts.iter().map(window).collect(),
                chain: party.chain.to_string(),
            }
        };
        Snapshot {
            version: 1,
            accounts: accounts
                .iter()
                .map(|(id, account)| KeptAccount::of(id, account))
                .collect(),
            open: self.open().into_iter().map(hold).collect(),
            folded: folded.clone(),
        }
    }

    fn restore(&self, state: Snapshot) {
        for kept in state.accounts {
            let (id, account) = kept.restore();
            self.memory.put(id, account);
        }
        for hold in state.open {
            // A snapshot was written by `frozen`, so its ids read back.
            let Ok(id) = hold.id.parse() else { continue };
            let party = Party {
                id,
                agent: hold.agent_id,
                key: hold.key,
                user: hold.user,
                model: hold.model,
                tier: hold.tier,
                held: Nanos(hold.held),
                accounts: hold.accounts,
                chain: hold.chain.into(),
            };
            for (account, window) in &party.accounts {
                self.memory
                    .one(account, |account| account.hold_in(id, party.held, *window));
            }
            self.opened(&Arc::new(party));
        }
    }
}
