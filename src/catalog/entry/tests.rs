use super::*;

fn price(name: &str, json: &str) -> ModelPrice {
    read(name, &object(json).unwrap()).unwrap().unwrap()
}

fn millionths(rate: PicosPerToken) -> u64 {
    rate.0 / 10_000
}

#[test]
fn field_names_say_part_tier_and_threshold() {
    let field = rate_field("cache_creation_input_token_cost_above_1hr_above_200k_tokens").unwrap();
    assert_eq!((field.part, field.above), (Part::CacheWrite1h, 200_000));
    let field = rate_field("output_cost_per_token_above_272k_tokens_priority").unwrap();
    assert_eq!((field.tier, field.above), (Tier::Priority, 272_000));
    let field = rate_field("input_cost_per_token_above_199999_tokens").unwrap();
    assert_eq!((field.part, field.above), (Part::Input, 199_999));
    for not in [
        "input_cost_per_token_batches",
        "input_cost_per_second",
        "input_cost_per_token_above_xk_tokens",
        "max_tokens",
    ] {
        assert_eq!(rate_field(not), None, "{not}");
    }
}

#[test]
fn unstated_rates_stand_on_the_safe_side() {
    let json = r#"{"mode":"chat","input_cost_per_token":4e-06,"output_cost_per_token":8e-06,
        "cache_read_input_token_cost":0.0,"output_cost_per_reasoning_token":0}"#;
    for (name, write, write_1h) in [
        ("other", 400, 400),
        ("claude-x", 500, 800),
        ("gemini-x", 800, 800),
        ("Qwen-x", 500, 500),
    ] {
        let rates = price(name, json).rates;
        assert_eq!(millionths(rates.cache_read), 400, "{name}");
        assert_eq!(millionths(rates.cache_write), write, "{name}");
        assert_eq!(millionths(rates.cache_write_1h), write_1h, "{name}");
        assert_eq!(millionths(rates.reasoning), 800, "{name}");
    }
}

#[test]
fn a_cache_write_below_input_is_storage_on_top_or_a_placeholder() {
    let json = r#"{"mode":"chat","input_cost_per_token":4e-06,"output_cost_per_token":8e-06,
        "cache_creation_input_token_cost":1e-06}"#;
    assert_eq!(millionths(price("gemini-x", json).rates.cache_write), 500);
    assert_eq!(millionths(price("zai/glm", json).rates.cache_write), 400);
}

#[test]
fn ranges_become_long_context_sets() {
    let json = r#"{"mode":"chat","tiered_pricing":[
        {"input_cost_per_token":1e-06,"output_cost_per_token":2e-06,"range":[0,32000.0]},
        {"input_cost_per_token":3e-06,"output_cost_per_token":4e-06,"range":[32000.0,128000.0]}]}"#;
    let price = price("m", json);
    assert_eq!(millionths(price.rates.output), 200);
    assert_eq!(price.long.len(), 1);
    assert_eq!(
        (price.long[0].0, millionths(price.long[0].1.input)),
        (32_000, 300)
    );
}

#[test]
fn a_tier_without_long_rates_meets_the_dearer_of_both() {
    let json = r#"{"mode":"chat","input_cost_per_token":1e-06,"output_cost_per_token":9e-06,
        "input_cost_per_token_above_200k_tokens":3e-06,"output_cost_per_token_above_200k_tokens":1e-05,
        "input_cost_per_token_priority":2e-06,"output_cost_per_token_priority":2e-05}"#;
    let priority = price("m", json).priority.unwrap();
    let (above, long) = priority.long[0];
    assert_eq!(
        (above, millionths(long.input), millionths(long.output)),
        (200_000, 300, 2_000)
    );
}

#[test]
fn an_entry_without_both_rates_prices_nothing_unless_it_embeds() {
    let none = |json: &str| read("m", &object(json).unwrap()).unwrap().is_none();
    assert!(none(r#"{"mode":"chat","input_cost_per_token":1e-06}"#));
    assert!(none(r#"{"mode":"chat","output_cost_per_token":1e-06}"#));
    assert!(none(r#"{"mode":"chat","input_cost_per_second":1}"#));
    assert!(!none(
        r#"{"mode":"embedding","input_cost_per_token":1e-06}"#
    ));
}

#[test]
fn an_hours_cache_write_on_claude_is_twice_the_input_or_more() {
    let stated = |hour: &str| {
        let json = format!(
            r#"{{"mode":"chat","input_cost_per_token":4e-06,"output_cost_per_token":8e-06,
            "cache_creation_input_token_cost":5e-06,"cache_creation_input_token_cost_above_1hr":{hour}}}"#
        );
        millionths(price("claude-x", &json).rates.cache_write_1h)
    };
    assert_eq!(
        (stated("1e-06"), stated("8e-06"), stated("1e-05")),
        (800, 800, 1_000)
    );
}

#[test]
fn reasoning_in_a_long_set_is_no_cheaper_than_in_the_base_set() {
    let json = r#"{"mode":"chat","input_cost_per_token":1e-06,"output_cost_per_token":2e-06,
        "output_cost_per_reasoning_token":9e-06,"output_cost_per_token_above_128k_tokens":3e-06}"#;
    let (_, long) = price("m", json).long[0];
    assert_eq!(
        (millionths(long.output), millionths(long.reasoning)),
        (300, 900)
    );
    assert_eq!(millionths(long.input), 100);
}
