//! The AI Firewall's variables, where they are the whole configuration.
//!
//! Decides when they are (no policy file is named and none is at the default path) and where the
//! gateway listens then. What they mean for who may spend what is [`crate::policy`]'s.

use super::Settings;
use super::environment::Environment;
use super::file::Files;
use super::origin::Origin;
use super::problem::Problem;
use super::sections::Listen;
use std::net::{Ipv4Addr, SocketAddr};

/// The variable with the key that clients present.
pub const KEY: &str = "INTERNAL_API_KEY";
/// The variable with the provider's address, above its `/v1`.
pub const BASE_URL: &str = "UPSTREAM_BASE_URL";
/// The variable with the provider's key.
pub const UPSTREAM_KEY: &str = "UPSTREAM_API_KEY";
/// The variable with the budget of each day, in dollars.
pub const BUDGET: &str = "DAILY_BUDGET_LIMIT";

/// The key in force when no other is set. Everybody knows it.
pub const DEFAULT_KEY: &str = "changeme-internal-key";

/// Where the AI Firewall listens.
const PORT: u16 = 8000;

/// Whether the variables are the policy: at least one of those that say so is set, and there is no
/// file.
pub fn is_in_force(files: &Files, environment: &Environment) -> bool {
    let mentioned = [KEY, BASE_URL, UPSTREAM_KEY];
    files.policy.is_left_out()
        && mentioned
            .iter()
            .any(|name| environment.filled(name).is_some())
}

/// Whether clients are to present the key that everybody knows.
pub fn has_default_key(environment: &Environment) -> bool {
    environment
        .filled(KEY)
        .is_none_or(|key| key.trim() == DEFAULT_KEY)
}

/// Where the gateway listens unless it is told to listen elsewhere: not to others, while they all know
/// the key.
pub(super) fn listen(environment: &Environment) -> Listen {
    let address = if has_default_key(environment) {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::UNSPECIFIED
    };
    Listen {
        http: SocketAddr::from((address, PORT)),
        tls: None,
        admin: None,
    }
}

/// What is to be said about where the gateway listens.
pub(super) fn remark(settings: &Settings, environment: &Environment) -> Option<Problem> {
    let fact = settings
        .facts
        .iter()
        .find(|fact| fact.path == "listen.http")?;
    let stated = matches!(fact.origin, Origin::File { .. });
    if stated || environment.filled("ADAPTER_HOST").is_some() || !has_default_key(environment) {
        return None;
    }
    let address = settings.listen.http;
    let message = format!(
        "everybody knows the key {DEFAULT_KEY}, so only this machine is served, at {address}"
    );
    Some(
        Problem::of_file("environment", message)
            .warning()
            .under(KEY)
            .suggesting("set it to a long random text"),
    )
}
