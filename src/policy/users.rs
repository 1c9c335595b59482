//! The accounts of users.
//!
//! A user with an entry of its own has that budget; any other user that a key names has the template's,
//! if there is one, and its team where no team lists it. Who may act for whom is said by the keys.

use super::agents;
use super::keys::KeyRing;
use super::limits;
use super::teams::{Team, Teams};
use crate::budget::AccountSpec;
use crate::identity::{AccountId, UserId};
use crate::limit::Limits;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What `cost_routing` says about users.
#[derive(Default)]
pub(super) struct Users<'r> {
    own: BTreeMap<UserId, Arc<AccountSpec>>,
    limits: BTreeMap<UserId, Limits>,
    template_limits: Limits,
    /// The account of everybody else; nobody's in particular.
    template: Option<AccountSpec>,
    /// The team of everybody else.
    template_team: Option<Arc<Team>>,
    /// Where users are described, if they are.
    place: Option<Value<'r>>,
    /// The names that are written there.
    names: BTreeSet<&'r str>,
}

/// All users, those that only keys name included.
pub(super) struct Everybody<'r> {
    pub(super) accounts: BTreeMap<UserId, Arc<AccountSpec>>,
    pub(super) limits: BTreeMap<UserId, Limits>,
    /// The names that are written under `users`.
    pub(super) names: BTreeSet<&'r str>,
    /// Those whom the template serves, and its team.
    pub(super) templated: (Vec<UserId>, Option<Arc<Team>>),
}

impl<'r> Users<'r> {
    /// Reads the sections `users` and `user_default`.
    pub(super) fn read(
        routing: &Section<'r>,
        zone: Option<&TimeZone>,
        teams: &mut Teams<'r>,
    ) -> Self {
        let mut users = Self {
            place: routing.get("users"),
            ..Self::default()
        };
        for (name, value) in routing.section("users").entries() {
            let id = match UserId::new(name) {
                Ok(id) => Some(id),
                Err(error) => {
                    value.error(Complaint::new(format!("the name {error}")));
                    None
                }
            };
            users.names.insert(name);
            let section = value.section();
            teams.user(name, &section);
            let limits = limits::read(&section);
            let account = agents::account_in_zone(&section, id.as_ref().map(AccountId::user), zone);
            if let (Some(id), Some(account)) = (id, account) {
                users.limits.insert(id.clone(), limits);
                users.own.insert(id, Arc::new(account));
            }
        }
        users.template = routing.get("user_default").and_then(|value| {
            let section = value.section();
            users.template_limits = limits::read(&section);
            users.template_team = teams.of(&section);
            // Every user that it serves gets an id of its own.
            agents::account_in_zone(&section, Some(AccountId::gateway()), zone)
        });
        users
    }

    /// All users, now that it is known whom the keys name.
    pub(super) fn complete(mut self, keys: &KeyRing) -> Everybody<'r> {
        let mut templated = Vec::new();
        let known: Vec<String> = self.own.keys().map(ToString::to_string).collect();
        for key in keys.keys() {
            for user in key.user.iter().chain(&key.users) {
                if self.own.contains_key(user) {
                    continue;
                }
                match (&self.template, &self.place) {
                    (Some(template), _) => {
                        let account = AccountSpec {
                            id: AccountId::user(user),
                            ..template.clone()
                        };
                        self.own.insert(user.clone(), Arc::new(account));
                        self.limits.insert(user.clone(), self.template_limits);
                        templated.push(user.clone());
                    }
                    (None, Some(place)) => {
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        place.warn(Complaint {
                            message: format!(
                                "the user `{user}` of the key `{}` is not among them, and has no budget",
                                key.id
                            ),
                            suggestion: did_you_mean(user.as_str(), &known),
                        });
                    }
                    (None, None) => {}
                }
            }
        }
        Everybody {
            accounts: self.own,
            limits: self.limits,
            names: self.names,
            templated: (templated, self.template_team),
        }
    }
}
