//! The measured floor: what must not get worse.

use super::*;
use crate::guard::text::passages;
use crate::guard::{Passage, Source};
use crate::wire::Dialect;
use serde_json::Value;

const ATTACKS: &str = include_str!("../../../tests/data/injection/attacks.jsonl");
const BENIGN: &str = include_str!("../../../tests/data/injection/benign.jsonl");
const DOCUMENTS: &str = include_str!("../../../tests/data/injection/carrier_email.jsonl");

/// The attack's score from which on it counts, unless a policy says otherwise.
const THRESHOLD: u16 = 50;

/// Every `step`th row: its kind and its text.
fn rows(file: &str, step: usize) -> Vec<(String, String)> {
    let values = file
        .lines()
        .step_by(step)
        .map(|line| serde_json::from_str(line).unwrap());
    values
        .map(|row: Value| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("text"))
        })
        .collect()
}

fn total(text: &str, source: Source) -> u16 {
    Rules::bundled().judge_text(text, source).total
}

#[test]
fn most_attacks_are_found_and_no_harmless_text() {
    let direct: Vec<(String, String)> = rows(ATTACKS, 5)
        .into_iter()
        .filter(|(kind, _)| !kind.starts_with("indirect"))
        .collect();
    let found = direct
        .iter()
        .filter(|(_, text)| total(text, Source::User) >= THRESHOLD)
        .count();
    assert!(
        direct.len() > 40 && found * 100 >= direct.len() * 65,
        "{found} of {}",
        direct.len()
    );
    let wrong: Vec<String> = rows(BENIGN, 1)
        .into_iter()
        .map(|(_, text)| text)
        .filter(|text| total(text, Source::User) >= THRESHOLD)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn attacks_in_documents_are_found_and_documents_alone_are_not() {
    let carriers: Vec<Value> = DOCUMENTS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let documents: Vec<&str> = carriers
        .iter()
        .filter_map(|carrier| carrier["context"].as_str())
        .collect();
    assert!(documents.len() > 10);
    for document in &documents {
        assert!(total(document, Source::Tool) < THRESHOLD, "{document}");
    }
    let attacks: Vec<(String, String)> = rows(ATTACKS, 3)
        .into_iter()
        .filter(|(kind, _)| kind.starts_with("indirect"))
        .collect();
    let planted = attacks.iter().zip(documents.iter().cycle());
    let found = planted
        .filter(|((_, text), document)| {
            total(&format!("{document}\n{text}"), Source::Tool) >= THRESHOLD
        })
        .count();
    assert!(
        found * 100 >= attacks.len() * 60,
        "{found} of {}",
        attacks.len()
    );
}

#[test]
fn what_agents_really_send_is_left_alone() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut seen = 0;
    for (folder, dialect) in [
        ("messages", Dialect::Messages),
        ("responses", Dialect::Responses),
    ] {
        for file in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
            let path = file.unwrap().path();
            if !path.to_string_lossy().ends_with(".req.json") {
                continue;
            }
            let body = std::fs::read_to_string(&path).unwrap();
            let found = passages(dialect, &body);
            seen += found.len();
            let verdict = Rules::bundled().judge(&found, &Options::default());
            assert!(
                !verdict.attack && verdict.tainted.is_empty(),
                "{}: {verdict:?}",
                path.display()
            );
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn a_long_harmless_conversation_does_not_add_up() {
    let texts: Vec<String> = rows(BENIGN, 1).into_iter().map(|(_, text)| text).collect();
    let passages: Vec<Passage<'_>> = texts
        .iter()
        .map(|text| Passage::plain(Source::User, text))
        .collect();
    let verdict = Rules::bundled().judge(&passages, &Options::default());
    assert!(!verdict.attack, "{:?}", verdict.caller);
}
