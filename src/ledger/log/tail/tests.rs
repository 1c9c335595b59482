use super::*;
use crate::budget::AccountSpec;
use crate::ledger::Book;
use crate::ledger::contract::account;
use crate::ledger::scratch::{Scratch, bill, noon};
use crate::ledger::tests::reserve;
use crate::usage::Course;
use proptest::prelude::*;

async fn spend(book: &Arc<Book>, spec: &Arc<AccountSpec>, cost: i64) -> AttemptId {
    let reservation = reserve(book, spec, cost).await.unwrap();
    let id = reservation.id();
    let _ = reservation.settle(bill(cost));
    id
}

fn costs(batch: &[Settlement]) -> Vec<i64> {
    batch.iter().map(|settlement| settlement.cost.0).collect()
}

/// Position as it travels: through its text.
fn there_and_back(position: &Position) -> Position {
    serde_json::from_str(&serde_json::to_string(position).unwrap()).unwrap()
}

#[tokio::test]
async fn every_settlement_is_read_once_through_rotations_and_restarts() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1_000_000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert!(tail.read(10).unwrap().is_empty());
    let mut seen = Vec::new();
    let mut expected = Vec::new();
    let mut book = book;
    for turn in 1..=12_i64 {
        spend(&book, &spec, turn).await;
        expected.push(turn);
        match turn % 4 {
            0 => book.rotate().unwrap(),
            1 => {
                // A reader that knows no more than the position goes on as well.
                tail = Tail::after(&scratch.log(), there_and_back(&tail.position()));
            }
            2 => {
                book.close();
                drop(book);
                book = scratch.open(&at, &[&spec]).0;
            }
            _ => continue,
        }
        seen.extend(costs(&tail.read(100).unwrap()));
        assert_eq!(seen, expected, "after turn {turn}");
    }
    let mut whole = Tail::after(&scratch.log(), Position::default());
    assert_eq!(whole.clone().skip().unwrap(), 12);
    let mut batches = Vec::new();
    loop {
        let batch = whole.read(5).unwrap();
        if batch.is_empty() {
            break;
        }
        batches.push(batch.len());
    }
    assert_eq!(batches, [5, 5, 2]);
    assert_eq!(whole.position(), tail.position());
}

#[tokio::test]
async fn a_settlement_has_what_its_record_has() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let id = spend(&book, &spec, 60).await;
    let batch = Tail::after(&scratch.log(), Position::default()).read(9);
    let [settlement] = &batch.unwrap()[..] else {
        panic!("one settlement")
    };
    assert_eq!((settlement.id, &*settlement.chain), (id, "main"));
    assert_eq!(settlement.agent.as_str(), "a");
    assert_eq!(settlement.model, "m/\"one\"");
    assert_eq!((settlement.tokens, settlement.cost), (12, Nanos(60)));
    assert_eq!(settlement.status, "settled");
    assert!(settlement.at.parse::<jiff::Timestamp>().is_ok());
    let usage = settlement.usage.as_ref().unwrap().get();
    assert_eq!(usage, r#"{"input":7,"output":5,"reasoning":2}"#);
}

#[tokio::test]
async fn chains_of_two_processes_are_read_beside_each_other() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (first, _) = scratch.open(&at, &[&spec]);
    let (second, _) = scratch.open(&at, &[&spec]);
    spend(&first, &spec, 1).await;
    spend(&second, &spec, 2).await;
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert_eq!(costs(&tail.read(1).unwrap()), [1]);
    assert_eq!(costs(&tail.read(1).unwrap()), [2]);
    spend(&first, &spec, 3).await;
    second.rotate().unwrap();
    spend(&second, &spec, 4).await;
    let mut again = Tail::after(&scratch.log(), there_and_back(&tail.position()));
    for tail in [&mut tail, &mut again] {
        assert_eq!(costs(&tail.read(9).unwrap()), [3, 4]);
        assert_eq!(tail.skip().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_line_without_its_end_is_waited_for() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    spend(&book, &spec, 1).await;
    let text = scratch.read();
    let copy = Scratch::new();
    copy.write(&text[..text.len() - 9]);
    let mut tail = Tail::after(&copy.log(), Position::default());
    assert!(tail.read(9).unwrap().is_empty());
    copy.write(&text);
    assert_eq!(costs(&tail.read(9).unwrap()), [1]);
}

#[tokio::test]
async fn reading_stops_at_damage_and_the_rest_of_the_log_goes_on() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (first, _) = scratch.open(&at, &[&spec]);
    let (second, _) = scratch.open(&at, &[&spec]);
    spend(&first, &spec, 1).await;
    spend(&first, &spec, 2).await;
    spend(&second, &spec, 4).await;
    scratch.write(
        &scratch
            .read()
            .replace("\"cost\":0.000000002", "\"cost\":0.000000003"),
    );
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert_eq!(costs(&tail.read(9).unwrap()), [1, 4]);
    assert!(tail.read(9).unwrap().is_empty());
}

