//! What a book shares with its thread: state, log, and the work that is done beside requests.
//!
//! Decides when the log is synced, when a segment is full, when other processes are looked at, and
//! when the turn to grant is kept or given up.

use super::Denied;
use super::days::Days;
use super::ending::Ending;
use super::follow::Others;
use super::log::record::{self, Party};
use super::log::writer::{Log, Poisoned};
use super::log::{Clock, LogError};
use super::projection::Projection;
use super::recover;
use super::reservation::unresolved;
use super::shared::{Charge, End, Held, Shared, Standing, Testimony, Witness};
use super::turn::{Turn, Turns};
use crate::budget::AccountSpec;
use crate::budget::account::{Account, Changes, Charged};
use crate::identity::{AccountId, AttemptId};
use crate::money::Nanos;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often other processes are looked at.
const FOLLOW: Duration = Duration::from_millis(500);

/// How soon a process that keeps the turn hears another one knock, while there is another one.
const HEAR: Duration = Duration::from_millis(10);

/// How long a grant waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// State and log.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) projection: Projection,
    pub(super) log: Log,
    pub(super) clock: Clock,
    /// Decides about holds in place of the memory, where several gateways share their budgets.
    pub(super) shared: Option<Arc<dyn Shared>>,
    lost: AtomicU64,
    /// How often the store was told what stands in the log.
    told: AtomicU64,
    /// What users spend in a day, where it is shared.
    pub(super) days: Option<Days>,
    /// Ends that the store is not told of before they are recorded.
    ending: Ending,
    stop: AtomicBool,
    /// Held while a snapshot is made, because it says how much of them it contains.
    others: Mutex<Others>,
    /// Whose turn it is to grant, among the processes that write this log.
    pub(super) turns: Turns,
}

thread_local! {
    /// Where this thread puts a record together.
    static BODY: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(1024));
}

/// Runs `encode` on an empty buffer and `then` on what it wrote.
pub(super) fn with_body<T>(encode: impl FnOnce(&mut Vec<u8>), then: impl FnOnce(&[u8]) -> T) -> T {
    let mut body = BODY.take();
    body.clear();
    encode(&mut body);
    let value = then(&body);
    BODY.set(body);
    value
}

impl Keeper {
    pub(super) fn new(
        log: Log,
        projection: Projection,
        clock: Clock,
        shared: Option<Arc<dyn Shared>>,
        others: Others,
        turns: Turns,
    ) -> Self {
        let keeps_days = shared.as_ref().is_some_and(|shared| shared.keeps_days());
        Self {
            days: keeps_days.then(Days::default),
            projection,
            log,
            clock,
            shared,
            lost: AtomicU64::new(0),
            told: AtomicU64::new(0),
            ending: Ending::default(),
            stop: AtomicBool::new(false),
            others: Mutex::new(others),
            turns,
        }
    }

    pub(super) fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How often the shared store was told what stands in the log. Asked while accounts are locked, it
    /// says whether what is held on them by now was part of that.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Counts a record that could not be written.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends a record; without success it counts as lost.
    pub(super) fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Poisoned> {
        let outcome = with_body(encode, |body| self.log.append(body));
        outcome.inspect_err(|Poisoned| self.lose())
    }

    /// Appends what a spec changed about its account.
    pub(super) fn adopted(&self, now: u64, spec: &AccountSpec, state: &Account, changes: Changes) {
        // Without success the log is poisoned and the record counted as lost.
        let _ = self.append(|out| record::adopted(out, now, spec, state, changes));
    }

    /// Charges the hold of a reservation whose process died.
    pub(super) fn charge_orphan(&self, party: &Party) -> Result<(), Poisoned> {
        let accounts: Vec<_> = party.accounts.iter().map(|(id, _)| id.clone()).collect();
        let now = self.clock.millis();
        let end = |ended: &[(usize, Charged)]| {
            let end = self.ending(party, Some(party.held), ended);
            let seq = self.append(|out| record::settle(out, now, party, &unresolved(party), None));
            seq.map(|seq| (seq, end))
        };
        let memory = &self.projection.memory;
        let Some(ended) = memory.end(party.id, &accounts, party.held, end) else {
            return Ok(());
        };
        let (seq, end) = ended?;
        self.log.write(seq)?;
        self.tell(end);
        Ok(())
    }

