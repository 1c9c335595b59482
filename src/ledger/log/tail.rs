//! Settlements from a place in the log on, while it is being written.
//!
//! Decides where a reader goes on: in every chain after a record it names by number and link, through
//! rotations, and from the beginning of a chain whose files do not hold that record. It changes
//! nothing, takes no lock, and leaves judging damage to the start of the process: a chain is read up
//! to its first line that is no record. Rows that an Execwall OR Gate wrote are passed over, because
//! they have no id.

use super::LogError;
use super::line::{self, Link};
use super::segment::{Family, Files};
use crate::identity::{AgentId, AttemptId, KeyId, UserId};
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// What the chain without a name is called outside of file names.
const MAIN: &str = "main";

/// The most chains of a position that is read from text.
const MOST_CHAINS: usize = 10_000;

/// One settlement.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The chain it stands in, as a [`Position`] names it.
    pub chain: Arc<str>,
    /// Its number there.
    pub seq: u64,
    /// The attempt; no two have the same, anywhere.
    pub id: AttemptId,
    /// When it was written: UTC, RFC 3339.
    pub at: String,
    /// Whose budget it was charged to.
    pub agent: AgentId,
    /// The person behind the key.
    pub user: Option<UserId>,
    /// The key it came with.
    pub key: Option<KeyId>,
    /// The model that answered.
    pub model: String,
    /// Input and output tokens together.
    pub tokens: u64,
    /// Token counts by kind, those that are not zero, as a JSON object.
    pub usage: Option<Box<RawValue>>,
    /// What was charged.
    pub cost: Nanos,
    /// `settled`, `estimated` or `unresolved`.
    pub status: String,
    /// Where the amount came from.
    pub source: String,
    /// Start of the window it was charged in, in Unix seconds; 0 without periods.
    pub window: i64,
}

/// A record, by number and link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    seq: u64,
    link: Link,
}

/// How far each chain has been read. As text, a JSON object: `{"main":"41-c471697b1fd08bda"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Position(BTreeMap<String, Mark>);

/// Why text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a spend log")]
pub struct NoPosition;

impl TryFrom<BTreeMap<String, String>> for Position {
    type Error = NoPosition;

    fn try_from(texts: BTreeMap<String, String>) -> Result<Self, NoPosition> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let process = |name: &str| {
            let parts = name.split_once('-');
            name.len() <= 64 && parts.is_some_and(|(pid, millis)| digits(pid) && digits(millis))
        };
        if texts.len() > MOST_CHAINS {
            return Err(NoPosition);
        }
        let marks = texts.into_iter().map(|(name, mark)| match name.as_str() {
            MAIN => Ok((String::new(), mark.parse()?)),
            other if process(other) => Ok((name, mark.parse()?)),
            _ => Err(NoPosition),
        });
        marks.collect::<Result<_, _>>().map(Self)
    }
}

impl From<Position> for BTreeMap<String, String> {
    fn from(position: Position) -> Self {
        let marks = position.0.into_iter();
        marks
            .map(|(name, mark)| (outside(&name).to_owned(), mark.text()))
            .collect()
    }
}

fn outside(chain: &str) -> &str {
    if chain.is_empty() { MAIN } else { chain }
}

impl Mark {
    fn text(self) -> String {
        let link = self.link.map(char::from);
        format!("{}-{}", self.seq, link.iter().collect::<String>())
    }
}

impl FromStr for Mark {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (seq, link) = text.split_once('-').ok_or(NoPosition)?;
        let link: Link = link.as_bytes().try_into().map_err(|_| NoPosition)?;
        let hex = link.iter().all(u8::is_ascii_hexdigit);
        match seq.parse() {
            Ok(seq) if seq > 0 && hex => Ok(Self { seq, link }),
            _ => Err(NoPosition),
        }
    }
}

/// A reader of all chains of a log.
#[derive(Clone, Debug)]
pub struct Tail {
    family: Family,
    chains: BTreeMap<String, Chain>,
}

/// How far one chain is read.
#[derive(Clone, Debug, Default)]
struct Chain {
    /// The last record read; `None` before the first.
    mark: Option<Mark>,
    /// Where the next one is; `None` while that has to be looked for.
    place: Option<Place>,
    /// Where a line was no record, so that it is reported once.
    stuck: Option<Place>,
}

/// A place in a file. The file is known by its first record, because it is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the file's first record; `None` while the file holds none.
    first: Option<u64>,
    /// In bytes.
    offset: u64,
    /// Whether the record before it was a footer, after which another file may go on.
    ended: bool,
}

/// A line, as far as every record is alike.
#[derive(Deserialize)]
struct Head<'a> {
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    agent_id: AgentId,
    user: Option<UserId>,
    key: Option<KeyId>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    tokens: u64,
    usage: Option<Box<RawValue>>,
    nano_usd: i64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    period: i64,
}

/// What happened to a chain as far as a round could read it.
enum Step {
    /// A line that was understood.
    Record,
    /// Nothing more for now.
    End,
    /// A line that is no record, or not the next one.
    Bad,
}

