use super::super::load_all;
use super::*;
use crate::catalog::Catalog;
use crate::policy::audit::audit;
use crate::settings::file::{Chosen, Flags};
use crate::settings::{self, Settings};
use crate::surface::chat;
use std::path::Path;

const SECRET: &str = "sesame-sesame-sesame";

/// The files of a directory that has none.
fn no_files(environment: &Environment) -> Files {
    let mut files = Files::choose(&Flags::default(), environment);
    for chosen in [&mut files.policy, &mut files.models, &mut files.config] {
        chosen.path = Path::new("no/such/directory").join(&chosen.path);
    }
    files
}

fn load(variables: &[(&str, &str)]) -> Result<(Policy, Settings), Problems> {
    let environment = Environment::of(variables.iter().copied());
    let files = no_files(&environment);
    let policy = load_all(&files, &environment)?;
    Ok((policy, settings::load(&files, &environment)?))
}

fn audited((policy, settings): &(Policy, Settings)) -> Vec<String> {
    audit(policy, settings, &Catalog::bundled(), 0)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_five_variables_are_a_whole_configuration() {
    let loaded = load(&[
        ("INTERNAL_API_KEY", SECRET),
        ("UPSTREAM_BASE_URL", "https://openrouter.ai/api"),
        ("UPSTREAM_API_KEY", "sk-or-v1-sesame"),
        ("REDIS_URL", "redis://redis:6379/0"),
        ("DAILY_BUDGET_LIMIT", "2.5"),
        ("ADMIN_TOKEN", "a-long-random-admin-token"),
    ])
    .unwrap();
    assert_eq!(audited(&loaded), Vec::<String>::new());
    let (policy, settings) = loaded;
    assert_eq!(settings.listen.http.to_string(), "0.0.0.0:8000");
    assert_eq!(settings.warnings, []);
    assert_eq!(policy.warnings, []);
    assert_eq!(settings.stores.redis.unwrap().place(), "redis:6379");

    assert_eq!(
        policy.upstream.base_url.text,
        "https://openrouter.ai/api/v1"
    );
    assert!(policy.upstream.api_key.as_ref().unwrap().expose() == "sk-or-v1-sesame");
    assert_eq!(policy.upstream.timeout, Duration::from_secs(300));
    assert_eq!(settings.timeouts.connect, Duration::from_secs(10));
    assert_eq!(policy.default_provider, "openrouter");
    assert!(policy.providers["openrouter"].has_key());
    assert!(!policy.metadata);

    let key = policy.keys.find(SECRET).unwrap();
    assert_eq!(
        (key.id.as_str(), key.agent.as_str(), policy.keys.len()),
        ("internal", "default", 1)
    );
    let user = key.user.as_ref().unwrap();
    let account = &policy.users[user];
    assert_eq!(
        (account.id.as_str(), account.limit, account.hard),
        ("user:default", Nanos(2_500_000_000), true)
    );
    assert_eq!(account.period.kind, PeriodKind::Daily);
    let agent = policy.agent("anybody").unwrap();
    assert!(agent.tiers.is_empty() && !agent.account.hard);
    assert_eq!(policy.accounts().len(), 2);
}

#[test]
fn a_request_of_the_ai_firewall_falls_under_its_user() {
    let (policy, _) = load(&[("INTERNAL_API_KEY", SECRET)]).unwrap();
    let body = br#"{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}],"user":"customer-1"}"#;
    assert!(chat::parse(body, crate::json::Limits::default()).is_ok());
    let mut found = crate::auth::authenticate(&policy, Some(SECRET), None, None, false, 0).unwrap();
    found.choose_user(&policy, Some("customer-1")).unwrap();
    assert_eq!(found.user.unwrap().as_str(), "default");
    assert_eq!(found.user_account.unwrap().limit, Nanos::usd(5));
    assert!(crate::auth::authenticate(&policy, Some(DEFAULT_KEY), None, None, true, 0).is_err());
}

#[test]
fn the_key_that_everybody_knows_serves_this_machine_only() {
    let loaded = load(&[("UPSTREAM_API_KEY", "sk-or-v1-sesame")]).unwrap();
    let (policy, settings) = &loaded;
    assert!(policy.keys.find("changeme-internal-key").is_some());
    assert_eq!(settings.listen.http.to_string(), "127.0.0.1:8000");
    let shown = settings.warnings[0].to_string();
    assert!(
        shown.contains("only this machine is served, at 127.0.0.1:8000"),
        "{shown}"
    );
    let found = audited(&loaded);
    assert!(
        found.iter().all(|line| !line.contains(": error: ")),
        "{found:?}"
    );

    let open = load(&[
        ("INTERNAL_API_KEY", "changeme-internal-key"),
        ("ADAPTER_HOST", "0.0.0.0"),
    ])
    .unwrap();
    assert_eq!(open.1.listen.http.to_string(), "0.0.0.0:8000");
    let found = audited(&open);
    assert!(
        found
            .iter()
            .any(|line| line.contains("error: auth.keys[0].id: everybody knows the key `internal`")),
        "{found:?}"
    );
    let own = load(&[("INTERNAL_API_KEY", SECRET), ("ADAPTER_PORT", "9")]).unwrap();
    assert_eq!(own.1.listen.http.to_string(), "0.0.0.0:9");
    assert_eq!(own.1.warnings, []);
}

#[test]
fn the_address_says_who_is_spoken_to() {
    let of = |url: &str| {
        let variables = [("UPSTREAM_BASE_URL", url), ("UPSTREAM_API_KEY", "k")];
        let (policy, _) = load(&variables).unwrap();
        let block = &policy.providers[&policy.default_provider];
        assert!(block.has_key());
        (
            block.kind.name(),
            block.endpoints[0].base_url.text.clone(),
            block.endpoints[0].base_url.path.clone(),
        )
    };
    let is = |kind, text: &str, path: &str| (kind, text.to_owned(), path.to_owned());
    assert_eq!(
        of("https://api.openai.com"),
        is("openai", "https://api.openai.com/v1", "/v1")
    );
    assert_eq!(
        of("https://api.openai.com/v1/"),
        is("openai", "https://api.openai.com/v1", "/v1")
    );
    assert_eq!(
        of("https://api.anthropic.com/"),
        is("anthropic", "https://api.anthropic.com", "")
    );
    assert_eq!(
        of("http://localhost:9000"),
        is("openrouter", "http://localhost:9000/v1", "/v1")
    );
}

#[test]
fn every_bad_variable_is_named_and_no_secret_shown() {
    let problems = load(&[
        ("INTERNAL_API_KEY", "sesame"),
        ("UPSTREAM_BASE_URL", "http://sesame:sesame@169.254.169.254"),
        ("DAILY_BUDGET_LIMIT", "five"),
    ])
    .err()
    .unwrap();
    let shown = problems.to_string();
    assert_eq!(problems.errors(), 2, "{shown}");
    assert!(shown.contains("environment: error: DAILY_BUDGET_LIMIT: must be a decimal number"));
    assert!(shown.contains("environment: error: UPSTREAM_BASE_URL: "));
    assert!(!shown.contains("sesame"));
    for bad in ["-1", "nan", "1e99"] {
        let variables = [("INTERNAL_API_KEY", SECRET), ("DAILY_BUDGET_LIMIT", bad)];
        assert!(load(&variables).is_err(), "{bad}");
    }

    let (policy, _) = load(&[("INTERNAL_API_KEY", SECRET)]).unwrap();
    let facts: Vec<String> = policy.facts.iter().map(ToString::to_string).collect();
    let facts = facts.join("\n");
    assert!(!facts.contains("sesame"), "{facts}");
    for line in [
        "auth.keys[0].key = set, 20 characters   (environment variable INTERNAL_API_KEY)",
        "cost_routing.users.default.budget_total = $5.00   (default)",
        "cost_routing.openrouter.base_url = https://openrouter.ai/api/v1   (default)",
        "cost_routing.openrouter.api_key = not set   (default)",
        "cost_routing.openrouter.timeout_seconds = 300s   (default)",
        "cost_routing.unpriced_ceiling.output_usd_per_million = $30.00   (default)",
    ] {
        assert!(facts.contains(line), "{line}\n{facts}");
    }
}

#[test]
fn the_variables_count_from_a_dotenv_file_too() {
    let text = "INTERNAL_API_KEY=sesame-sesame-sesame\nDAILY_BUDGET_LIMIT=1.0\n";
    let environment = Environment::default().with_dotenv(".env", text);
    let policy = load_all(&no_files(&environment), &environment).unwrap();
    assert!(policy.keys.find(SECRET).is_some());
    assert_eq!(policy.users["default"].limit, Nanos::usd(1));
}

#[test]
fn the_example_of_a_dotenv_file_is_the_ai_firewalls_own_configuration() {
    const EXAMPLE: &str = include_str!("../../../.env.example");
    let environment = Environment::default().with_dotenv(".env", EXAMPLE);
    assert_eq!(environment.warnings(), []);
    let files = no_files(&environment);
    let settings = settings::load(&files, &environment).ok().unwrap();
    assert!(settings.stores.redis.is_none());
    assert!(EXAMPLE.contains("# REDIS_URL=redis://redis:6379/0"));
    let policy = load_all(&files, &environment).unwrap();
    assert!(policy.keys.find("changeme-internal-key").is_some());
    assert_eq!(policy.upstream.base_url, BaseUrl::open_router());
    assert_eq!(policy.users["default"].limit, Nanos::usd(5));
    // Every provider's variables are there, as comments.
    for kind in provider::ALL {
        let Some(variables) = kind.environment() else {
            continue;
        };
        assert!(EXAMPLE.contains(&format!("# {}=", variables.key)));
        let url = format!("# {}=", variables.base_url);
        assert!(
            kind.name() == OpenRouter.name() || EXAMPLE.contains(&url),
            "{url}"
        );
    }
}

#[test]
fn a_policy_file_wins_and_a_missing_one_is_still_missing() {
    let environment = Environment::of([("INTERNAL_API_KEY", SECRET)]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = no_files(&environment);
    files.policy = Chosen {
        path: root.join("policy.yaml"),
        origin: Origin::Default,
    };
    let policy = load_all(&files, &environment).unwrap();
    assert!(policy.keys.is_empty() && policy.users.is_empty());
    let shown: Vec<String> = policy.warnings.iter().map(ToString::to_string).collect();
    assert!(
        shown.iter().any(|line| {
            line.starts_with("environment: warning: INTERNAL_API_KEY: is not used, because ")
        }),
        "{shown:?}"
    );
    let settings = settings::load(&files, &environment).ok().unwrap();
    assert_eq!(settings.listen.http.to_string(), "0.0.0.0:8080");

    // A file that was asked for must be there.
    files.policy = Chosen {
        path: "no/such.yaml".into(),
        origin: Origin::Flag("--policy"),
    };
    assert!(load_all(&files, &environment).is_err());
    // And a budget alone says nothing.
    assert!(load(&[("DAILY_BUDGET_LIMIT", "5")]).is_err());
}

#[test]
fn a_models_file_and_the_keys_of_providers_hold_beside_the_variables() {
    let (policy, _) = load(&[("UPSTREAM_API_KEY", "k"), ("OPENAI_API_KEY", "k2")]).unwrap();
    let names: Vec<&String> = policy.providers.keys().collect();
    assert_eq!(names, ["openai", "openrouter"]);
}
