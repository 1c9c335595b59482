//! What records do to balances.
//!
//! Decides the state that a sequence of records stands for: [`Projection::apply`] is the inverse of
//! what [`super::Book`] logs, and [`Projection::snapshot`] is a state as one record.

use super::log::line::{Action, Entry};
use super::log::record::{KeptAccount, KeptCharge, KeptHold, Party, Snapshot};
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
    /// The chain that this process writes.
    own: Arc<str>,
    /// What other chains have charged in the windows of accounts; their own processes, if they
    /// live, know it better.
    elsewhere: Mutex<BTreeMap<Elsewhere, Nanos>>,
    open: [Mutex<HashMap<AttemptId, Arc<Party>>>; SHARDS],
}

/// A window of an account, and a chain that has charged something in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Elsewhere {
    pub(super) chain: Arc<str>,
    pub(super) account: AccountId,
    /// How often the account's period had changed.
    pub(super) turn: u64,
    pub(super) window: i64,
}

/// Locks over the open reservations, so that few requests meet at one.
const SHARDS: usize = 16;

impl Projection {
    /// Nothing yet, in a process that writes the chain `own`.
    pub(super) fn of(own: &str) -> Self {
        Self {
            own: own.into(),
            ..Self::default()
        }
    }

    /// What every other chain has charged.
    pub(super) fn elsewhere(&self) -> MutexGuard<'_, BTreeMap<Elsewhere, Nanos>> {
        self.elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

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

    /// Whether a reservation is open.
    pub(super) fn has(&self, id: AttemptId) -> bool {
        self.shard(id).contains_key(&id)
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

    /// Does what a record of `chain` says.
    pub(super) fn apply(
        &self,
        entry: Entry,
        chain: &Arc<str>,
        specs: &BTreeMap<&AccountId, &Arc<AccountSpec>>,
    ) {
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
            Action::Settle { id, cost, .. } => self.end(id, cost, chain),
            Action::Void { id } => self.end(id, Nanos::ZERO, chain),
            Action::Budget {
                account,
                total,
                spent,
                policy,
                window,
                based,
            } => {
                self.memory.one(&account, |account| {
                    account.roll_to(window);
                    let at = u64::try_from(entry.at / 1000).unwrap_or(0);
                    account.push(total.map(|total| Pushed { total, policy, at }), spent);
                    if let Some(based) = based {
                        account.rebase(based);
                    }
                });
            }
            Action::Reset {
                account,
                window,
                based,
            } => self.memory.one(&account, |account| {
                account.roll_to(window);
                account.reset();
                if let Some(based) = based {
                    account.rebase(based);
                }
            }),
            Action::Open {
                account,
                opening,
                every,
                window,
                turn,
            } => {
                self.memory.one(&account, |account| {
                    account.enter(every, window);
                    if let Some((turn, _)) = turn {
                        account.set_turn(turn);
                    }
                    account.open(opening);
                });
            }
            Action::Period {
                account,
                every,
                window,
                turn,
            } => self.memory.one(&account, |account| {
                account.enter(every, window);
                if let Some((turn, charged)) = turn {
                    account.set_turn(turn);
                    if *chain == self.own {
                        account.set_charged(charged);
                    }
                }
            }),
            Action::Limit { account } => self.memory.one(&account, Account::end_push),
            Action::Snapshot { state, .. } => self.restore(*state, chain),
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

    fn end(&self, id: AttemptId, cost: Nanos, chain: &Arc<str>) {
        let Some(party) = self.ended(id) else { return };
        let accounts: Vec<_> = party.accounts.iter().map(|(id, _)| id.clone()).collect();
        if *chain == self.own {
            self.memory.end(id, &accounts, cost, |_| ());
            return;
        }
        for (account, charged) in self.memory.end_elsewhere(id, &accounts, cost) {
            let place = Elsewhere {
                chain: Arc::clone(chain),
                account,
                turn: charged.turn,
                window: charged.held.window,
            };
            *self.elsewhere().entry(place).or_default() += cost;
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
        let current = |place: &Elsewhere| {
            let account = accounts.get(&place.account);
            account.is_some_and(|account| place.window >= account.window().start)
        };
        let mut elsewhere = self.elsewhere();
        elsewhere.retain(|place, _| current(place));
        let elsewhere = elsewhere.iter().map(|(place, total)| KeptCharge {
            chain: place.chain.to_string(),
            account: place.account.clone(),
            turn: place.turn,
            period: place.window,
            total: total.0,
        });
        Snapshot {
            version: 1,
            charged: elsewhere.collect(),
            accounts: accounts
                .iter()
                .map(|(id, account)| KeptAccount::of(id, account))
                .collect(),
            open: self.open().into_iter().map(hold).collect(),
            folded: folded.clone(),
        }
    }

    fn restore(&self, state: Snapshot, chain: &Arc<str>) {
        for kept in state.accounts {
            let (id, mut account) = kept.restore();
            if *chain != self.own {
                let window = account.window().start;
                let charged = account.disown();
                let place = Elsewhere {
                    chain: Arc::clone(chain),
                    account: id.clone(),
                    turn: account.turn(),
                    window,
                };
                self.elsewhere().insert(place, charged);
            }
            self.memory.put(id, account);
        }
        for kept in state.charged {
            if *kept.chain != *self.own {
                let place = Elsewhere {
                    chain: kept.chain.into(),
                    account: kept.account,
                    turn: kept.turn,
                    window: kept.period,
                };
                self.elsewhere().insert(place, Nanos(kept.total));
                continue;
            }
            self.memory.one(&kept.account, |account| {
                if (account.turn(), account.window().start) == (kept.turn, kept.period) {
                    account.own(Nanos(kept.total));
                }
            });
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
