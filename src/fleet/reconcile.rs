//! Whether the logs of gateways and the state that they share agree.
//!
//! Decides what has to be equal: what every chain has charged, in its log and in Redis; every open
//! hold; and within Redis an account and what it is made of. It reads nothing itself. The logs are
//! read before and after Redis: what Redis says has to lie between.

mod accounts;
#[cfg(test)]
mod tests;

use super::audit::{Asked, Kept};
use crate::identity::{AccountId, AttemptId};
use crate::ledger::statement::{Label, Statement};
use crate::money::Nanos;
use std::collections::{BTreeMap, BTreeSet};

/// Windows that ended longer ago, in seconds, are not compared: Redis forgets them some time.
const RECENT: i64 = 7 * 86_400;

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A log that was never shared.
    LogNotShared,
    /// What a chain has charged in a window.
    Charged,
    /// An account that logs charge and Redis does not know.
    AccountNotInRedis,
    /// In Redis, what is posted is not what was charged.
    Posted,
    /// In Redis, what is held is not what the open holds come to.
    Held,
    /// A hold that is open in the log, but not in Redis.
    HoldNotInRedis,
    /// A hold in Redis that its gateway's log does not know.
    HoldNotInLog,
    /// A hold in Redis that has ended by its gateway's log.
    HoldEnded,
    /// A hold of another amount.
    HoldAmount,
    /// A hold that was charged as lost, though it has ended by its gateway's log, or is not in it.
    LostNotOpen,
}

impl Kind {
    /// For machines, and for people.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::LogNotShared => ("log_not_shared", "its gateway never had a part in Redis"),
            Self::Charged => ("charged", "charged by the log, and by Redis"),
            Self::AccountNotInRedis => (
                "account_not_in_redis",
                "charged by the logs, unknown to Redis",
            ),
            Self::Posted => ("posted", "charged in Redis, and posted there"),
            Self::Held => (
                "held",
                "held by open holds in Redis, and by the account there",
            ),
            Self::HoldNotInRedis => ("hold_not_in_redis", "open in the log, unknown to Redis"),
            Self::HoldNotInLog => ("hold_not_in_log", "held in Redis, unknown to the log"),
            Self::HoldEnded => ("hold_ended", "ended in the log, held in Redis"),
            Self::HoldAmount => ("hold_amount", "held in the log, and in Redis"),
            Self::LostNotOpen => (
                "lost_not_open",
                "not open in the log, charged in Redis as lost",
            ),
        }
    }
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// What it is.
    pub kind: Kind,
    /// The account, where it is one's.
    pub account: Option<AccountId>,
    /// Its window.
    pub label: Option<Label>,
    /// The gateway, `<id of its log>:<chain>`.
    pub gateway: Option<String>,
    /// The attempt, where it is a hold.
    pub attempt: Option<AttemptId>,
    /// Whose request it is.
    pub agent: Option<String>,
    /// What should stand in Redis.
    pub expected: Nanos,
    /// What stands there.
    pub found: Nanos,
}

/// What makes a finding of two looks the same one.
type Place<'a> = (
    Kind,
    Option<&'a AccountId>,
    Option<Label>,
    Option<&'a str>,
    Option<AttemptId>,
);

impl Unmatched {
    fn new(kind: Kind, expected: Nanos, found: Nanos) -> Self {
        Self {
            kind,
            account: None,
            label: None,
            gateway: None,
            attempt: None,
            agent: None,
            expected,
            found,
        }
    }

    fn of_account(self, account: &AccountId, label: Label) -> Self {
        let account = Some(account.clone());
        let label = Some(label);
        Self {
            account,
            label,
            ..self
        }
    }

    fn of_gateway(self, gateway: &str) -> Self {
        let gateway = Some(gateway.to_owned());
        Self { gateway, ..self }
    }

    fn of_hold(self, gateway: &str, attempt: AttemptId, agent: Option<String>) -> Self {
        let attempt = Some(attempt);
        Self {
            attempt,
            agent,
            ..self.of_gateway(gateway)
        }
    }

