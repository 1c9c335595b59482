//! The accounts of a policy, whom they are of, and what is shown of them.
//!
//! Decides which account a name in a path stands for: an agent of exactly that name comes first,
//! because consoles know agents by their plain names.

use super::timestamp;
use crate::auth;
use crate::budget::{AccountSpec, Balance};
use crate::identity::{AgentId, UserId};
use crate::money::Nanos;
use crate::policy::teams::Team;
use crate::policy::{Agent, BudgetSource, Policy};
use crate::refusal::Refusal;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Whoever has an account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Party<'p> {
    Agent(&'p AgentId, &'p Arc<Agent>),
    User(&'p UserId, &'p Arc<AccountSpec>, Option<&'p Arc<Team>>),
    Team(&'p Arc<Team>),
    Gateway(&'p Arc<AccountSpec>),
}

impl<'p> Party<'p> {
    /// Everybody with an account, in the order of [`Policy::accounts`].
    pub(super) fn all(policy: &'p Policy) -> impl Iterator<Item = Self> {
        let agents = policy.agents.iter();
        let users = policy.users.iter();
        let users = users.map(|(id, spec)| Self::User(id, spec, policy.user_teams.get(id)));
        agents
            .map(|(id, agent)| Self::Agent(id, agent))
            .chain(users)
            .chain(policy.teams.values().map(Self::Team))
            .chain(policy.gateway.as_ref().map(Self::Gateway))
    }

    /// The owner of the account of exactly this id, such as `team:research`.
    ///
    /// # Errors
    /// When there is no such account.
    pub(super) fn of_account(policy: &'p Policy, account: &str) -> Result<Self, Refusal> {
        let found = Self::all(policy).find(|party| party.spec().id.as_str() == account);
        found.ok_or_else(|| Refusal::AccountNotFound {
            account: auth::shown(account),
        })
    }

    /// The agent of this name, else the owner of the account of this id.
    ///
    /// # Errors
    /// When there is neither.
    pub(super) fn named(policy: &'p Policy, name: &str) -> Result<Self, Refusal> {
        if let Some((id, agent)) = policy.agents.get_key_value(name) {
            return Ok(Self::Agent(id, agent));
        }
        let is_account = name == "gateway" || name.contains(':');
        Self::of_account(policy, name).map_err(|refusal| {
            if is_account {
                return refusal;
            }
            // Longer than elsewhere: a console must recognise what it asked for.
            let agent = name.chars().filter(|c| !c.is_control()).take(128).collect();
            Refusal::AgentNotFound { agent }
        })
    }

    /// The account.
    pub(super) fn spec(self) -> &'p Arc<AccountSpec> {
        match self {
            Self::Agent(_, agent) => &agent.account,
            Self::Team(team) => &team.account,
            Self::User(_, spec, _) | Self::Gateway(spec) => spec,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Agent(..) => "agent",
            Self::User(..) => "user",
            Self::Team(_) => "team",
            Self::Gateway(_) => "gateway",
        }
    }

    fn id(self) -> &'p str {
        match self {
            Self::Agent(id, _) => id.as_str(),
            Self::User(id, ..) => id.as_str(),
            Self::Team(team) => team.id.as_str(),
            Self::Gateway(_) => "gateway",
        }
    }

    /// The team that everything charged here is charged to, too.
    fn above(self) -> Option<&'p Arc<Team>> {
        match self {
            Self::Agent(_, agent) => agent.team.as_ref(),
            Self::User(_, _, team) => team,
            Self::Team(team) => team.parent.as_ref(),
            Self::Gateway(_) => None,
        }
    }

    /// Where the budget is set, when `balance` is its state.
    pub(super) fn source(self, balance: &Balance) -> &'static str {
        let own = match self {
            Self::Agent(_, agent) => agent.budget_source,
            _ => BudgetSource::Local,
        };
        if balance.pushed {
            BudgetSource::Console.name()
        } else {
            own.name()
        }
    }

    /// What operators are shown.
    pub(super) fn shown(self, policy: &Policy, balance: &Balance) -> Value {
        let spec = self.spec();
        let mut shown = figures(spec, balance);
        shown.insert("kind".into(), self.kind().into());
        shown.insert("id".into(), self.id().into());
        let above = self.above().map(|team| team.account.id.as_str());
        shown.insert("parent".into(), above.into());
        shown.insert("period_reset".into(), end(balance));
        shown.insert("budget_source".into(), self.source(balance).into());
        if let Self::Team(team) = self {
            let members = policy.members(&team.id);
            let members = json!({
                "agents": members.agents,
                "users": members.users,
                "keys": members.keys,
                "teams": members.teams,
            });
            shown.insert("members".into(), members);
        }
        Value::Object(shown)
    }
}

