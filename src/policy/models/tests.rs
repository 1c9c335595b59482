use super::*;
use crate::money::PicosPerToken;
use proptest::prelude::*;

/// The examples of the Model Gateway's README, put together.
const EXAMPLE: &str = "models:
  gpt-4o:
    provider: openai
    engine: gpt-4o
    input_cost: 0.0000025   # USD per token
    output_cost: 0.00001
    max_tokens: 8192
  o3-pro:
    provider: openai
    timeout: 300
defaults:
  self_reflection: o3-pro
  vitals: gpt-4o
  experiment: o3-pro
budget:
  daily_limit_usd: 20
  hard_stop: true          # Block requests when limit reached
  warning_threshold: 0.8   # Warn at 80% usage
";

fn read(text: &str) -> Result<Models, Problems> {
    parse("conf/models.yaml", text, &Environment::default())
}

#[test]
fn the_model_gateways_file_loads_unchanged() {
    let models = keyed(EXAMPLE).unwrap();
    assert_eq!(models.warnings, []);
    assert_eq!(models.aliases["task:self_reflection"], "o3-pro");
    assert_eq!(models.models["o3-pro"].dialect, Some(Dialect::Responses));
    assert!(models.providers["openai"].has_key());
    // Without the key it is as sound, and says what is missing.
    let warnings = read(EXAMPLE).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("no key: set OPENAI_API_KEY"));
    let price = &models.prices["gpt-4o"];
    assert_eq!(
        (price.input, price.output),
        (PicosPerToken(2_500_000), PicosPerToken(10_000_000))
    );
    assert_eq!(price.max_output, Some(8192));
    assert_eq!(
        models.models["o3-pro"].timeout,
        Some(Duration::from_secs(300))
    );
    assert_eq!(models.defaults["vitals"], "gpt-4o");
    let gateway = models.gateway.unwrap();
    assert_eq!(
        (gateway.limit, gateway.hard, gateway.period.kind),
        (Nanos::usd(20), true, PeriodKind::Daily)
    );
}

#[test]
fn a_price_per_million_in_the_wrong_place_is_noticed() {
    let text = EXAMPLE
        .replace("0.0000025", "2.5")
        .replace("max_tokens", "max_token");
    let problems = keyed(&text).unwrap_err().0;
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{shown:?}");
    assert!(
        shown
            .iter()
            .any(|p| p.contains(":5:17: error: models.gpt-4o.input_cost: is more than a cent"))
    );
    assert!(
        shown
            .iter()
            .any(|p| p.contains("did you mean `max_tokens`?"))
    );
}

const KEY: [(&str, &str); 1] = [("OPENAI_API_KEY", "sk-0123456789")];

fn keyed(text: &str) -> Result<Models, Problems> {
    parse("models.yaml", text, &Environment::of(KEY))
}

