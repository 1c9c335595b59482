//! What stands in Redis, for those who check the books.
//!
//! Decides nothing and changes nothing: it reads the shared state, account by account, each as it is
//! at one moment. What it has to agree with is decided in [`super::reconcile`].

use super::connect::{ConnectError, Connection, Connector};
use super::functions;
use super::link::is_unknown;
use super::share::list;
use crate::identity::{AccountId, AttemptId};
use crate::ledger::statement::Label;
use crate::money::Nanos;
use crate::settings;
use redis::RedisError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Accounts that are asked for in one call, during which Redis does nothing else.
const CHUNK: usize = 50;

/// Why the shared state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no way to connect.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Redis cannot be reached, or refuses.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The answer is none.
    #[error("Redis said something that is no answer to what was asked")]
    Nonsense,
}

/// Whether grants are possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has said anything since Redis was empty.
    #[default]
    Empty,
    /// All is well.
    Open,
    /// It is being put together; nothing is granted.
    Recovering,
    /// The server was restarted or another one took its place, and no gateway has come back yet.
    Restarted,
}

impl Phase {
    /// For machines, and for people.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Empty => ("empty", "empty, no gateway has said anything"),
            Self::Open => ("open", "open"),
            Self::Recovering => ("recovering", "being put together, nothing is granted"),
            Self::Restarted => ("restarted", "restarted, no gateway has come back since"),
        }
    }
}

/// A hold as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHold {
    /// The money on each of its accounts.
    pub held: Nanos,
    /// The accounts.
    pub accounts: Vec<String>,
}

/// The holds of gateways, by gateway and attempt.
pub type KeptHolds = BTreeMap<String, BTreeMap<AttemptId, KeptHold>>;

/// An account as Redis has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptAccount {
    /// Tag of its period.
    pub tag: String,
    /// Its window.
    pub label: Label,
    /// Posted in the window.
    pub posted: Nanos,
    /// The part of it that is no charge.
    pub base: Nanos,
    /// Held in the window, as counted.
    pub pending: Nanos,
    /// Held in any window, as counted.
    pub held: Nanos,
    /// Held in the window, by the open holds.
    pub open_pending: Nanos,
    /// Held in any window, by the open holds.
    pub open_held: Nanos,
    /// What each gateway has charged, by window; names that begin with `-` take back.
    pub charged: BTreeMap<Label, BTreeMap<String, Nanos>>,
}

/// The shared state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whether grants are possible.
    pub phase: Phase,
    /// Gateways that give signs of life, and how long ago the last one was.
    pub gateways: BTreeMap<String, Duration>,
    /// Accounts, by id.
    pub accounts: BTreeMap<AccountId, KeptAccount>,
    /// Open holds of the gateways that were asked for, and of all that are known.
    pub holds: KeptHolds,
    /// Holds of theirs that were charged because they were gone.
    pub lost: KeptHolds,
}

impl Kept {
    /// Every gateway that gives signs of life, or that anything was charged by or for.
    pub fn known(&self) -> BTreeSet<String> {
        let charged = self.accounts.values();
        let charged = charged.flat_map(|account| account.charged.values().flat_map(BTreeMap::keys));
        let charged = charged.map(|name| gateway_of(name).0.to_owned());
        charged.chain(self.gateways.keys().cloned()).collect()
    }
}

/// The gateway in the name of a total, and whether it is what its lost holds were charged.
pub(super) fn gateway_of(name: &str) -> (&str, bool) {
    let name = name.strip_prefix('-').unwrap_or(name);
    let lost = name.strip_prefix("lost:");
    (lost.unwrap_or(name), lost.is_some())
}

/// What is of interest.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Gateways, whether Redis knows them or not.
    pub gateways: BTreeSet<String>,
    /// Accounts, and windows of theirs besides the present one.
    pub accounts: BTreeMap<AccountId, BTreeSet<Label>>,
}

#[derive(Deserialize)]
struct Said {
    phase: Option<String>,
    restarted: bool,
    gateways: HashMap<String, String>,
    #[serde(deserialize_with = "list")]
    accounts: Vec<String>,
}

#[derive(Deserialize)]
struct SaidHold {
    held: String,
    #[serde(deserialize_with = "list")]
    accounts: Vec<String>,
}

#[derive(Deserialize)]
struct SaidPart {
    holds: HashMap<String, HashMap<String, SaidHold>>,
    lost: HashMap<String, HashMap<String, SaidHold>>,
    #[serde(deserialize_with = "list")]
    accounts: Vec<SaidAccount>,
}

#[derive(Deserialize)]
struct SaidAccount {
    account: String,
    tag: String,
    label: String,
    base: String,
    posted: String,
    pending: String,
    held: String,
    open_pending: String,
    open_held: String,
    charged: HashMap<String, HashMap<String, String>>,
}

