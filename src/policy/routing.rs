//! The top level of `policy.yaml` and the section `cost_routing`.

use super::users::Users;
use super::{BoundMode, Policy, agents, console, keys, prices, upstream};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Section;
use crate::settings::units;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The most output tokens that any setting may name.
const MOST_TOKENS: u64 = 10_000_000;

/// The most retries that a policy may ask for.
const MOST_RETRIES: u16 = 10;

/// Reads the whole file.
pub(super) fn read(root: &mut Section<'_>) -> Policy {
    let mut policy = Policy::default();
    let (names, users) = match root.get("cost_routing") {
        Some(value) => routing(&mut policy, &value.section()),
        None => {
            root.error(Complaint::new("the section `cost_routing` is missing"));
            (BTreeSet::new(), Users::default())
        }
    };
    policy.keys = keys::read(&root.section("auth"), &names);
    (policy.users, policy.user_limits) = users.complete(&policy.keys);
    for (name, value) in root.rest() {
        let complaint = Complaint::new("this section is none of Weir's and was not read");
        let owned = ["cost_routing", "auth"];
        value.warn(match crate::settings::problem::nearest(name, owned) {
            Some(_) => Complaint {
                suggestion: did_you_mean(name, &owned),
                ..complaint
            },
            None => complaint,
        });
    }
    policy
}

/// Reads `cost_routing` and gives the names of the agents that the file means to have, and its users.
fn routing<'r>(policy: &mut Policy, section: &Section<'r>) -> (BTreeSet<&'r str>, Users<'r>) {
    policy.console = console::read(&section.section("console")).map(Arc::new);
    policy.upstream = upstream::read(&section.section("openrouter"));
    policy.spend_log = section.or("spend_log", policy.spend_log.clone(), log_path, |path| {
        path.display().to_string()
    });
    policy.metadata = section.or(
        "metadata",
        policy.metadata,
        units::flag,
        ToString::to_string,
    );
    policy.bound = section.or("bound", policy.bound, bound, |bound| {
        bound.name().to_owned()
    });
    policy.fit_max_tokens = section.or(
        "fit_max_tokens",
        policy.fit_max_tokens,
        units::flag,
        ToString::to_string,
    );
    let tokens = |key, default, least| {
        section.or(
            key,
            default,
            |text| tokens(text, least),
            ToString::to_string,
        )
    };
    policy.min_output_tokens = tokens("min_output_tokens", policy.min_output_tokens, 1);
    policy.media_tokens = tokens("media_tokens", policy.media_tokens, 0);
    policy.default_max_output = tokens("default_max_output_tokens", policy.default_max_output, 1);
    policy.server_tool_fee = section.or(
        "server_tool_fee",
        policy.server_tool_fee,
        units::money,
        |fee| units::show_money(*fee),
    );
    policy.retries = section.or("retries", policy.retries, retries, ToString::to_string);
    policy.deadline = section.or("deadline_seconds", policy.deadline, deadline, |time| {
        units::show_duration(*time)
    });
    policy.prices = prices::read_all(section);
    policy.unpriced_ceiling = section
        .get("unpriced_ceiling")
        .and_then(|value| prices::read(&value.section()));

    let zone = agents::zone(section);
    let gateway = section
        .get("gateway")
        .and_then(|value| agents::gateway(&value.section(), zone.as_ref()));
    let (agents, names) = agents::read(section, zone.as_ref());
    policy.agents = agents;
    policy.set_gateway(gateway);
    if policy.min_output_tokens > policy.default_max_output {
        section.error(Complaint::new(
            "min_output_tokens must not be larger than default_max_output_tokens",
        ));
    }
    (names, Users::read(section, zone.as_ref()))
}

fn retries(text: &str) -> Result<u16, Complaint> {
    u16::try_from(units::count(text)?)
        .ok()
        .filter(|number| *number <= MOST_RETRIES)
        .ok_or_else(|| Complaint::new(format!("must be between 0 and {MOST_RETRIES}")))
}

fn deadline(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&time) {
        return Err(Complaint::new("must be between 1s and 24h"));
    }
    Ok(time)
}

fn log_path(text: &str) -> Result<PathBuf, Complaint> {
    if text.ends_with('/') {
        return Err(Complaint::new("must be a file, not a directory"));
    }
    upstream::path(text)
}

fn bound(text: &str) -> Result<BoundMode, Complaint> {
    match text.trim() {
        "strict" => Ok(BoundMode::Strict),
        "estimate" => Ok(BoundMode::Estimate),
        other => Err(Complaint {
            message: "must be strict or estimate".into(),
            suggestion: did_you_mean(other, &["strict", "estimate"]),
        }),
    }
}

impl BoundMode {
    /// The name in policy files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Estimate => "estimate",
        }
    }
}

/// A number of tokens of at least `least`.
pub(super) fn tokens(text: &str, least: u64) -> Result<u64, Complaint> {
    let tokens = units::count(text)?;
    if !(least..=MOST_TOKENS).contains(&tokens) {
        return Err(Complaint::new(format!(
            "must be between {least} and {MOST_TOKENS}"
        )));
    }
    Ok(tokens)
}
