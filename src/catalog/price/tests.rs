use super::*;
use crate::catalog::table::Table;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    model: String,
    tier: String,
    nanos: i64,
    usage: Usage,
}

fn bundled() -> Table {
    Table::parse(crate::catalog::BUNDLED).unwrap()
}

#[test]
fn an_independent_implementation_finds_the_same_costs() {
    let table = bundled();
    let lines = include_str!("../../../tests/data/prices/expected.jsonl").lines();
    let mut models = std::collections::BTreeSet::new();
    for line in lines {
        let Expected {
            model,
            tier,
            nanos,
            usage,
        } = serde_json::from_str(line).unwrap();
        let price = table
            .get(&model)
            .unwrap_or_else(|| panic!("{model} is not in the table"));
        assert_eq!(
            price.cost(&usage, ServiceTier::of_answer(&tier)),
            Nanos(nanos),
            "{line}"
        );
        models.insert(model);
    }
    assert_eq!(models.len(), 200);
}

#[test]
fn all_tokens_of_a_long_request_are_billed_at_the_long_rates() {
    let table = bundled();
    let price = table.get("openrouter/anthropic/claude-sonnet-4.6").unwrap();
    let cost = |input| {
        let usage = Usage {
            input,
            output: 1_000,
            ..Usage::default()
        };
        price.cost(&usage, ServiceTier::Default)
    };
    assert_eq!(cost(200_000), Nanos::parse_usd("0.615").unwrap());
    assert_eq!(cost(200_001), Nanos::parse_usd("1.222506").unwrap());
}

#[test]
fn parts_are_inside_their_totals_and_never_charged_twice() {
    let table = bundled();
    let price = table.get("claude-sonnet-4-20250514").unwrap();
    let usage = Usage {
        input: 1_000,
        cache_read: 400,
        cache_write: 200,
        cache_write_1h: 100,
        output: 50,
        reasoning: 20,
        ..Usage::default()
    };
    let micros = 300.0 * 3.0 + 400.0 * 0.3 + 200.0 * 3.75 + 100.0 * 6.0 + 50.0 * 15.0;
    let cost = price.cost(&usage, ServiceTier::Default);
    assert_eq!(cost, Nanos::parse_usd(&format!("{micros}e-6")).unwrap());
}

#[test]
fn zero_usage_costs_the_fee_per_request() {
    let table = bundled();
    let price = table.get("perplexity/pplx-70b-online").unwrap();
    let cost = price.cost(&Usage::default(), ServiceTier::Default);
    assert_eq!(cost, Nanos::parse_usd("0.005").unwrap());
    let free = ModelPrice::default();
    assert_eq!(
        free.cost(
            &Usage {
                input: 9,
                ..Usage::default()
            },
            ServiceTier::Flex
        ),
        Nanos(0)
    );
}

#[test]
fn searches_cost_their_fee_and_are_rounded_with_the_rest() {
    let table = bundled();
    let price = table.get("claude-sonnet-4-20250514").unwrap();
    let cost = |searches| {
        let usage = Usage {
            input: 1,
            searches,
            ..Usage::default()
        };
        price.cost(&usage, ServiceTier::Default)
    };
    assert_eq!(cost(0), Nanos(3_000));
    assert_eq!(cost(3), Nanos(30_003_000));
    assert_eq!(cost(u64::MAX), crate::money::MAX_AMOUNT);
}

#[test]
fn absurd_usage_neither_overflows_nor_comes_cheap() {
    let table = bundled();
    let price = table.get("gpt-4o").unwrap();
    let usage = Usage {
        input: 10,
        cache_read: 1_000,
        output: u64::MAX,
        ..Usage::default()
    };
    assert_eq!(
        price.cost(&usage, ServiceTier::Default),
        crate::money::MAX_AMOUNT
    );
}

#[test]
fn a_tier_asked_for_counts_beside_the_standard_one() {
    let table = bundled();
    let price = table.get("gpt-5").unwrap();
    let standard = price.worst_output(1, None, false);
    assert!(price.worst_output(1, Some(ServiceTier::Priority), false) > standard);
    assert_eq!(
        price.worst_output(1, Some(ServiceTier::Flex), false),
        standard
    );
    assert_eq!(
        price.worst_output(1, Some(ServiceTier::Default), false),
        standard
    );
    assert_eq!(ServiceTier::of_request("auto"), ServiceTier::Priority);
}

prop_compose! {
    /// Parts inside their totals, as honest answers have them.
    fn honest_usage()(
        input in 0_u64..1_000_000,
        output in 0_u64..200_000,
        shares in proptest::array::uniform4(0.0_f64..1.0),
        out in proptest::array::uniform2(0.0_f64..1.0),
    ) -> Usage {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
            clippy::cast_precision_loss, reason = "a share of a small whole")]
        let part = |left: &mut u64, share: f64| {
            let taken = (*left as f64 * share) as u64;
            *left -= taken;
            taken
        };
        let (mut i, mut o) = (input, output);
        Usage {
            input,
            cache_read: part(&mut i, shares[0]),
            cache_write: part(&mut i, shares[1]),
            cache_write_1h: part(&mut i, shares[2]),
            audio_input: part(&mut i, shares[3]),
            output,
            reasoning: part(&mut o, out[0]),
            audio_output: part(&mut o, out[1]),
            searches: 0,
        }
    }
}

fn bound(price: &ModelPrice, n: u64, m: u64, tier: Option<ServiceTier>) -> Nanos {
    let input = price.worst_input(n, true, tier).times(n);
    let output = price.worst_output(n, tier, true).times(m);
    (input + output + picos(price.per_request)).ceil_nanos()
}

proptest! {
    #[test]
    fn no_honest_answer_within_the_bound_costs_more(
        usage in honest_usage(),
        pick in any::<proptest::sample::Index>(),
        slack in (0_u64..300_000, 0_u64..10_000),
        asked in proptest::option::of(0_usize..3),
        served in any::<bool>(),
    ) {
        let catalog = crate::catalog::Catalog::bundled();
        let price = catalog.table.iter().nth(pick.index(catalog.len())).unwrap();
        let tiers = [ServiceTier::Default, ServiceTier::Flex, ServiceTier::Priority];
        let asked = asked.map(|index| tiers[index]);
        // A provider serves the tier asked for, or the standard one.
        let billed = asked.filter(|_| served).unwrap_or_default();
        let most = bound(price, usage.input + slack.0, usage.output + slack.1, asked);
        prop_assert!(price.cost(&usage, billed) <= most, "{}", price.name);
    }
}
