//! What the breaker knows, read from the spend log and from its own journal.
//!
//! Decides that both are read to their ends, each line once, and that another window is put together from their
//! beginnings. So a process that was killed forgets nothing, and processes of one log say the same.

use super::journal::{Entry, Journal, What};
use super::kept::Kept;
use super::now;
use crate::breaker::spike::Spike;
use crate::breaker::{Level, Rules, Spent, Standing, Tracker};
use crate::identity::RequestId;
use crate::ledger::log::LogError;
use crate::ledger::log::tail::{Ended, Tail};
use crate::money::Nanos;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Lines of the spend log that are read at once.
const BATCH: usize = 512;

/// How often what is known is kept, when it changes.
const KEEP: Duration = Duration::from_secs(5);

/// Who spent something, where nobody says.
pub(super) const UNKNOWN: &str = "unknown";

/// The key something came with, where there was none.
pub(super) const DEFAULT: &str = "default";

/// Why what was spent cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the breaker's file: {0}")]
    Journal(#[from] io::Error),
}

/// A spike, and the request that made it one.
pub(super) type Found = (Spike, RequestId);

/// What is known, and where reading goes on.
pub(super) struct Known {
    log: PathBuf,
    rules: Rules,
    pub(super) tracker: Tracker,
    pub(super) journal: Journal,
    tail: Tail,
    /// The level that was told last.
    pub(super) told: Level,
    /// The last level that all gateways together were at, as far as it was seen.
    pub(super) floor: Level,
    /// When the latest of what was counted was spent.
    latest: i64,
    /// Whether something is not kept yet, and when it should be.
    changed: bool,
    due: Option<Instant>,
}

impl Known {
    /// What was known beside the log at `log`.
    pub(super) fn at(log: &Path, rules: &Rules) -> Self {
        let (rules, tag) = (rules.clone(), rules.span.tag());
        let known = Kept::load(log, &tag).map(|kept| Self {
            log: log.to_owned(),
            rules: rules.clone(),
            tail: Tail::after(log, kept.position),
            journal: Journal::beside(log, kept.journal),
            told: kept.told,
            floor: kept.floor,
            latest: kept.latest,
            tracker: kept.tracker,
            changed: false,
            due: None,
        });
        known.unwrap_or_else(|| Self {
            log: log.to_owned(),
            tail: since(log, &rules, now()),
            rules,
            tracker: Tracker::default(),
            journal: Journal::beside(log, 0),
            told: Level::Ok,
            floor: Level::Ok,
            latest: i64::MIN,
            changed: true,
            due: None,
        })
    }

    /// Reads what was spent meanwhile, and gives how things stand then.
    ///
    /// # Errors
    /// When a file cannot be read; what was read before counts.
    pub(super) fn read(&mut self, rules: &Rules, found: &mut Vec<Found>) -> Result<(), Unread> {
        if self.rules.span != rules.span {
            self.rules = rules.clone();
            self.tracker = self.tracker.emptied();
            self.again();
        }
        if self.rules != *rules {
            self.rules = rules.clone();
        }
        self.read_journal()?;
        loop {
            let batch = self.tail.ended(BATCH)?;
            let now = now();
            for ended in batch.iter().filter(|ended| ended.billing != "void") {
                self.changed = true;
                self.latest = self.latest.max(ended.at_ms);
                let spike = self.tracker.spent(&self.rules, &spent(ended), now);
                found.extend(spike.map(|spike| (spike, ended.id.request)));
            }
            if batch.len() < BATCH {
                return Ok(());
            }
        }
    }

    /// Reads the journal on.
    fn read_journal(&mut self) -> Result<(), Unread> {
        let news = self.journal.news()?;
        self.apply(&news)
    }

    /// Everything is read from its beginning.
    fn again(&mut self) {
        self.tail = since(&self.log, &self.rules, now());
        self.journal = Journal::beside(&self.log, 0);
        self.latest = i64::MIN;
        self.tracker.forget_agents();
        self.changed = true;
    }

    /// Takes lines of the journal over.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Result<(), Unread> {
        let resets = entries.iter().filter_map(|entry| match entry.what {
            What::Reset { until } => Some(until),
            _ => None,
        });
        if let Some(until) = resets.max() {
            self.reset(until)?;
        }
        for entry in entries {
            self.changed = true;
            match &entry.what {
                What::Track(spent) => {
                    self.latest = self.latest.max(spent.at);
                    // Whoever tells of it has no agent here.
                    self.tracker.spent(&self.rules, spent, now());
                }
                What::Limits { limits } => self.tracker.limit(limits.clone()),
                What::Told { level } => self.told = *level,
                What::Reset { .. } => {}
            }
        }
        Ok(())
    }

    /// Begins anew: what was spent until then does not count.
    fn reset(&mut self, until: i64) -> Result<(), Unread> {
        if until <= self.tracker.window().after() {
            return Ok(());
        }
        self.changed = true;
        // What was spent later counts, and may have been counted already.
        let later = self.latest > until;
        self.tracker.reset(until);
        if later {
            self.again();
            self.read_journal()?;
        }
        Ok(())
    }

    /// How things stand.
    pub(super) fn standing(&mut self) -> Standing {
        self.tracker.standing(&self.rules, now())
    }

    /// The rules that things are judged by.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All gateways together are at this level.
    pub(super) fn among(&mut self, level: Level) {
        self.changed |= self.floor != level;
        self.floor = level;
    }

    /// Something is known that was not read.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// Keeps what is known for the next start, but not all the time.
    pub(super) fn keep(&mut self, at_once: bool) {
        let began = Instant::now();
        let due = self.due.is_none_or(|due| began >= due);
        if !self.changed || !(due || at_once) {
            return;
        }
        let kept = Kept::new(
            self.rules.span.tag(),
            self.tail.position(),
            self.journal.last(),
            (self.told, self.floor),
            self.latest,
            self.tracker.clone(),
        );
        let saved = kept.save(&self.log);
        // Much to keep is kept more rarely.
        self.due = Some(began + KEEP.max(began.elapsed() * 50));
        if let Err(error) = saved {
            tracing::warn!(%error, "what the breaker knows is not kept; the spend log says it again");
            return;
        }
        self.changed = false;
        let (first, after) = (self.rules.span.first(now()), self.tracker.window().after());
        let counts = |entry: &Entry| entry.at >= first && entry.at > after;
        if let Err(error) = self.journal.pack(counts) {
            tracing::warn!(%error, "the breaker's file is not made smaller");
        }
    }
}

/// The log from the beginning of the window on.
fn since(log: &Path, rules: &Rules, now: i64) -> Tail {
    let first = u64::try_from(rules.span.first(now)).unwrap_or(0);
    Tail::since(log, UNIX_EPOCH + Duration::from_millis(first))
}

fn spent(ended: &Ended) -> Spent {
    let (user, key) = (ended.user.as_ref(), ended.key.as_ref());
    Spent {
        at: ended.at_ms,
        model: ended.model.as_str().into(),
        user: user.map_or(UNKNOWN, |user| user.as_str()).into(),
        key: key.map_or(DEFAULT, |key| key.as_str()).into(),
        agent: Some(ended.agent.as_str().into()),
        input: ended.usage.input,
        output: ended.usage.output,
        cost: ended.cost.max(Nanos::ZERO),
    }
}
