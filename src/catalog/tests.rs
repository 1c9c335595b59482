use super::*;
use crate::usage::ServiceTier;

fn usd(text: &str) -> PicosPerToken {
    PicosPerToken::parse_usd(text).unwrap()
}

fn stated(input: &str, output: &str) -> PriceOverride {
    PriceOverride {
        input: usd(input),
        output: usd(output),
        cache_read: None,
        cache_write: None,
        max_output: None,
    }
}

fn name(catalog: &Catalog, model: &str) -> Option<String> {
    catalog.find(model).map(|price| price.name.clone())
}

#[test]
fn every_model_of_the_execwall_or_gates_policy_is_priced() {
    let catalog = Catalog::bundled();
    for (model, input, output, most) in [
        ("anthropic/claude-3.5-sonnet", "3e-06", "1.5e-05", 8_192),
        ("openai/gpt-4o", "2.5e-06", "1e-05", 16_384),
        ("anthropic/claude-3-haiku", "2.5e-07", "1.25e-06", 4_096),
        ("openai/gpt-4o-mini", "1.5e-07", "6e-07", 16_384),
        ("mistralai/mistral-7b-instruct", "1.3e-07", "1.3e-07", 8_192),
    ] {
        let price = catalog.find(model).unwrap();
        assert_eq!(
            (price.rates.input, price.rates.output),
            (usd(input), usd(output)),
            "{model}"
        );
        assert_eq!(price.max_output, Some(most), "{model}");
    }
    assert_eq!(&**catalog.version(), "litellm-1.83.0");
}

#[test]
fn a_vendors_own_entry_counts_only_when_the_vendor_sells_it() {
    let catalog = Catalog::bundled();
    let found = |model| name(&catalog, model);
    assert_eq!(found("openai/gpt-4o-mini").as_deref(), Some("gpt-4o-mini"));
    assert_eq!(
        found("google/gemini-2.5-flash-lite").as_deref(),
        Some("gemini/gemini-2.5-flash-lite")
    );
    assert_eq!(found("x-ai/grok-3").as_deref(), Some("xai/grok-3"));
    assert_eq!(found("gpt-4o").as_deref(), Some("gpt-4o"));
    // Priced by Bedrock, not by Anthropic; free at Google, not at OpenRouter; a date guessed.
    assert_eq!(found("anthropic/anthropic.claude-v2:1"), None);
    assert_eq!(found("google/gemma-3-27b-it"), None);
    assert_eq!(found("anthropic/claude-3-haiku-latest"), None);
    assert_eq!(found(""), None);
    assert_eq!(found("/"), None);
    assert_eq!(
        found(&format!("openai/gpt-4o{}", ":online".repeat(100_000))),
        None
    );
}

#[test]
fn variants_are_priced_as_their_model_and_online_is_told() {
    let catalog = Catalog::bundled();
    let exacto = catalog.resolve("z-ai/glm-4.6:exacto").unwrap();
    assert_eq!(exacto.price.name, "openrouter/z-ai/glm-4.6:exacto");
    for variant in ["nitro", "floor", "thinking", "extended", "exacto"] {
        let found = catalog
            .resolve(&format!("openai/gpt-4o:{variant}"))
            .unwrap();
        assert_eq!(
            (found.price.name.as_str(), found.online),
            ("openrouter/openai/gpt-4o", false)
        );
    }
    assert!(catalog.resolve("openai/gpt-4o:online").unwrap().online);
    assert!(catalog.resolve("openai/gpt-4o:weekly").is_none());
}

#[test]
fn free_is_said_by_the_name_or_by_the_table() {
    let catalog = Catalog::bundled();
    assert!(catalog.find("deepseek/deepseek-r1:free").unwrap().is_free());
    assert!(
        catalog
            .resolve("some/new-model:free:online")
            .is_some_and(|m| m.online)
    );
    assert!(catalog.find("openrouter/free").unwrap().is_free());
    assert!(catalog.find("gpt-4o:free").is_none());
}

