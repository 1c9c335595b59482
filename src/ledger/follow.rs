//! Other processes that write the same log: what they spend counts here while they live.
//!
//! Decides how two processes share budgets while both are alive, as during a restart without downtime:
//! each reads what the other records, twice a second and whenever it is its turn to grant
//! ([`super::turn`]).

use super::keeper::Keeper;
use super::log::LogError;
use super::log::chain::Cursor;
use super::log::line::{self, Action, Entry};
use super::log::segment::{Family, Files};
use super::recover::Chain;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// The chains of other processes.
#[derive(Debug, Default)]
pub(super) struct Others {
    chains: BTreeMap<String, Other>,
}

/// One other chain.
#[derive(Debug)]
struct Other {
    cursor: Cursor,
    /// Whether its process is alive as far as is known.
    live: bool,
    /// How far it is read; `None` once its process is dead and everything is read. Of the log's own
    /// path it stays: the next process may go on there.
    place: Option<Place>,
}

impl Other {
    /// Whether its process is dead, everything is read, and no other process will go on there.
    fn is_over(&self) -> bool {
        !self.live && self.place.is_none() && self.cursor.last.is_some()
    }
}

/// A place in a chain's newest file. The open file stays the same one when it is renamed.
#[derive(Debug)]
struct Place {
    file: File,
    path: PathBuf,
    offset: u64,
    /// Whether the record before it was a footer, after which another file may go on.
    ended: bool,
}

impl Others {
    /// The other chains as replay found them.
    pub(super) fn of(chains: &mut BTreeMap<String, Chain>, own: &str) -> Self {
        let others = chains.iter_mut().filter(|(name, _)| *name != own);
        let other = |(name, chain): (&String, &mut Chain)| {
            let cursor = Cursor {
                chain: name.as_str().into(),
                last: chain.last,
            };
            let file = chain.file.take();
            let file = file.filter(|_| chain.live || is_taken_over(name));
            let offset = chain.newest.valid;
            let place = file.map(|(path, file)| Place {
                file,
                path,
                offset,
                ended: true,
            });
            let live = chain.live;
            (
                name.clone(),
                Other {
                    cursor,
                    live,
                    place,
                },
            )
        };
        Self {
            chains: others.map(other).collect(),
        }
    }

    /// Whether the process of a chain is alive as far as is known.
    pub(super) fn live(&self, chain: &str) -> bool {
        self.chains.get(chain).is_some_and(|other| other.live)
    }

    /// Whether any other process is alive as far as is known.
    pub(super) fn any_live(&self) -> bool {
        self.chains.values().any(|other| other.live)
    }

    /// The last record of each that has been applied.
    pub(super) fn folded(&self) -> BTreeMap<String, u64> {
        let last = |other: &Other| other.cursor.last.map_or(0, |(seq, _)| seq);
        self.chains
            .iter()
            .map(|(name, other)| (name.clone(), last(other)))
            .collect()
    }
}

impl Keeper {
    /// Applies what other processes have recorded since, and charges what dead ones left open.
    pub(super) fn follow(&self) {
        if let Err(error) = self.look() {
            tracing::warn!(%error, "cannot follow another process's spend log");
        }
    }

    /// Reads on in every chain that is known.
    pub(super) fn hear(&self) -> Result<(), LogError> {
        let mut others = self.others();
        let family = self.log.family();
        for other in others.chains.values_mut() {
            self.catch_up(family, other)?;
        }
        Ok(())
    }

    /// Finds the chains that there are and reads on in them; charges what dead processes left open.
    pub(super) fn look(&self) -> Result<(), LogError> {
        let mut others = self.others();
        let family = self.log.family();
        for (name, files) in family.list()? {
            if *name == **self.log.chain() {
                continue;
            }
            let other = others.chains.entry(name.clone()).or_insert_with(|| Other {
                cursor: Cursor::new(&name),
                live: false,
                place: None,
            });
            if other.place.is_none() && other.cursor.last.is_none() {
                other.place = Place::beginning(&files)?;
            }
            if other.is_over() {
                continue;
            }
            // Asked before reading: what a process recorded before it died is read below.
            let live = files.live()?;
            let was_live = std::mem::replace(&mut other.live, live) || other.place.is_some();
            self.catch_up(family, other)?;
            if !live && !is_taken_over(&name) {
                other.place = None;
            }
            if !live && was_live {
                let mut orphans = self.projection.open();
                orphans.retain(|party| *party.chain == *name);
                for party in &orphans {
                    self.charge_orphan(party)?;
                }
                if !orphans.is_empty() {
                    self.log.write_all()?;
                }
            }
        }
        Ok(())
    }

