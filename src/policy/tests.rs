use super::*;
use crate::budget::period::PeriodKind;
use crate::budget::tier::Threshold;
use crate::money::PicosPerToken;
use proptest::prelude::*;
use std::time::Duration;

/// The example of the Execwall OR Gate's README, word for word.
const EXAMPLE: &str = include_str!("../../tests/data/execwall-or-gate/policy.yaml");

pub(super) fn environment() -> Environment {
    Environment::of([
        ("OPENROUTER_API_KEY", "sk-or-upstream-secret"),
        ("JETPATCH_API_KEY", "jet-secret"),
    ])
}

pub(super) fn read(text: &str) -> Result<Policy, Problems> {
    parse("policy.yaml", text, &environment())
}

pub(super) fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Ok(policy) => policy.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

/// A policy with one sound agent and these lines inside `cost_routing`.
pub(super) fn with(lines: &str) -> String {
    format!("cost_routing:\n  agents: {{a: {{budget_total: 5}}}}\n{lines}")
}

#[test]
fn the_execwall_or_gates_policy_loads_unchanged() {
    let policy = read(EXAMPLE).unwrap();
    assert_eq!(policy.warnings, []);
    assert_eq!(policy.spend_log, Path::new("./spend.jsonl"));
    assert_eq!(
        policy.upstream.base_url.text,
        "https://openrouter.ai/api/v1"
    );
    assert_eq!(policy.upstream.timeout, Duration::from_secs(120));
    assert!(policy.upstream.api_key.as_ref().unwrap().expose() == "sk-or-upstream-secret");
    let agent = policy.agent("agent-1").unwrap();
    assert_eq!(
        (agent.account.limit, agent.account.opening),
        (Nanos::usd(50), Nanos::ZERO)
    );
    assert_eq!(
        (agent.account.hard, agent.account.period.kind),
        (true, PeriodKind::Daily)
    );
    assert_eq!(agent.budget_source, BudgetSource::Local);
    assert_eq!(
        agent.thresholds,
        [Threshold(800_000_000), Threshold(300_000_000), Threshold(0)]
    );
    assert_eq!(
        agent.tiers[0],
        ["anthropic/claude-3.5-sonnet", "openai/gpt-4o"]
    );
    assert_eq!(agent.tiers[2], ["mistralai/mistral-7b-instruct"]);
    assert_eq!(agent.accounts, [Arc::clone(&agent.account)]);
    assert!(policy.agent("other").is_none() && policy.keys.is_empty() && policy.gateway.is_none());
}

#[test]
fn an_unset_variable_is_an_empty_secret_and_a_warning() {
    let policy = parse("policy.yaml", EXAMPLE, &Environment::default()).unwrap();
    assert!(policy.upstream.api_key.is_none());
    let shown: Vec<String> = policy.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown.len(),
        1,
        "the console is off, so its key is not missed: {shown:?}"
    );
    assert!(shown[0].starts_with(
        "policy.yaml:15:14: warning: cost_routing.openrouter.api_key: the secret is empty (${OPENROUTER_API_KEY} is not set)"
    ));
}

#[test]
fn the_environments_key_is_the_last_resort() {
    let policy = read(&with("")).unwrap();
    assert!(policy.upstream.api_key.is_none());
    assert!(policy.upstream.fallback_key.unwrap().expose() == "sk-or-upstream-secret");
}

#[test]
fn amounts_are_exact_however_they_are_written() {
    for (written, nanos) in [
        ("50.10", 50_100_000_000),
        ("\"$50.10\"", 50_100_000_000),
        ("0.1", 100_000_000),
        ("5e-9", 5),
        ("9007199.254740992", 1 << 53),
        ("'${NONE:-12.5}'", 12_500_000_000),
    ] {
        let policy = read(&format!(
            "cost_routing: {{agents: {{a: {{budget_total: {written}}}}}}}"
        ))
        .unwrap();
        assert_eq!(policy.agents["a"].account.limit, Nanos(nanos), "{written}");
    }
}

