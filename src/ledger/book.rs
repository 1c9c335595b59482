//! Balances in memory and the spend log, as one.
//!
//! Decides the order: a hold is recorded before a request goes out, a push and a reset before they
//! act, and records stand in the log in the order in which they changed each account, because they
//! are appended while the accounts are locked. What a record does is decided in `projection.rs`, how
//! it is made durable in [`super::log`].

mod change;
mod opening;
mod raise;

use super::keeper::Keeper;
use super::log::record::{self, Party};
use super::log::{Durability, LogError};
use super::reservation::State;
use super::shared::{Away, Granted};
use super::turn::Turn;
use super::{Ask, Denied, Grant, Hold, Reservation};
use crate::budget::warn::Passed;
use crate::budget::{AccountSpec, Balance};
use crate::money::Nanos;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How many times rarer the disk is synced when no request waits for it: with the default setting,
/// a loss of power costs the records of the last 50 ms.
const RELAXED: u32 = 10;

/// The budget book of one process.
#[derive(Debug)]
pub struct Book {
    core: Arc<Keeper>,
    durability: Durability,
    syncer: Option<JoinHandle<()>>,
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reservations that are open, those of other live processes included.
    pub open: usize,
    /// Records that could not be written since the start.
    pub lost: u64,
    /// Bytes in the active segment at the start and written since.
    pub log_bytes: u64,
    /// Whether the log has failed and hard budgets are refused.
    pub poisoned: bool,
}

impl Book {
    /// Holds the worst case of a request on every account it falls under, and records it.
    ///
    /// # Errors
    /// [`Denied`] when nothing is held: a hard account cannot carry it, or the log cannot record it.
    pub async fn reserve(self: &Arc<Self>, ask: Ask<'_>) -> Result<Reservation, Denied> {
        let core = &*self.core;
        let own = ask.accounts.len();
        let with_day = core.days.as_ref().and_then(|days| days.with(&ask));
        let ask = Ask {
            accounts: with_day.as_deref().unwrap_or(ask.accounts),
            ..ask
        };
        let hard = ask.accounts.iter().any(|spec| spec.hard);
        if hard && core.log.poisoned() {
            return Err(Denied::Unavailable);
        }
        let told = core.told();
        let given = match &core.shared {
            None => None,
            Some(shared) => match shared.reserve(&ask).await {
                Ok(granted) => Some(Given::new(self, &ask, granted)),
                // What nobody is held to is decided here, and told when the store is back.
                Err(Denied::Unavailable) if !hard => None,
                Err(denied) => return Err(denied),
            },
        };
        // Where other processes write this log: theirs first, then ours.
        let turn = core.turn(hard).await?;
        let granted = given.as_ref().map(|given| &given.granted);
        let mut noted = false;
        let note = |spec: &_, account: &_, changes| {
            noted = true;
            core.adopted(ask.now_millis, spec, account, changes);
        };
        let held = core
            .projection
            .memory
            .reserve_with(&ask, granted, note, |grant| {
                // Told since without this hold, the store may have forgotten it.
                if hard && core.told() != told {
                    return Err(Denied::Unavailable);
                }
                let party = Arc::new(self.party(&ask, grant));
                let models = ask
                    .models
                    .get(grant.tier)
                    .or(ask.models.last())
                    .map_or(&[][..], Vec::as_slice);
                let seq = core.append(|out| record::intent(out, ask.now_millis, &party, models));
                if hard && seq.is_err() {
                    return Err(Denied::Unavailable);
                }
                core.projection.opened(&party);
                Ok((party, seq.ok()))
            });
        if noted && held.is_err() {
            // A failure has poisoned the log, which the next request sees.
            let _ = core.log.write_all();
        }
        let (mut grant, (party, seq)) = held?;
        let shared = given.map(Given::keep).is_some();
        let mut reservation = Reservation {
            shared,
            book: Arc::clone(self),
            hold: Hold::new(&ask, &grant),
            grant: {
                grant.balances.truncate(own);
                grant.windows.truncate(own);
                grant
            },
            party,
            state: State::Recording,
            course: None,
        };
        if let Some(seq) = seq {
            if turn.as_ref().is_none_or(Turn::is_kept) {
                // Other tasks of this thread may append meanwhile, for one write of all.
                tokio::task::yield_now().await;
            }
            let mut recorded = core.log.write(seq);
            drop(turn);
            if recorded.is_ok() && self.durability == Durability::Strict {
                recorded = core.log.durable(seq).await;
            }
            if recorded.is_err() {
                core.lose();
                if hard {
                    return Err(Denied::Unavailable);
                }
            }
        }
        reservation.state = State::Open;
        Ok(reservation)
    }

    fn party(&self, ask: &Ask<'_>, grant: &Grant) -> Party {
        let windows = ask.accounts.iter().zip(&grant.windows);
        let models = ask.models.get(grant.tier).or(ask.models.last());
        Party {
            id: ask.id,
            agent: ask.agent.clone(),
            key: ask.key.cloned(),
            user: ask.user.cloned(),
            model: models
                .and_then(|models| models.first())
                .cloned()
                .unwrap_or_default(),
            tier: grant.tier,
            held: grant.held,
            accounts: windows
                .map(|(spec, window)| (spec.id.clone(), *window))
                .collect(),
            chain: Arc::clone(self.core.log.chain()),
        }
    }

