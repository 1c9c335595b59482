//! The names that a models file gives to its models, and what stands behind them.
//!
//! Decides whether a name means one thing only, and that no model falls back to itself.

use super::entry::{Draft, Named};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a task's name may have in front, to be told from a model's.
const TASK: &str = "task:";

/// Every name, once it is clear which there are.
pub(super) struct Names {
    models: BTreeSet<String>,
    aliases: BTreeMap<String, String>,
}

impl Names {
    /// Takes the models' names and their aliases.
    pub(super) fn of(drafts: &[Draft<'_>]) -> Self {
        let mut names = Self {
            models: drafts.iter().map(|draft| draft.name.clone()).collect(),
            aliases: BTreeMap::new(),
        };
        for draft in drafts {
            for (value, alias) in &draft.aliases {
                names.alias(value, alias.clone(), draft.name.clone());
            }
        }
        names
    }

    /// Takes the name of a task, and the same with `task:` in front. The model may be an alias.
    pub(super) fn task(&mut self, value: &Value<'_>, task: &str, model: &str) {
        let model = self.plain(model).to_owned();
        if task.trim().is_empty() {
            value.error(Complaint::new("the task's name is empty"));
            return;
        }
        self.alias(value, format!("{TASK}{task}"), model.clone());
        self.alias(value, task.to_owned(), model);
    }

    fn alias(&mut self, value: &Value<'_>, alias: String, model: String) {
        if self.models.contains(&alias) {
            value.error(
                Complaint::new(format!("`{alias}` is the name of a model as well"))
                    .suggesting("a name must mean one thing; choose another"),
            );
            return;
        }
        let taken = self.aliases.get(&alias).filter(|other| **other != model);
        if let Some(other) = taken {
            value.error(
                Complaint::new(format!("`{alias}` stands for `{other}` already"))
                    .suggesting("a name must mean one thing; choose another"),
            );
            return;
        }
        self.aliases.insert(alias, model);
    }

    /// The model that a name stands for, which may be the name itself.
    pub(super) fn plain<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// Whether there is such a model, here or, as it seems, at OpenRouter.
    pub(super) fn exists(&self, name: &str) -> bool {
        let routed = || {
            name.split_once('/')
                .is_some_and(|(vendor, model)| !vendor.is_empty() && !model.is_empty())
        };
        self.models.contains(self.plain(name)) || routed()
    }

    /// The model behind a name that another one refers to; reports it when there is none.
    pub(super) fn resolve(&self, (value, name): &Named<'_>) -> Option<String> {
        if self.exists(name) {
            return Some(self.plain(name).to_owned());
        }
        let known: Vec<&str> = self
            .models
            .iter()
            .chain(self.aliases.keys())
            .map(String::as_str)
            .collect();
        value.error(Complaint {
            message: format!("`{name}` is none of this file's models, and no vendor/model either"),
            suggestion: did_you_mean(name, &known),
        });
        None
    }

    /// All aliases.
    pub(super) fn into_aliases(self) -> BTreeMap<String, String> {
        self.aliases
    }
}

/// Which models a model leads to.
type Edges<'m> = dyn Fn(&str) -> Vec<&'m str> + 'm;

/// A way from `start` back to it along `edges`, if there is one: a, b, a.
pub(super) fn circle<'m>(start: &'m str, edges: &Edges<'m>) -> Option<Vec<&'m str>> {
    let mut seen = BTreeSet::new();
    let mut ways: Vec<Vec<&'m str>> = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let last = way.last().copied().unwrap_or(start);
        for next in edges(last) {
            if next == start {
                return Some([way.as_slice(), &[start]].concat());
            }
            if seen.insert(next) {
                ways.push([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_circle_is_told_with_its_way() {
        let edges = |name: &str| match name {
            "a" => vec!["x", "b"],
            "b" => vec!["c"],
            "c" => vec!["b", "a"],
            "self" => vec!["self"],
            _ => vec![],
        };
        assert_eq!(circle("a", &edges), Some(vec!["a", "b", "c", "a"]));
        assert_eq!(circle("self", &edges), Some(vec!["self", "self"]));
        assert_eq!(circle("x", &edges), None);
    }

    proptest! {
        #[test]
        fn a_circle_is_found_exactly_when_there_is_one(pairs in proptest::collection::vec((0_usize..6, 0_usize..6), 0..12)) {
            const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
            // Reachability by closing over all steps.
            let mut reach = [[false; 6]; 6];
            for (from, to) in &pairs {
                reach[*from][*to] = true;
            }
            for _ in 0..6 {
                for from in 0..6 {
                    for by in 0..6 {
                        for to in 0..6 {
                            reach[from][to] |= reach[from][by] && reach[by][to];
                        }
                    }
                }
            }
            let edges = |name: &str| -> Vec<&str> {
                pairs.iter().filter(|(from, _)| NAMES[*from] == name).map(|(_, to)| NAMES[*to]).collect()
            };
            for (index, name) in NAMES.iter().enumerate() {
                prop_assert_eq!(circle(name, &edges).is_some(), reach[index][index], "{}", name);
            }
        }
    }
}
