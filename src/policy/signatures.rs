//! Which answers are signed, in which scheme, and with which keys.
//!
//! Decides that a secret is long enough to be worth signing with, and that nothing is left unsigned by
//! mistake: a scheme that is asked for by name needs a key. What is signed is [`crate::signature`]'s.

use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use crate::signature::{Key, SHORTEST_SECRET};
use crate::surface::Surface;
use std::sync::Arc;

/// The Model Gateway's variable with the secret.
pub const VARIABLE: &str = "HMAC_SECRET";

/// The id of the key that the variable holds.
pub const DEFAULT_ID: &str = "default";

/// Which answers a scheme is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None.
    Off,
    /// Those to requests that ask for it.
    Asked,
    /// Those on `/proxy/*`, and those to requests that ask for it.
    Proxy,
    /// All.
    All,
}

impl Reach {
    const TITAN: [Self; 3] = [Self::Off, Self::Proxy, Self::All];
    const V1: [Self; 4] = [Self::Off, Self::Asked, Self::Proxy, Self::All];

    /// The name in policy files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Asked => "asked",
            Self::Proxy => "proxy",
            Self::All => "all",
        }
    }

    fn covers(self, surface: Surface, asked: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Asked => asked,
            Self::Proxy => asked || surface == Surface::Titan,
            Self::All => true,
        }
    }
}

/// Which answers are signed, and with what.
#[derive(Clone, Debug, PartialEq)]
pub struct Signatures {
    /// Where the Model Gateway's scheme is used.
    pub titan: Reach,
    /// Where the scheme is used that covers the whole exchange.
    pub v1: Reach,
    /// The keys: the first signs, all of them verify. None: nothing is signed.
    pub keys: Vec<Arc<Key>>,
}

impl Default for Signatures {
    /// What is in force once there is a key; there is none.
    fn default() -> Self {
        Self {
            titan: Reach::Proxy,
            v1: Reach::Asked,
            keys: Vec::new(),
        }
    }
}

impl Signatures {
    /// What signs an answer of this surface in the Model Gateway's scheme. It is about chunks of chat
    /// completions and of legacy completions; other dialects have none.
    pub fn titan(&self, surface: Surface) -> Option<&Arc<Key>> {
        let speaks = matches!(
            surface,
            Surface::Titan | Surface::Chat | Surface::Completions
        );
        let signer = self.keys.first();
        signer.filter(|_| speaks && self.titan.covers(surface, false))
    }

    /// What signs an answer of this surface as a whole; `asked` when the request asks for it.
    pub fn v1(&self, surface: Surface, asked: bool) -> Option<&Arc<Key>> {
        let signer = self.keys.first();
        signer.filter(|_| self.v1.covers(surface, asked))
    }

    /// What is otherwise than before, in words.
    pub(super) fn changes(&self, before: &Self) -> Vec<String> {
        let mut said = Vec::new();
        let named = |keys: &[Arc<Key>], id: &str| keys.iter().find(|key| key.id() == id).cloned();
        for key in &before.keys {
            match named(&self.keys, key.id()) {
                None => said.push(format!("signing key `{}` removed", key.id())),
                Some(other) if other != *key => {
                    said.push(format!("signing key `{}` replaced", key.id()));
                }
                Some(_) => {}
            }
        }
        for key in &self.keys {
            if named(&before.keys, key.id()).is_none() {
                said.push(format!("signing key `{}` added", key.id()));
            }
        }
        let signer = |keys: &[Arc<Key>]| keys.first().map(|key| key.id().to_owned());
        match (signer(&before.keys), signer(&self.keys)) {
            (was, Some(is)) if was.as_ref() != Some(&is) => {
                said.push(format!("answers are signed with key `{is}`"));
            }
            (Some(_), None) => said.push("answers are not signed any more".to_owned()),
            _ => {}
        }
        said
    }
}

