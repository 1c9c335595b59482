//! What the breaker does at which level, as the policy says.

use super::{Level, Span, Thresholds};
use super::{repeat, spike};
use std::time::Duration;

/// What happens when something is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nobody looks.
    Off,
    /// It is told and counted.
    #[default]
    Observe,
    /// It is told and counted, and what follows is refused for a while.
    Refuse,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Refuse];

    /// The name in policy files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Refuse => "refuse",
        }
    }
}

/// Models told by parts of their names, and the one that takes the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// Parts of names, lower case.
    pub named: Vec<String>,
    /// The model that is asked instead.
    pub to: Option<String>,
}

impl Models {
    /// Whether a name has any of the parts, in any case.
    pub fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.named.iter().any(|part| name.contains(part.as_str()))
    }

    fn is_to(&self, name: &str) -> bool {
        self.to.as_deref() == Some(name)
    }
}

/// What becomes of a model at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'r> {
    /// It runs.
    Stays,
    /// This one runs instead.
    Taken(&'r str),
    /// Nothing runs.
    Gone,
}

/// A model as it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// What the client or the policy calls it.
    pub name: &'a str,
    /// What the provider calls it.
    pub engine: &'a str,
    /// Whether the name was given by the operator, so that it can be trusted.
    pub trusted: bool,
}

/// Everything that a policy says about the breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Whether levels act on requests; else they are only told.
    pub enforced: bool,
    /// Where the levels begin.
    pub thresholds: Thresholds,
    /// What is summed up.
    pub span: Span,
    /// Models that are replaced from SOFT on.
    pub dear: Models,
    /// Models that run at HARD.
    pub economy: Models,
    /// Agents that spend far more than they did.
    pub spikes: spike::Rules,
    /// Agents that say the same over and over.
    pub repeats: repeat::Rules,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            enforced: false,
            thresholds: Thresholds::default(),
            span: Span::Sliding(Duration::from_secs(86_400)),
            dear: Models {
                named: vec!["opus".into()],
                to: Some("anthropic/claude-sonnet-4-5".into()),
            },
            economy: Models {
                named: vec!["haiku".into()],
                to: None,
            },
            spikes: spike::Rules::default(),
            repeats: repeat::Rules::default(),
        }
    }
}

impl Rules {
    /// What becomes of a model at a level.
    pub fn place(&self, level: Level, model: Named<'_>) -> Place<'_> {
        match level {
            Level::Ok | Level::Warning => Place::Stays,
            Level::Soft => {
                let dear = self.dear.has(model.engine) || self.dear.has(model.name);
                match &self.dear.to {
                    Some(to) if dear && !self.dear.is_to(model.name) => Place::Taken(to),
                    _ => Place::Stays,
                }
            }
            Level::Hard => {
                // A client may write whatever it likes before the slash.
                let cheap = self.economy.has(model.engine)
                    || (model.trusted && self.economy.has(model.name))
                    || self.economy.is_to(model.name);
                match &self.economy.to {
                    _ if cheap => Place::Stays,
                    Some(to) => Place::Taken(to),
                    None => Place::Gone,
                }
            }
            Level::Emergency => Place::Gone,
        }
    }
}
