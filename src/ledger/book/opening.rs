//! How a book is opened: what the log says is replayed, and what dead processes left open is charged.
//!
//! Decides in which order that happens, and what a new policy changes about accounts that are there.

use super::super::keeper::Keeper;
use super::super::log::record::{self, Party};
use super::super::log::segment::Family;
use super::super::log::writer::Log;
use super::super::log::{Durability, LogError, LogOptions, Recovery};
use super::super::shared::{Shared, Witness};
use super::super::turn::Turns;
use super::super::{follow, recover};
use super::{Book, RELAXED};
use crate::budget::AccountSpec;
use std::io::Write;
use std::sync::Arc;

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
}
