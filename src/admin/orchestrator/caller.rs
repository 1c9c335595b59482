//! Who uses these routes: a client's key, the admin token, or this machine where there are no keys.
//!
//! Decides who is struck for what a request says. With a key of the gateway's, whoever has that key: what the
//! body calls itself means nothing then. Without one, the name in the body, if there is any.

use super::Denied;
use crate::admin::Shared;
use crate::admin::caller::caller;
use crate::auth::{self, Identity};
use crate::budget::AccountSpec;
use crate::guard::quarantine::{Quarantined, Who};
use crate::guard::session::{Owner, SessionId};
use crate::identity::{AgentId, KeyId};
use crate::policy::Policy;
use crate::refusal::Refusal;
use axum::http::{HeaderMap, header};
use std::net::IpAddr;
use std::sync::Arc;

/// The longest name of a caller in a body that counts, in bytes.
const LONGEST: usize = 8 << 10;

/// Whoever uses these routes.
pub(super) struct Caller {
    /// As for any request to a model; nothing for an operator without an agent of its own.
    identity: Option<Identity>,
    /// Whether it has the admin token.
    pub operator: bool,
    /// What it calls itself in the body, where that counts.
    name: Option<String>,
}

impl Caller {
    /// Finds out who asks.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) fn of(
        shared: &Shared,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Self, Denied> {
        let gateway = &shared.gateway;
        let live = gateway.live();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let presented = auth::presented(text(header::AUTHORIZATION.as_str()), text("x-api-key"));
        let token = gateway.settings.admin.token.as_ref();
        let token = token.filter(|token| !token.is_empty() && shared.attempts.may_try(peer));
        let is_operator = |token| auth::admin_allowed(Some(token), presented, false).is_ok();
        if presented.is_some() && token.is_some_and(is_operator) {
            return Ok(Self {
                identity: auth::operator(&live.policy, token, presented, text("x-agent-id")),
                operator: true,
                name: None,
            });
        }
        let identity = caller(&live.policy, headers, peer).inspect_err(|refusal| {
            if matches!(refusal, Refusal::InvalidKey) {
                shared.attempts.failed(peer);
            }
        })?;
        Ok(Self {
            identity: Some(identity),
            operator: false,
            name: None,
        })
    }

    /// With the name that the body gives.
    pub(super) fn named(mut self, name: Option<&str>) -> Self {
        if self.key().is_none() {
            self.name = name.and_then(caller_name);
        }
        self
    }

    /// The gateway's key that was used.
    pub(super) fn key(&self) -> Option<&KeyId> {
        self.identity.as_ref()?.key.as_ref()
    }

    /// The agent whose budget a request falls under.
    pub(super) fn agent(&self) -> Option<&AgentId> {
        self.identity.as_ref().map(|identity| &identity.agent.id)
    }

    /// The accounts that its requests fall under.
    pub(super) fn accounts(&self, policy: &Policy) -> Vec<Arc<AccountSpec>> {
        let identity = self.identity.as_ref();
        identity.map_or_else(Vec::new, |identity| identity.accounts(policy).into_owned())
    }

    /// Who is struck; nobody where there is neither a key nor a name.
    pub(super) fn who(&self) -> Option<Who> {
        match self.key() {
            Some(key) => Some(Who::of_key(key)),
            None => self.name.as_deref().map(Who::of_caller),
        }
    }

    /// Whether strikes are counted for it: the policy of its agent may say otherwise.
    pub(super) fn is_counted(&self) -> bool {
        let identity = self.identity.as_ref();
        identity.is_none_or(|identity| identity.agent.guard.quarantine)
    }

    /// The session that this caller calls `name`.
    pub(super) fn session(&self, name: &str) -> SessionId {
        let owner = match (self.key(), &self.name) {
            (Some(key), _) => Owner::Key(key),
            (None, Some(name)) => Owner::Caller(name),
            (None, None) => Owner::Nobody,
        };
        SessionId::of(owner, name)
    }

    /// Refuses whoever is in quarantine.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) fn admit(&self, shared: &Shared) -> Result<(), Denied> {
        let state: Option<Quarantined> = self
            .who()
            .and_then(|who| shared.gateway.quarantine.check(&who));
        state.map_or(Ok(()), |state| Err(Denied::quarantined(state)))
    }
}

/// What a caller calls itself: without the word that stands before keys in headers, so that whoever passes a
/// header on and whoever passes a key on are the same caller.
pub(super) fn caller_name(text: &str) -> Option<String> {
    let text = text.trim();
    let name = match text.split_once(' ') {
        Some((scheme, name)) if scheme.eq_ignore_ascii_case("bearer") => name.trim(),
        _ => text,
    };
    (!name.is_empty()).then(|| name[..name.floor_char_boundary(LONGEST)].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_header_with_it_are_one_caller() {
        for text in ["k", " k ", "Bearer k", "bearer  k "] {
            assert_eq!(caller_name(text).as_deref(), Some("k"), "{text}");
        }
        for text in ["", "  ", "Bearer  "] {
            let name = caller_name(text);
            assert!(
                name.is_none() || name.as_deref() == Some("Bearer"),
                "{text}"
            );
        }
        assert_eq!(caller_name(&"é".repeat(LONGEST)).unwrap().len(), LONGEST);
    }
}
