use super::*;
use crate::fleet::audit::{KeptAccount, KeptHold};
use crate::identity::AgentId;
use crate::ledger::statement::OpenHold;
use std::time::Duration;

const NOW: i64 = 1_738_324_800;
const ID: &str = "0123456789abcdef";
const ALL: Label = Label { turn: 1, window: 0 };

fn account() -> AccountId {
    AccountId::new("agent:a").unwrap()
}

/// A log with one chain that has charged so much.
fn log(charged: i64) -> Statement {
    Statement {
        id: Some(ID.into()),
        chains: [("".into(), true)].into(),
        accounts: [(account(), ("none".to_owned(), ALL))].into(),
        charged: [(("".into(), account(), ALL), Nanos(charged))].into(),
        ..Statement::default()
    }
}

/// Redis with what it should say then.
fn kept(charged: i64) -> Kept {
    let totals = [(format!("{ID}:"), Nanos(charged))].into();
    let there = KeptAccount {
        tag: "none".into(),
        label: ALL,
        posted: Nanos(charged),
        charged: [(ALL, totals)].into(),
        ..KeptAccount::default()
    };
    Kept {
        accounts: [(account(), there)].into(),
        gateways: [(format!("{ID}:"), Duration::ZERO)].into(),
        ..Kept::default()
    }
}

fn attempt() -> AttemptId {
    // The same one at every call.
    "req_94bc3b72001cf0d82bbe72907a-1".parse().unwrap()
}

fn kinds(before: &Statement, kept: &Kept, after: &Statement) -> Vec<Kind> {
    let (before, after) = (std::slice::from_ref(before), std::slice::from_ref(after));
    let findings = compare(before, kept, after, NOW);
    findings.unmatched.iter().map(|one| one.kind).collect()
}

#[test]
fn what_redis_says_lies_between_what_the_log_said_before_and_after() {
    for charged in 5..=7 {
        assert_eq!(kinds(&log(5), &kept(charged), &log(7)), [], "{charged}");
    }
    for charged in [4, 8] {
        let findings = compare(&[log(5)], &kept(charged), &[log(7)], NOW);
        let one = &findings.unmatched[0];
        assert_eq!((one.kind, one.apart()), (Kind::Charged, Nanos(1)));
        assert_eq!(one.found, Nanos(charged));
    }
    assert_eq!(
        kinds(&log(5), &Kept::default(), &log(5)),
        [Kind::Charged, Kind::AccountNotInRedis]
    );
}

#[test]
fn what_was_charged_elsewhere_and_for_lost_holds_is_told_apart() {
    let mut kept = kept(5);
    let there = kept.accounts.get_mut(&account()).unwrap();
    let totals = there.charged.get_mut(&ALL).unwrap();
    for (name, total) in [("fedcba9876543210:", 10), ("lost:x:", 30), ("-lost:x:", 20)] {
        totals.insert(name.into(), Nanos(total));
    }
    there.posted = Nanos(25);
    let findings = compare(&[log(5)], &kept, &[log(5)], NOW);
    assert_eq!(findings.unmatched, []);
    let row = &findings.rows[0];
    let figures = [row.logs, row.redis, row.others, row.lost];
    assert_eq!(figures, [5, 5, 10, 10].map(Nanos));
    let strangers: Vec<_> = findings.strangers.keys().map(String::as_str).collect();
    assert_eq!(strangers, ["fedcba9876543210:", "x:"]);
    // More may be posted than was charged only when something was taken back of what a reset forgot.
    let set = |kept: &mut Kept, posted| {
        kept.accounts.get_mut(&account()).unwrap().posted = Nanos(posted);
    };
    set(&mut kept, 26);
    assert_eq!(kinds(&log(5), &kept, &log(5)), []);
    set(&mut kept, 24);
    assert_eq!(kinds(&log(5), &kept, &log(5)), [Kind::Posted]);
}

