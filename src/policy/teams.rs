//! Teams: budgets over agents, users and keys, one inside the other.
//!
//! Decides who belongs to which team. An agent or a user is in a team when the team lists it or when it
//! names the team; both say the same, and where they do not, the file is refused. A key names its
//! team itself. A team may be part of another one, up to `DEEPEST` levels. What a request is charged
//! to follows from that, see [`crate::auth::Identity`].

use super::agents;
use super::limits;
use super::{Agent, Policy};
use crate::budget::AccountSpec;
use crate::identity::{AccountId, TeamId, UserId};
use crate::limit::Limits;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many teams may stand one above the other.
const DEEPEST: usize = 16;

/// One team.
#[derive(Clone, Debug, PartialEq)]
pub struct Team {
    /// Its name.
    pub id: TeamId,
    /// Its account.
    pub account: Arc<AccountSpec>,
    /// What its members may ask for at a time, all together.
    pub limits: Limits,
    /// The team that it is part of.
    pub parent: Option<Arc<Team>>,
}

impl Team {
    /// The team itself, then the one it is part of, and so on.
    pub fn line(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |team| team.parent.as_ref())
    }
}

/// Who belongs to a team itself, without those of the teams inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members<'p> {
    /// Its agents.
    pub agents: Vec<&'p str>,
    /// Its users.
    pub users: Vec<&'p str>,
    /// Its keys, by their public ids.
    pub keys: Vec<&'p str>,
    /// The teams that are part of it.
    pub teams: Vec<&'p str>,
}

impl Policy {
    /// Who belongs to a team.
    pub fn members(&self, team: &TeamId) -> Members<'_> {
        let here = |other: Option<&Arc<Team>>| other.is_some_and(|other| other.id == *team);
        let agents = self.agents.values();
        let agents = agents.filter(|agent| here(agent.team.as_ref()));
        let users = self.user_teams.iter();
        let users = users.filter(|(_, team)| here(Some(team)));
        let keys = self.keys.keys().into_iter();
        let teams = self.teams.values();
        let teams = teams.filter(|inner| here(inner.parent.as_ref()));
        Members {
            agents: agents.map(|agent| agent.id.as_str()).collect(),
            users: users.map(|(user, _)| user.as_str()).collect(),
            keys: keys
                .filter(|key| here(key.team.as_ref()))
                .map(|key| key.id.as_str())
                .collect(),
            teams: teams.map(|inner| inner.id.as_str()).collect(),
        }
    }
}

/// Where somebody was put into a team.
struct Said<'r> {
    team: Arc<Team>,
    place: Value<'r>,
}

/// What the section `teams` says about one team, and what only later is known to be right.
struct Entry<'r> {
    name: &'r str,
    place: Value<'r>,
    agents: Option<Value<'r>>,
    users: Option<Value<'r>>,
    /// The name of the team that it is part of.
    parent: Option<String>,
}

impl Entry<'_> {
    /// Whether it means to have members of its own, be their names right or wrong.
    fn lists_somebody(&self) -> bool {
        let mut lists = self.agents.iter().chain(&self.users);
        lists.any(|list| !list.list().is_empty())
    }
}

/// What one team says of itself.
struct Own<'r> {
    id: TeamId,
    account: Arc<AccountSpec>,
    limits: Limits,
    parent: Option<(String, Value<'r>)>,
}

/// What `cost_routing` says about teams.
#[derive(Default)]
pub(super) struct Teams<'r> {
    entries: Vec<Entry<'r>>,
    names: BTreeSet<&'r str>,
    teams: BTreeMap<TeamId, Arc<Team>>,
    agents: BTreeMap<String, Said<'r>>,
    users: BTreeMap<String, Said<'r>>,
}

impl<'r> Teams<'r> {
    /// Reads the section `teams`.
    pub(super) fn read(routing: &Section<'r>, zone: Option<&TimeZone>) -> Self {
        let written = routing.section("teams").entries();
        let mut read = Self {
            names: written.iter().map(|(name, _)| *name).collect(),
            ..Self::default()
        };
        let mut own = BTreeMap::new();
        for (name, value) in written {
            let (entry, team) = read.entry(name, value, zone);
            read.entries.push(entry);
            if let Some(team) = team {
                own.insert(name, team);
            }
        }
        read.build(&own);
        read
    }

