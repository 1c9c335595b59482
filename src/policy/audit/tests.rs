use super::*;
use crate::settings::environment::Environment;

fn of(policy: &str, settings: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let environment = Environment::of(variables.iter().copied());
    let policy = crate::policy::parse("policy.yaml", policy, &environment).unwrap();
    let settings = crate::settings::parse("weir.yaml", settings, &environment)
        .ok()
        .unwrap();
    let found = audit(&policy, &settings, &Catalog::bundled(), 1_700_000_000);
    found.iter().map(ToString::to_string).collect()
}

/// A policy of which nothing is to be said.
const SOUND: &str = "cost_routing:
  agents: {a: {budget_total: 1, tiers: [{threshold: 0, models: [openai/gpt-4o]}]}}
auth: {keys: [{id: k, key: '${CLIENT}', agent: a, expires: 2027-01-01}]}
";
const VARIABLES: [(&str, &str); 3] = [
    ("CLIENT", "weir_0123456789abcdef"),
    ("OPENROUTER_API_KEY", "sk-or-v1-0123456789"),
    ("ADMIN_TOKEN", "0123456789abcdef-sesame"),
];

#[test]
fn a_sound_setup_passes_without_a_word() {
    assert_eq!(of(SOUND, "", &VARIABLES), Vec::<String>::new());
}

#[test]
fn a_model_without_a_price_is_named_where_a_hard_cap_will_refuse_it() {
    let text = SOUND.replace("openai/gpt-4o", "openai/gpt-4o, acme/no-such-model");
    let found = of(&text, "", &VARIABLES);
    assert_eq!(found.len(), 1, "{found:?}");
    let place = "policy.yaml:2:64: warning: cost_routing.agents.a.tiers[0].models: `acme/no-such-model` has no price";
    assert!(found[0].starts_with(place), "{}", found[0]);
    let soft = text.replace("budget_total: 1", "budget_total: 1, hard_cap: false");
    assert!(of(&soft, "", &VARIABLES).is_empty());
    let ceiling =
        "  unpriced_ceiling: {input_usd_per_million: 1, output_usd_per_million: 1}\nauth:";
    assert!(of(&text.replace("auth:", ceiling), "", &VARIABLES).is_empty());
}

#[test]
fn missing_and_open_things_are_named() {
    let found = of("cost_routing: {agents: {a: {budget_total: 1}}}", "", &[]);
    for part in [
        "no provider key",
        "no keys are configured",
        "serves this machine only",
    ] {
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{part}: {found:?}"
        );
    }
    assert_eq!(found.len(), 3);
    let local = of(
        "cost_routing: {agents: {a: {budget_total: 1}}}",
        "listen: {http: '127.0.0.1:8080'}",
        &[],
    );
    assert_eq!(local.len(), 2, "{local:?}");
}

#[test]
fn a_token_that_everybody_knows_is_an_error_unless_only_this_machine_can_use_it() {
    let mut variables = VARIABLES;
    variables[2].1 = "your-secure-token";
    let found = of(SOUND, "admin: {token: '${ADMIN_TOKEN}'}", &variables);
    assert!(
        found[0].starts_with("weir.yaml:1:16: error: admin.token: "),
        "{found:?}"
    );
    let found = of(SOUND, "listen: {http: '127.0.0.1:1'}", &variables);
    assert!(
        found[0].starts_with("environment: warning: admin.token: "),
        "{found:?}"
    );
    variables[2].1 = "short";
    assert!(of(SOUND, "", &variables)[0].contains("shorter than 16"));
    variables[1].1 = "your-key-here";
    assert!(of(SOUND, "", &variables)[0].contains("the one of an example"));
}

#[test]
fn an_expired_key_is_named_at_its_date() {
    let found = of(&SOUND.replace("2027", "2020"), "", &VARIABLES);
    let wanted = "policy.yaml:3:60: warning: auth.keys[0].expires: the key `k` has expired";
    assert_eq!(found, [wanted]);
}

#[test]
fn files_that_are_not_there_and_plain_text_providers_are_named() {
    let policy = SOUND.replace(
            "  agents",
            "  spend_log: no/such/dir/spend.jsonl\n  openrouter: {base_url: 'http://example.com/v1', ca_file: no.pem}\n  agents",
        );
    let settings = "listen: {tls: {address: '0.0.0.0:1', cert: no-cert.pem, key: no-key.pem}}";
    let found = of(&policy, settings, &VARIABLES);
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn a_key_that_everybody_knows_is_an_error_unless_only_this_machine_can_use_it() {
    let mut variables = VARIABLES;
    variables[0].1 = "changeme-internal-key";
    let found = of(SOUND, "", &variables);
    assert!(
        found[0]
            .starts_with("policy.yaml:3:20: error: auth.keys[0].id: everybody knows the key `k`"),
        "{found:?}"
    );
    let local = of(SOUND, "listen: {http: '[::1]:80'}", &variables);
    assert!(local[0].contains("warning: auth.keys[0].id"), "{local:?}");
    let tls = "listen: {http: '[::1]:80', tls: {address: '0.0.0.0:1', cert: c, key: k}}";
    assert!(of(SOUND, tls, &variables)[0].contains("error: auth.keys[0].id"));
}

#[test]
fn providers_of_the_environment_are_looked_at_as_well() {
    let with = |name: &'static str, value: &'static str| {
        let mut variables = VARIABLES.to_vec();
        variables.push((name, value));
        of(SOUND, "listen: {http: '127.0.0.1:8080'}", &variables)
    };
    assert_eq!(with("OPENAI_API_KEY", "sk-0123"), Vec::<String>::new());
    for (name, value, said) in [
        (
            "OPENAI_API_KEY",
            "sk-é",
            "environment: error: providers.openai.api_key: the provider key is sent as a header",
        ),
        (
            "OPENAI_API_KEY",
            "your-api-key",
            "environment: warning: providers.openai.api_key: the provider key is the one of",
        ),
        (
            "OPENAI_BASE_URL",
            "http://gpu.example.com/v1",
            "environment: warning: providers.openai.base_url: keys and prompts go",
        ),
        (
            "OPENAI_BASE_URL",
            "http://localhost:8080/v1",
            "environment: warning: providers.openai.base_url: is this gateway itself",
        ),
    ] {
        let found = with(name, value);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(said), "{found:?}");
    }
    let round = SOUND.replace(
        "  agents",
        "  openrouter: {base_url: 'http://127.0.0.1:8080/v1'}\n  agents",
    );
    let found = of(&round, "", &VARIABLES);
    assert!(
        found[0].contains("error: cost_routing.openrouter.base_url: is this gateway itself"),
        "{found:?}"
    );
}
