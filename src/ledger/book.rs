//! Balances in memory and the spend log, as one.
//!
//! Decides the order: a hold is recorded before a request goes out, a push and a reset before they
//! act, and records stand in the log in the order in which they changed each account, because they
//! are appended while the accounts are locked. What a record does is decided in `projection.rs`, how
//! it is made durable in [`super::log`].

mod raise;

use super::keeper::{Keeper, with_body};
use super::log::record::{self, Party};
use super::log::segment::Family;
use super::log::writer::{Log, Poisoned};
use super::log::{Durability, LogError, LogOptions, Recovery};
use super::memory::pushed;
use super::reservation::State;
use super::shared::{Away, Changed, Granted, Shared, Witness};
use super::turn::{Turn, Turns};
use super::{Ask, Denied, Grant, Hold, Push, Reservation, follow, recover};
use crate::budget::account::Account;
use crate::budget::warn::Passed;
use crate::budget::{AccountSpec, Balance};
use crate::money::{MAX_AMOUNT, Nanos};
use std::io::Write;
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
    /// Opens the log, replays it, and charges what dead processes left open. `specs` are the
    /// accounts of the policy; others appear when they are first used.
    ///
    /// # Errors
    /// [`LogError`] when a file cannot be read or written, or is damaged anywhere but at the end of
    /// the active segment.
    pub fn open(
        options: LogOptions,
        specs: &[Arc<AccountSpec>],
    ) -> Result<(Arc<Self>, Recovery), LogError> {
        Self::open_sharing(options, specs, None)
    }

    /// Like [`Book::open`], with a store of balances that several gateways share: it decides, and
    /// the log is this gateway's part of the record.
    ///
    /// # Errors
    /// As [`Book::open`].
    pub fn open_sharing(
        options: LogOptions,
        specs: &[Arc<AccountSpec>],
        shared: Option<Arc<dyn Shared>>,
    ) -> Result<(Arc<Self>, Recovery), LogError> {
        let family = Family::of(&options.path);
        let now = options.clock.millis();
        let mut claim = family.claim(now)?;
        let own = claim.chain.clone();
        let mut recovered = recover::recover(&family, &own, specs)?;
        let mut recovery = Recovery {
            segment: claim.path.clone(),
            ..Recovery::default()
        };
        for chain in recovered.chains.values() {
            recovery.records += chain.records;
            recovery.legacy += chain.legacy;
            recovery.live += usize::from(chain.live);
        }
        let found = recovered.chains.get(&own);
        let newest = found.map(|chain| chain.newest).unwrap_or_default();
        if newest.tail > 0 {
            let (path, at) = (claim.path.display(), newest.valid);
            tracing::warn!(%path, at, bytes = newest.tail, "cut an invalid tail off the spend log");
            claim
                .file
                .set_len(newest.valid)
                .map_err(LogError::io(&claim.path))?;
            recovery.cut_bytes = newest.tail;
        }
        let mut size = newest.valid;
        if newest.unterminated {
            claim
                .file
                .write_all(b"\n")
                .map_err(LogError::io(&claim.path))?;
            size += 1;
        }
        let last = found.and_then(|chain| chain.last);
        let next = last.map_or(1, |(seq, _)| seq + 1);
        let first = found.and_then(|chain| chain.first);
        let others = follow::Others::of(&mut recovered.chains, &own);
        let dead = |party: &Party| !others.live(&party.chain);
        let orphans: Vec<_> = recovered
            .projection
            .open()
            .into_iter()
            .filter(|p| dead(p))
            .collect();
        let log = Log::new(&options, family, claim, last, first.unwrap_or(next), size);
        let turns = Turns::of(&options.path)?;
        recovered.projection.memory.watch(specs);
        let core = Keeper::new(
            log,
            recovered.projection,
            options.clock,
            shared,
            others,
            turns,
        );
        if first.is_none() {
            core.checkpoint("header")?;
        } else if recovered.unfolded {
            core.checkpoint("checkpoint")?;
        }
        for party in orphans {
            recovery.orphans += 1;
            recovery.orphaned += party.held;
            core.charge_orphan(&party)?;
        }
        let core = Arc::new(core);
        let shared = Arc::clone(&core);
        let interval = match options.durability {
            Durability::Strict => options.group_commit,
            // Nobody waits for the disk, so it is asked less often.
            Durability::Process => options.group_commit * RELAXED,
        };
        let syncer = std::thread::Builder::new()
            .name("spend-log".into())
            .spawn(move || shared.run(interval))
            .map_err(LogError::io(&options.path))?;
        core.log.wake(syncer.thread().clone());
        let book = Self {
            core,
            durability: options.durability,
            syncer: Some(syncer),
        };
        book.adopt(specs);
        book.flush()?;
        book.core.arrived()?;
        if let Some(shared) = &book.core.shared {
            let core: Arc<dyn Witness> = Arc::clone(&book.core) as _;
            shared.begin(Arc::downgrade(&core));
        }
        Ok((Arc::new(book), recovery))
    }

    /// Takes over what a new policy says of its accounts: opening spend of new ones, changed
    /// periods, and the end of pushes that its own limits have overtaken. Requests do the first two
    /// by themselves.
    pub fn adopt(&self, specs: &[Arc<AccountSpec>]) {
        let core = &*self.core;
        let now = core.clock.millis();
        if let Some(shared) = &core.shared {
            // Which period they have is decided there, when they are asked for.
            shared.adopt(specs, now);
            return;
        }
        for spec in specs {
            let note = |spec: &_, account: &_, changes| core.adopted(now, spec, account, changes);
            core.projection
                .memory
                .current(spec, now, None, note, |account| {
                    if account.overtaken(spec) {
                        let _ = core.append(|out| record::limit(out, now, spec));
                        account.end_push();
                    }
                });
        }
        // A failure has poisoned the log, which every later step reports.
        let _ = core.log.write_all();
    }

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
    fn change<T>(
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
