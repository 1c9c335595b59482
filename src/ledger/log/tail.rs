//! Settlements from a place in the log on, while it is being written.
//!
//! Decides where a reader goes on: in every chain after a record it names by number and link, through
//! rotations, and from the beginning of a chain whose files do not hold that record. It changes
//! nothing, takes no lock, and leaves judging damage to the start of the process: a chain is read up
//! to its first line that is no record. Rows that an Execwall OR Gate wrote are passed over, because
//! they have no id.

mod chain;
mod ended;

use super::LogError;
use super::line::Link;
use super::segment::Family;
use crate::identity::{AgentId, AttemptId, KeyId, UserId};
use crate::money::Nanos;
use chain::Chain;
pub use ended::Ended;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

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

/// Who is shown the ends of attempts (and resets, where those are wanted), each as its chain, its number, its kind and its line. Says whether
/// to go on.
type Sink<'a> = dyn FnMut(&Arc<str>, u64, Kind, &[u8]) -> bool + 'a;

/// How an attempt ended; or the reset of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Settled,
    Voided,
    Reset,
}

/// A reader of all chains of a log.
#[derive(Clone, Debug)]
pub struct Tail {
    family: Family,
    chains: BTreeMap<String, Chain>,
    since: Option<SystemTime>,
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

impl Tail {
    /// Goes on after `position` in the log at `path`. Chains that it does not name are read from
    /// their beginning.
    pub fn after(path: &Path, position: Position) -> Self {
        let chains = position.0.into_iter();
        Self {
            family: Family::of(path),
            chains: chains
                .map(|(name, mark)| (name, Chain::after(mark)))
                .collect(),
            since: None,
        }
    }

    /// Begins, in every chain, with the first file that was written since then.
    pub fn since(path: &Path, since: SystemTime) -> Self {
        Self {
            since: Some(since),
            ..Self::after(path, Position::default())
        }
    }

    /// Shows `sink` every settlement and every reset that it has not seen.
    pub(in crate::ledger) fn each(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), LogError> {
        self.advance(&mut |_, _, kind, line| {
            if kind != Kind::Voided {
                sink(line);
            }
            true
        })
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
        self.advance(&mut |chain, seq, kind, line| {
            if kind != Kind::Settled {
                return true;
            }
            match settlement(chain, seq, line) {
                Some(settlement) => batch.push(settlement),
                // The start of the process refuses such a log.
                None => tracing::warn!(%chain, seq, "a settlement in the spend log is not whole"),
            }
            batch.len() < most
        })?;
        Ok(batch)
    }

    /// The next attempts that ended after they were sent, at most `most` of them; fewer only when
    /// there are no more.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be read.
    pub fn ended(&mut self, most: usize) -> Result<Vec<Ended>, LogError> {
        let mut batch = Vec::new();
        self.advance(&mut |chain, seq, kind, line| {
            if kind == Kind::Reset || (kind == Kind::Voided && !ended::was_sent(line)) {
                return true;
            }
            match Ended::parse(chain, seq, kind, line) {
                Some(ended) => batch.push(ended),
                // The start of the process refuses such a log.
                None => tracing::warn!(%chain, seq, "the end of an attempt in the spend log is not whole"),
            }
            batch.len() < most
        })?;
        Ok(batch)
    }

    /// Reads to the end and says how many attempts had ended after they were sent.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be read.
    pub fn skip_ended(&mut self) -> Result<u64, LogError> {
        let mut count = 0;
        self.advance(&mut |_, _, kind, line| {
            let sent = kind == Kind::Voided && ended::was_sent(line);
            count += u64::from(kind == Kind::Settled || sent);
            true
        })?;
        Ok(count)
    }

    /// Reads to the end and says how many settlements that were.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be read.
    pub fn skip(&mut self) -> Result<u64, LogError> {
        let mut count = 0;
        self.advance(&mut |_, _, kind, _| {
            count += u64::from(kind == Kind::Settled);
            true
        })?;
        Ok(count)
    }

    /// Shows `sink` settlements until it wants no more.
    fn advance(&mut self, sink: &mut Sink<'_>) -> Result<(), LogError> {
        let files = self.family.list()?;
        // Where a chain's files are is no more of interest once they are gone.
        self.chains.retain(|name, _| files.contains_key(name));
        for (name, files) in &files {
            let begin = || self.since.map_or_else(Chain::default, Chain::since);
            let chain = self.chains.entry(name.clone()).or_insert_with(begin);
            if !chain.advance(&self.family, name, files, sink)? {
                break;
            }
        }
        Ok(())
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
