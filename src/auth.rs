//! Who is asking: from a presented key to an identity.
//!
//! Decides which agent, user and teams a request falls under, and who may use the admin API. It reads no sockets,
//! and headers only in [`page`]: the caller says what was presented and whether the peer is on this machine.
//!
//! With keys configured, the key decides; `X-Agent-ID` and `X-User-ID` only choose among the agents
//! and users that the key lists. Without any, the gateway is open to this machine and to nobody else.
//!
//! The `user` field of a body is OpenAI's tag for whoever sits at the other end, and clients write
//! anything there. It chooses a user only for keys that list users.

pub mod page;

use crate::budget::AccountSpec;
use crate::identity::{KeyId, UserId};
use crate::limit::{Claim, Kind, Limits};
use crate::policy::keys::Key;
use crate::policy::teams::Team;
use crate::policy::{Agent, DEFAULT_AGENT, Policy};
use crate::refusal::Refusal;
use crate::secret::{KeyDigest, Secret};
use std::borrow::Cow;
use std::sync::Arc;

/// The longest part of a client's text that a refusal repeats, in characters.
const SHOWN: usize = 64;

/// Who a request is from, and whose budget it falls under.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key that was presented; nothing when no keys are configured.
    pub key: Option<KeyId>,
    /// The user that the request is made for.
    pub user: Option<UserId>,
    /// That user's own account, if there is one.
    pub user_account: Option<Arc<AccountSpec>>,
    /// What that user may ask for at a time.
    pub user_limits: Limits,
    /// The team that the user belongs to.
    pub user_team: Option<Arc<Team>>,
    /// The team that the key belongs to.
    pub key_team: Option<Arc<Team>>,
    /// The agent.
    pub agent: Arc<Agent>,
    /// What the key may ask for at a time.
    pub limits: Limits,
    /// Whether no key of Weir's was used, so that the client's own `Authorization` may go to the
    /// provider.
    pub passthrough: bool,
    /// The key, while the body may still choose among its users.
    choosing: Option<Arc<Key>>,
}

impl Identity {
    /// Takes the `user` field of the body into account, which is read after the headers. A user named
    /// by `X-User-ID` stays; a key that lists no users ignores the field.
    ///
    /// # Errors
    /// When the key lists users, and this one is not among them.
    pub fn choose_user(&mut self, policy: &Policy, field: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = filled(field) else {
            return Ok(());
        };
        let Some(key) = self.choosing.take() else {
            return Ok(());
        };
        let user = acting_for(&key, name)?;
        self.user_account = account_of(policy, Some(&user));
        self.user_limits = limits_of(policy, Some(&user));
        self.user_team = team_of(policy, Some(&user));
        self.user = Some(user);
        Ok(())
    }

    /// The teams of the agent, the user and the key, each followed by those above it, and each once.
    pub fn teams(&self) -> impl Iterator<Item = &Arc<Team>> {
        let own = [&self.agent.team, &self.user_team, &self.key_team].map(Option::as_ref);
        (0..own.len()).flat_map(move |at| {
            let line = own[at].into_iter().flat_map(Team::line);
            line.filter(move |team| {
                let mut earlier = own[..at].iter().flatten().flat_map(|team| team.line());
                !earlier.any(|other| other.id == team.id)
            })
        })
    }

    /// Every account that a request falls under: the agent's, which decides the tier, the user's,
    /// those of all teams, the gateway's. Where only the agent's own matter they are borrowed.
    pub fn accounts(&self, policy: &Policy) -> Cow<'_, [Arc<AccountSpec>]> {
        let all = 1 + self.teams().count() + usize::from(policy.gateway.is_some());
        if self.user_account.is_none() && self.agent.accounts.len() == all {
            return Cow::Borrowed(&self.agent.accounts);
        }
        let mut accounts = Vec::with_capacity(all + 1);
        accounts.push(Arc::clone(&self.agent.account));
        accounts.extend(self.user_account.clone());
        accounts.extend(self.teams().map(|team| Arc::clone(&team.account)));
        accounts.extend(policy.gateway.clone());
        Cow::Owned(accounts)
    }

    /// Everything whose limits a request falls under, but for the model.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        let claim = |kind, id, limits| Claim { kind, id, limits };
        let key = self.key.as_ref().map_or("", KeyId::as_str);
        let user = self.user.as_ref().map_or("", UserId::as_str);
        let own = [
            claim(Kind::Key, key, self.limits),
            claim(Kind::Agent, self.agent.id.as_str(), self.agent.limits),
            claim(Kind::User, user, self.user_limits),
        ];
        let teams = self.teams();
        own.into_iter()
            .chain(teams.map(move |team| claim(Kind::Team, team.id.as_str(), team.limits)))
    }
}

