use super::*;
use crate::money::Nanos;
use crate::usage::Usage;

#[test]
fn a_settlement_shows_in_tokens_cost_and_source() {
    let metrics = Metrics::new().unwrap();
    let bill = Bill {
        cost: Nanos(1_500_000),
        source: CostSource::Provider,
        usage: Usage {
            input: 3,
            output: 4,
            ..Usage::default()
        },
        model: "m".into(),
        prices: "v".into(),
    };
    metrics.settled("agent-1", "openrouter", Name::Stated("m"), &bill, true);
    let text = metrics.expose(Levels {
        reservations: 2,
        ..Levels::default()
    });
    for line in [
        r#"weir_cost_usd_total{agent="agent-1",source="provider"} 0.0015"#,
        r#"weir_tokens_total{kind="output",model="m",provider="openrouter"} 4"#,
        r#"weir_model_cost_usd_total{model="m",provider="openrouter"} 0.0015"#,
        "titan_cost_usd_total 0.0015",
        "weir_over_bound_total 1",
        "weir_reservations_open 2",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[test]
fn models_of_the_table_are_told_apart_up_to_a_bound_and_those_of_the_policy_always() {
    let metrics = Metrics::new().unwrap();
    let names: Vec<String> = (0..400).map(|number| format!("m{number}")).collect();
    let of = |model| Proxied {
        route: "chat",
        provider: "p",
        model,
        end: End::Whole,
        duration: std::time::Duration::from_secs(1),
        first_byte: None,
        first_token: None,
        per_token: None,
    };
    for name in &names {
        metrics.proxied(&of(Name::Known(name)));
    }
    metrics.proxied(&of(Name::Stated("mine")));
    metrics.proxied(&of(Name::Other));
    let text = metrics.expose(Levels::default());
    let whole = |model: &str| {
        format!(r#"weir_model_requests_total{{model="{model}",outcome="ok",provider="p"}} "#)
    };
    assert!(text.contains(&(whole("other") + "145\n")), "{text}");
    assert!(text.contains(&(whole("mine") + "1\n")));
    let told = text.matches("weir_model_duration_seconds_count{").count();
    assert_eq!(told, 256 + 2);
}

#[test]
fn the_model_gateways_families_can_be_left_out() {
    let settings = crate::settings::Metrics { titan: false };
    let metrics = Metrics::of(&settings).unwrap();
    metrics.refused("budget_exhausted");
    assert!(!metrics.expose(Levels::default()).contains("titan"));
}