    fn place(&self) -> Place<'_> {
        let gateway = self.gateway.as_deref();
        (
            self.kind,
            self.account.as_ref(),
            self.label,
            gateway,
            self.attempt,
        )
    }

    /// How far apart the two sides are.
    pub fn apart(&self) -> Nanos {
        Nanos((self.expected - self.found).0.saturating_abs())
    }
}

/// One account in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The account.
    pub account: AccountId,
    /// Its window.
    pub label: Label,
    /// Tag of its period.
    pub period: String,
    /// Charged by the given logs.
    pub logs: Nanos,
    /// Charged by the same gateways in Redis.
    pub redis: Nanos,
    /// Charged in Redis by gateways whose logs are not given.
    pub others: Nanos,
    /// Charged in Redis for holds that were lost, as far as that was not taken back.
    pub lost: Nanos,
    /// Posted in Redis, where this is its window of the account.
    pub posted: Option<Nanos>,
    /// Held in Redis in that window.
    pub pending: Option<Nanos>,
}

/// A gateway that Redis knows and whose log is not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stranger {
    /// Milliseconds since its last sign of life; nothing when it gives none.
    pub heard_ms: Option<u64>,
    /// Its holds that were charged as lost.
    pub lost: usize,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Every account in the given logs.
    pub rows: Vec<Row>,
    /// Everything that does not agree.
    pub unmatched: Vec<Unmatched>,
    /// Holds of the given logs that are open there, and how much they hold.
    pub open: (usize, Nanos),
    /// Holds of their gateways in Redis.
    pub kept: (usize, Nanos),
    /// Holds of their gateways that were charged as lost and are open in the logs.
    pub lost: (usize, Nanos),
    /// Leases of their gateways in Redis: money that they may grant while it is away.
    pub leased: (usize, Nanos),
    /// Gateways whose logs are not given.
    pub strangers: BTreeMap<String, Stranger>,
}

impl Findings {
    /// The hold that is longest without its match, and how old it is in milliseconds.
    pub fn oldest(&self, now_millis: u64) -> Option<(&Unmatched, u64)> {
        let age = |one: &Unmatched| Some(one.attempt?.request.age(now_millis));
        let aged = self
            .unmatched
            .iter()
            .filter_map(|one| Some((one, age(one)?)));
        aged.max_by_key(|(_, age)| *age)
    }

    /// Keeps of what does not agree only what did not agree at the look before either.
    pub fn only_again(&mut self, before: &Self) {
        let places: BTreeSet<_> = before.unmatched.iter().map(Unmatched::place).collect();
        self.unmatched.retain(|one| places.contains(&one.place()));
    }
}

/// What has to be known of Redis to compare it with these logs.
pub fn asked(logs: &[Statement], now: i64) -> Asked {
    let mut asked = Asked::default();
    for log in logs {
        let gateways = log.chains.keys().filter_map(|chain| log.source(chain));
        asked.gateways.extend(gateways);
        for (account, (_, label)) in &log.accounts {
            let labels = asked.accounts.entry(account.clone()).or_default();
            if is_recent(log, account, *label, now) {
                labels.insert(*label);
            }
        }
    }
    asked
}

fn is_recent(log: &Statement, account: &AccountId, label: Label, now: i64) -> bool {
    let end = log.end_of(account, label.window);
    end.is_none_or(|end| end > now - RECENT)
}

/// Compares what logs said before and after Redis was asked with what it said. Both times they are
/// the same logs in the same order.
pub fn compare(before: &[Statement], kept: &Kept, after: &[Statement], now: i64) -> Findings {
    let mut findings = Findings::default();
    for (before, after) in before.iter().zip(after) {
        if after.id.is_none() {
            let charged = after.charged.values().copied().sum();
            let mut log = Unmatched::new(Kind::LogNotShared, charged, Nanos::ZERO);
            log.gateway = Some(after.path.display().to_string());
            findings.unmatched.push(log);
            continue;
        }
        holds(&mut findings, before, kept, after);
    }
    for (account, mut labels) in asked(after, now).accounts {
        let there = kept.accounts.get(&account);
        let recent = |label: &Label| {
            let mut logs = after.iter();
            logs.any(|log| is_recent(log, &account, *label, now))
        };
        labels.extend(there.map(|there| there.label).filter(recent));
        for label in labels {
            let row = accounts::charges(&mut findings, before, there, after, (&account, label));
            findings.rows.push(row);
        }
    }
    for (account, there) in &kept.accounts {
        accounts::parts(&mut findings, account, there);
    }
    strangers(&mut findings, after, kept);
    findings
}

