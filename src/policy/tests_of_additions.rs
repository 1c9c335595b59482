use super::tests::{problems, read, with};
use super::*;
use crate::budget::period::PeriodKind;
use crate::limit::Limits;
use crate::wire::Dialect;

const SHA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn keys(list: &str) -> String {
    format!("auth: {{keys: [{list}]}}\n")
}

#[test]
fn retries_and_the_deadline_have_defaults_and_bounds() {
    let policy = read(&with("")).unwrap();
    assert_eq!(
        (policy.retries, policy.deadline),
        (2, Duration::from_secs(600))
    );
    let policy = read(&with("  retries: 0\n  deadline_seconds: 90\n")).unwrap();
    assert_eq!(
        (policy.retries, policy.deadline),
        (0, Duration::from_secs(90))
    );
    for (bad, part) in [
        ("  retries: 11\n", "between 0 and 10"),
        ("  retries: -1\n", "whole number"),
        ("  retries: 70000\n", "between 0 and 10"),
        ("  deadline_seconds: 0\n", "between 1s and 24h"),
        ("  deadline_seconds: 2d\n", "between 1s and 24h"),
        ("  retrys: 1\n", "did you mean `retries`?"),
    ] {
        let shown = problems(&with(bad));
        assert!(shown.iter().any(|line| line.contains(part)), "{shown:?}");
        assert!(read(&with(bad)).is_err(), "{bad}");
    }
}

#[test]
fn users_have_accounts_of_their_own_or_the_templates() {
    let text = with(
        "  timezone: Europe/Berlin
  users:
    ann: {budget_total: 3, period: daily}
    joe: {budget_total: 1, budget_spent: 0.5, hard_cap: false, timezone: UTC}
  user_default: {budget_total: 2, period: monthly}
",
    ) + &keys(&format!(
        "{{id: k, sha256: {SHA}, agent: a, user: ann, users: [bob, joe, ' eve ']}}"
    ));
    let policy = read(&text).unwrap();
    assert_eq!(policy.warnings, []);
    let of = |name: &str| {
        let account = &policy.users[name];
        (
            account.id.as_str(),
            account.limit,
            account.hard,
            account.period.kind,
            account.period.zone.iana_name(),
        )
    };
    let berlin = Some("Europe/Berlin");
    assert_eq!(
        of("ann"),
        ("user:ann", Nanos::usd(3), true, PeriodKind::Daily, berlin)
    );
    assert_eq!(
        of("bob"),
        ("user:bob", Nanos::usd(2), true, PeriodKind::Monthly, berlin)
    );
    assert_eq!(
        of("eve"),
        ("user:eve", Nanos::usd(2), true, PeriodKind::Monthly, berlin)
    );
    assert_eq!((of("joe").1, of("joe").2), (Nanos::usd(1), false));
    assert_eq!(policy.users.len(), 4);
    let ids: Vec<String> = policy
        .accounts()
        .iter()
        .map(|account| account.id.to_string())
        .collect();
    assert_eq!(
        ids,
        ["agent:a", "user:ann", "user:bob", "user:eve", "user:joe"]
    );
}

#[test]
fn a_user_of_a_key_without_a_budget_is_remarked_on_where_others_have_one() {
    let key = keys(&format!("{{id: k, sha256: {SHA}, agent: a, user: anne}}"));
    let text = with("  users: {ann: {budget_total: 3}}\n") + &key;
    let shown = problems(&text);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(
        shown[0].contains(
            "warning: cost_routing.users: the user `anne` of the key `k` is not among them"
        ) && shown[0].contains("did you mean `ann`?"),
        "{shown:?}"
    );
    assert_eq!(problems(&(with("") + &key)), Vec::<String>::new());
}

#[test]
fn mistakes_in_users_are_all_reported() {
    let long = "x".repeat(125);
    let text = with(&format!(
        "  users:
    ann: {{budget: 3}}
    'é': {{budget_total: 1}}
    {long}: {{budget_total: 1}}
  user_default: {{period: daily}}
"
    )) + &keys(&format!(
        "{{id: k, sha256: {SHA}, agent: a, user: {long}, users: [ok, 'ü']}}"
    ));
    let shown = problems(&text);
    for part in [
        "cost_routing.users.ann: `budget_total` is missing",
        "cost_routing.users.ann.budget: unknown key",
        "the name may contain printable ASCII",
        "the name, with what it is in front, must be at most 128 bytes",
        "cost_routing.user_default: `budget_total` is missing",
        "auth.keys[0].user: must be at most 128 bytes",
        "auth.keys[0].users[1]: may contain printable ASCII",
    ] {
        assert!(
            shown.iter().any(|line| line.contains(part)),
            "{part}\n{shown:#?}"
        );
    }
    assert!(read(&text).is_err());
}

