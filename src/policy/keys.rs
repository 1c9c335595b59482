//! The keys that clients may present, as digests.
//!
//! Decides which keys a policy holds and finds the one that was presented. Whether it may be used,
//! and for which agent, is [`crate::auth`]'s.

use super::limits;
use super::teams::{Team, Teams};
use crate::identity::{AccountId, AgentId, KeyId, NameError, UserId};
use crate::limit::Limits;
use crate::secret::KeyDigest;
use crate::settings::origin::masked;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// The shortest key accepted, in bytes; a generated one has 48.
const SHORTEST_KEY: usize = 16;

/// A key, without the key.
#[derive(Clone)]
pub struct Key {
    /// Its public id, for logs and records.
    pub id: KeyId,
    /// The agent it stands for when the request names none.
    pub agent: AgentId,
    /// The other agents it may name.
    pub agents: Vec<AgentId>,
    /// The person or service it belongs to.
    pub user: Option<UserId>,
    /// The other users it may name.
    pub users: Vec<UserId>,
    /// The team that everything it does is charged to.
    pub team: Option<Arc<Team>>,
    /// What it may ask for at a time.
    pub limits: Limits,
    /// When it stops working, in Unix seconds.
    pub expires: Option<i64>,
    digest: KeyDigest,
}

impl fmt::Debug for Key {
    /// Its public id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// The agent of that name, if this key may act for it.
    pub fn may_act_for(&self, agent: &str) -> Option<&AgentId> {
        std::iter::once(&self.agent)
            .chain(&self.agents)
            .find(|id| id.as_str() == agent)
    }

    /// The user of that name, if this key may act for it.
    pub fn may_act_for_user(&self, user: &str) -> Option<&UserId> {
        self.user
            .iter()
            .chain(&self.users)
            .find(|id| id.as_str() == user)
    }

    /// What is compared with the digest of a presented key.
    pub(super) fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// What else is not as with `other`, in the words of the file.
    pub(super) fn differs(&self, other: &Self) -> Vec<&'static str> {
        let agents = |key: &Self| (key.agent.clone(), key.agents.clone());
        let users = |key: &Self| (key.user.clone(), key.users.clone());
        let team = |key: &Self| key.team.as_ref().map(|team| team.id.clone());
        [
            ("agents", agents(self) != agents(other)),
            ("users", users(self) != users(other)),
            ("team", team(self) != team(other)),
            ("limits", self.limits != other.limits),
            ("expires", self.expires != other.expires),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect()
    }

    /// A key of one agent and one user that never expires.
    pub(super) fn plain(id: KeyId, agent: AgentId, user: UserId, digest: KeyDigest) -> Self {
        Self {
            id,
            agent,
            agents: Vec::new(),
            user: Some(user),
            users: Vec::new(),
            team: None,
            limits: Limits::default(),
            expires: None,
            digest,
        }
    }

    /// Whether it has stopped working at that moment, in Unix seconds.
    pub fn has_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// All keys of a policy.
#[derive(Clone, Default)]
pub struct KeyRing {
    by_digest: HashMap<KeyDigest, Arc<Key>>,
}

impl KeyRing {
    /// Exactly this key.
    pub(super) fn of(key: Key) -> Self {
        Self {
            by_digest: HashMap::from([(key.digest, Arc::new(key))]),
        }
    }

    /// Whether there are no keys, so that only loopback peers are served.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// The key that was presented. Looked up by the whole digest, which nobody can steer, and
    /// compared in constant time.
    pub fn find(&self, presented: &str) -> Option<&Arc<Key>> {
        let digest = KeyDigest::of(presented.as_bytes());
        self.by_digest
            .get(&digest)
            .filter(|key| key.digest == digest)
    }

    /// The digest of the key with that id.
    pub fn digest_of(&self, id: &KeyId) -> Option<KeyDigest> {
        let mut keys = self.by_digest.values();
        keys.find(|key| key.id == *id).map(|key| key.digest)
    }

    /// All keys, ordered by id.
    pub fn keys(&self) -> Vec<&Arc<Key>> {
        let mut keys: Vec<_> = self.by_digest.values().collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys
    }
}

/// Reads the section `auth`; `agents` are the names that the file gives to agents.
pub(super) fn read<'r>(
    section: &Section<'r>,
    agents: &BTreeSet<&str>,
    teams: &Teams<'r>,
) -> KeyRing {
    let mut ring = KeyRing::default();
    let mut ids = BTreeSet::new();
    let Some(list) = section.get("keys") else {
        return ring;
    };
    for value in list.list() {
        let Some(key) = read_key(&value.clone().section(), agents, teams) else {
            continue;
        };
        if !ids.insert(key.id.clone()) {
            value.error(Complaint::new(format!(
                "the id `{}` is given to two keys",
                key.id
            )));
        }
        if let Some(other) = ring.by_digest.insert(key.digest, Arc::new(key)) {
            value.error(Complaint::new(format!("is the same key as `{}`", other.id)));
        }
    }
    ring
}