#[tokio::test]
async fn a_place_in_another_log_means_the_beginning_of_this_one() {
    let (scratch, other, at) = (Scratch::new(), Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let mut positions = Vec::new();
    let (elsewhere, _) = other.open(&at, &[&spec]);
    for cost in 1..=9 {
        spend(&elsewhere, &spec, cost).await;
        let mut tail = Tail::after(&other.log(), Position::default());
        tail.skip().unwrap();
        positions.push(tail.position());
    }
    let (book, _) = scratch.open(&at, &[&spec]);
    for cost in [10, 20, 30] {
        spend(&book, &spec, cost).await;
        book.rotate().unwrap();
    }
    // Some of them are numbers that this log has as well, others are beyond its end.
    for position in positions {
        let mut tail = Tail::after(&scratch.log(), position);
        assert_eq!(costs(&tail.read(9).unwrap()), [10, 20, 30]);
    }
}

#[tokio::test]
async fn segments_that_were_archived_are_passed_over() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1000));
    let (book, _) = scratch.open(&at, &[&spec]);
    spend(&book, &spec, 1).await;
    let mut early = Tail::after(&scratch.log(), Position::default());
    early.skip().unwrap();
    book.rotate().unwrap();
    let mut exact = early.clone();
    exact.skip().unwrap();
    let archived = exact.position();
    spend(&book, &spec, 2).await;
    book.rotate().unwrap();
    spend(&book, &spec, 3).await;
    let first = std::fs::read_dir(&scratch.0).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("spend-").then_some(name)
    });
    std::fs::remove_file(scratch.0.join(first.min().unwrap())).unwrap();
    for position in [early.position(), archived, Position::default()] {
        let mut tail = Tail::after(&scratch.log(), position);
        assert_eq!(costs(&tail.read(9).unwrap()), [2, 3]);
    }
}

#[tokio::test]
async fn rows_of_an_execwall_or_gate_are_passed_over() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1_000_000_000));
    scratch.write(
        "{\"timestamp\":\"2024-01-01T00:00:00\",\"agent_id\":\"a\",\"cost\":0.1,\"model\":\"m\",\"tokens\":3}\n\n",
    );
    let (book, _) = scratch.open(&at, &[&spec]);
    spend(&book, &spec, 5).await;
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert_eq!(costs(&tail.read(9).unwrap()), [5]);
    book.rotate().unwrap();
    spend(&book, &spec, 6).await;
    assert_eq!(costs(&tail.read(9).unwrap()), [6]);
}

#[test]
fn a_log_that_is_not_there_yet_is_empty() {
    let scratch = Scratch::new();
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert_eq!(tail.skip().unwrap(), 0);
}

#[test]
fn only_positions_of_ours_are_read() {
    let read = serde_json::from_str::<Position>;
    let good = r#"{"4711-1700000000000":"1-0000000000000000","main":"41-c471697b1fd08bda"}"#;
    let position = read(good).unwrap();
    assert_eq!(serde_json::to_string(&position).unwrap(), good);
    assert_eq!(read("{}").unwrap(), Position::default());
    for bad in [
        r#"{"main":41}"#,
        r#"{"main":"41"}"#,
        r#"{"main":"0-c471697b1fd08bda"}"#,
        r#"{"main":"41-c471697b1fd08bd"}"#,
        r#"{"main":"41-c471697b1fd08bdz"}"#,
        r#"{"main":"-1-c471697b1fd08bda"}"#,
        r#"{"../main":"41-c471697b1fd08bda"}"#,
        r#"{"":"41-c471697b1fd08bda"}"#,
        r#"["main"]"#,
        "null",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_position_panic(mark in "\\PC{0,40}|[0-9]{1,30}-[0-9a-f]{16}", chain in "\\PC{0,20}|main") {
        let texts = BTreeMap::from([(chain, mark)]);
        if let Ok(position) = Position::try_from(texts.clone()) {
            prop_assert_eq!(BTreeMap::from(position).len(), texts.len());
        }
    }
}

#[tokio::test]
async fn ends_of_attempts_tell_how_they_went_and_what_was_never_sent_is_passed_over() {
    let (scratch, at) = (Scratch::new(), noon());
    let spec = Arc::new(account("agent:a", 1_000_000));
    let (book, _) = scratch.open(&at, &[&spec]);
    let course = |error| Course {
        provider: "a \"b\"".into(),
        latency_ms: 812,
        first_byte_ms: Some(130),
        http: 200,
        error,
        input: Nanos(4),
    };
    let mut whole = reserve(&book, &spec, 9).await.unwrap();
    whole.went(course(None));
    let _ = whole.settle(bill(9));
    let mut refused = reserve(&book, &spec, 9).await.unwrap();
    refused.went(Course {
        http: 500,
        first_byte_ms: None,
        ..course(Some("refused"))
    });
    let id = refused.id();
    refused.void("refused by the provider, \",\"provider\":\"");
    let unsent = reserve(&book, &spec, 9).await.unwrap();
    unsent.void("never, \",\"provider\":\"dispatched");
    // As a version before wrote it.
    spend(&book, &spec, 7).await;
    let mut tail = Tail::after(&scratch.log(), Position::default());
    assert_eq!(tail.clone().skip_ended().unwrap(), 3);
    assert_eq!(tail.clone().skip().unwrap(), 2);
    let first = tail.ended(1).unwrap().remove(0);
    assert_eq!(first.provider.as_deref(), Some("a \"b\""));
    assert_eq!(
        (first.latency_ms, first.first_byte_ms),
        (Some(812), Some(130))
    );
    assert_eq!(
        (first.http, first.error, first.input),
        (Some(200), None, Nanos(4))
    );
    assert_eq!((first.billing.as_str(), first.cost), ("settled", Nanos(9)));
    let rest = tail.ended(10).unwrap();
    let [void, old] = rest.as_slice() else {
        panic!("{rest:?}");
    };
    assert_eq!(
        (void.id, void.cost, void.billing.as_str()),
        (id, Nanos::ZERO, "void")
    );
    assert_eq!(
        (void.http, void.error.as_deref()),
        (Some(500), Some("refused"))
    );
    assert!(!void.model.is_empty());
    assert_eq!(
        (&old.provider, old.latency_ms, old.cost),
        (&None, None, Nanos(7))
    );
    assert!(tail.ended(10).unwrap().is_empty());
    assert_eq!(tail.position(), {
        let mut other = Tail::after(&scratch.log(), Position::default());
        other.skip().unwrap();
        other.position()
    });
}