    fn entry(
        &self,
        name: &'r str,
        value: Value<'r>,
        zone: Option<&TimeZone>,
    ) -> (Entry<'r>, Option<Own<'r>>) {
        let id = TeamId::new(name);
        if let Err(error) = id {
            value.error(Complaint::new(format!("the name {error}")));
        }
        let id = id.ok();
        let place = value.clone();
        let section = value.section();
        let account = agents::account_in_zone(&section, id.as_ref().map(AccountId::team), zone);
        let limits = limits::read(&section);
        let parent = self.named(&section);
        let entry = Entry {
            name,
            place,
            agents: section.get("agents"),
            users: section.get("users"),
            parent: parent.as_ref().map(|(name, _)| name.clone()),
        };
        let own = id.zip(account).map(|(id, account)| Own {
            id,
            account: Arc::new(account),
            limits,
            parent,
        });
        (entry, own)
    }

    /// Makes the teams, those above before those inside.
    fn build(&mut self, own: &BTreeMap<&'r str, Own<'r>>) {
        let mut circles = BTreeSet::new();
        for name in own.keys().copied() {
            // From the team up to one that is there already, or has nothing above it.
            let mut line: Vec<&Own<'r>> = Vec::new();
            let mut above = Some(name);
            let mut parent = None;
            while let Some(name) = above {
                if let Some(team) = self.teams.get(name) {
                    parent = Some(Arc::clone(team));
                    break;
                }
                let Some(team) = own.get(name) else { break };
                if let Some(at) = line.iter().position(|other| other.id == team.id) {
                    round(&line[at..], &mut circles);
                    line.clear();
                    break;
                }
                if line.len() == DEEPEST {
                    too_deep(line[0]);
                    line.clear();
                    break;
                }
                line.push(team);
                above = team.parent.as_ref().map(|(name, _)| name.as_str());
            }
            let mut height = parent.as_ref().map_or(0, |team| team.line().count());
            for own in line.into_iter().rev() {
                height += 1;
                if height > DEEPEST {
                    too_deep(own);
                    break;
                }
                let team = Arc::new(Team {
                    id: own.id.clone(),
                    account: Arc::clone(&own.account),
                    limits: own.limits,
                    parent,
                });
                self.teams.insert(own.id.clone(), Arc::clone(&team));
                parent = Some(team);
            }
        }
    }

    /// The name of a team under the key `team`, and where it stands; it was written somewhere under
    /// `teams`, if not soundly.
    fn named(&self, section: &Section<'r>) -> Option<(String, Value<'r>)> {
        let place = section.get("team")?;
        let known = |text: &str| known(text, &self.names, "team");
        let name = section.optional("team", known, Clone::clone)?;
        Some((name, place))
    }