    /// Forgets a hold while its accounts are locked; what [`Keeper::tell`] is to say of it.
    pub(super) fn ending(
        &self,
        party: &Party,
        cost: Option<Nanos>,
        ended: &[(usize, Charged)],
    ) -> Option<End> {
        let open = self.projection.ended(party.id);
        self.shared.as_ref()?;
        if let Some(open) = open {
            self.ending.begin(open);
        }
        let charge = |(index, charged): &(usize, Charged)| {
            let (account, _) = party.accounts.get(*index)?;
            Some(Charge {
                account: account.clone(),
                turn: charged.turn,
                window: charged.held.window,
                total: charged.total,
            })
        };
        let charges = match cost {
            Some(_) => ended.iter().filter_map(charge).collect(),
            None => Vec::new(),
        };
        Some(End {
            id: party.id,
            chain: Arc::clone(&party.chain),
            cost,
            charges,
        })
    }

    /// Tells the store that several gateways share, if there is one, of an end that is recorded.
    pub(super) fn tell(&self, end: Option<End>) {
        let (Some(shared), Some(end)) = (&self.shared, end) else {
            return;
        };
        let id = end.id;
        shared.end(end);
        self.ending.recorded(id);
    }

    /// Gives a hold back of which there is no record.
    pub(super) fn give_back(&self, party: &Party) {
        self.tell(Some(End {
            id: party.id,
            chain: Arc::clone(&party.chain),
            cost: None,
            charges: Vec::new(),
        }));
    }

    /// Writes the whole state as one record.
    pub(super) fn checkpoint(&self, kind: &str) -> Result<(), LogError> {
        let others = self.others();
        let now = self.clock.millis();
        self.projection.memory.freeze(|accounts| {
            let state = self.projection.frozen(accounts, &others.folded());
            Ok(self.log.put(&recover::body(now, kind, &state))?)
        })
    }

    /// Begins a new segment.
    pub(super) fn rotate(&self) -> Result<(), LogError> {
        let others = self.others();
        let now = self.clock.millis();
        self.projection.memory.freeze(|accounts| {
            let state = self.projection.frozen(accounts, &others.folded());
            let footer = recover::body(now, "footer", &state);
            self.log
                .rotate(&footer, &recover::body(now, "header", &state))
        })
    }

    /// Waits until this process may grant, and everything is known that others have granted. Held
    /// until the INTENT is with the operating system. `None` where that is not needed: for soft
    /// limits, and where a store that gateways share decides.
    pub(super) async fn turn(&self, hard: bool) -> Result<Option<Turn>, Denied> {
        if !hard || self.shared.is_some() {
            return Ok(None);
        }
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "no turn to grant from the budgets that processes share");
            Denied::Unavailable
        };
        let at_once = self.turns.at_once().map_err(|error| unavailable(&error))?;
        let turn = match at_once {
            Some(turn) => turn,
            None => match tokio::time::timeout(PATIENCE, self.turns.take()).await {
                Ok(turn) => turn.map_err(|error| unavailable(&error))?,
                Err(_) => return Err(unavailable(&"another process does not give it on")),
            },
        };
        if !turn.is_kept() {
            self.learn().map_err(|error| unavailable(&error))?;
        }
        Ok(Some(turn))
    }

    /// Makes everything known that others have recorded until now.
    fn learn(&self) -> Result<(), LogError> {
        match self.turns.news()? {
            None => self.hear(),
            Some(length) => {
                self.look()?;
                self.turns.looked(length);
                Ok(())
            }
        }
    }

    /// The log is open: keeps the turn if nobody else is there.
    pub(super) fn arrived(&self) -> Result<(), LogError> {
        if self.shared.is_some() || self.others().any_live() {
            return Ok(());
        }
        self.keep()
    }

    fn keep(&self) -> Result<(), LogError> {
        self.turns.keep(|| {
            self.look()?;
            Ok(self.others().any_live())
        })
    }

    /// Follows the others, and keeps the turn when nobody else grants.
    fn tend(&self) {
        self.follow();
        if self.shared.is_none() && !self.turns.is_kept() && self.turns.wanted() {
            self.warned(self.keep());
        }
    }

    /// Gives the turn up when somebody has come or knocked.
    fn give_way(&self) {
        if self.shared.is_some() || !self.turns.is_kept() {
            return;
        }
        match self.turns.news() {
            Ok(None) => {}
            Ok(Some(_)) => self.turns.give_up(|| {
                // Should the write fail, the log is poisoned and nothing is granted any more.
                let _ = self.log.write_all();
            }),
            Err(error) => self.warned(Err(error)),
        }
    }

    fn warned(&self, outcome: Result<(), LogError>) {
        if let Err(error) = outcome {
            tracing::warn!(%error, "cannot see to whose turn it is");
        }
    }

    /// Ends [`Keeper::run`].
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Syncs when there is something to sync, at most once in `interval`, rotates full segments, and
    /// follows other processes, until told to stop.
    pub(super) fn run(&self, interval: Duration) {
        let mut synced: Option<Instant> = None;
        let mut followed = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            self.give_way();
            if followed.elapsed() >= FOLLOW {
                self.tend();
                followed = Instant::now();
            }
            let pause = if self.others().any_live() {
                HEAR
            } else {
                FOLLOW
            };
            if !self.log.dirty() {
                std::thread::park_timeout(pause);
                continue;
            }
            let since = synced.map_or(interval, |synced| synced.elapsed());
            if since < interval {
                std::thread::park_timeout(pause.min(interval - since));
                continue;
            }
            synced = Some(Instant::now());
            // A failure poisons the log, which says so itself.
            let outcome = self.log.sync();
            if outcome.is_ok() && self.log.full() {
                let _ = self.rotate();
            }
        }
    }
}

