//! Replay: from the files of a log to balances.
//!
//! Decides how several chains become one state. Every chain's records are applied in the order of
//! their times (within a chain, of their numbers), from the newest snapshot on: a snapshot says how
//! much of every chain it contains.

use super::log::LogError;
use super::log::chain::{Cursor, Read};
use super::log::line::{Action, Entry, Link};
use super::log::record::Snapshot;
use super::log::segment::{Family, Files};
use super::projection::Projection;
use crate::budget::AccountSpec;
use crate::identity::AccountId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

/// The state that the files stand for.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) projection: Projection,
    /// Every chain found.
    pub(super) chains: BTreeMap<String, Chain>,
    /// Records of other chains that no snapshot of ours contains yet.
    pub(super) unfolded: bool,
}

/// One chain as it was found.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Whether its process is alive.
    pub(super) live: bool,
    /// Its last record.
    pub(super) last: Option<(u64, Link)>,
    /// What was read of its newest file.
    pub(super) newest: Read,
    /// First record in the newest file.
    pub(super) first: Option<u64>,
    /// Sums over what was read of it.
    pub(super) records: u64,
    pub(super) legacy: u64,
    /// Its newest file, still open.
    pub(super) file: Option<(PathBuf, File)>,
    entries: Vec<Entry>,
    /// Number of the first record read; 0 when reading began with the chain.
    from: u64,
}

/// How often files are listed again because a live process rotated meanwhile.
const ATTEMPTS: usize = 5;

/// Replays the log. `own` is the chain of this process.
pub(super) fn recover(
    family: &Family,
    own: &str,
    specs: &[Arc<AccountSpec>],
) -> Result<Recovered, LogError> {
    let mut chains = BTreeMap::new();
    let names: Vec<String> = family.list()?.into_keys().collect();
    let alone = names.len() < 2;
    for name in names {
        chains.insert(name.clone(), read_live(family, &name, own, 1, alone)?);
    }
    let base = newest_snapshot(&mut chains);
    if let Some((_, _, folded)) = &base {
        let gaps: Vec<_> = chains
            .iter()
            .filter(|(name, chain)| chain.from > folded.get(*name).map_or(1, |seq| seq + 1))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gaps {
            chains.insert(
                name.clone(),
                read_live(family, &name, own, usize::MAX, false)?,
            );
        }
    }
    let known: BTreeMap<&AccountId, &Arc<AccountSpec>> =
        specs.iter().map(|spec| (&spec.id, spec)).collect();
    let mut recovered = Recovered {
        projection: Projection::of(own),
        ..Recovered::default()
    };
    let mut folded = BTreeMap::new();
    if let Some((name, entry, contains)) = base {
        recovered.projection.apply(entry, &name, &known);
        folded = contains;
    }
    let mut entries = Vec::new();
    for (name, chain) in &mut chains {
        let whose: Arc<str> = name.as_str().into();
        let mut latest = i64::MIN;
        for entry in chain.entries.drain(..) {
            // A clock that was set back does not change the order within a chain.
            latest = latest.max(entry.at);
            let contained = folded.get(name).is_some_and(|seq| entry.seq <= *seq);
            if !contained && !matches!(entry.action, Action::Snapshot { .. }) {
                recovered.unfolded |= name != own;
                entries.push((latest, entry, Arc::clone(&whose)));
            }
        }
    }
    // Stable: chain by chain, each in its own order, is how they were put in.
    entries.sort_by_key(|(at, _, _)| *at);
    for (_, entry, chain) in entries {
        recovered.projection.apply(entry, &chain, &known);
    }
    recovered.chains = chains;
    Ok(recovered)
}

/// The newest snapshot of all chains: whose it is, and what it contains of each.
fn newest_snapshot(
    chains: &mut BTreeMap<String, Chain>,
) -> Option<(Arc<str>, Entry, BTreeMap<String, u64>)> {
    let mut newest: Option<(String, usize, i64)> = None;
    for (name, chain) in chains.iter() {
        for (index, entry) in chain.entries.iter().enumerate() {
            let newer = newest.as_ref().is_none_or(|(_, _, at)| entry.at >= *at);
            if newer && matches!(entry.action, Action::Snapshot { .. }) {
                newest = Some((name.clone(), index, entry.at));
            }
        }
    }
    let (name, index, _) = newest?;
    let entry = chains.get_mut(&name)?.entries.remove(index);
    let Action::Snapshot { state, .. } = &entry.action else {
        return None;
    };
    let mut folded = state.folded.clone();
    let whose = name.as_str().into();
    folded.insert(name, entry.seq);
    Some((whose, entry, folded))
}

/// Reads a chain that its process may rotate at this moment.
fn read_live(
    family: &Family,
    name: &str,
    own: &str,
    newest: usize,
    alone: bool,
) -> Result<Chain, LogError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let files = family.list()?.remove(name).unwrap_or_default();
        let live = name != own && files.live()?;
        match read(&files, name, newest, alone) {
            Err(_) if live && attempt < ATTEMPTS => {}
            outcome => return outcome.map(|chain| Chain { live, ..chain }),
        }
    }
}

/// Reads the last `newest` files of a chain that hold anything.
fn read(files: &Files, name: &str, newest: usize, alone: bool) -> Result<Chain, LogError> {
    let mut paths: Vec<PathBuf> = files.all();
    let mut contents = Vec::new();
    let last = paths.last().cloned();
    let mut newest_file = None;
    while let Some(path) = paths.pop() {
        let mut bytes = Vec::new();
        let mut file = File::open(&path).map_err(LogError::io(&path))?;
        file.read_to_end(&mut bytes).map_err(LogError::io(&path))?;
        newest_file.get_or_insert((path.clone(), file));
        // A segment that was begun and holds no whole record yet says nothing about the ones before.
        let whole = memchr::memchr(b'\n', &bytes).is_some();
        contents.push((path, bytes));
        if whole && contents.len() >= newest {
            break;
        }
    }
    let mut cursor = Cursor::new(name);
    let mut chain = Chain::default();
    for (path, bytes) in contents.into_iter().rev() {
        chain.first = None;
        let is_last = Some(&path) == last.as_ref();
        let read = cursor.read(&path, 0, &bytes, is_last, &mut |entry| {
            if chain.first.is_none() && entry.seq > 0 {
                chain.first = Some(entry.seq);
            }
            if chain.from == 0 {
                chain.from = entry.seq.max(1);
            }
            if alone && matches!(entry.action, Action::Snapshot { .. }) {
                chain.entries.clear();
            }
            chain.entries.push(entry);
        })?;
        chain.records += read.records;
        chain.legacy += read.legacy;
        chain.newest = read;
    }
    chain.last = cursor.last;
    chain.file = newest_file;
    Ok(chain)
}

/// The body of a snapshot record.
pub(super) fn body(now: u64, kind: &str, state: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    super::log::record::snapshot(&mut out, now, kind, state);
    out
}