#[test]
fn a_router_has_no_price_of_its_own() {
    let catalog = Catalog::bundled();
    for router in [
        "openrouter/auto",
        "openrouter/openrouter/auto",
        "openrouter/auto:free",
    ] {
        assert!(catalog.find(router).is_none(), "{router}");
    }
    let ceiling = catalog.with_ceiling(Some(stated("1e-5", "1e-4")));
    assert_eq!(
        ceiling
            .find_or_ceiling("openrouter/auto")
            .unwrap()
            .rates
            .output,
        usd("1e-4")
    );
    assert!(ceiling.find("openrouter/auto").is_none());
    assert_eq!(ceiling.find_or_ceiling("gpt-4o").unwrap().name, "gpt-4o");
}

#[test]
fn the_policys_price_beats_the_table_under_every_name() {
    let mut prices = BTreeMap::new();
    prices.insert(
        "anthropic/claude-sonnet-4.6".to_owned(),
        stated("1e-6", "2e-6"),
    );
    prices.insert("gpt-4o-mini".to_owned(), stated("0", "0"));
    prices.insert(
        "house/model".to_owned(),
        PriceOverride {
            max_output: Some(7),
            ..stated("1e-6", "1e-6")
        },
    );
    let catalog = Catalog::bundled().with_overrides(&prices);
    for model in [
        "anthropic/claude-sonnet-4.6",
        "openrouter/anthropic/claude-sonnet-4.6",
        "anthropic/claude-sonnet-4.6:nitro",
    ] {
        let price = catalog.find(model).unwrap();
        assert_eq!(
            price.worst_output(900_000, Some(ServiceTier::Priority), true),
            usd("2e-6")
        );
        assert_eq!(
            price.worst_text_input(900_000, None),
            usd("2e-6"),
            "an hour's cache write"
        );
        assert_eq!(price.max_output, Some(128_000), "{model}");
    }
    assert!(catalog.find("openai/gpt-4o-mini").unwrap().is_free());
    assert_eq!(catalog.find("house/model").unwrap().max_output, Some(7));
    assert_eq!(&**catalog.version(), "litellm-1.83.0+policy");
}

#[test]
fn what_is_found_is_priced_for_every_name_of_the_table() {
    let catalog = Catalog::bundled();
    for price in catalog.table.iter() {
        let found = catalog
            .find(&price.name)
            .unwrap_or_else(|| panic!("{}", price.name));
        assert!(
            found.rates.cache_write >= found.rates.input,
            "{}",
            price.name
        );
    }
    assert_eq!(catalog.len(), 2_052);
}