#[test]
fn what_weir_adds_is_read_and_has_strict_defaults() {
    let policy = read(&with("")).unwrap();
    assert_eq!(policy.bound, BoundMode::Strict);
    assert!(policy.metadata && policy.fit_max_tokens && policy.unpriced_ceiling.is_none());
    assert_eq!(
        (
            policy.min_output_tokens,
            policy.media_tokens,
            policy.default_max_output
        ),
        (16, 16_384, 16_384)
    );
    assert_eq!(policy.server_tool_fee, Nanos(50_000_000));

    let policy = read(&with(
        "  gateway: {budget_total: $20, period: monthly, hard_cap: no}
  timezone: europe/berlin
  bound: estimate
  fit_max_tokens: off
  metadata: false
  server_tool_fee: $0.10
  prices:
    in-house/model: {input_usd_per_million: 0, output_usd_per_million: 1.5, cache_read_usd_per_million: 0.1, max_output_tokens: 4096}
  unpriced_ceiling: {input_usd_per_million: 30, output_usd_per_million: 180}
  openrouter: {referer: https://example.com, title: Ours, ca_file: ca.pem, timeout_seconds: 2.5}
",
    ))
    .unwrap();
    let gateway = policy.gateway.clone().unwrap();
    assert_eq!(
        (gateway.id.as_str(), gateway.limit, gateway.hard),
        ("gateway", Nanos::usd(20), false)
    );
    assert_eq!(gateway.period.kind, PeriodKind::Monthly);
    assert_eq!(gateway.period.zone.iana_name(), Some("Europe/Berlin"));
    let agent = policy.agent("a").unwrap();
    assert_eq!(agent.accounts, [Arc::clone(&agent.account), gateway]);
    assert_eq!(agent.account.period.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(policy.accounts().len(), 2);
    assert_eq!(
        (policy.bound, policy.fit_max_tokens, policy.metadata),
        (BoundMode::Estimate, false, false)
    );
    let price = &policy.prices["in-house/model"];
    assert_eq!(
        (price.input, price.output),
        (PicosPerToken(0), PicosPerToken(1_500_000))
    );
    assert_eq!(
        (price.cache_read, price.cache_write, price.max_output),
        (Some(PicosPerToken(100_000)), None, Some(4096))
    );
    assert_eq!(
        policy.unpriced_ceiling.unwrap().output,
        PicosPerToken(180_000_000)
    );
    assert_eq!(policy.upstream.timeout, Duration::from_millis(2500));
    assert_eq!(
        (
            policy.upstream.referer.as_str(),
            policy.upstream.title.as_str()
        ),
        ("https://example.com", "Ours")
    );

    for (bad, part) in [
        ("  bound: exact\n", "must be strict or estimate"),
        ("  timezone: Mars/Olympus\n", "IANA"),
        ("  min_output_tokens: 0\n", "between 1 and"),
        ("  min_output_tokens: 20000\n", "must not be larger"),
        ("  media_tokens: many\n", "whole number"),
        (
            "  prices: {m: {input_usd_per_million: 1}}\n",
            "`output_usd_per_million` is missing",
        ),
        (
            "  prices: {m: {input_usd_per_million: 1, output_usd_per_million: -1}}\n",
            "negative",
        ),
        (
            "  prices: {m: {input_usd_per_million: 20000, output_usd_per_million: 1}}\n",
            "more than a cent",
        ),
        (
            "  gateway: {period: daily}\n",
            "cost_routing.gateway: `budget_total` is missing",
        ),
        ("  openrouter: {title: \"a\\nb\"}\n", "printable ASCII"),
    ] {
        assert!(
            read(&with(bad)).is_err()
                && problems(&with(bad)).iter().any(|line| line.contains(part)),
            "{bad}"
        );
    }
}

#[test]
fn a_models_file_fills_in_prices_and_the_gateways_limit() {
    let models = models::parse(
        "conf/models.yaml",
        "models: {m: {provider: openai, input_cost: 1e-6, output_cost: 2e-6}, n: {provider: openai, input_cost: 0, output_cost: 0}}
budget: {daily_limit_usd: 20, hard_stop: true}
",
        &environment(),
    )
    .unwrap();
    let mut policy = read(&with(
        "  prices: {m: {input_usd_per_million: 9, output_usd_per_million: 9}}\n",
    ))
    .unwrap();
    policy.adopt(models.clone());
    assert_eq!(
        policy.prices["m"].input,
        PicosPerToken(9_000_000),
        "the policy's own price wins"
    );
    assert_eq!(policy.prices["n"].input, PicosPerToken(0));
    assert_eq!(policy.gateway.as_ref().unwrap().limit, Nanos::usd(20));
    assert_eq!(policy.agents["a"].accounts.len(), 2);

    let mut policy = read(&with("  gateway: {budget_total: 7}\n")).unwrap();
    policy.adopt(models);
    assert_eq!(
        policy.gateway.unwrap().limit,
        Nanos::usd(7),
        "the policy's own limit wins"
    );
}

#[test]
fn every_key_of_the_policy_is_documented() {
    const DOCUMENT: &str = include_str!("../../docs/policy.md");
    let text = "cost_routing:
  console: {enabled: true, url: 'https://x', sync_interval_seconds: 30, api_key: x, gateway_id: x, ca_file: x}
  openrouter: {api_key: x, referer: x, ca_file: x}
  users: {NAME: {budget_total: 1}}
  user_default: {budget_total: 1}
  gateway: {budget_total: 1}
  breaker: {timezone: UTC, economy: {to: haiku}, webhook: {url: 'https://x', secret: '0123456789abcdef0123456789abcdef'}}
  prices: {MODEL: {input_usd_per_million: 1, output_usd_per_million: 1, cache_read_usd_per_million: 1, cache_write_usd_per_million: 1, max_output_tokens: 1}}
  agents: {NAME: {budget_total: 1, timezone: UTC, tiers: [{threshold: 0, models: [x]}], allowed_models: [x], limits: LIMITS}}
auth: {keys: [{id: k, key: '${OPENROUTER_API_KEY}', agent: NAME, user: u, users: [v], expires: 2027-01-01, limits: LIMITS}]}
"
    .replace("LIMITS", "{requests_per_minute: 1, tokens_per_minute: 1, concurrent_requests: 1, request_bytes: 1KiB}");
    let models = "models: {NAME: {provider: azure, aliases: [a], fallbacks: [v/m], on_context_overflow: v/m, on_content_policy: v/m, engine: e, input_cost: 0, output_cost: 0, max_tokens: 1, timeout: 1, dialect: chat, deployment: d, limits: {requests_per_minute: 1}}}
defaults: {TASK: v/m}
budget: {daily_limit_usd: 1, hard_stop: true, warning_threshold: 0.5}
providers:
  azure: {base_url: 'http://h', api_key: k, timeout: 1, headers: {HEADER: v}, dialects: [chat], allow_private: no, api_version: v, kind: azure}
  NAME: {base_url: 'http://h', speaks: [chat]}
  NAME2: {kind: azure, endpoints: [{name: n, region: r, base_url: 'http://h', api_key: k, deployment: d, api_version: v}]}
";
    let models = models::parse("models.yaml", models, &environment()).unwrap();
    for fact in read(&text).unwrap().facts.into_iter().chain(models.facts) {
        let path = fact
            .path
            .replace("[0]", "[]")
            .replace("providers.azure.", "providers.NAME.")
            .replace("providers.NAME2.", "providers.NAME.");
        if path.starts_with("cost_routing.users.NAME.")
            || path.starts_with("cost_routing.user_default.")
            || path.starts_with("models.NAME.limits.")
        {
            // The same keys as an agent's.
            continue;
        }
        assert!(
            DOCUMENT.contains(&format!("`{path}`")),
            "{path} is not in docs/policy.md"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_policy_panic(text in "(?s).{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn a_policy_with_any_line_replaced_is_read_or_refused(at in 0_usize..45, line in "[ ]{0,8}[a-z_]{0,12}(: |:|- )?[-a-z0-9.$\"'\\[\\]{}&*!]{0,10}") {
        let mut lines: Vec<&str> = EXAMPLE.lines().collect();
        let index = at % lines.len();
        lines[index] = &line;
        if let Err(problems) = read(&lines.join("\n")) {
            prop_assert!(problems.errors() > 0);
        }
    }

    #[test]
    fn a_variable_fills_in_a_value_and_never_structure(value in "(?s).{0,60}") {
        let environment = Environment::of([("V", format!("x{value}"))]);
        let policy = parse("policy.yaml", &with("  spend_log: ${V}\n"), &environment);
        if let Ok(policy) = policy {
            prop_assert_eq!(policy.spend_log, PathBuf::from(format!("x{value}")));
            prop_assert_eq!(policy.agents.len(), 1);
        }
    }
}