#[test]
fn holds_are_looked_for_on_both_sides() {
    let open = OpenHold {
        chain: "".into(),
        agent: AgentId::new("a").unwrap(),
        held: Nanos(9),
    };
    let with = |log: Statement| Statement {
        open: [(attempt(), open.clone())].into(),
        ..log
    };
    let hold = KeptHold {
        held: Nanos(9),
        accounts: vec!["gateway".into(), "agent:a".into()],
    };
    let (nobody, somebody) = (kept(5), {
        let mut kept = kept(5);
        let holds = [(attempt(), hold.clone())].into();
        kept.holds.insert(format!("{ID}:"), holds);
        kept
    });
    let (without, with) = (log(5), with(log(5)));
    assert_eq!(kinds(&with, &somebody, &with), []);
    assert_eq!(kinds(&without, &nobody, &with), [], "begun since");
    assert_eq!(kinds(&with, &nobody, &with), [Kind::HoldNotInRedis]);
    assert_eq!(kinds(&with, &somebody, &without), [Kind::HoldEnded]);
    assert_eq!(kinds(&without, &somebody, &without), [Kind::HoldNotInLog]);
    let mut other = somebody.clone();
    let holds = other.holds.values_mut().next().unwrap();
    holds.get_mut(&attempt()).unwrap().held = Nanos(8);
    assert_eq!(kinds(&with, &other, &with), [Kind::HoldAmount]);
    let lost = Kept {
        holds: nobody.holds.clone(),
        lost: somebody.holds.clone(),
        ..nobody
    };
    assert_eq!(kinds(&with, &lost, &with), []);
    assert_eq!(kinds(&without, &lost, &without), [Kind::LostNotOpen]);
    let logs = [without];
    let mut findings = compare(&logs, &somebody, &logs, NOW);
    let (oldest, age) = findings.oldest(0x0194_bc3b_7200 + 60_000).unwrap();
    assert_eq!((oldest.agent.as_deref(), age), (Some("a"), 60_000));
    findings.only_again(&findings.clone());
    assert_eq!(findings.unmatched.len(), 1);
    findings.only_again(&Findings::default());
    assert_eq!(findings.unmatched, []);
}

#[test]
fn windows_that_are_long_over_are_left_alone() {
    let label = |days| Label {
        turn: 1,
        window: (NOW / 86_400 - days) * 86_400,
    };
    let daily = |days| {
        let mut log = log(5);
        log.accounts
            .insert(account(), ("daily UTC".into(), label(days)));
        log.charged = [(("".into(), account(), label(days)), Nanos(5))].into();
        log
    };
    let kept = |days| {
        let mut kept = kept(0);
        let there = kept.accounts.get_mut(&account()).unwrap();
        (there.label, there.charged) = (label(days), BTreeMap::new());
        kept
    };
    assert_eq!(kinds(&daily(9), &kept(9), &daily(9)), []);
    assert_eq!(kinds(&daily(1), &kept(1), &daily(1)), [Kind::Charged]);
    assert_eq!(
        kinds(&daily(9), &kept(0), &daily(9)),
        [],
        "gone on without it"
    );
    // A log cannot say what was charged under a period it has not heard of.
    let mut moved = kept(0);
    let there = moved.accounts.get_mut(&account()).unwrap();
    there.label.turn = 2;
    there.posted = Nanos(5);
    let totals = [(format!("{ID}:"), Nanos(5))].into();
    there.charged.insert(there.label, totals);
    let row = compare(&[daily(9)], &moved, &[daily(9)], NOW);
    assert_eq!((row.unmatched.len(), row.rows[0].logs), (0, Nanos::ZERO));
}

#[test]
fn a_log_that_was_never_shared_is_no_part_of_it() {
    let log = Statement { id: None, ..log(5) };
    assert_eq!(kinds(&log, &kept(0), &log), [Kind::LogNotShared]);
}

#[test]
fn a_lease_is_in_no_log_and_no_reason_to_complain() {
    let lease: AttemptId = "req_94bc3b72001cf0d82bbe72907a-0".parse().unwrap();
    let hold = KeptHold {
        held: Nanos(30),
        accounts: vec!["agent:a".into()],
    };
    let mut kept = kept(5);
    kept.holds = [(format!("{ID}:"), [(lease, hold)].into())].into();
    let findings = compare(&[log(5)], &kept, &[log(5)], NOW);
    assert_eq!(
        (findings.unmatched, findings.leased),
        (vec![], (1, Nanos(30)))
    );
    assert_eq!(findings.kept, (0, Nanos::ZERO));
    // Nor is one that was charged when its gateway was gone.
    kept.lost = std::mem::take(&mut kept.holds);
    let findings = compare(&[log(5)], &kept, &[log(5)], NOW);
    assert_eq!(
        (findings.unmatched, findings.lost),
        (vec![], (1, Nanos(30)))
    );
}
