use super::*;
use crate::budget::period::PeriodKind;
use crate::ledger::contract::{Request, account, attempt, every, fixed};
use crate::ledger::log::identity;
use crate::ledger::scratch::{Scratch, bill, noon};
use crate::ledger::tests::reserve;
use std::sync::atomic::Ordering;

fn read(scratch: &Scratch) -> Statement {
    Statement::read(&scratch.log(), &[]).unwrap()
}

fn total(statement: &Statement, chain: &Arc<str>, spec: &AccountSpec, window: i64) -> Option<i64> {
    let total = statement.total(chain, &spec.id, Label { turn: 1, window });
    total.map(|total| total.0)
}

#[tokio::test]
async fn a_log_that_is_being_written_says_who_charged_what_and_holds_what() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (first, _) = scratch.open(&at, &[&spec]);
    let _ = reserve(&first, &spec, 50).await.unwrap().settle(bill(40));
    let (second, _) = scratch.open(&at, &[&spec]);
    let _ = reserve(&second, &spec, 50).await.unwrap().settle(bill(2));
    let held = reserve(&second, &spec, 100).await.unwrap();
    first.rotate().unwrap();
    let _ = reserve(&first, &spec, 50).await.unwrap().settle(bill(3));
    let files = std::fs::read_dir(&scratch.0).unwrap().count();
    let statement = read(&scratch);
    assert_eq!(statement.id, None);
    assert_eq!(statement.source(""), None);
    let chains: Vec<_> = statement.chains.iter().collect();
    assert_eq!(chains.len(), 2);
    assert!(chains.iter().all(|(_, live)| **live));
    assert_eq!(total(&statement, chains[0].0, &spec, 0), Some(43));
    assert_eq!(total(&statement, chains[1].0, &spec, 0), Some(2));
    let open: Vec<_> = statement.open.iter().collect();
    assert_eq!(open.len(), 1);
    assert_eq!(*open[0].0, held.id());
    assert_eq!(
        (open[0].1.held, &open[0].1.chain),
        (Nanos(100), chains[1].0)
    );
    let summary = verify_live(&scratch.log()).unwrap();
    assert_eq!((summary.settlements, summary.cost), (3, Nanos(45)));
    assert_eq!(summary.is_open(held.id()), Some(true));
    assert_eq!(summary.is_open(attempt()), None);
    assert_eq!(
        std::fs::read_dir(&scratch.0).unwrap().count(),
        files,
        "read only"
    );
    drop((first, held));
    drop(second);
    let id = identity(&scratch.log()).unwrap();
    let statement = read(&scratch);
    assert_eq!(statement.source("x"), Some(format!("{id}:x")));
    assert!(statement.chains.values().all(|live| !live));
    assert!(statement.open.is_empty(), "dropped is charged");
}

#[tokio::test]
async fn what_every_chain_charged_goes_along_into_another_period() {
    let (scratch, at) = (Scratch::new(), noon());
    let monthly = Arc::new(AccountSpec {
        period: every(PeriodKind::Monthly, "UTC"),
        ..account("agent:a", 1000)
    });
    let daily = Arc::new(AccountSpec {
        period: every(PeriodKind::Daily, "UTC"),
        ..AccountSpec::clone(&monthly)
    });
    let now = at.load(Ordering::Relaxed);
    let ask = |spec: &Arc<AccountSpec>| Request::new(&[spec], fixed(9));
    let (first, _) = scratch.open(&at, &[&monthly]);
    let (second, _) = scratch.open(&at, &[&monthly]);
    for (book, cost) in [(&first, 5), (&second, 7)] {
        let request = ask(&monthly);
        let held = book.reserve(request.ask(attempt(), now)).await.unwrap();
        let _ = held.settle(bill(cost));
    }
    at.fetch_add(1, Ordering::Relaxed);
    first.adopt(&[Arc::clone(&daily)]);
    let request = ask(&daily);
    let held = first.reserve(request.ask(attempt(), now)).await.unwrap();
    let _ = held.settle(bill(1));
    let statement = read(&scratch);
    let (month, day) = (1_735_689_600, 1_738_281_600);
    let chains: Vec<_> = statement.chains.keys().collect();
    assert_eq!(total(&statement, chains[0], &daily, day), Some(6));
    assert_eq!(total(&statement, chains[1], &daily, day), Some(7));
    assert_eq!(total(&statement, &"0-0".into(), &daily, month), None);
    assert_eq!(statement.end_of(&daily.id, day), Some(day + 86_400));
    let (tag, label) = &statement.accounts[&daily.id];
    assert_eq!((tag.as_str(), label.window), ("daily UTC", day));
    assert_eq!(label.to_string().parse(), Ok(*label));
    assert_eq!("1".parse::<Label>(), Err(NoLabel));
}
