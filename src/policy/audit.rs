//! What a sound policy and sound settings still do not say together.
//!
//! Decides what deserves a warning before the first request: models that a hard cap will refuse,
//! keys that are missing, known to everybody or expired, listeners that are open wider than their
//! keys. One finding is an error: an admin token that everybody knows, on a listener that is not
//! for this machine only.

use super::Policy;
use super::upstream::KEY_VARIABLE;
use crate::catalog::Catalog;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::settings::origin::{Fact, Origin};
use crate::settings::problem::{Problem, Severity};
use std::path::Path;

/// Values that examples and tutorials use for secrets.
const WELL_KNOWN: [&str; 16] = [
    "your-secure-token",
    "your-key-here",
    "your-token",
    "your-hmac-secret",
    "your-api-key",
    "changeme",
    "change-me",
    "admin",
    "secret",
    "password",
    "token",
    "default",
    "test",
    "test-key",
    "sk-...",
    "...",
];

/// The shortest admin token that is not remarked on, in bytes.
const SHORTEST_TOKEN: usize = 16;

/// Everything worth saying, at the place of the setting it is about. `now` is in Unix seconds.
pub fn audit(policy: &Policy, settings: &Settings, catalog: &Catalog, now: i64) -> Vec<Problem> {
    let mut found = Vec::new();
    unpriced(policy, catalog, &mut found);
    provider(policy, &mut found);
    keys(policy, settings, now, &mut found);
    admin(settings, &mut found);
    files(policy, settings, &mut found);
    found
}

/// A warning at the place where the setting at `path` comes from.
fn at(facts: &[Fact], path: &str, message: impl Into<String>) -> Problem {
    let origin = facts
        .iter()
        .find(|fact| fact.path == path)
        .map(|fact| &fact.origin);
    let mut problem = Problem::of_file("settings", message).warning().under(path);
    match origin {
        Some(Origin::File {
            file, line, column, ..
        }) => {
            (problem.file, problem.line, problem.column) = (file.clone(), *line, *column);
        }
        Some(Origin::Variable(_)) => problem.file = "environment".into(),
        Some(Origin::Default | Origin::Flag(_)) | None => {}
    }
    problem
}

fn unpriced(policy: &Policy, catalog: &Catalog, found: &mut Vec<Problem>) {
    let priced = catalog
        .with_overrides(&policy.prices)
        .with_ceiling(policy.unpriced_ceiling);
    for agent in policy.agents.values() {
        if !agent.accounts.iter().any(|account| account.hard) {
            continue;
        }
        for (number, models) in agent.tiers.iter().enumerate() {
            for model in models
                .iter()
                .filter(|model| priced.find_or_ceiling(model).is_none())
            {
                let end = format!("agents.{}.tiers[{number}].models", agent.id);
                let path = policy
                    .facts
                    .iter()
                    .map(|fact| fact.path.as_str())
                    .find(|path| path.ends_with(&end));
                let message =
                    format!("`{model}` has no price, so this tier is refused under a hard cap");
                found.push(
                    at(&policy.facts, path.unwrap_or(&end), message)
                        .suggesting("state one under cost_routing.prices, or an unpriced_ceiling"),
                );
            }
        }
    }
}

fn provider(policy: &Policy, found: &mut Vec<Problem>) {
    const PATH: &str = "cost_routing.openrouter.api_key";
    let upstream = &policy.upstream;
    match upstream.api_key.as_ref().or(upstream.fallback_key.as_ref()) {
        // A variable that is not set has been remarked on when the policy was read.
        None if policy.warnings.iter().any(|warning| warning.path == PATH) => {}
        None => {
            let message = if policy.keys.is_empty() {
                "no provider key is configured, so clients must send their own"
            } else {
                "no provider key is configured, so requests go to the provider without one"
            };
            let hint = format!("set {KEY_VARIABLE}");
            found.push(at(&policy.facts, PATH, message).suggesting(hint));
        }
        Some(key) if is_well_known(key) => {
            found.push(at(
                &policy.facts,
                PATH,
                "the provider key is the one of an example",
            ));
        }
        Some(_) => {}
    }
    let local = ["localhost", "127.0.0.1", "::1"].contains(&upstream.base_url.host.as_str());
    if !upstream.base_url.https && !local {
        let message = "keys and prompts go to the provider unencrypted";
        found.push(
            at(&policy.facts, "cost_routing.openrouter.base_url", message)
                .suggesting("use https://"),
        );
    }
}