#[derive(Default, Serialize)]
struct Question<'a> {
    list: Vec<&'a str>,
    gateways: Vec<&'a str>,
    accounts: Vec<(&'a str, Vec<String>)>,
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, AuditError> {
    text.parse().map_err(|_| AuditError::Nonsense)
}

fn nanos(text: &str) -> Result<Nanos, AuditError> {
    number(text).map(Nanos)
}

fn holds(said: HashMap<String, HashMap<String, SaidHold>>) -> Result<KeptHolds, AuditError> {
    let hold = |(id, said): (String, SaidHold)| {
        let held = nanos(&said.held)?;
        let accounts = said.accounts;
        Ok((number(&id)?, KeptHold { held, accounts }))
    };
    let of = |(gateway, holds): (String, HashMap<String, SaidHold>)| {
        Ok((
            gateway,
            holds
                .into_iter()
                .map(hold)
                .collect::<Result<_, AuditError>>()?,
        ))
    };
    said.into_iter().map(of).collect()
}

impl SaidAccount {
    fn kept(self) -> Result<(AccountId, KeptAccount), AuditError> {
        let totals = |(label, totals): (String, HashMap<String, String>)| {
            let total = |(gateway, total): (String, String)| Ok((gateway, nanos(&total)?));
            let totals = totals.into_iter().map(total);
            Ok((number(&label)?, totals.collect::<Result<_, AuditError>>()?))
        };
        let id = AccountId::new(&self.account).map_err(|_| AuditError::Nonsense)?;
        let kept = KeptAccount {
            tag: self.tag,
            label: number(&self.label)?,
            posted: nanos(&self.posted)?,
            base: nanos(&self.base)?,
            pending: nanos(&self.pending)?,
            held: nanos(&self.held)?,
            open_pending: nanos(&self.open_pending)?,
            open_held: nanos(&self.open_held)?,
            charged: self
                .charged
                .into_iter()
                .map(totals)
                .collect::<Result<_, AuditError>>()?,
        };
        Ok((id, kept))
    }
}

/// Whoever reads the shared state from outside.
pub struct Auditor {
    connection: Connection,
    state_key: String,
}

impl Auditor {
    /// Connects to the Redis of `settings`.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn connect(settings: &settings::Redis) -> Result<Self, AuditError> {
        Ok(Self {
            connection: Connector::new(settings)?.connect().await?,
            state_key: functions::state_key(&settings.tenant),
        })
    }

    /// What stands in Redis: every account there, and what is asked for.
    ///
    /// # Errors
    /// When Redis does not answer, or not sensibly.
    pub async fn look(&mut self, asked: &Asked) -> Result<Kept, AuditError> {
        let said: Option<Said> = match self.call(None).await {
            // Without the functions nobody has ever been there.
            Err(AuditError::Redis(error)) if is_unknown(&error) => None,
            said => Some(said?),
        };
        let Some(said) = said else {
            return Ok(Kept::default());
        };
        let mut kept = Kept {
            phase: match said.phase.as_deref() {
                None => Phase::Empty,
                Some(_) if said.restarted => Phase::Restarted,
                Some("open") => Phase::Open,
                Some(_) => Phase::Recovering,
            },
            ..Kept::default()
        };
        for (gateway, age) in said.gateways {
            kept.gateways
                .insert(gateway, Duration::from_millis(number(&age)?));
        }
        let mut accounts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for account in &said.accounts {
            accounts.entry(account).or_default();
        }
        for (account, labels) in &asked.accounts {
            let labels = labels.iter().map(ToString::to_string);
            accounts.entry(account.as_str()).or_default().extend(labels);
        }
        let given: Vec<&str> = asked.gateways.iter().map(String::as_str).collect();
        let accounts: Vec<_> = accounts.into_iter().collect();
        for chunk in accounts.chunks(CHUNK) {
            let question = Question {
                list: Vec::new(),
                gateways: given.clone(),
                accounts: chunk.to_vec(),
            };
            let part: SaidPart = self.call(Some(&question)).await?;
            for said in part.accounts {
                let (id, account) = said.kept()?;
                kept.accounts.insert(id, account);
            }
        }
        let gateways = kept.known();
        let named = gateways.union(&asked.gateways).map(String::as_str);
        let question = Question {
            list: named.collect(),
            ..Question::default()
        };
        let part: SaidPart = self.call(Some(&question)).await?;
        (kept.holds, kept.lost) = (holds(part.holds)?, holds(part.lost)?);
        Ok(kept)
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &mut self,
        question: Option<&Question<'_>>,
    ) -> Result<T, AuditError> {
        let mut command = functions::call("weir_audit_1", &self.state_key);
        if let Some(question) = question {
            let text = serde_json::to_string(question).map_err(|_| AuditError::Nonsense)?;
            command.arg(text);
        }
        let reply: Vec<String> = command.query_async(&mut self.connection).await?;
        let text = reply.get(1).ok_or(AuditError::Nonsense)?;
        serde_json::from_str(text).map_err(|_| AuditError::Nonsense)
    }
}
