//! The accounts of users.
//!
//! A user with an entry of its own has that budget; any other user that a key names has the template's,
//! if there is one. Who may act for whom is said by the keys.

use super::agents;
use super::keys::KeyRing;
use super::limits;
use crate::budget::AccountSpec;
use crate::identity::{AccountId, UserId};
use crate::limit::Limits;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What `cost_routing` says about users.
#[derive(Default)]
pub(super) struct Users<'r> {
    own: BTreeMap<UserId, Arc<AccountSpec>>,
    limits: BTreeMap<UserId, Limits>,
    template_limits: Limits,
    /// The account of everybody else; nobody's in particular.
    template: Option<AccountSpec>,
    /// Where users are described, if they are.
    place: Option<Value<'r>>,
}

impl<'r> Users<'r> {
    /// Reads the sections `users` and `user_default`.
    pub(super) fn read(routing: &Section<'r>, zone: Option<&TimeZone>) -> Self {
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
            let section = value.section();
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
            // Every user that it serves gets an id of its own.
            agents::account_in_zone(&section, Some(AccountId::gateway()), zone)
        });
        users
    }

    /// The accounts and limits of all users, those that only keys name included.
    pub(super) fn complete(
        mut self,
        keys: &KeyRing,
    ) -> (BTreeMap<UserId, Arc<AccountSpec>>, BTreeMap<UserId, Limits>) {
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
        (self.own, self.limits)
    }
}