/// The key among a request's headers: the bearer token of `Authorization`, else `x-api-key`.
pub fn presented<'h>(authorization: Option<&'h str>, api_key: Option<&'h str>) -> Option<&'h str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    filled(bearer).or_else(|| filled(api_key))
}

/// Finds out who is asking. `agent_header` is `X-Agent-ID`, `user_header` is `X-User-ID`, `now` is in
/// Unix seconds.
///
/// # Errors
/// The refusal to answer with.
pub fn authenticate(
    policy: &Policy,
    presented: Option<&str>,
    agent_header: Option<&str>,
    user_header: Option<&str>,
    peer_is_loopback: bool,
    now: i64,
) -> Result<Identity, Refusal> {
    let (named, user) = (filled(agent_header), filled(user_header));
    if policy.keys.is_empty() {
        return open(policy, named, user, peer_is_loopback);
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
    let chosen = user.map(|name| acting_for(key, name)).transpose()?;
    let choosing = chosen.is_none() && !key.users.is_empty();
    let user = chosen.or_else(|| key.user.clone());
    Ok(Identity {
        key: Some(key.id.clone()),
        user_account: account_of(policy, user.as_ref()),
        user_limits: limits_of(policy, user.as_ref()),
        user_team: team_of(policy, user.as_ref()),
        key_team: key.team.clone(),
        user,
        agent: Arc::clone(agent),
        limits: key.limits,
        passthrough: false,
        choosing: choosing.then(|| Arc::clone(key)),
    })
}

/// Whoever has the admin token may use the Model Gateway's routes with it, as its clients did: for
/// the agent that is named, else the `default` one, else the only one there is. `None` when the
/// token is not the admin's, or there is no such agent.
pub fn operator(
    policy: &Policy,
    token: Option<&Secret>,
    presented: Option<&str>,
    agent_header: Option<&str>,
) -> Option<Identity> {
    let token = token.filter(|token| !token.is_empty())?;
    admin_allowed(Some(token), Some(presented?), false).ok()?;
    let only = || {
        policy
            .agents
            .values()
            .next()
            .filter(|_| policy.agents.len() == 1)
    };
    let agent = match filled(agent_header) {
        Some(name) => policy.agents.get(name),
        None => policy.agents.get(DEFAULT_AGENT).or_else(only),
    };
    Some(Identity {
        key: None,
        user: None,
        user_account: None,
        user_limits: Limits::default(),
        user_team: None,
        key_team: None,
        agent: Arc::clone(agent?),
        limits: Limits::default(),
        passthrough: false,
        choosing: None,
    })
}

/// The user of that name, when the key may act for it.
fn acting_for(key: &Key, name: &str) -> Result<UserId, Refusal> {
    let user = key.may_act_for_user(name).cloned();
    user.ok_or_else(|| Refusal::ForeignUser { user: shown(name) })
}

fn account_of(policy: &Policy, user: Option<&UserId>) -> Option<Arc<AccountSpec>> {
    policy.users.get(user?).cloned()
}

fn limits_of(policy: &Policy, user: Option<&UserId>) -> Limits {
    let limits = user.and_then(|user| policy.user_limits.get(user));
    limits.copied().unwrap_or_default()
}

fn team_of(policy: &Policy, user: Option<&UserId>) -> Option<Arc<Team>> {
    policy.user_teams.get(user?).cloned()
}

/// A text with something in it.
fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// No keys are configured: this machine may name any agent and any user that has a budget, others may
/// do nothing.
fn open(
    policy: &Policy,
    named: Option<&str>,
    user: Option<&str>,
    peer_is_loopback: bool,
) -> Result<Identity, Refusal> {
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
    let user = user.and_then(|name| policy.users.get_key_value(name));
    Ok(Identity {
        key: None,
        user: user.map(|(id, _)| id.clone()),
        user_account: user.map(|(_, account)| Arc::clone(account)),
        user_limits: limits_of(policy, user.map(|(id, _)| id)),
        user_team: team_of(policy, user.map(|(id, _)| id)),
        key_team: None,
        agent: Arc::clone(agent),
        limits: Limits::default(),
        passthrough: true,
        choosing: None,
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
