//! `weir key`: makes keys for clients.
//!
//! The key is shown once and kept nowhere; the policy gets its digest.

use crate::identity::{AgentId, KeyId, UserId};
use crate::policy::{self, Policy, keys};
use crate::secret::Secret;
use crate::settings::environment::Environment;
use crate::settings::file::{Files, Flags};
use crate::settings::problem::did_you_mean;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `weir key ...`
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and show it once, with the lines that the policy needs.
    New(NewArgs),
}

/// `weir key new`
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The agent it stands for.
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// Its public id, for logs and records; without it the agent's name and a random end.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The person or service it belongs to.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// When it stops working: a date (2027-01-01, its first second in UTC) or an RFC 3339 time.
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// The policy; without it CONFIG_PATH, else ./policy.yaml.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// An entry of `auth.keys`.
#[derive(Serialize)]
struct Entry {
    id: String,
    sha256: String,
    agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When an argument is wrong, the policy has no such agent, or no randomness is to be had.
pub fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    let Command::New(args) = &args.command;
    let environment = &Environment::capture(Path::new("."));
    let flags = Flags {
        policy: args.policy.clone(),
        ..Flags::default()
    };
    let chosen = Files::choose(&flags, environment).policy;
    let policy = if chosen.path.exists() {
        Some(policy::load(&chosen.path, environment))
    } else {
        None
    };
    let mut err = std::io::stderr().lock();
    let policy = match policy {
        Some(Ok(policy)) => Some(policy),
        Some(Err(_)) => {
            writeln!(
                err,
                "warning: {} has errors (see `weir check`), so the agent was not looked up",
                chosen.path.display()
            )?;
            None
        }
        None => {
            writeln!(
                err,
                "warning: there is no {}, so the agent was not looked up",
                chosen.path.display()
            )?;
            None
        }
    };
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("no randomness is to be had from the system: {error}"))?;
    let (key, lines) = make(args, policy.as_ref(), random)?;
    writeln!(
        err,
        "The key, shown this once, and the lines for auth.keys in {}:",
        chosen.path.display()
    )?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n\n{lines}", key.expose())?;
    Ok(ExitCode::SUCCESS)
}

/// The key and the lines for the policy.
fn make(
    args: &NewArgs,
    policy: Option<&Policy>,
    random: [u8; 32],
) -> anyhow::Result<(Secret, String)> {
    let agent = AgentId::new(&args.agent).context("--agent")?;
    if let Some(policy) = policy.filter(|policy| !policy.agents.contains_key(&agent)) {
        let known: Vec<&str> = policy.agents.keys().map(AgentId::as_str).collect();
        let hint = did_you_mean(agent.as_str(), &known)
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        bail!("the policy has no agent `{agent}`{hint}");
    }
    let key = Secret::new(format!("weir_{}", base62(random)));
    let sha256 = key.digest().to_hex();
    let id = match &args.id {
        Some(id) => KeyId::new(id).context("--id")?,
        None => KeyId::new(&format!("{agent}-{}", &sha256[..6]))
            .context("the agent's name leaves no room for an --id")?,
    };
    if policy.is_some_and(|policy| policy.keys.keys().iter().any(|key| key.id == id)) {
        bail!("the policy already has a key with the id `{id}`; choose another --id");
    }
    let user = args
        .user
        .as_deref()
        .map(UserId::new)
        .transpose()
        .context("--user")?;
    if let Some(text) = &args.expires {
        let moment = keys::moment(text)
            .map_err(|complaint| anyhow::anyhow!("--expires {}", complaint.message))?;
        if moment <= jiff::Timestamp::now().as_second() {
            bail!("--expires lies in the past");
        }
    }
    let entry = Entry {
        id: id.to_string(),
        sha256,
        agent: agent.to_string(),
        user: user.map(|user| user.to_string()),
        expires: args.expires.as_ref().map(|text| text.trim().to_owned()),
    };
    let lines = serde_yaml::to_string(&[entry])?;
    Ok((
        key,
        lines
            .trim_end()
            .lines()
            .map(|line| format!("    {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
    ))
}

/// 256 bits as 43 letters and digits.
fn base62(mut number: [u8; 32]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..43)
        .map(|_| {
            let remainder = number.iter_mut().fold(0_u16, |carry, byte| {
                let value = carry * 256 + u16::from(*byte);
                *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
                value % 62
            });
            char::from(DIGITS[usize::from(remainder)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn args(agent: &str) -> NewArgs {
        NewArgs {
            agent: agent.into(),
            id: None,
            user: None,
            expires: None,
            policy: None,
        }
    }

    fn policy(auth: &str) -> Policy {
        let text = format!(
            "cost_routing: {{agents: {{agent-1: {{budget_total: 1}}, 'no: 1': {{budget_total: 1}}}}}}\n{auth}"
        );
        policy::parse("policy.yaml", &text, &Environment::default()).unwrap()
    }

    #[test]
    fn the_lines_and_the_key_belong_together_and_the_lines_do_not_hold_the_key() {
        for agent in ["agent-1", "no: 1"] {
            let arguments = NewArgs {
                user: Some("ann: #1".into()),
                expires: Some("2999-01-01".into()),
                ..args(agent)
            };
            let (key, lines) = make(&arguments, Some(&policy("")), [7; 32]).unwrap();
            assert!(key.expose().starts_with("weir_") && key.expose().len() == 48);
            assert!(!lines.contains(key.expose()) && !lines.contains(&key.expose()[5..]));
            let with_key = policy(&format!("auth:\n  keys:\n{lines}\n"));
            let found = with_key.keys.find(key.expose()).unwrap();
            assert_eq!(found.agent.as_str(), agent);
            assert_eq!(found.user.as_ref().unwrap().as_str(), "ann: #1");
            assert!(found.expires.is_some() && found.id.as_str().starts_with(agent));
        }
    }

    #[test]
    fn an_agent_that_the_policy_does_not_have_is_refused() {
        let error = make(&args("agent-2"), Some(&policy("")), [0; 32])
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "the policy has no agent `agent-2`; did you mean `agent-1`?"
        );
        assert!(make(&args("agent-2"), None, [0; 32]).is_ok());
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let id = |id: &str| NewArgs {
            id: Some(id.into()),
            ..args("agent-1")
        };
        let (_, lines) = make(&id("k"), None, [1; 32]).unwrap();
        let taken = policy(&format!("auth:\n  keys:\n{lines}\n"));
        assert!(make(&id("k"), Some(&taken), [2; 32]).is_err());
        assert!(make(&id(""), None, [2; 32]).is_err());
        for expires in ["2020-01-01", "soon"] {
            let arguments = NewArgs {
                expires: Some(expires.into()),
                ..args("agent-1")
            };
            assert!(make(&arguments, None, [2; 32]).is_err(), "{expires}");
        }
        assert!(make(&args("é"), None, [2; 32]).is_err());
    }

    proptest! {
        #[test]
        fn different_bits_are_different_keys(a: [u8; 32], b: [u8; 32]) {
            let (one, other) = (base62(a), base62(b));
            prop_assert_eq!(one.len(), 43);
            prop_assert_eq!(one == other, a == b);
        }
    }
}
