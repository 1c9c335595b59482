//! What a sound policy and sound settings still do not say together.
//!
//! Decides what deserves a warning before the first request: models that a hard cap will refuse,
//! keys that are missing, known to everybody or expired, listeners that are open wider than their
//! keys. Errors are a token or a key that everybody knows, on a listener that is not for this machine
//! only, a provider's key that cannot be sent, and a model served by this gateway itself.

mod breaker;

use super::Policy;
use super::upstream::{BaseUrl, KEY_VARIABLE};
use crate::catalog::Catalog;
use crate::provider::Provider as _;
use crate::provider::openrouter::OpenRouter;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::settings::firewall::DEFAULT_KEY;
use crate::settings::origin::{Fact, Origin};
use crate::settings::problem::{Problem, Severity};
use std::net::IpAddr;
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

const UNENCRYPTED: &str = "keys and prompts go to the provider unencrypted";
const UNSENDABLE: &str = "the provider key is sent as a header and may hold printable ASCII only";
const EXAMPLE_KEY: &str = "the provider key is the one of an example";

/// The shortest admin token that is not remarked on, in bytes.
const SHORTEST_TOKEN: usize = 16;

/// Everything worth saying, at the place of the setting it is about. `now` is in Unix seconds.
pub fn audit(policy: &Policy, settings: &Settings, catalog: &Catalog, now: i64) -> Vec<Problem> {
    let mut found = Vec::new();
    unpriced(policy, catalog, &mut found);
    provider(policy, &mut found);
    blocks(policy, settings, &mut found);
    console(policy, &mut found);
    breaker::breaker(policy, catalog, &mut found);
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
        // Nobody is asked there unless the models file says so.
        None if policy.default_provider != OpenRouter.name() => {}
        None => {
            let message = if policy.keys.is_empty() {
                "no provider key is configured, so clients must send their own"
            } else {
                "no provider key is configured, so requests go to the provider without one"
            };
            let hint = format!("set {KEY_VARIABLE}");
            found.push(at(&policy.facts, PATH, message).suggesting(hint));
        }
        Some(key) if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) => {
            let mut problem = at(&policy.facts, PATH, UNSENDABLE);
            problem.severity = Severity::Error;
            found.push(problem);
        }
        Some(key) if is_well_known(key) => {
            found.push(at(&policy.facts, PATH, EXAMPLE_KEY));
        }
        Some(_) => {}
    }
    if !upstream.base_url.https && !upstream.base_url.is_loopback() {
        found.push(
            at(
                &policy.facts,
                "cost_routing.openrouter.base_url",
                UNENCRYPTED,
            )
            .suggesting("use https://"),
        );
    }
}

/// The providers of the models file, and those that are built in.
fn blocks(policy: &Policy, settings: &Settings, found: &mut Vec<Problem>) {
    for block in policy.providers.values() {
        let open_router = block.name == OpenRouter.name();
        let section = if open_router {
            "cost_routing.openrouter".to_owned()
        } else {
            format!("providers.{}", block.name)
        };
        for (index, endpoint) in block.endpoints.iter().enumerate() {
            let path = |key: &str| {
                let own = format!("{section}.endpoints[{index}].{key}");
                let stated = policy.facts.iter().any(|fact| fact.path == own);
                if stated {
                    own
                } else {
                    format!("{section}.{key}")
                }
            };
            if is_this_gateway(&endpoint.base_url, settings) {
                let message = "is this gateway itself, so a request would go round and round";
                let mut problem = at(&policy.facts, &path("base_url"), message);
                let used = policy
                    .models
                    .values()
                    .any(|model| model.provider == block.name);
                if used || block.name == policy.default_provider {
                    problem.severity = Severity::Error;
                }
                found.push(problem);
            }
            // What is to be said of OpenRouter has been.
            if open_router {
                continue;
            }
            if !endpoint.base_url.https && !endpoint.base_url.is_loopback() {
                found.push(
                    at(&policy.facts, &path("base_url"), UNENCRYPTED).suggesting("use https://"),
                );
            }
            match &endpoint.api_key {
                Some(key) if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) => {
                    let mut problem = at(&policy.facts, &path("api_key"), UNSENDABLE);
                    problem.severity = Severity::Error;
                    found.push(problem);
                }
                Some(key) if is_well_known(key) => {
                    found.push(at(&policy.facts, &path("api_key"), EXAMPLE_KEY));
                }
                _ => {}
            }
        }
    }
}

/// Whether an address of a provider is one that this gateway listens at.
fn is_this_gateway(url: &BaseUrl, settings: &Settings) -> bool {
    settings.addresses().any(|address| {
        let ip = address.ip();
        let here = ip.is_unspecified() || ip.is_loopback();
        let same = url.host.parse().is_ok_and(|host: IpAddr| host == ip);
        url.port == address.port() && (same || (here && url.is_loopback()))
    })
}

fn console(policy: &Policy, found: &mut Vec<Problem>) {
    let Some(console) = &policy.console else {
        return;
    };
    if !console.url.https && !console.url.is_loopback() {
        let message = "the console's key and every agent's spend go to it unencrypted";
        let path = "cost_routing.console.url";
        found.push(at(&policy.facts, path, message).suggesting("use https://"));
    }
    if is_well_known(&console.api_key) {
        let message = "the console's key is the one of an example";
        found.push(at(&policy.facts, "cost_routing.console.api_key", message));
    }
}

fn keys(policy: &Policy, settings: &Settings, now: i64, found: &mut Vec<Problem>) {
    for key in policy.keys.keys() {
        if key.has_expired(now) {
            let message = format!("the key `{}` has expired", key.id);
            found.push(at(
                &policy.facts,
                &path_of(policy, key.id.as_str(), "expires"),
                message,
            ));
        }
    }
    let known = WELL_KNOWN.iter().chain([&DEFAULT_KEY]);
    for key in known.filter_map(|key| policy.keys.find(key)) {
        let path = path_of(policy, key.id.as_str(), "id");
        let message = format!("everybody knows the key `{}`", key.id);
        let mut problem = at(&policy.facts, &path, message);
        if is_open(settings) {
            problem.severity = Severity::Error;
        }
        found.push(problem.suggesting(
            "make another with `weir key new --agent NAME` (INTERNAL_API_KEY without a policy file), or listen on 127.0.0.1",
        ));
    }
    if policy.keys.is_empty() && !settings.listen.http.ip().is_loopback() {
        let message =
            "no keys are configured, so only this machine is served, although others can connect";
        found.push(at(&settings.facts, "listen.http", message).suggesting(
            "add keys under auth.keys (`weir key new --agent NAME`), or listen on 127.0.0.1",
        ));
    }
}

/// Whether others than this machine can connect.
fn is_open(settings: &Settings) -> bool {
    let mut addresses = settings.listen.public();
    addresses.any(|address| !address.ip().is_loopback())
}

/// The path of a setting of the key with that id.
fn path_of(policy: &Policy, id: &str, setting: &str) -> String {
    let named = policy.facts.iter().find(|fact| {
        fact.value == id && fact.path.starts_with("auth.keys[") && fact.path.ends_with("].id")
    });
    named.map_or_else(
        || "auth.keys".to_owned(),
        |fact| fact.path.replace("].id", &format!("].{setting}")),
    )
}

fn admin(settings: &Settings, found: &mut Vec<Problem>) {
    const PATH: &str = "admin.token";
    let local = match settings.listen.admin {
        Some(apart) => apart.ip().is_loopback(),
        None => !is_open(settings),
    };
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
mod tests;
