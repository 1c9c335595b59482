//! What a log says at one moment, read from outside.
//!
//! Decides what every chain of a log has charged and which of its holds are open, without opening
//! the log: gateways may be writing it. What else has to agree with that is not decided here.

use super::log::record::Party;
use super::log::segment::Family;
use super::log::{LogError, Summary, known_identity, verify};
use super::recover::recover;
use crate::budget::AccountSpec;
use crate::budget::account::Account;
use crate::budget::period::Period;
use crate::identity::{AccountId, AgentId, AttemptId};
use crate::money::Nanos;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// A chain that nobody writes, so that every chain of the log is another process's.
const NOBODY: &str = "-";

/// How often a log is checked again because a live process rotated it meanwhile.
const ATTEMPTS: usize = 5;

/// A window of an account, as gateways that share it name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// How often the account's period had changed, from 1.
    pub turn: u64,
    /// Start of the window.
    pub window: i64,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.turn, self.window)
    }
}

/// Text that is no [`Label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no window of an account")]
pub struct NoLabel;

impl FromStr for Label {
    type Err = NoLabel;

    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let parts = text.split_once(':').ok_or(NoLabel)?;
        match (parts.0.parse(), parts.1.parse()) {
            (Ok(turn), Ok(window)) => Ok(Self { turn, window }),
            _ => Err(NoLabel),
        }
    }
}

/// What one log says.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Where the log is.
    pub path: PathBuf,
    /// Its name among gateways; `None` where it was never shared.
    pub id: Option<String>,
    /// Its chains, and whether a process of this machine writes them.
    pub chains: BTreeMap<Arc<str>, bool>,
    /// Tag of the period and present window of each account.
    pub accounts: BTreeMap<AccountId, (String, Label)>,
    /// What each chain has charged in the windows of accounts.
    pub charged: BTreeMap<(Arc<str>, AccountId, Label), Nanos>,
    /// Holds without an end.
    pub open: BTreeMap<AttemptId, OpenHold>,
}

/// A hold without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// The chain that holds it.
    pub chain: Arc<str>,
    /// Whose request it is.
    pub agent: AgentId,
    /// The money on each of its accounts.
    pub held: Nanos,
}

impl Statement {
    /// Reads the log at `path`. `specs` say in which windows rows of the Execwall OR Gate count.
    ///
    /// # Errors
    /// [`LogError`] when a file cannot be read, or the newest segment of a chain is damaged.
    pub fn read(path: &Path, specs: &[Arc<AccountSpec>]) -> Result<Self, LogError> {
        let recovered = recover(&Family::of(path), NOBODY, specs)?;
        let projection = recovered.projection;
        let label = |turn: u64, window| Label {
            turn: turn.max(1),
            window,
        };
        let mut charged = BTreeMap::new();
        for (place, total) in &*projection.elsewhere() {
            let label = label(place.turn, place.window);
            let place = (Arc::clone(&place.chain), place.account.clone(), label);
            *charged.entry(place).or_default() += *total;
        }
        let accounts = projection.memory.freeze(|accounts| {
            let state = |(id, account): (&&AccountId, &&Account)| {
                let label = label(account.turn(), account.window().start);
                // Rows without a chain belong to the log's own path.
                if account.charged() > Nanos::ZERO {
                    let place = ("".into(), (*id).clone(), label);
                    *charged.entry(place).or_default() += account.charged();
                }
                ((*id).clone(), (account.tag().to_owned(), label))
            };
            accounts.iter().map(state).collect()
        });
        let hold = |party: Arc<Party>| {
            let hold = OpenHold {
                chain: Arc::clone(&party.chain),
                agent: party.agent.clone(),
                held: party.held,
            };
            (party.id, hold)
        };
        let chains = recovered.chains.iter();
        Ok(Self {
            path: path.to_owned(),
            id: known_identity(path)?,
            chains: chains
                .map(|(name, chain)| (name.as_str().into(), chain.live))
                .collect(),
            accounts,
            charged,
            open: projection.open().into_iter().map(hold).collect(),
        })
    }

    /// What is called of this log's by a store that gateways share: the gateway, `<id>:<chain>`.
    pub fn source(&self, chain: &str) -> Option<String> {
        self.id.as_ref().map(|id| format!("{id}:{chain}"))
    }

    /// What a chain has charged in a window of an account; `None` where the log does not say, because
    /// the account has gone on to a later window, or to a period that the log has not heard of.
    pub fn total(&self, chain: &Arc<str>, account: &AccountId, label: Label) -> Option<Nanos> {
        let place = (Arc::clone(chain), account.clone(), label);
        let known = self.charged.get(&place).copied();
        let silent = self
            .accounts
            .get(account)
            .is_some_and(|(_, newest)| newest.turn != label.turn || newest.window > label.window);
        known.or_else(|| (!silent).then_some(Nanos::ZERO))
    }

    /// The end of an account's window that starts at `window`, as far as that is known.
    pub fn end_of(&self, account: &AccountId, window: i64) -> Option<i64> {
        let (tag, _) = self.accounts.get(account)?;
        Period::of_tag(tag)?.window(window).end
    }
}

/// [`verify`] of a log that may be being written: a segment that is rotated just then looks damaged,
/// and is looked at again.
///
/// # Errors
/// As [`verify`].
pub fn verify_live(path: &Path) -> Result<Summary, LogError> {
    let mut attempt = 1;
    loop {
        let summary = verify(path);
        let sound = summary.as_ref().is_ok_and(Summary::is_sound);
        if sound || attempt == ATTEMPTS {
            return summary;
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests;