#[test]
fn agents_and_keys_have_limits_and_an_agent_without_tiers_a_list_of_models() {
    let text = "cost_routing:
  agents:
    free: {budget_total: 1, allowed_models: [gpt-4o, a/b], limits: {tokens_per_minute: 1000}}
    tiered: {budget_total: 1, allowed_models: [x], tiers: [{threshold: 0, models: [y]}]}
    any: {budget_total: 1}
"
    .to_owned()
        + &keys(&format!(
            "{{id: k, sha256: {SHA}, agent: free, limits: {{concurrent_requests: 2, request_bytes: 2KiB}}}}"
        ));
    let policy = read(&text).unwrap();
    let free = &policy.agents["free"];
    assert_eq!(
        free.allowed.as_deref(),
        Some(&["gpt-4o".to_owned(), "a/b".to_owned()][..])
    );
    assert_eq!(free.limits.tokens_per_minute, Some(1000));
    assert_eq!(policy.agents["any"].allowed, None);
    assert!(policy.agents["any"].limits.is_none());
    assert_eq!(policy.warnings.len(), 1, "{:?}", policy.warnings);
    assert!(
        policy.warnings[0]
            .to_string()
            .contains("agents.tiered.allowed_models: is not used")
    );
    assert_eq!(
        policy.keys.keys()[0].limits,
        Limits {
            concurrent_requests: Some(2),
            request_bytes: Some(2048),
            ..Limits::default()
        }
    );
    let none = text.replace("[gpt-4o, a/b]", "[]");
    assert!(problems(&none).concat().contains("at least one model"));
}

#[test]
fn openrouter_is_always_a_provider_as_the_policy_says() {
    let policy = read(&with(
        "  openrouter: {referer: 'https://r.example', timeout_seconds: 9}\n",
    ))
    .unwrap();
    let block = &policy.providers["openrouter"];
    assert_eq!(
        (block.kind.name(), block.timeout, block.private),
        ("openrouter", Duration::from_secs(9), false)
    );
    assert!(block.dialects.contains(&Dialect::Messages));
    let headers: Vec<(&str, &str)> = block
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        headers,
        [("http-referer", "https://r.example"), ("x-title", "Weir")]
    );
    let endpoint = &block.endpoints[0];
    assert!(endpoint.api_key.is_none() && endpoint.fallback_key.is_some() && block.has_key());

    let mock = "  openrouter: {base_url: 'http://mock.example.com:9000/v1'DIALECTS}\n";
    let of = |more: &str| read(&with(&mock.replace("DIALECTS", more))).unwrap();
    let plain = of("");
    let block = &plain.providers["openrouter"];
    assert_eq!(
        block.dialects,
        [Dialect::Chat, Dialect::Completions, Dialect::Embeddings]
    );
    assert!(block.private);
    let said = of(", dialects: [messages], allow_private: no");
    let block = &said.providers["openrouter"];
    assert_eq!(
        (block.dialects.as_slice(), block.private),
        (&[Dialect::Messages][..], false)
    );
    let bad = with("  openrouter: {dialects: [gemini]}\n");
    assert!(problems(&bad)[0].contains("has no route for gemini"));
}

#[test]
fn models_and_providers_of_the_models_file_are_the_policys() {
    let models = models::parse(
        "models.yaml",
        "models: {m: {provider: house, aliases: [fast]}}\nproviders: {house: {base_url: 'http://h'}}\ndefaults: {vitals: m}\n",
        &super::tests::environment(),
    )
    .unwrap();
    let mut policy = read(&with("")).unwrap();
    policy.adopt(models);
    assert_eq!(policy.models["m"].provider, "house");
    assert_eq!(policy.aliases["fast"], "m");
    assert_eq!(policy.aliases["task:vitals"], "m");
    let names: Vec<&String> = policy.providers.keys().collect();
    assert_eq!(names, ["house", "openrouter"]);
    assert_eq!(policy.default_provider, "openrouter");
    // Every model is served by somebody.
    for model in policy.models.values() {
        assert!(policy.providers.contains_key(&model.provider));
    }
}

#[test]
fn what_nobody_describes_is_asked_of_the_openclaw_gateway_that_the_variables_name() {
    let default = |variables: &[(&str, &str)], text: &str| {
        let environment = Environment::of(variables.iter().copied());
        super::parse("p.yaml", text, &environment)
            .unwrap()
            .default_provider
    };
    let agents = "cost_routing: {agents: {a: {budget_total: 1}}}";
    let url = ("OPENCLAW_GATEWAY_URL", "http://127.0.0.1:8000");
    assert_eq!(default(&[], agents), "openrouter");
    assert_eq!(default(&[url], agents), "openclaw");
    let key = ("OPENROUTER_API_KEY", "sk-or-1");
    assert_eq!(default(&[url, key], agents), "openrouter");
    let elsewhere = "cost_routing: {openrouter: {base_url: 'http://127.0.0.1:1/v1'}, agents: {a: {budget_total: 1}}}";
    assert_eq!(default(&[url], elsewhere), "openrouter");
}

#[test]
fn an_openclaw_gateway_may_be_called_so_in_full() {
    let token = ("OPENCLAW_GATEWAY_TOKEN", "t");
    let environment = Environment::of([token]);
    let text = "models: {m: {provider: openclaw-gateway, engine: e}}";
    let models = super::models::parse("models.yaml", text, &environment).unwrap();
    let block = &models.providers[&models.models["m"].provider];
    assert_eq!((block.kind.name(), block.has_key()), ("openclaw", true));
    assert_eq!(block.endpoints[0].base_url.port, 8000);
    let text = "providers: {x: {kind: openclaw-gateway, base_url: 'http://127.0.0.1:1'}}";
    let models = super::models::parse("models.yaml", text, &Environment::default()).unwrap();
    assert_eq!(models.providers["x"].kind.name(), "openclaw");
}