fn problems(text: &str) -> Vec<String> {
    let found = match keyed(text) {
        Ok(models) => models.warnings,
        Err(problems) => problems.0,
    };
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_model_says_where_else_its_requests_may_go() {
    let models = keyed(
        "models:
  gpt-4o:
    provider: openai
    aliases: [fast, smart]
    fallbacks: [mini, anthropic/claude-3-haiku]
    on_context_overflow: long
    on_content_policy: task:vitals
    limits: {requests_per_minute: 60, request_bytes: 1MiB}
  gpt-4o-mini: {provider: openrouter, engine: openai/gpt-4o-mini, aliases: [mini], dialect: chat}
  gpt-4.1: {provider: openai, aliases: [long]}
  o3-pro: {provider: openai}
defaults: {vitals: mini, other: vendor/model}
",
    )
    .unwrap();
    assert_eq!(models.warnings, []);
    let model = &models.models["gpt-4o"];
    assert_eq!(model.fallbacks, ["gpt-4o-mini", "anthropic/claude-3-haiku"]);
    assert_eq!(model.on_context_overflow.as_deref(), Some("gpt-4.1"));
    assert_eq!(model.on_content_policy.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(
        (model.limits.requests_per_minute, model.limits.request_bytes),
        (Some(60), Some(1 << 20))
    );
    assert_eq!(model.dialect, None);
    assert_eq!(models.models["o3-pro"].dialect, Some(Dialect::Responses));
    assert_eq!(models.models["gpt-4o-mini"].dialect, Some(Dialect::Chat));
    let aliases: Vec<(&str, &str)> = models
        .aliases
        .iter()
        .map(|(alias, model)| (alias.as_str(), model.as_str()))
        .collect();
    assert_eq!(
        aliases,
        [
            ("fast", "gpt-4o"),
            ("long", "gpt-4.1"),
            ("mini", "gpt-4o-mini"),
            ("other", "vendor/model"),
            ("smart", "gpt-4o"),
            ("task:other", "vendor/model"),
            ("task:vitals", "gpt-4o-mini"),
            ("vitals", "gpt-4o-mini"),
        ]
    );
    let facts: Vec<String> = models.facts.iter().map(ToString::to_string).collect();
    for line in [
        "models.gpt-4o.fallbacks = mini, anthropic/claude-3-haiku   (models.yaml:5)",
        "models.gpt-4o.limits.request_bytes = 1MiB   (models.yaml:8)",
        "defaults.vitals = mini   (models.yaml:12)",
    ] {
        assert!(facts.iter().any(|fact| fact == line), "{line}\n{facts:#?}");
    }
}

#[test]
fn a_name_means_one_thing_and_exists() {
    let text = "models:
  a: {provider: opnai}
  b: {provider: openai, aliases: [a, x], fallbacks: [bb], on_context_overflow: nobody}
  c: {provider: openai-compatible, aliases: [x], dialect: mesages}
  d: {provider: openai, dialect: messages, fallbacks: ['/m', '']}
defaults: {b: d, x: d}
";
    let found = problems(text);
    let wanted = [
        "2:17: error: models.a.provider: no provider of this name is built in or described under `providers`\n  help: did you mean `openai`?",
        "3:35: error: models.b.aliases[0]: `a` is the name of a model as well",
        "3:54: error: models.b.fallbacks[0]: `bb` is none of this file's models",
        "3:80: error: models.b.on_context_overflow: `nobody` is none",
        "4:17: error: models.c.provider: `openai-compatible` is a kind of provider without an address",
        "4:46: error: models.c.aliases[0]: `x` stands for `b` already",
        "4:59: error: models.c.dialect: is no dialect\n  help: did you mean `messages`?",
        "5:34: error: models.d.dialect: `openai` does not speak messages\n  help: one of: chat,",
        "5:56: error: models.d.fallbacks[0]: `/m` is none",
        "5:62: error: models.d.fallbacks[1]: the model's name is empty",
        "6:15: error: defaults.b: `b` is the name of a model as well",
        "6:21: error: defaults.x: `x` stands for `b` already",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for part in wanted {
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(&format!("models.yaml:{part}"))),
            "{part}\n{found:#?}"
        );
    }
}

#[test]
fn models_that_lead_back_to_themselves_are_refused() {
    let found = problems(
        "models:
  a: {provider: openai, fallbacks: [v/m, b]}
  b: {provider: openai, aliases: [bee], fallbacks: [c]}
  c: {provider: openai, fallbacks: [a], on_context_overflow: see}
  d: {provider: openai, aliases: [see], on_context_overflow: c, on_content_policy: d}
  e: {provider: openai, fallbacks: [d], on_context_overflow: d}
",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    for part in [
        "models.a: its `fallbacks` lead back to it: a -> b -> c -> a",
        "models.c: its `on_context_overflow` lead back to it: c -> d -> c",
        "models.d: its `on_content_policy` lead back to it: d -> d",
    ] {
        assert!(found.iter().any(|line| line.ends_with(part)), "{part}");
    }
}

#[test]
fn two_prices_of_one_engine_make_the_dearer_one() {
    let models = keyed(
        "models:
  a: {provider: openai, engine: e, input_cost: 1e-6, output_cost: 4e-6}
  b: {provider: openai, engine: e, input_cost: 2e-6, output_cost: 3e-6}
  c: {provider: openai, engine: e, input_cost: 2e-6, output_cost: 4e-6}
",
    )
    .unwrap();
    let price = |name: &str| {
        let price = &models.prices[name];
        (price.input.0, price.output.0)
    };
    assert_eq!(price("a"), (1_000_000, 4_000_000));
    assert_eq!(price("b"), (2_000_000, 3_000_000));
    assert_eq!(price("e"), (2_000_000, 4_000_000));
    assert_eq!(models.warnings.len(), 1, "{:?}", models.warnings);
    assert_eq!(models.models["b"].price.unwrap().output.0, 3_000_000);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,120}") {
        let _ = keyed(&text);
        let _ = keyed(&format!("models: {text}"));
    }
}
