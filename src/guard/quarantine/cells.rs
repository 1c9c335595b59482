//! The records of all callers, for many threads at once.
//!
//! Decides who is forgotten when there are too many: whoever is not in quarantine, callers without a key
//! first, those longest without a strike first. Nobody who only gives himself a new name each time can push
//! out a key, or somebody who is in quarantine.

use super::{Kind, Lift, Quarantined, Record, Strike, Struck, Who};
use crate::settings::{KEPT_STRIKES, QuarantineRules};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Parts that are locked one by one.
const SHARDS: usize = 16;

/// The records of all callers.
#[derive(Debug)]
pub struct Cells {
    rules: QuarantineRules,
    shards: [RwLock<HashMap<Who, Record>>; SHARDS],
    /// How many records there are: as long as there are none, nobody is looked for.
    records: AtomicUsize,
}

impl Cells {
    /// No records yet.
    pub fn new(mut rules: QuarantineRules) -> Self {
        rules.permanent = rules.permanent.min(KEPT_STRIKES);
        rules.strikes = rules.strikes.min(KEPT_STRIKES);
        Self {
            rules,
            shards: std::array::from_fn(|_| RwLock::default()),
            records: AtomicUsize::new(0),
        }
    }

    /// The rules.
    pub fn rules(&self) -> &QuarantineRules {
        &self.rules
    }

    /// Whether nobody has any record, and so nobody is in quarantine.
    pub fn is_quiet(&self) -> bool {
        self.records.load(Ordering::Acquire) == 0
    }

    /// Whether a caller is in quarantine at `now`, in Unix milliseconds.
    pub fn check(&self, who: &Who, now: u64) -> Option<Quarantined> {
        if self.is_quiet() {
            return None;
        }
        self.read(who).get(who)?.state(&self.rules, now)
    }

    /// Whether a strike of that number counts against a caller at `now`, or would if nobody had lifted it.
    pub fn has_struck(&self, who: &Who, id: u64, now: u64) -> bool {
        let record = self.read(who);
        let record = record.get(who);
        record.is_some_and(|record| record.has_struck(id, now, &self.rules))
    }

    /// Counts a strike, unless it is there already. Says what it led to, and gives the record as it is now.
    pub fn strike(&self, who: &Who, strike: Strike) -> (Struck, Record) {
        let record = self.change(who, strike.at, |record| record.strike(strike, &self.rules));
        (self.struck(&record, strike.at), record)
    }

    /// What a record says to somebody who has just been struck.
    pub fn struck(&self, record: &Record, now: u64) -> Struck {
        match record.state(&self.rules, now) {
            Some(state) => Struck::Quarantined(state),
            None => {
                let last = record.strikes().last().map_or(now, |strike| strike.at);
                Struck::Counted(record.count(&self.rules, now.max(last)))
            }
        }
    }

    /// Lifts a quarantine. Gives the state before, and the record as it is now.
    pub fn lift(&self, who: &Who, lift: Lift, now: u64) -> (Option<Quarantined>, Record) {
        let before = self.check(who, now);
        (
            before,
            self.change(who, now, |record| record.lift(lift, now)),
        )
    }

    /// Takes over what is known elsewhere. Gives the record as it is now, if that was news.
    pub fn merge(&self, who: &Who, other: &Record, now: u64) -> Option<Record> {
        if other.ends(&self.rules).is_some_and(|end| end <= now) {
            return None;
        }
        let mut news = false;
        let record = self.change(who, now, |record| {
            news = record.merge(other);
            record.settle(&self.rules);
        });
        news.then_some(record)
    }

    /// What is known of a caller.
    pub fn record(&self, who: &Who) -> Option<Record> {
        self.read(who).get(who).cloned()
    }

    /// All records that still matter at `now`.
    pub fn all(&self, now: u64) -> Vec<(Who, Record)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let live = shard
                .iter()
                .filter(|(_, record)| !self.is_over(record, now));
            all.extend(live.map(|(who, record)| (*who, record.clone())));
        }
        all
    }

    /// How many callers are in quarantine at `now`: for a while, and for good.
    pub fn held(&self, now: u64) -> (usize, usize) {
        let mut held = (0, 0);
        for (_, record) in self.all(now) {
            match record.state(&self.rules, now) {
                Some(Quarantined::Temporary { .. }) => held.0 += 1,
                Some(Quarantined::Permanent) => held.1 += 1,
                None => {}
            }
        }
        held
    }

    /// Forgets what does not matter any more.
    pub fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            self.forget(&mut shard, now);
        }
    }

    fn forget(&self, shard: &mut HashMap<Who, Record>, now: u64) {
        let before = shard.len();
        shard.retain(|_, record| !self.is_over(record, now));
        self.records
            .fetch_sub(before - shard.len(), Ordering::AcqRel);
    }

    fn is_over(&self, record: &Record, now: u64) -> bool {
        record.ends(&self.rules).is_some_and(|end| end <= now)
    }

    fn change(&self, who: &Who, now: u64, change: impl FnOnce(&mut Record)) -> Record {
        let mut shard = self.write(who);
        if !shard.contains_key(who) && !self.room(&mut shard, who, now) {
            // Nobody may be forgotten for this one: it is judged by this alone.
            let mut record = Record::default();
            change(&mut record);
            return record;
        }
        let record = match shard.entry(*who) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.records.fetch_add(1, Ordering::AcqRel);
                entry.insert(Record::default())
            }
        };
        change(record);
        record.clone()
    }

    /// Makes room for one more, if that can be done.
    fn room(&self, shard: &mut HashMap<Who, Record>, who: &Who, now: u64) -> bool {
        let most = (self.rules.identities / SHARDS).max(1);
        if shard.len() < most {
            return true;
        }
        self.forget(shard, now);
        if shard.len() < most {
            return true;
        }
        let worth = |who: &Who, record: &Record| {
            let held = record.state(&self.rules, now).is_some();
            let last = record.strikes().last().map_or(0, |strike| strike.at);
            (held, who.kind == Kind::Key, last)
        };
        let least = shard.iter().min_by_key(|(who, record)| worth(who, record));
        let Some((least, record)) = least else {
            return true;
        };
        let (held, is_key, _) = worth(least, record);
        if held || (is_key && who.kind == Kind::Caller) {
            return false;
        }
        let least = *least;
        shard.remove(&least);
        self.records.fetch_sub(1, Ordering::AcqRel);
        true
    }

    fn shard(&self, who: &Who) -> &RwLock<HashMap<Who, Record>> {
        let place = who.digest.first().map_or(0, |byte| usize::from(*byte));
        &self.shards[place % SHARDS]
    }

    fn read(&self, who: &Who) -> RwLockReadGuard<'_, HashMap<Who, Record>> {
        let shard = self.shard(who).read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, who: &Who) -> RwLockWriteGuard<'_, HashMap<Who, Record>> {
        let shard = self.shard(who).write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }
}