fn keys(policy: &Policy, settings: &Settings, now: i64, found: &mut Vec<Problem>) {
    for key in policy.keys.keys() {
        if key.has_expired(now) {
            let message = format!("the key `{}` has expired", key.id);
            found.push(at(
                &policy.facts,
                &expiry_of(policy, key.id.as_str()),
                message,
            ));
        }
    }
    if policy.keys.is_empty() && !settings.listen.http.ip().is_loopback() {
        let message =
            "no keys are configured, so only this machine is served, although others can connect";
        found.push(at(&settings.facts, "listen.http", message).suggesting(
            "add keys under auth.keys (`weir key new --agent NAME`), or listen on 127.0.0.1",
        ));
    }
}

/// The path of the expiry of the key with that id.
fn expiry_of(policy: &Policy, id: &str) -> String {
    let named = policy.facts.iter().find(|fact| {
        fact.value == id && fact.path.starts_with("auth.keys[") && fact.path.ends_with("].id")
    });
    named.map_or_else(
        || "auth.keys".to_owned(),
        |fact| fact.path.replace("].id", "].expires"),
    )
}

fn admin(settings: &Settings, found: &mut Vec<Problem>) {
    const PATH: &str = "admin.token";
    let local = settings.listen.http.ip().is_loopback();
    match &settings.admin.token {
        None => found.push(
            at(
                &settings.facts,
                PATH,
                "no admin token is set, so the admin API serves this machine only",
            )
            .suggesting("set ADMIN_TOKEN to a long random text"),
        ),
        Some(token) if is_well_known(token) => {
            let mut problem = at(
                &settings.facts,
                PATH,
                "the admin token is one that everybody knows",
            );
            if !local {
                problem.severity = Severity::Error;
            }
            found.push(problem.suggesting("set ADMIN_TOKEN to a long random text"));
        }
        Some(token) if token.expose().len() < SHORTEST_TOKEN => {
            let message = format!("the admin token is shorter than {SHORTEST_TOKEN} characters");
            found.push(at(&settings.facts, PATH, message));
        }
        Some(_) => {}
    }
}

fn is_well_known(secret: &Secret) -> bool {
    let text = secret.expose().to_ascii_lowercase();
    WELL_KNOWN.contains(&text.as_str())
}

/// Files and directories that will be needed.
fn files(policy: &Policy, settings: &Settings, found: &mut Vec<Problem>) {
    let tls = settings.listen.tls.as_ref();
    let needed = [
        (
            &settings.facts,
            "listen.tls.cert",
            tls.map(|tls| tls.cert.as_path()),
        ),
        (
            &settings.facts,
            "listen.tls.key",
            tls.map(|tls| tls.key.as_path()),
        ),
        (
            &settings.facts,
            "upstream.ca_file",
            settings.upstream.ca_file.as_deref(),
        ),
        (
            &policy.facts,
            "cost_routing.openrouter.ca_file",
            policy.upstream.ca_file.as_deref(),
        ),
    ];
    for (facts, path, file) in needed {
        if let Some(Err(error)) = file.map(std::fs::File::open) {
            found.push(at(facts, path, format!("the file cannot be read: {error}")));
        }
    }
    let directory = policy
        .spend_log
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if !directory.unwrap_or(Path::new(".")).is_dir() {
        found.push(at(
            &policy.facts,
            "cost_routing.spend_log",
            "its directory does not exist",
        ));
    }
}

#[cfg(test)]
mod tests {
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
}
