use super::*;
use crate::catalog::Catalog;
use crate::money::PicosPerToken;

const LITELLM: &str = r#"{
    "sample_spec": {"mode": "one of: chat, ...", "input_cost_per_token": 0.0},
    "b": {"mode": "chat", "output_cost_per_token": 1.50e-05, "input_cost_per_token": 3e-06,
          "max_tokens": 9, "max_output_tokens": 8, "supports_vision": true,
          "input_cost_per_token_batches": 1e-06,
          "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.05}},
    "a": {"mode": "embedding", "input_cost_per_token": 1e-7, "max_tokens": 9},
    "picture": {"mode": "image_generation", "input_cost_per_token": 1e-7},
    "seconds": {"mode": "chat", "input_cost_per_second": 0.1},
    "million": {"mode": "chat", "input_cost_per_token": 3.0, "output_cost_per_token": 15.0},
    "none": {"input_cost_per_token": 1e-7},
    "openrouter/openrouter/auto": {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0}
}"#;

fn header(version: &str) -> Header {
    Header {
        version: version.to_owned(),
        ..Header::default()
    }
}

#[test]
fn litellms_file_becomes_sorted_lines_with_its_own_digits() {
    let (table, report) = refresh(LITELLM, "", &header("v")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        &lines[7..10],
        [
            r#""a":{"input_cost_per_token":1e-7,"max_tokens":9,"mode":"embedding"},"#,
            r#""b":{"input_cost_per_token":3e-06,"max_output_tokens":8,"mode":"chat","output_cost_per_token":1.50e-05,"search_context_cost_per_query":{"search_context_size_low":0.01,"search_context_size_high":0.05}}"#,
            "}}",
        ]
    );
    assert_eq!((report.taken, report.total), (2, 2));
    assert_eq!(report.left_out.values().map(Vec::len).sum::<usize>(), 6);
    assert_eq!(
        report.unused.keys().collect::<Vec<_>>(),
        ["input_cost_per_token_batches"]
    );
    let catalog = Catalog::from_text(&table).unwrap();
    assert_eq!(catalog.find("b").unwrap().search.to_string(), "0.05");
}

#[test]
fn the_bundled_table_is_what_it_would_be_written_as() {
    let (table, report) = refresh(
        r#"{"data":[]}"#,
        bundled(),
        &Catalog::bundled().header().clone(),
    )
    .unwrap();
    assert!(table == bundled());
    assert_eq!(report.total, Catalog::bundled().len());
    assert!(table.len() < 600_000);
}

#[test]
fn every_malformed_entry_is_named_with_its_field() {
    let input = r#"{"good": {"mode":"chat","input_cost_per_token":1e-7,"output_cost_per_token":1e-7},
        "x": {"mode":"chat","input_cost_per_token":"cheap","output_cost_per_token":1e-7},
        "y": {"mode":"chat","input_cost_per_token":1e-7,"output_cost_per_token":-1e-7}}"#;
    let error = refresh(input, "", &header("v")).unwrap_err().to_string();
    assert!(error.starts_with("2 entries malformed"), "{error}");
    assert!(
        error.contains("entry `x`, field `input_cost_per_token`: `\"cheap\"`"),
        "{error}"
    );
    assert!(
        error.contains("entry `y`, field `output_cost_per_token`: `-1e-7`"),
        "{error}"
    );
    for other in ["[]", "{}", "nonsense", r#"{"a":1}"#, bundled()] {
        assert!(refresh(other, "", &header("v")).is_err());
    }
    let twice = r#"{"a":{"mode":"x"},"a":{"mode":"x"}}"#;
    assert!(
        refresh(twice, "", &header("v"))
            .unwrap_err()
            .to_string()
            .contains("given twice")
    );
}

#[test]
fn openrouters_list_is_merged_under_its_own_names() {
    let recorded = include_str!("../../../tests/data/prices/openrouter_models.json");
    let (table, report) = refresh(recorded, bundled(), &header("")).unwrap();
    assert_eq!((report.taken, report.left_out.len()), (4, 0));
    let catalog = Catalog::from_text(&table).unwrap();
    assert_eq!(&**catalog.version(), "litellm-1.83.0+openrouter");
    assert_eq!(catalog.len(), Catalog::bundled().len());
    let price = catalog.find("anthropic/claude-sonnet-4").unwrap();
    assert_eq!(price.name, "openrouter/anthropic/claude-sonnet-4");
    assert_eq!(price.rates.cache_write_1h, PicosPerToken(6_000_000));
    assert_eq!(price.search.to_string(), "0.01");
    assert_eq!(
        (price.max_input, price.max_output),
        (Some(1_000_000), Some(64_000))
    );
    let (above, long) = price.long[0];
    assert_eq!((above, long.output), (199_999, PicosPerToken(22_500_000)));
    let cheaper = catalog.find("openai/gpt-3.5-turbo").unwrap();
    assert_eq!(cheaper.rates.input, PicosPerToken(500_000));
}

#[test]
fn openrouters_routers_and_placeholders_are_no_prices() {
    let input = r#"{"data":[
        {"id":"openrouter/auto","pricing":{"prompt":"-1","completion":"-1"}},
        {"id":"v/router","pricing":{"prompt":"-1","completion":"-1"}},
        {"id":"v/m:free","pricing":{"prompt":"0","completion":"0"}},
        {"id":"v/m","context_length":10,"top_provider":null,"pricing":{"prompt":"0.000001","completion":"0.000002",
          "request":"0.003","image":"0","internal_reasoning":"0","input_cache_read":"0","discount":0,"novelty":"0.5"}}]}"#;
    let (table, report) = refresh(input, bundled(), &header("v")).unwrap();
    assert_eq!(report.left_out.values().flatten().count(), 2);
    assert_eq!(
        report.unused.keys().collect::<Vec<_>>(),
        ["pricing.novelty"]
    );
    let catalog = Catalog::from_text(&table).unwrap();
    assert!(catalog.find("v/m:free").unwrap().is_free());
    let price = catalog.find("v/m").unwrap();
    assert_eq!(
        (price.rates.cache_read, price.rates.reasoning),
        (PicosPerToken(1_000_000), PicosPerToken(2_000_000))
    );
    assert_eq!(price.per_request.to_string(), "0.003");
    assert!(catalog.find("v/router").is_none());
}

#[test]
fn openrouters_malformed_models_are_named() {
    for (model, said) in [
        (r#"{"pricing":{}}"#, "entry `data[0]`, field `id`"),
        (
            r#"{"id":"v/m"}"#,
            "entry `openrouter/v/m`, field `pricing`: missing",
        ),
        (
            r#"{"id":"v/m","pricing":{"prompt":"free","completion":"0"}}"#,
            "field `pricing.prompt`: `free` is no decimal number",
        ),
        (
            r#"{"id":"v/m","pricing":{"prompt":"1","completion":"1"}}"#,
            "above a cent per token",
        ),
        (
            r#"{"id":"v/m","pricing":{"prompt":"0","completion":"0","overrides":[{"prompt":"0"}]}}"#,
            "without `min_prompt_tokens`",
        ),
    ] {
        let error =
            refresh(&format!(r#"{{"data":[{model}]}}"#), bundled(), &header("v")).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(refresh(r#"{"data":3}"#, bundled(), &header("v")).is_err());
}