    fn said(&self, section: &Section<'r>) -> Option<Said<'r>> {
        let (name, place) = self.named(section)?;
        let team = Arc::clone(self.teams.get(name.as_str())?);
        Some(Said { team, place })
    }

    /// The team that a section names with `team`.
    pub(super) fn of(&self, section: &Section<'r>) -> Option<Arc<Team>> {
        self.said(section).map(|said| said.team)
    }

    /// Takes over which team an agent names.
    pub(super) fn agent(&mut self, name: &str, section: &Section<'r>) {
        if let Some(said) = self.said(section) {
            self.agents.insert(name.to_owned(), said);
        }
    }

    /// Takes over which team a user names.
    pub(super) fn user(&mut self, name: &str, section: &Section<'r>) {
        if let Some(said) = self.said(section) {
            self.users.insert(name.to_owned(), said);
        }
    }

    /// Puts everybody into the teams. `agents` and `users` are all names that are written;
    /// `template` is the team of the users in `templated`, where no team lists them.
    pub(super) fn complete(
        mut self,
        policy: &mut Policy,
        agents: &BTreeSet<&str>,
        users: &BTreeSet<&str>,
        templated: &[UserId],
        template: Option<&Arc<Team>>,
    ) {
        for entry in &self.entries {
            let Some(team) = self.teams.get(entry.name) else {
                continue;
            };
            listed(
                entry.agents.as_ref(),
                team,
                agents,
                "agent",
                &mut self.agents,
            );
            listed(entry.users.as_ref(), team, users, "user", &mut self.users);
        }
        for (name, said) in self.agents {
            if let Some(agent) = policy.agents.get_mut(name.as_str()) {
                Arc::<Agent>::make_mut(agent).team = Some(said.team);
            }
        }
        let templated = templated.iter().zip(std::iter::repeat(template));
        policy.user_teams = templated
            .filter_map(|(user, team)| Some((user.clone(), Arc::clone(team?))))
            .collect();
        for (name, said) in self.users {
            if let Ok(user) = UserId::new(&name) {
                policy.user_teams.insert(user, said.team);
            }
        }
        policy.teams = self.teams;
        let above = self
            .entries
            .iter()
            .filter_map(|entry| entry.parent.as_deref());
        let agents = policy.agents.values();
        let agents = agents.filter_map(|agent| agent.team.as_ref());
        let keys = policy.keys.keys().into_iter();
        let keys = keys.filter_map(|key| key.team.as_ref());
        let teams = agents.chain(keys).chain(policy.user_teams.values());
        let filled: BTreeSet<&str> = teams.map(|team| team.id.as_str()).chain(above).collect();
        for entry in &self.entries {
            let built = policy.teams.contains_key(entry.name);
            if built && !filled.contains(entry.name) && !entry.lists_somebody() {
                entry.place.warn(
                    Complaint::new("nobody belongs to this team, so nothing is charged to it")
                        .suggesting("list `agents` or `users`, or name it with `team` at a key"),
                );
            }
        }
    }
}

/// Puts those whom a team lists into it.
fn listed<'r>(
    list: Option<&Value<'r>>,
    team: &Arc<Team>,
    names: &BTreeSet<&str>,
    what: &str,
    said: &mut BTreeMap<String, Said<'r>>,
) {
    let Some(list) = list else { return };
    let mut shown = Vec::new();
    for item in list.list() {
        let Some(name) = item.read(|text| known(text, names, what)) else {
            continue;
        };
        shown.push(item.origin().cover(name.clone()));
        match said.get(&name) {
            Some(other) if other.team.id != team.id => item.error(Complaint::new(format!(
                "the {what} `{name}` belongs to the team `{}` already: {} ({})",
                other.team.id,
                other.place.path(),
                other.place.origin()
            ))),
            Some(_) => {}
            None => {
                let team = Arc::clone(team);
                said.insert(name, Said { team, place: item });
            }
        }
    }
    let shown = shown.join(", ");
    list.reader().fact(list.path(), shown, list.origin());
}

fn too_deep(team: &Own<'_>) {
    if let Some((_, place)) = &team.parent {
        place.error(Complaint::new(format!(
            "more than {DEEPEST} teams stand one above the other"
        )));
    }
}

/// Reports teams that are part of each other, once.
fn round<'r>(circle: &[&Own<'r>], told: &mut BTreeSet<TeamId>) {
    let names = circle.iter().chain(circle.first());
    let names: Vec<&str> = names.map(|team| team.id.as_str()).collect();
    let new = !circle.iter().any(|team| told.contains(&team.id));
    told.extend(circle.iter().map(|team| team.id.clone()));
    let place = circle.first().and_then(|team| team.parent.as_ref());
    if let Some((_, place)) = place.filter(|_| new) {
        place.error(Complaint::new(format!(
            "no team is part of itself: {}",
            names.join(" -> ")
        )));
    }
}

/// A name that is written where such names are.
fn known(text: &str, names: &BTreeSet<&str>, what: &str) -> Result<String, Complaint> {
    let name = text.trim();
    if names.contains(name) {
        return Ok(name.to_owned());
    }
    let names: Vec<&str> = names.iter().copied().collect();
    Err(Complaint {
        message: format!("no {what} of this name is configured"),
        suggestion: did_you_mean(name, &names),
    })
}

#[cfg(test)]
mod tests;