impl Tail {
    /// Goes on after `position` in the log at `path`. Chains that it does not name are read from
    /// their beginning.
    pub fn after(path: &Path, position: Position) -> Self {
        let chain = |mark| Chain {
            mark: Some(mark),
            ..Chain::default()
        };
        let chains = position.0.into_iter();
        Self {
            family: Family::of(path),
            chains: chains.map(|(name, mark)| (name, chain(mark))).collect(),
        }
    }

    /// How far it has read.
    pub fn position(&self) -> Position {
        let read = self.chains.iter();
        Position(
            read.filter_map(|(name, chain)| Some((name.clone(), chain.mark?)))
                .collect(),
        )
    }

    /// The next settlements, at most `most` of them; fewer only when there are no more.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be read.
    pub fn read(&mut self, most: usize) -> Result<Vec<Settlement>, LogError> {
        let mut batch = Vec::new();
        self.advance(&mut |chain, seq, line| {
            match settlement(chain, seq, line) {
                Some(settlement) => batch.push(settlement),
                // The start of the process refuses such a log.
                None => tracing::warn!(%chain, seq, "a settlement in the spend log is not whole"),
            }
            batch.len() < most
        })?;
        Ok(batch)
    }

    /// Reads to the end and says how many settlements that were.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be read.
    pub fn skip(&mut self) -> Result<u64, LogError> {
        let mut count = 0;
        self.advance(&mut |_, _, _| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    /// Shows `sink` settlements until it wants no more.
    fn advance(
        &mut self,
        sink: &mut dyn FnMut(&Arc<str>, u64, &[u8]) -> bool,
    ) -> Result<(), LogError> {
        let files = self.family.list()?;
        // Where a chain's files are is no more of interest once they are gone.
        self.chains.retain(|name, _| files.contains_key(name));
        for (name, files) in &files {
            let chain = self.chains.entry(name.clone()).or_default();
            if !chain.advance(&self.family, name, files, sink)? {
                break;
            }
        }
        Ok(())
    }
}

impl Chain {
    /// Whether there may be more to read, in other chains.
    fn advance(
        &mut self,
        family: &Family,
        name: &str,
        files: &Files,
        sink: &mut dyn FnMut(&Arc<str>, u64, &[u8]) -> bool,
    ) -> Result<bool, LogError> {
        let shown: Arc<str> = outside(name).into();
        let mut searched = self.place.is_none();
        if searched {
            self.place = self.find(name, files)?;
        }
        while let Some(place) = self.place {
            let path = match place.first {
                Some(first) => Some(family.rotated(name, first)).filter(|path| path.exists()),
                None => None,
            };
            let path = path.unwrap_or_else(|| family.active(name));
            let Some(mut lines) = Lines::open(&path, place)? else {
                return Ok(true);
            };
            let mut wanted = true;
            let step = loop {
                if !wanted {
                    return Ok(false);
                }
                let step = self.step(&mut lines, &mut |seq, line| {
                    wanted = sink(&shown, seq, line);
                })?;
                if !matches!(step, Step::Record) {
                    break step;
                }
                self.stuck = None;
            };
            match step {
                Step::Bad if !searched && self.place == Some(place) => {
                    // It was rotated between the look and the read, or it is another log's file.
                    searched = true;
                    self.place = self.find(name, files)?;
                }
                Step::Bad => {
                    if self.stuck != self.place {
                        self.stuck = self.place;
                        let (path, at) = (path.display(), lines.place.offset);
                        tracing::warn!(%path, at, "a line is no record; this chain is read no further");
                    }
                    return Ok(true);
                }
                Step::End | Step::Record => match self.successor(family, name)? {
                    Some(next) => self.place = Some(next),
                    None => return Ok(true),
                },
            }
        }
        Ok(true)
    }

    /// Reads one record and shows it if it is a settlement.
    fn step(
        &mut self,
        lines: &mut Lines,
        sink: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Step, LogError> {
        // The rows of an Execwall OR Gate stand before everything else.
        let may_be_legacy = self.mark.is_none();
        let Some(line) = lines.next()? else {
            return Ok(Step::End);
        };
        if !line::sealed(line) {
            let blank = line.trim_ascii().is_empty();
            if may_be_legacy && (blank || line::legacy(line).is_ok()) {
                lines.accept();
                return Ok(Step::Record);
            }
            return Ok(Step::Bad);
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
            return Ok(Step::Bad);
        };
        let next = self
            .mark
            .is_none_or(|mark| head.seq == mark.seq + 1 && head.prev.as_bytes() == mark.link);
        if !next {
            return Ok(Step::Bad);
        }
        let footer = head.event.as_deref() == Some("footer");
        let seq = head.seq;
        if head.event.is_none() {
            sink(seq, line);
        }
        self.mark = Some(Mark {
            seq,
            link: line::link(line),
        });
        lines.place.first.get_or_insert(seq);
        lines.place.ended = footer;
        lines.accept();
        self.place = Some(lines.place);
        Ok(Step::Record)
    }

    /// The file that goes on where a footer ended one.
    fn successor(&self, family: &Family, name: &str) -> Result<Option<Place>, LogError> {
        let (Some(mark), Some(place)) = (self.mark, self.place) else {
            return Ok(None);
        };
        if !place.ended {
            return Ok(None);
        }
        let next = mark.seq + 1;
        let there = family.rotated(name, next).exists()
            || first_record(&family.active(name))?.is_some_and(|head| head.seq == next);
        Ok(there.then_some(Place {
            first: Some(next),
            offset: 0,
            ended: false,
        }))
    }

    /// Where the record after the mark is. A mark that the files do not hold is forgotten.
    fn find(&mut self, name: &str, files: &Files) -> Result<Option<Place>, LogError> {
        let mut segments: Vec<(Option<Mark>, PathBuf)> = Vec::new();
        for path in files.all() {
            segments.push((first_record(&path)?, path));
        }
        let beginning = segments.first().map(|(first, _)| Place {
            first: first.map(|first| first.seq),
            offset: 0,
            ended: false,
        });
        let Some(mark) = self.mark else {
            return Ok(beginning);
        };
        // The record itself, or the one that follows it at the beginning of a file.
        for (first, path) in segments.iter().rev() {
            let Some(first) = first.filter(|first| first.seq <= mark.seq + 1) else {
                continue;
            };
            let place = Place {
                first: Some(first.seq),
                offset: 0,
                ended: false,
            };
            if first.seq == mark.seq + 1 {
                if first.link == mark.link {
                    return Ok(Some(place));
                }
                continue;
            }
            if let Some(place) = after(path, place, mark)? {
                return Ok(Some(place));
            }
            break;
        }
        let chain = outside(name);
        tracing::warn!(
            chain,
            seq = mark.seq,
            "the record last read is not in the spend log; reading begins with what is"
        );
        self.mark = None;
        Ok(beginning)
    }
}

/// The place after the record `mark` of a file, if it holds it.
fn after(path: &Path, place: Place, mark: Mark) -> Result<Option<Place>, LogError> {
    let Some(mut lines) = Lines::open(path, place)? else {
        return Ok(None);
    };
    while let Some(line) = lines.next()? {
        let sealed = line::sealed(line);
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        match head.filter(|_| sealed) {
            Some(head) if head.seq == mark.seq => {
                let found = line::link(line) == mark.link;
                lines.place.ended = head.event.as_deref() == Some("footer");
                lines.accept();
                return Ok(found.then_some(lines.place));
            }
            Some(head) if head.seq > mark.seq => break,
            _ => lines.accept(),
        }
    }
    Ok(None)
}

/// Number of a file's first record, and the link it carries to the one before.
fn first_record(path: &Path) -> Result<Option<Mark>, LogError> {
    let place = Place {
        first: None,
        offset: 0,
        ended: false,
    };
    let Some(mut lines) = Lines::open(path, place)? else {
        return Ok(None);
    };
    while let Some(line) = lines.next()? {
        if line::sealed(line) {
            let head = serde_json::from_slice::<Head<'_>>(line).ok();
            return Ok(head.and_then(|head| {
                let link = head.prev.as_bytes().try_into().ok()?;
                Some(Mark {
                    seq: head.seq,
                    link,
                })
            }));
        }
        lines.accept();
    }
    Ok(None)
}

/// Lines of a file that have their end.
struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    /// Before the line read last, until it is accepted.
    place: Place,
}

impl Lines {
    /// `None` when there is no such file.
    fn open(path: &Path, place: Place) -> Result<Option<Self>, LogError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io(path)(error)),
        };
        file.seek(SeekFrom::Start(place.offset))
            .map_err(LogError::io(path))?;
        Ok(Some(Self {
            reader: BufReader::with_capacity(64 << 10, file),
            path: path.to_owned(),
            line: Vec::new(),
            place,
        }))
    }

    /// The next line without its end; nothing when it has none yet.
    fn next(&mut self) -> Result<Option<&[u8]>, LogError> {
        self.line.clear();
        self.reader
            .read_until(b'\n', &mut self.line)
            .map_err(LogError::io(&self.path))?;
        Ok(self.line.strip_suffix(b"\n"))
    }

    /// Goes on after the line read last.
    fn accept(&mut self) {
        self.place.offset += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
    }
}

fn settlement(chain: &Arc<str>, seq: u64, line: &[u8]) -> Option<Settlement> {
    let row: Row<'_> = serde_json::from_slice(line).ok()?;
    Some(Settlement {
        chain: Arc::clone(chain),
        seq,
        id: row.id.parse().ok()?,
        at: format!("{}Z", row.timestamp),
        agent: row.agent_id,
        user: row.user,
        key: row.key,
        model: row.model,
        tokens: row.tokens,
        usage: row.usage,
        cost: Nanos(row.nano_usd),
        status: row.status,
        source: row.source,
        window: row.period,
    })
}

#[cfg(test)]
mod tests;
