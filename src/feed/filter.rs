//! What of all events a watcher wants.
//!
//! Decides how a wish is said: `type`, `agent` and `model`, each as often as one likes or several separated by
//! commas. Kinds are alternatives, and so are agents, and models; an event must fit all that are said.

use crate::event::Kind;
use crate::identity::AgentId;

/// The most names of one kind.
const MOST: usize = 64;

/// A wish. Without anything said: every event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By [`Kind::number`].
    kinds: Option<[bool; Kind::NAMES.len()]>,
    agents: Vec<String>,
    models: Vec<String>,
}

/// A wish that cannot be understood, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(pub &'static str);

const PARAMETER: Unclear = Unclear("The query parameters are 'type', 'agent', 'model' and 'token'");
const TYPE: Unclear = Unclear("No event has this type; one may end with '*', such as 'model.*'");
const TOO_MANY: Unclear = Unclear("At most 64 agents and 64 models can be named");

impl Filter {
    /// The wish of a query's parameters; `token` is not for here.
    ///
    /// # Errors
    /// When it cannot be understood: a misspelt wish would be an empty stream.
    pub fn of<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, Unclear> {
        let mut filter = Self::default();
        for (name, value) in query {
            let values = value.split(',').map(str::trim);
            let values = values.filter(|value| !value.is_empty());
            match name {
                "type" => {
                    for value in values {
                        filter.allow(value)?;
                    }
                }
                "agent" => filter.agents.extend(values.map(str::to_owned)),
                "model" => filter.models.extend(values.map(str::to_owned)),
                "token" => {}
                _ => return Err(PARAMETER),
            }
        }
        if filter.agents.len() > MOST || filter.models.len() > MOST {
            return Err(TOO_MANY);
        }
        Ok(filter)
    }

    fn allow(&mut self, wanted: &str) -> Result<(), Unclear> {
        let fits = |name: &str| match wanted.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == wanted,
        };
        let kinds = self.kinds.get_or_insert_default();
        let mut found = false;
        for (name, allowed) in Kind::NAMES.iter().zip(kinds) {
            if fits(name) {
                *allowed = true;
                found = true;
            }
        }
        found.then_some(()).ok_or(TYPE)
    }

    /// Whether an event is wanted.
    pub fn passes(&self, kind: &Kind) -> bool {
        let named = |wanted: &[String], name: Option<&str>| {
            wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|other| other == name))
        };
        self.kinds.is_none_or(|kinds| kinds[kind.number()])
            && named(&self.agents, kind.agent().map(AgentId::as_str))
            && named(&self.models, kind.model())
    }
}