    fn catch_up(&self, family: &Family, other: &mut Other) -> Result<(), LogError> {
        while let Some(place) = &mut other.place {
            let mut bytes = Vec::new();
            let path = place.path.clone();
            let read = place.file.seek(SeekFrom::Start(place.offset));
            read.and_then(|_| place.file.read_to_end(&mut bytes))
                .map_err(LogError::io(&path))?;
            let mut ended = place.ended;
            let chain = Arc::clone(&other.cursor.chain);
            let mut sink = |entry: Entry| {
                ended = matches!(entry.action, Action::Snapshot { footer: true, .. });
                if matches!(entry.action, Action::Intent(_)) {
                    self.turns.heard();
                }
                if !matches!(entry.action, Action::Snapshot { .. }) {
                    self.projection.apply(entry, &chain, &BTreeMap::new());
                }
            };
            let read = other
                .cursor
                .read(&path, place.offset, &bytes, true, &mut sink)?;
            place.offset += read.valid;
            place.ended = ended;
            let next = if ended {
                Place::after(family, &other.cursor)?
            } else {
                None
            };
            match next {
                Some(next) => *place = next,
                None => break,
            }
        }
        Ok(())
    }
}

/// Whether another process may go on in a chain when its own is dead: in the log's own path.
fn is_taken_over(chain: &str) -> bool {
    chain.is_empty()
}

impl Place {
    fn open(path: PathBuf) -> Result<Option<Self>, LogError> {
        match File::open(&path) {
            Ok(file) => Ok(Some(Self {
                file,
                path,
                offset: 0,
                ended: false,
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LogError::Io { path, source }),
        }
    }

    /// The beginning of a chain.
    fn beginning(files: &Files) -> Result<Option<Self>, LogError> {
        files.all().into_iter().next().map_or(Ok(None), Self::open)
    }

    /// The file that goes on where the last record of the cursor ended one, if there is one.
    fn after(family: &Family, cursor: &Cursor) -> Result<Option<Self>, LogError> {
        let Some((seq, _)) = cursor.last else {
            return Ok(None);
        };
        let rotated = family.rotated(&cursor.chain, seq + 1);
        if let Some(place) = Self::open(rotated)? {
            return Ok(Some(place));
        }
        let path = family.active(&cursor.chain);
        let Some(place) = Self::open(path)? else {
            return Ok(None);
        };
        // After a footer that ended a process's run, it is the same file still.
        let mut first = Vec::new();
        let mut lines = BufReader::new(&place.file);
        lines
            .read_until(b'\n', &mut first)
            .map_err(LogError::io(&place.path))?;
        let chain = Arc::clone(&cursor.chain);
        let goes_on =
            line::ours(first.trim_ascii_end(), &chain).is_ok_and(|entry| entry.seq == seq + 1);
        Ok(goes_on.then_some(place))
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::contract::account;
    use crate::ledger::log::verify;
    use crate::ledger::scratch::{Scratch, bill, noon};
    use crate::ledger::tests::reserve;
    use crate::money::Nanos;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_second_process_writes_beside_the_first_and_both_count() {
        let (scratch, at) = (Scratch::new(), noon());
        let spec = Arc::new(account("agent:a", 1000));
        let (first, _) = scratch.open(&at, &[&spec]);
        let held = reserve(&first, &spec, 100).await.unwrap();
        let (second, recovery) = scratch.open(&at, &[&spec]);
        assert_eq!((recovery.live, recovery.orphans), (1, 0));
        assert_ne!(recovery.segment, scratch.log());
        assert_eq!(
            second.glance(&spec).pending,
            Nanos(100),
            "not charged, but held"
        );
        let _ = held.settle(bill(60));
        let _ = reserve(&second, &spec, 50).await.unwrap().settle(bill(50));
        first.rotate().unwrap();
        let _ = reserve(&first, &spec, 5).await.unwrap().settle(bill(5));
        let open = reserve(&first, &spec, 200).await.unwrap();
        for book in [&first, &second] {
            book.follow();
            let balance = book.glance(&spec);
            assert_eq!((balance.posted, balance.pending), (Nanos(115), Nanos(200)));
        }
        let killed = scratch.killed();
        let (third, recovery) = killed.open(&at, &[&spec]);
        assert_eq!(
            (recovery.segment, recovery.live, recovery.orphans),
            (killed.log(), 0, 1)
        );
        assert_eq!(third.glance(&spec).posted, Nanos(315));
        drop(third);
        let (third, recovery) = killed.open(&at, &[&spec]);
        assert_eq!(
            (third.glance(&spec).posted, recovery.orphans),
            (Nanos(315), 0)
        );
        drop((open, first));
        second.follow();
        assert_eq!(second.glance(&spec).posted, Nanos(315));
        assert!(verify(&scratch.log()).unwrap().is_sound());
    }

    #[tokio::test]
    async fn what_another_process_left_open_is_charged_by_the_one_that_lives() {
        let (scratch, at) = (Scratch::new(), noon());
        let spec = Arc::new(account("agent:a", 1000));
        let (_first, _) = scratch.open(&at, &[&spec]);
        let (second, recovery) = scratch.open(&at, &[&spec]);
        let _held = reserve(&second, &spec, 100).await.unwrap();
        // A dead process is one whose file nobody has locked: a copy.
        let killed = scratch.killed();
        let own = Scratch::new();
        let (other, _) = own.open(&at, &[&spec]);
        let name = recovery.segment.file_name().unwrap();
        std::fs::copy(killed.0.join(name), own.0.join(name)).unwrap();
        for _ in 0..2 {
            other.follow();
            let balance = other.glance(&spec);
            assert_eq!((balance.posted, balance.pending), (Nanos(100), Nanos::ZERO));
        }
    }
}