/// The open holds of a log, and those of its gateways in Redis.
fn holds(findings: &mut Findings, before: &Statement, kept: &Kept, after: &Statement) {
    let nobody = BTreeMap::new();
    for (id, open) in &after.open {
        findings.open.0 += 1;
        findings.open.1 += open.held;
        let Some(source) = after.source(&open.chain) else {
            continue;
        };
        let there = kept.holds.get(&source).unwrap_or(&nobody).get(id);
        let lost = kept.lost.get(&source).unwrap_or(&nobody).get(id);
        let kind = match there.or(lost) {
            None if before.open.contains_key(id) => Kind::HoldNotInRedis,
            Some(there) if there.held != open.held => Kind::HoldAmount,
            None | Some(_) => continue,
        };
        let found = there.map_or(Nanos::ZERO, |there| there.held);
        let agent = Some(open.agent.to_string());
        let one = Unmatched::new(kind, open.held, found).of_hold(&source, *id, agent);
        findings.unmatched.push(one);
    }
    let mine = |gateway: &str| {
        let log = gateway.split_once(':').map(|(log, _)| log);
        log.is_some() && log == after.id.as_deref()
    };
    for (gateway, holds) in kept.holds.iter().filter(|(gateway, _)| mine(gateway)) {
        for (id, hold) in holds {
            if id.is_lease() {
                // No request has it, so no log knows of it.
                findings.leased.0 += 1;
                findings.leased.1 += hold.held;
                continue;
            }
            findings.kept.0 += 1;
            findings.kept.1 += hold.held;
            if !after.open.contains_key(id) {
                // Whether the log has ever known it is found out when it is still so later.
                let known = before.open.contains_key(id);
                let kind = if known {
                    Kind::HoldEnded
                } else {
                    Kind::HoldNotInLog
                };
                let one = Unmatched::new(kind, Nanos::ZERO, hold.held);
                let one = one.of_hold(gateway, *id, agent(&hold.accounts));
                findings.unmatched.push(one);
            }
        }
    }
    for (gateway, holds) in kept.lost.iter().filter(|(gateway, _)| mine(gateway)) {
        for (id, hold) in holds {
            if after.open.contains_key(id) || id.is_lease() {
                findings.lost.0 += 1;
                findings.lost.1 += hold.held;
                continue;
            }
            let one = Unmatched::new(Kind::LostNotOpen, Nanos::ZERO, hold.held);
            let one = one.of_hold(gateway, *id, agent(&hold.accounts));
            findings.unmatched.push(one);
        }
    }
}

/// The agent among the accounts of a hold.
fn agent(accounts: &[String]) -> Option<String> {
    let agent = |account: &String| account.strip_prefix("agent:").map(str::to_owned);
    accounts.iter().find_map(agent)
}

/// Gateways that Redis knows of, and that have no part in the logs.
fn strangers(findings: &mut Findings, logs: &[Statement], kept: &Kept) {
    for gateway in kept.known() {
        let log = gateway.split_once(':').map(|(log, _)| log);
        if logs
            .iter()
            .any(|given| log.is_some() && given.id.as_deref() == log)
        {
            continue;
        }
        let heard = kept.gateways.get(&gateway);
        let stranger = Stranger {
            heard_ms: heard.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            lost: kept.lost.get(&gateway).map_or(0, BTreeMap::len),
        };
        findings.strangers.insert(gateway, stranger);
    }
}
