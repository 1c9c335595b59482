//! The top level of `policy.yaml` and the section `cost_routing`.

use super::teams::Teams;
use super::users::Users;
use super::{
    BoundMode, Policy, agents, breaker, console, guard, keys, prices, signatures, upstream,
};
use crate::identity::UserId;
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
    let section = root.section("guard");
    policy.guard = Arc::new(guard::read(&section, &policy.guard));
    (policy.rules, policy.rule_files) = guard::read_rules(&section.section("rules"));
    let parties = match root.get("cost_routing") {
        Some(value) => routing(&mut policy, &value.section()),
        None => {
            root.error(Complaint::new("the section `cost_routing` is missing"));
            Parties::default()
        }
    };
    policy.keys = keys::read(&root.section("auth"), &parties.agents, &parties.teams);
    parties.complete(&mut policy);
    for (name, value) in root.rest() {
        let complaint = Complaint::new("this section is none of Weir's and was not read");
        let owned = ["cost_routing", "auth", "guard"];
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

/// What is complete once the keys are read.
#[derive(Default)]
struct Parties<'r> {
    /// The names of the agents that the file means to have.
    agents: BTreeSet<&'r str>,
    users: Users<'r>,
    teams: Teams<'r>,
}

impl Parties<'_> {
    fn complete(self, policy: &mut Policy) {
        let keys = policy.keys.clone();
        let everybody = self.users.complete(&keys);
        (policy.users, policy.user_limits) = (everybody.accounts, everybody.limits);
        let of_keys = keys.keys().into_iter();
        let of_keys = of_keys.flat_map(|key| key.user.iter().chain(&key.users));
        let mut users: BTreeSet<&str> = of_keys.map(UserId::as_str).collect();
        users.extend(everybody.names);
        let (templated, template) = &everybody.templated;
        self.teams
            .complete(policy, &self.agents, &users, templated, template.as_ref());
        policy.gather();
    }
}

/// Reads `cost_routing`.
fn routing<'r>(policy: &mut Policy, section: &Section<'r>) -> Parties<'r> {
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
    policy.signatures = signatures::read(&section.section("signatures"));
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
    let watched = breaker::read(&section.section("breaker"), zone.as_ref());
    policy.breaker = Arc::new(watched);
    policy.gateway = section
        .get("gateway")
        .and_then(|value| agents::gateway(&value.section(), zone.as_ref()));
    let mut teams = Teams::read(section, zone.as_ref());
    let agents;
    (policy.agents, agents) = agents::read(section, zone.as_ref(), &policy.guard, &mut teams);
    if policy.min_output_tokens > policy.default_max_output {
        section.error(Complaint::new(
            "min_output_tokens must not be larger than default_max_output_tokens",
        ));
    }
    Parties {
        agents,
        users: Users::read(section, zone.as_ref(), &mut teams),
        teams,
    }
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
