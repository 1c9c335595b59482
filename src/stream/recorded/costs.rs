//! What every recorded answer costs: what it says itself, else what an independent formula makes of
//! its usage and the price table.

use super::{MeterOptions, Reading, Recorded, recorded, run};
use crate::bill::{Terms, bill};
use crate::catalog::Catalog;
use crate::money::Nanos;
use crate::provider;
use crate::usage::{CostSource, ServiceTier, Usage};

/// The bill for an answer of a provider that is asked directly, at the bundled prices; where the
/// program does not know what that provider sells, at the price that a file would state.
fn billed(
    recorded: &Recorded,
    catalog: &Catalog,
    reading: &Reading,
) -> Option<(Nanos, CostSource)> {
    let provider = recorded.name.split("__").next().unwrap();
    let known = match provider {
        "gemini" => Some("google"),
        "openai" | "azure" | "anthropic" | "openrouter" => Some(provider),
        _ => None,
    };
    let price = recorded
        .expected
        .entry
        .as_deref()
        .map(|name| catalog.find(name).unwrap());
    let asked = [reading.model.clone().unwrap_or_default()];
    let terms = Terms {
        catalog,
        provider: provider::named(known.unwrap_or("openai-compatible")).unwrap(),
        asked: &asked,
        known: &[],
        own: price.filter(|_| known.is_none()),
        service_tier: ServiceTier::Default,
    };
    bill(reading, &terms, || 1).map(|bill| (bill.cost, bill.source))
}

#[test]
fn every_recorded_answer_costs_what_it_says_or_what_its_usage_costs() {
    let catalog = Catalog::bundled();
    let mut counts = [0; 4];
    for recorded in recorded() {
        let Recorded { name, expected, .. } = &recorded;
        let options = MeterOptions {
            count: MeterOptions::default().count,
            ..recorded.options(false, false)
        };
        let (reading, _) = run(recorded.kind, &recorded.body, &[], options, None);
        // With an account of the user's own at the provider behind, both ask for money.
        let upstream = expected.upstream_cost.filter(|_| expected.byok);
        let stated = expected.cost.unwrap_or(0) + upstream.unwrap_or(0);
        let (kind, due) = match (expected.due, expected.usage) {
            _ if stated > 0 => (0, Some((stated, CostSource::Provider))),
            (Some(due), _) => (1, Some((due, CostSource::Usage))),
            // A thousandth of a dollar per hundred tokens of a model without a price. Text four
            // times as long as its usage admits to is counted by us.
            (None, Some(usage)) => {
                let own = reading.own_output;
                let output = if usage.output < own / 4 {
                    own
                } else {
                    usage.output
                };
                let tokens = i64::try_from(usage.input + output).unwrap();
                (2, Some((tokens * 10_000, CostSource::Estimated)))
            }
            (None, None) if expected.text_bytes == 0 => (3, None),
            // It broke off.
            (None, None) => {
                let tokens = i64::try_from(reading.own_output + 1).unwrap();
                let price = expected
                    .entry
                    .as_deref()
                    .and_then(|name| catalog.find(name));
                let cost = price.map(|price| {
                    let input = price.rates.input.times(1);
                    (input + price.rates.output.times(reading.own_output))
                        .ceil_nanos()
                        .0
                });
                let cost = cost.unwrap_or(tokens * 10_000);
                (2, Some((cost, CostSource::Estimated)))
            }
        };
        let due = due.map(|(nanos, source)| (Nanos(nanos), source));
        assert_eq!(billed(&recorded, &catalog, &reading), due, "{name}");
        counts[kind] += 1;
    }
    assert_eq!(counts, [18, 121, 29, 18], "stated, priced, estimated, free");
}

#[test]
fn errors_are_told_and_cost_nothing() {
    let catalog = Catalog::bundled();
    let mut count = 0;
    for recorded in recorded() {
        if !recorded.name.ends_with(".err.json") {
            continue;
        }
        let options = recorded.options(false, false);
        let (reading, _) = run(recorded.kind, &recorded.body, &[], options, None);
        assert!(
            reading.error.is_some() && reading.usage.is_none(),
            "{}",
            recorded.name
        );
        assert_eq!(
            billed(&recorded, &catalog, &reading),
            None,
            "{}",
            recorded.name
        );
        count += 1;
    }
    assert_eq!(count, 18);
}

#[test]
fn a_stream_of_messages_that_is_cut_costs_its_stated_input_and_our_count_of_its_output() {
    let catalog = Catalog::bundled();
    let mut count = 0;
    for recorded in recorded() {
        let text = std::str::from_utf8(&recorded.body).unwrap();
        let Some(at) = text.find("event: message_delta") else {
            continue;
        };
        let options = recorded.options(false, false);
        let (reading, _) = run(recorded.kind, &recorded.body[..at], &[], options, None);
        let name = &recorded.name;
        let usage = reading.usage.unwrap();
        assert!(reading.output_open && !reading.done, "{name}");
        assert!(usage.input > 1 && usage.output == 0, "{name}");
        let price = catalog
            .find(recorded.expected.entry.as_deref().unwrap())
            .unwrap();
        let own = Usage {
            output: recorded.expected.text_bytes,
            ..usage
        };
        let due = price.cost(&own, ServiceTier::Default);
        let due = Some((due, CostSource::Estimated));
        assert_eq!(billed(&recorded, &catalog, &reading), due, "{name}");
        count += 1;
    }
    assert_eq!(count, 18);
}

/// Runs a script of the repository's, with the standard library of Python only.
fn script(path: &str, argument: &str) -> std::process::Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = std::process::Command::new("python3");
    command.current_dir(root).args([path, argument]);
    command.output().unwrap()
}

#[test]
fn what_is_expected_is_what_the_independent_reader_finds() {
    let done = script("tests/recorded/expect.py", "--check");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn the_costs_that_prices_are_tested_with_come_from_the_table_in_use() {
    let done = script("tests/prices/independent.py", "conf/prices/table.json");
    assert!(done.status.success(), "{done:?}");
    let expected = include_bytes!("../../../tests/data/prices/expected.jsonl");
    assert!(
        done.stdout == expected,
        "expected.jsonl is of another table"
    );
}
