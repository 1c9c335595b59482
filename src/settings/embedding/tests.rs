//! What the section says and what it refuses.

use super::*;
use crate::settings::environment::Environment;
use crate::settings::reader::Reader;

/// The section, and how many problems of each kind there were.
fn section(text: &str) -> Result<(Embedding, usize), usize> {
    let environment = Environment::default();
    let reader = Reader::new("weir.yaml", &environment);
    let node = reader.parse(text).unwrap();
    let read = read(&reader.root(&node));
    let findings = reader.finish().map_err(|problems| problems.0.len())?;
    Ok((read, findings.warnings.len()))
}

#[test]
fn a_model_is_asked_as_an_agent_of_its_own() {
    let (embedding, warnings) =
        section("model: text-embedding-3-small\ndimensions: 384\n").unwrap();
    let model = embedding.model.unwrap();
    assert_eq!(model.name, "text-embedding-3-small");
    assert!(model.dimensions);
    assert_eq!(model.agent, "insights");
    assert_eq!(model.batch, 64);
    assert!(!model.responses);
    assert_eq!(warnings, 0);
}

#[test]
fn what_only_a_model_needs_is_a_warning_without_one() {
    let (embedding, warnings) = section("agent: insights\nef_search: 40\n").unwrap();
    assert!(embedding.model.is_none());
    assert_eq!(embedding.ef_search, 40);
    assert_eq!(warnings, 1);
}

#[test]
fn vectors_have_as_many_numbers_as_the_stores_have() {
    assert_eq!(section("model: m\ndimensions: 1536\n").err(), Some(1));
    assert_eq!(section("model: 'a b'\n").err(), Some(1));
    assert_eq!(section("model: m\nbatch: 0\ntimeout: 1ms\n").err(), Some(2));
    assert_eq!(section("modell: m\n").err(), Some(1));
}
