//! Who is asking: from a presented key to an identity.
//!
//! Decides which agent a request falls under, and who may use the admin API. It reads no headers
//! and no sockets: the caller says what was presented and whether the peer is on this machine.
//!
//! With keys configured, the key decides and `X-Agent-ID` only chooses among the agents that the
//! key lists. Without any, the gateway is open to this machine and to nobody else.

use crate::budget::AccountSpec;
use crate::identity::{KeyId, UserId};
use crate::limit::Limits;
use crate::policy::{Agent, DEFAULT_AGENT, Policy};
use crate::refusal::Refusal;
use crate::secret::{KeyDigest, Secret};
use std::sync::Arc;

/// The longest part of a client's text that a refusal repeats, in characters.
const SHOWN: usize = 64;

/// Who a request is from, and whose budget it falls under.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key that was presented; nothing when no keys are configured.
    pub key: Option<KeyId>,
    /// The user behind the key.
    pub user: Option<UserId>,
    /// The account of that user, if it has one.
    pub user_account: Option<Arc<AccountSpec>>,
    /// What the key may ask for at a time.
    pub key_limits: Limits,
    /// What the user may ask for at a time.
    pub user_limits: Limits,
    /// The agent.
    pub agent: Arc<Agent>,
    /// Whether no key of Weir's was used, so that the client's own `Authorization` may go to the
    /// provider.
    pub passthrough: bool,
}

/// The key among a request's headers: the bearer token of `Authorization`, else `x-api-key`.
pub fn presented<'h>(authorization: Option<&'h str>, api_key: Option<&'h str>) -> Option<&'h str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let filled = |text: &&str| !text.is_empty();
    bearer
        .filter(filled)
        .or_else(|| api_key.map(str::trim).filter(filled))
}

/// Finds out who is asking. `agent_header` is `X-Agent-ID`, `now` is in Unix seconds.
///
/// # Errors
/// The refusal to answer with.
pub fn authenticate(
    policy: &Policy,
    presented: Option<&str>,
    agent_header: Option<&str>,
    peer_is_loopback: bool,
    now: i64,
) -> Result<Identity, Refusal> {
    let named = agent_header.map(str::trim).filter(|name| !name.is_empty());
    if policy.keys.is_empty() {
        return open(policy, named, peer_is_loopback);
    }
    let presented = presented
        .filter(|key| !key.is_empty())
        .ok_or(Refusal::MissingKey(
            "An API key is required: send it as `Authorization: Bearer <key>` or `x-api-key`",
        ))?;
    let key = policy.keys.find(presented).ok_or(Refusal::InvalidKey)?;
    if key.has_expired(now) {
        return Err(Refusal::ExpiredKey);
    }
    let foreign = |name: &str| Refusal::ForeignAgent { agent: shown(name) };
    let agent = match named {
        None => &key.agent,
        Some(name) => key.may_act_for(name).ok_or_else(|| foreign(name))?,
    };
    // The policy was checked to have every agent that a key lists.
    let agent = policy
        .agents
        .get(agent)
        .ok_or_else(|| foreign(agent.as_str()))?;
    Ok(Identity {
        key: Some(key.id.clone()),
        user: key.user.clone(),
        key_limits: key.limits,
        user_limits: Limits::default(),
        user_account: key
            .user
            .as_ref()
            .and_then(|user| policy.users.get(user).cloned()),
        agent: Arc::clone(agent),
        passthrough: false,
    })
}

/// No keys are configured: this machine may name any agent, others may do nothing.
fn open(policy: &Policy, named: Option<&str>, peer_is_loopback: bool) -> Result<Identity, Refusal> {
    if !peer_is_loopback {
        return Err(Refusal::MissingKey(
            "No API keys are configured, so only this machine is served; add one under auth.keys in the policy \
             (`weir key new` makes it)",
        ));
    }
    let name = named.unwrap_or(DEFAULT_AGENT);
    let agent = policy.agent(name).ok_or_else(|| Refusal::UnknownAgent {
        agent: shown(name),
        available: policy.agents.keys().cloned().collect(),
    })?;
    Ok(Identity {
        key: None,
        user: None,
        key_limits: Limits::default(),
        user_limits: Limits::default(),
        user_account: None,
        agent: Arc::clone(agent),
        passthrough: true,
    })
}

/// Whether a caller may use the admin API: with the token, or, while none is set, from this
/// machine.
///
/// # Errors
/// The refusal to answer with.
pub fn admin_allowed(
    token: Option<&Secret>,
    presented: Option<&str>,
    peer_is_loopback: bool,
) -> Result<(), Refusal> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return if peer_is_loopback {
            Ok(())
        } else {
            Err(Refusal::AdminOnly(
                "No admin token is configured, so only this machine may use the admin API",
            ))
        };
    };
    match presented {
        None | Some("") => Err(Refusal::AdminToken(
            "The admin API needs `Authorization: Bearer <admin token>`",
        )),
        // Digests, so that neither the length nor the content shows in the time it takes.
        Some(presented) if KeyDigest::of(presented.as_bytes()) == token.digest() => Ok(()),
        Some(_) => Err(Refusal::AdminToken("Incorrect admin token")),
    }
}

/// A client's text as a refusal may repeat it: printable and short.
pub fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| (' '..='~').contains(c))
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