/// Reads the section `signatures`, and the variable.
pub(super) fn read(section: &Section<'_>) -> Signatures {
    let default = Signatures::default();
    let stated = ["titan", "v1"].map(|key| section.get(key).is_some());
    let reach = |key, default: Reach, all: &'static [Reach]| {
        section.or(
            key,
            default,
            |text| named(text, all),
            |reach| reach.name().to_owned(),
        )
    };
    let titan = reach("titan", default.titan, &Reach::TITAN);
    let v1 = reach("v1", default.v1, &Reach::V1);
    let listed = section.get("keys");
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for value in listed.iter().flat_map(Value::list) {
        let Some(key) = key(&value.clone().section()) else {
            continue;
        };
        if keys.iter().any(|other| other.id() == key.id()) {
            value.error(Complaint::new(format!(
                "the id `{}` is given to two keys",
                key.id()
            )));
        }
        keys.push(Arc::new(key));
    }
    variable(section, &mut keys);
    let wanted = (stated[0] && titan != Reach::Off) || (stated[1] && v1 != Reach::Off);
    if keys.is_empty() && wanted && listed.is_none() {
        section.error(
            Complaint::new("answers are to be signed and there is no key").suggesting(format!(
                "set {VARIABLE}, or list keys: [{{id: NAME, secret: \"${{VARIABLE}}\"}}]"
            )),
        );
    }
    Signatures { titan, v1, keys }
}

fn named(text: &str, all: &[Reach]) -> Result<Reach, Complaint> {
    let text = text.trim();
    // YAML's older readers take a bare `off` for a switch, and people write one.
    let text = if text == "false" { "off" } else { text };
    let names: Vec<&str> = all.iter().map(|reach| reach.name()).collect();
    let found = all.iter().find(|reach| reach.name() == text);
    found.copied().ok_or_else(|| Complaint {
        message: format!("must be one of {}", names.join(", ")),
        suggestion: did_you_mean(text, &names),
    })
}

fn key(section: &Section<'_>) -> Option<Key> {
    let id = section.required(
        "id",
        |text| {
            Key::new(text.trim(), b"any")
                .map(|_| text.trim().to_owned())
                .map_err(|error| Complaint::new(error.to_string()))
        },
        Clone::clone,
    );
    let there = section.get("secret").is_some();
    let secret = section.secret("secret");
    if !there {
        section.error(Complaint::new("`secret` is missing"));
    }
    let Some(secret) = secret else {
        if there {
            section.error(Complaint::new("the secret of a signing key is empty"));
        }
        return None;
    };
    if let Err(complaint) = long_enough(secret.expose()) {
        section.error(complaint);
        return None;
    }
    Key::new(&id?, secret.expose().as_bytes()).ok()
}

/// Takes over the variable's key, after those of the file.
fn variable(section: &Section<'_>, keys: &mut Vec<Arc<Key>>) {
    let reader = section.reader();
    let Some(secret) = reader.environment.filled(VARIABLE).map(str::trim) else {
        return;
    };
    if let Err(complaint) = long_enough(secret) {
        reader.report_variable(VARIABLE, complaint);
        return;
    }
    if keys.iter().any(|key| key.id() == DEFAULT_ID) {
        return;
    }
    let path = format!("{}.keys[{}]", section.path(), keys.len());
    let origin = Origin::Variable(VARIABLE);
    reader.fact(format!("{path}.id"), DEFAULT_ID, Origin::Default);
    reader.fact(format!("{path}.secret"), masked(secret), origin);
    keys.extend(Key::new(DEFAULT_ID, secret.as_bytes()).ok().map(Arc::new));
}

fn long_enough(secret: &str) -> Result<(), Complaint> {
    if secret.len() >= SHORTEST_SECRET {
        return Ok(());
    }
    Err(Complaint::new(format!(
        "a secret that answers are signed with needs at least {SHORTEST_SECRET} bytes; this one has {}",
        secret.len()
    ))
    .suggesting("make one with: openssl rand -hex 32"))
}

#[cfg(test)]
#[path = "signatures_tests.rs"]
mod tests;