impl Witness for Keeper {
    fn chain(&self) -> Arc<str> {
        Arc::clone(self.log.chain())
    }

    fn has_open(&self, id: AttemptId) -> bool {
        self.projection.has(id) || self.ending.has(id)
    }

    fn testimony(&self) -> Testimony {
        let dead = {
            let others = self.others();
            let chains = others.folded().into_keys();
            let dead = chains.filter(|chain| !others.live(chain));
            dead.map(Arc::from).collect()
        };
        // Before the accounts are locked: see `told`.
        self.told.fetch_add(1, Ordering::SeqCst);
        self.projection.memory.freeze(|accounts| {
            let own = self.log.chain();
            let standing = |(id, account): (&&AccountId, &&Account)| Standing {
                account: (*id).clone(),
                tag: account.tag().to_owned(),
                turn: account.turn().max(1),
                window: account.window().start,
                based: account.based(),
                pushed: account.pushed(),
            };
            let charged = |(id, account): (&&AccountId, &&Account)| {
                let charge = Charge {
                    account: (*id).clone(),
                    turn: account.turn().max(1),
                    window: account.window().start,
                    total: account.charged(),
                };
                (Arc::clone(own), charge)
            };
            let mut charged: Vec<_> = accounts.iter().map(charged).collect();
            let elsewhere = self.projection.elsewhere();
            charged.extend(elsewhere.iter().map(|(place, total)| {
                let charge = Charge {
                    account: place.account.clone(),
                    turn: place.turn.max(1),
                    window: place.window,
                    total: *total,
                };
                (Arc::clone(&place.chain), charge)
            }));
            let open = self.projection.open().into_iter();
            let open = open.chain(self.ending.all());
            let own_open = open.filter(|party| *party.chain == **own);
            Testimony {
                own: Arc::clone(own),
                dead,
                accounts: accounts.iter().map(standing).collect(),
                charged,
                open: own_open.map(|party| self.held(&party, accounts)).collect(),
            }
        })
    }
}

impl Keeper {
    /// An open hold with the windows it is held in now, which a change of the period has moved.
    fn held(&self, party: &Party, accounts: &BTreeMap<&AccountId, &Account>) -> Held {
        let window = |(id, window): &(AccountId, i64)| {
            let held = accounts.get(id).and_then(|account| account.held(party.id));
            (id.clone(), held.map_or(*window, |held| held.window))
        };
        Held {
            id: party.id,
            held: party.held,
            accounts: party.accounts.iter().map(window).collect(),
        }
    }
}
