//! Accounts: what logs and Redis charged, and what Redis says of them.

use super::{Findings, Kind, Row, Unmatched};
use crate::fleet::audit::{KeptAccount, gateway_of};
use crate::identity::AccountId;
use crate::ledger::statement::{Label, Statement};
use crate::money::{MAX_AMOUNT, Nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the gateways of all given logs have charged in a window of an account.
pub(super) fn charges(
    findings: &mut Findings,
    before: &[Statement],
    there: Option<&KeptAccount>,
    after: &[Statement],
    (account, label): (&AccountId, Label),
) -> Row {
    let nothing = BTreeMap::new();
    let current = there.filter(|there| there.label == label);
    let totals = there.and_then(|there| there.charged.get(&label));
    let totals = totals.unwrap_or(&nothing);
    let mut row = Row {
        account: account.clone(),
        label,
        period: period(after, account),
        logs: Nanos::ZERO,
        redis: Nanos::ZERO,
        others: Nanos::ZERO,
        lost: Nanos::ZERO,
        posted: current.map(|there| there.posted),
        pending: current.map(|there| there.pending),
    };
    let mut given = BTreeSet::new();
    for (before, after) in before.iter().zip(after) {
        let Some(log) = &after.id else { continue };
        let here = after.chains.keys().cloned();
        let elsewhere = totals.keys().filter_map(|source| {
            let (of, chain) = source.split_once(':')?;
            (of == log).then(|| Arc::<str>::from(chain))
        });
        let chains: BTreeSet<Arc<str>> = here.chain(elsewhere).collect();
        for chain in chains {
            let source = format!("{log}:{chain}");
            let found = totals.get(&source).copied().unwrap_or_default();
            given.insert(source.clone());
            let least = before.total(&chain, account, label);
            let Some(most) = after.total(&chain, account, label) else {
                continue;
            };
            row.logs += most;
            row.redis += found;
            if found <= most && least.is_none_or(|least| found >= least) {
                continue;
            }
            let expected = if found > most {
                most
            } else {
                least.unwrap_or(most)
            };
            let one = Unmatched::new(Kind::Charged, expected, found);
            let one = one.of_account(account, label).of_gateway(&source);
            findings.unmatched.push(one);
        }
    }
    for (source, total) in totals {
        let back = source.starts_with('-');
        match gateway_of(source) {
            (_, true) if back => row.lost -= *total,
            (_, true) => row.lost += *total,
            _ if !given.contains(source) => row.others += *total,
            _ => {}
        }
    }
    if there.is_none() && row.logs > Nanos::ZERO {
        let one = Unmatched::new(Kind::AccountNotInRedis, row.logs, Nanos::ZERO);
        findings.unmatched.push(one.of_account(account, label));
    }
    row
}

fn period(logs: &[Statement], account: &AccountId) -> String {
    let tag = logs.iter().find_map(|log| log.accounts.get(account));
    tag.map(|(tag, _)| tag.clone()).unwrap_or_default()
}

/// Whether an account in Redis is what it is made of.
pub(super) fn parts(findings: &mut Findings, account: &AccountId, there: &KeptAccount) {
    let mut charged = there.base;
    let mut taken_back = false;
    for (source, total) in there.charged.get(&there.label).into_iter().flatten() {
        let back = source.starts_with('-');
        taken_back |= back;
        charged += if back { -*total } else { *total };
    }
    let charged = charged.clamp(Nanos::ZERO, MAX_AMOUNT);
    // What was lost and forgotten by a reset cannot be taken back, so that more may be posted then.
    if there.posted < charged || (there.posted > charged && !taken_back) {
        let one = Unmatched::new(Kind::Posted, charged, there.posted);
        findings
            .unmatched
            .push(one.of_account(account, there.label));
    }
    let held = [
        (there.open_pending, there.pending),
        (there.open_held, there.held),
    ];
    if let Some((open, counted)) = held.into_iter().find(|(open, counted)| open != counted) {
        let one = Unmatched::new(Kind::Held, open, counted);
        findings
            .unmatched
            .push(one.of_account(account, there.label));
    }
}