    /// Ends a reservation: a charge, or with `None` a release. `encode` writes the record.
    pub(super) fn end(
        &self,
        hold: &Hold,
        party: &Party,
        cost: Option<Nanos>,
        encode: impl FnOnce(u64, &mut Vec<u8>),
    ) -> Balance {
        let core = &*self.core;
        let now = core.clock.millis();
        let (balances, ended) = core.projection.memory.end_with(hold, cost, |_, ended| {
            let end = core.ending(party, cost, ended);
            (core.append(|out| encode(now, out)), end)
        });
        if let Some((seq, end)) = ended {
            let mut recorded = seq;
            if let Ok(seq) = seq {
                recorded = core.log.write(seq).map(|()| seq);
                if recorded.is_err() {
                    core.lose();
                }
            }
            // What the log does not say has ended is charged in full by the next process.
            let hard = hold.accounts.iter().any(|spec| spec.hard);
            if recorded.is_ok() || !hard {
                core.tell(end);
            }
        }
        balances.first().copied().unwrap_or_default()
    }

    /// The state of an account now, for all gateways that share it. While their store is away, as
    /// last heard of.
    pub async fn balance(&self, spec: &AccountSpec) -> Balance {
        let now = self.core.clock.millis();
        match &self.core.shared {
            None => self.core.projection.memory.look(spec, now),
            Some(shared) => match shared.balance(spec, now).await {
                Ok(balance) => balance,
                Err(Away) => self.glance(spec),
            },
        }
    }

    /// The state of an account without waiting: where gateways share it, as last heard of.
    pub fn glance(&self, spec: &AccountSpec) -> Balance {
        let core = &*self.core;
        let now = core.clock.millis();
        let heard = core.shared.as_ref().and_then(|s| s.glance(spec, now));
        heard.unwrap_or_else(|| core.projection.memory.look(spec, now))
    }

    /// Tells `listener` of every warning level that is passed, also of those passed before. Not where
    /// gateways share their balances: no one of them knows all that is spent. It must not ask for
    /// balances.
    pub fn on_warning(&self, listener: impl Fn(&Passed) + Send + Sync + 'static) {
        if self.core.shared.is_none() {
            let memory = &self.core.projection.memory;
            memory.warned.listen(Box::new(listener));
        }
    }

    /// What stands in this process's own balances, whatever gateways share.
    pub fn own(&self, spec: &AccountSpec) -> Balance {
        let core = &*self.core;
        core.projection.memory.look(spec, core.clock.millis())
    }

    /// How many reservations are open, those of other live processes included.
    pub fn open_reservations(&self) -> usize {
        self.core.projection.count()
    }

    /// Figures for the metrics.
    pub fn counters(&self) -> Counters {
        Counters {
            open: self.open_reservations(),
            lost: self.core.lost(),
            log_bytes: self.core.log.bytes(),
            poisoned: self.core.log.poisoned(),
        }
    }

    /// Takes over what other live processes have recorded, and charges what dead ones left open. It
    /// happens by itself twice a second.
    pub fn follow(&self) {
        self.core.follow();
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// [`LogError`] when that fails; the log is poisoned then.
    pub fn flush(&self) -> Result<(), LogError> {
        self.core.log.sync()
    }

    /// Begins a new segment now, whatever the size of the active one.
    ///
    /// # Errors
    /// [`LogError`] when that fails; the log is poisoned then.
    pub fn rotate(&self) -> Result<(), LogError> {
        self.core.rotate()
    }

    /// Ends the log for this run: a footer, so that the next start has little to replay, and
    /// everything on the disk. Reservations that are still open can be settled afterwards.
    pub fn close(&self) {
        if let Some(shared) = &self.core.shared {
            shared.leave();
        }
        // A failure has poisoned the log, which says so itself.
        let _ = self.core.checkpoint("footer");
        let _ = self.core.log.sync();
    }
}

/// A grant of the shared store that this process has not recorded yet. Dropped, it is given back.
struct Given {
    core: Arc<Keeper>,
    party: Option<Party>,
    granted: Granted,
}

impl Given {
    fn new(book: &Book, ask: &Ask<'_>, granted: Granted) -> Self {
        Self {
            core: Arc::clone(&book.core),
            party: Some(book.party(ask, &granted.grant)),
            granted,
        }
    }

    /// It is recorded now: whoever has the reservation ends it.
    fn keep(mut self) {
        self.party = None;
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(party) = self.party.take() {
            self.core.give_back(&party);
        }
    }
}

#[cfg(test)]
impl Book {
    /// Makes every later write fail, as a full disk does.
    pub(super) fn fill_disk(&self) {
        self.core.log.fill_disk();
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.core.stop();
        if let Some(syncer) = self.syncer.take() {
            syncer.thread().unpark();
            // It ends by itself; a panic in it has been reported by its hook.
            let _ = syncer.join();
        }
    }
}