/// What everybody who may see an account is shown of it: amounts in dollars and, beside them,
/// exactly.
pub(super) fn figures(spec: &AccountSpec, balance: &Balance) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("account".into(), spec.id.as_str().into());
    for (name, amount) in [
        ("budget_total", balance.limit),
        ("budget_spent", balance.posted),
        ("budget_remaining", balance.limit - balance.posted),
        ("budget_held", balance.pending),
    ] {
        put(&mut shown, name, Some(amount));
    }
    shown.insert("period".into(), spec.period.kind.to_string().into());
    let start = balance.period_end.map(|_| balance.period_start);
    let start = start.and_then(timestamp);
    shown.insert("period_start".into(), start.into());
    shown.insert("hard_cap".into(), spec.hard.into());
    shown
}

/// An amount in dollars, and in nano-dollars beside it.
pub(super) fn put(shown: &mut Map<String, Value>, name: &str, amount: Option<Nanos>) {
    shown.insert(name.into(), amount.map(Nanos::as_usd_f64).into());
    let exact = amount.map(|amount| amount.0);
    shown.insert(format!("{name}_nano_usd"), exact.into());
}

/// When the current period ends.
pub(super) fn end(balance: &Balance) -> Value {
    balance.period_end.and_then(timestamp).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;

    #[test]
    fn a_plain_name_is_an_agent_and_any_other_an_account() {
        let text = "cost_routing:
  teams: {x: {budget_total: 3, agents: [a]}}
  users: {u: {budget_total: 2, team: x}}
  gateway: {budget_total: 9}
  agents: {a: {budget_total: 1}, 'team:y': {budget_total: 1}, 'user:u': {budget_total: 1}}
";
        let policy = crate::policy::parse("p.yaml", text, &Environment::default()).unwrap();
        let of = |name| {
            let party = Party::named(&policy, name);
            party.map(|party| party.spec().id.to_string())
        };
        for (name, account) in [
            ("a", "agent:a"),
            ("agent:a", "agent:a"),
            ("team:x", "team:x"),
            ("team:y", "agent:team:y"),
            ("user:u", "agent:user:u"),
            ("gateway", "gateway"),
        ] {
            assert_eq!(of(name).unwrap(), account, "{name}");
        }
        let user = Party::of_account(&policy, "user:u").unwrap();
        assert_eq!((user.kind(), user.id()), ("user", "u"));
        assert_eq!(user.above().unwrap().id.as_str(), "x");
        assert!(matches!(of("x"), Err(Refusal::AgentNotFound { .. })));
        for name in ["team:z", "agent:x", "user:", ":"] {
            let refusal = of(name).unwrap_err();
            assert!(
                matches!(refusal, Refusal::AccountNotFound { .. }),
                "{name}: {refusal}"
            );
        }
        let order: Vec<&str> = Party::all(&policy)
            .map(|party| party.spec().id.as_str())
            .collect();
        let accounts = policy.accounts();
        let accounts: Vec<&str> = accounts.iter().map(|spec| spec.id.as_str()).collect();
        assert_eq!(order, accounts);
    }
}