#[test]
fn a_table_of_ones_own_is_checked_entry_by_entry() {
    let table = |models: &str| {
        Catalog::from_text(&format!(
            r#"{{"format":"weir-prices/1","version":"mine","models":{{{models}}}}}"#
        ))
    };
    let fine = table(
        r#""a\u002fb":{"mode":"chat","input_cost_per_token":1e-6,"output_cost_per_token":2e-6}"#,
    );
    assert_eq!(name(&fine.unwrap(), "a/b").as_deref(), Some("a/b"));
    for (models, said) in [
        (
            r#""m":{"input_cost_per_token":-1}"#,
            "model `m`, field `input_cost_per_token`: `-1` is no price in dollars: must not be negative",
        ),
        (r#""m":{"input_cost_per_token":"x"}"#, "is no price"),
        (
            r#""m":{"input_cost_per_token":2.5}"#,
            "is it a price per million?",
        ),
        (
            r#""m":{"max_tokens":1.5}"#,
            "field `max_tokens`: `1.5` is no whole number of tokens",
        ),
        (
            r#""m":{"mode":"chat","mode":"chat"}"#,
            "field `mode`: given twice",
        ),
        (
            r#""m":{"input_cost_per_token":1e-6}"#,
            "model `m` has no price",
        ),
        (r#""m":{},"m":{}"#, "model `m` is listed twice"),
        (r#""m":3"#, "model `m`, field `(all)`: not an object"),
    ] {
        let error = table(models).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    for (text, said) in [
        ("", "not valid JSON"),
        ("{}", "not a Weir price table"),
        (r#"{"format":"weir-prices/9"}"#, "not a Weir price table"),
        (
            r#"{"format":"weir-prices/1","version":"","models":{}}"#,
            "states no `version`",
        ),
        (r#"{"format":"weir-prices/1","x":1}"#, "no field `x`"),
    ] {
        let error = Catalog::from_text(text).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

fn at<'c>(catalog: &'c Catalog, kind: &str, engine: &str) -> Option<&'c str> {
    let provider = crate::provider::named(kind).unwrap();
    let price = catalog.find_at(provider, engine)?;
    Some(&price.name)
}

#[test]
fn what_a_provider_serves_is_priced_by_what_that_provider_sells() {
    let catalog = Catalog::bundled();
    for (kind, engine, found) in [
        ("openai", "gpt-4o", Some("gpt-4o")),
        ("openai", "o3-pro", Some("o3-pro")),
        ("azure", "gpt-4o-mini", Some("azure/gpt-4o-mini")),
        ("azure", "gpt-35-turbo", Some("azure/gpt-35-turbo")),
        ("google", "gemini-2.5-pro", Some("gemini/gemini-2.5-pro")),
        (
            "google",
            "models/gemini-2.5-pro",
            Some("gemini/gemini-2.5-pro"),
        ),
        (
            "anthropic",
            "claude-3-haiku-20240307",
            Some("claude-3-haiku-20240307"),
        ),
        // Sold by somebody else.
        ("anthropic", "gpt-4o", None),
        ("openai", "claude-3-haiku-20240307", None),
        ("openai", "gemini/gemini-2.5-pro", None),
        ("google", "gpt-4o", None),
        ("openai", "openai/gpt-4o", None),
        ("openai", "", None),
        // Whatever runs at a compatible server.
        ("openai-compatible", "gpt-4o", Some("gpt-4o")),
        ("openai-compatible", "acme/none", None),
        (
            "openclaw",
            "anthropic/claude-opus-4-6",
            Some("claude-opus-4-6"),
        ),
        ("openclaw", "openrouter/auto", None),
        ("openai-compatible", "openrouter/free", None),
    ] {
        assert_eq!(at(&catalog, kind, engine), found, "{kind}: {engine}");
    }
    // Half the price somewhere, dearer elsewhere: each its own.
    let mini = |kind| {
        let provider = crate::provider::named(kind).unwrap();
        catalog
            .find_at(provider, "gpt-4o-mini")
            .unwrap()
            .rates
            .input
    };
    assert!(mini("azure") > mini("openai"));
}

#[test]
fn at_openrouter_a_model_is_found_as_ever() {
    let catalog = Catalog::bundled();
    for price in catalog.table.iter() {
        let model = &price.name;
        let openrouter = crate::provider::named("openrouter").unwrap();
        assert_eq!(catalog.find_at(openrouter, model), catalog.find(model));
    }
}

#[test]
fn a_stated_price_holds_for_dated_names_and_at_every_provider() {
    let prices = BTreeMap::from([("gpt-4o".to_owned(), stated("1e-6", "2e-6"))]);
    let catalog = Catalog::bundled().with_overrides(&prices);
    for kind in ["openai", "azure", "openai-compatible"] {
        let provider = crate::provider::named(kind).unwrap();
        for engine in ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2099-01-01"] {
            let price = catalog.find_at(provider, engine).unwrap();
            assert_eq!(price.rates.input, usd("1e-6"), "{kind}: {engine}");
        }
        let mini = catalog.find_at(provider, "gpt-4o-mini").unwrap();
        assert!(mini.rates.input != usd("1e-6"), "{kind}");
    }
}

#[test]
fn an_answer_may_name_a_dated_version_of_what_was_asked_for() {
    let catalog = Catalog::bundled();
    let openai = crate::provider::named("openai").unwrap();
    let found = |asked, answered| {
        let price = catalog.find_answered_at(openai, asked, answered)?;
        Some(price.name.as_str())
    };
    assert_eq!(
        found("gpt-4o", "gpt-4o-2024-08-06"),
        Some("gpt-4o-2024-08-06")
    );
    assert_eq!(found("gpt-4o", "gpt-4o-2099-01-01"), Some("gpt-4o"));
    assert_eq!(found("gpt-4o", "gpt-4o"), Some("gpt-4o"));
    assert_eq!(found("gpt-4o", "gpt-4o-mini"), Some("gpt-4o-mini"));
    assert_eq!(found("gpt-4o", "gpt-9-2099-01-01"), None);
    assert_eq!(found("gpt-4o", "gpt-4o-surprise"), None);
    let ceiling = catalog.with_ceiling(Some(stated("1e-5", "1e-4")));
    let unpriced = ceiling.find_or_ceiling_at(openai, "nobody-knows").unwrap();
    assert_eq!(unpriced.rates.output, usd("1e-4"));
}