fn read_key<'r>(section: &Section<'r>, agents: &BTreeSet<&str>, teams: &Teams<'r>) -> Option<Key> {
    let id = section.required("id", |text| name(KeyId::new(text)), ToString::to_string);
    let digest = read_digest(section);
    let known = |text: &str| known_agent(text, agents);
    let agent = section.required("agent", known, ToString::to_string);
    let others = section.get("agents");
    let others = others
        .iter()
        .flat_map(Value::list)
        .filter_map(|item| item.read(known))
        .collect();
    let user = section.optional("user", user_name, ToString::to_string);
    let users: Vec<UserId> = section
        .get("users")
        .iter()
        .flat_map(Value::list)
        .filter_map(|item| item.read(user_name))
        .collect();
    if let Some(list) = section.get("users") {
        section.reader().fact(
            list.path(),
            users
                .iter()
                .map(UserId::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            list.origin(),
        );
    }
    let team = teams.of(section);
    let limits = limits::read(section);
    let expires = section.optional("expires", moment, |moment| shown_moment(*moment));
    Some(Key {
        id: id?,
        agent: agent?,
        agents: others,
        user,
        users,
        team,
        limits,
        expires,
        digest: digest?,
    })
}

fn user_name(text: &str) -> Result<UserId, Complaint> {
    let user = name(UserId::new(text.trim()))?;
    // What its account is called must read back, too.
    name(AccountId::new(AccountId::user(&user).as_str()))?;
    Ok(user)
}

fn name<T>(name: Result<T, NameError>) -> Result<T, Complaint> {
    name.map_err(|error| Complaint::new(error.to_string()))
}

fn known_agent(text: &str, agents: &BTreeSet<&str>) -> Result<AgentId, Complaint> {
    if !agents.contains(text) {
        return Err(Complaint {
            message: "no agent of this name is configured".into(),
            suggestion: did_you_mean(text, &agents.iter().copied().collect::<Vec<_>>()),
        });
    }
    name(AgentId::new(text))
}

/// Exactly one of `sha256` and `key`.
fn read_digest(section: &Section<'_>) -> Option<KeyDigest> {
    let (digest, key) = (section.get("sha256"), section.get("key"));
    match (&digest, &key) {
        (Some(_), Some(_)) => {
            section
                .error(Complaint::new("has both `sha256` and `key`").suggesting("keep `sha256`"));
            None
        }
        (None, None) => {
            section.error(
                Complaint::new("has neither `sha256` nor `key`")
                    .suggesting("make one with `weir key new --agent NAME`"),
            );
            None
        }
        (Some(value), None) => {
            let digest = value.read(|text| {
                KeyDigest::parse_hex(text)
                    .ok_or_else(|| Complaint::new("must be 64 hexadecimal digits"))
            })?;
            section.reader().fact(value.path(), "set", value.origin());
            Some(digest)
        }
        (None, Some(value)) => plain_key(section, value),
    }
}

/// A key that stands in the file or in a variable. One that is not there is an error: without it
/// the policy could turn out to have no keys at all, and be open.
fn plain_key(section: &Section<'_>, value: &Value<'_>) -> Option<KeyDigest> {
    let key = value.read(|text| match text.trim() {
        "" => Err(Complaint::new("the key is empty")),
        key if key.len() < SHORTEST_KEY => Err(Complaint::new(format!(
            "the key is shorter than {SHORTEST_KEY} characters"
        ))
        .suggesting("make one with `weir key new --agent NAME`")),
        key => Ok(zeroize::Zeroizing::new(key.to_owned())),
    })?;
    if value.origin().variables().is_empty() {
        value.warn(
            Complaint::new("the key itself stands in the file")
                .suggesting("write its `sha256` instead"),
        );
    }
    section
        .reader()
        .fact(value.path(), masked(&key), value.origin());
    Some(KeyDigest::of(key.as_bytes()))
}

/// A date (its first second, UTC) or an RFC 3339 time, in Unix seconds.
///
/// # Errors
/// When it is neither.
pub fn moment(text: &str) -> Result<i64, Complaint> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.as_second());
    }
    let date = if text.len() == "2027-01-01".len() {
        text.parse::<jiff::civil::Date>().ok()
    } else {
        None
    };
    date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|start| start.timestamp().as_second())
        .ok_or_else(|| {
            Complaint::new("must be a date or a time with its offset")
                .suggesting("such as 2027-01-01 or 2027-01-01T12:00:00Z")
        })
}

/// A moment as RFC 3339 text.
pub fn shown_moment(moment: i64) -> String {
    jiff::Timestamp::from_second(moment)
        .map(|moment| moment.to_string())
        .unwrap_or_default()
}
