//! Models that the breaker puts in the place of others.

use super::at;
use crate::catalog::Catalog;
use crate::policy::Policy;
use crate::settings::problem::{Problem, Severity};

/// A model that is to take the place of others exists, as far as anybody can know that: the models file has it,
/// or it has a price.
pub(super) fn breaker(policy: &Policy, catalog: &Catalog, found: &mut Vec<Problem>) {
    let priced = catalog.with_overrides(&policy.prices);
    let rules = &policy.breaker.rules;
    for (section, to) in [
        ("downgrade", &rules.dear.to),
        ("economy", &rules.economy.to),
    ] {
        let Some(to) = to else { continue };
        let name = policy.aliases.get(to).unwrap_or(to);
        if policy.models.contains_key(name) || priced.find(name).is_some() {
            continue;
        }
        let path = format!("cost_routing.breaker.{section}.to");
        let stated = policy.facts.iter().any(|fact| fact.path == path);
        if !stated && !rules.enforced {
            continue;
        }
        let message = format!("`{to}` is no model of the models file, and has no price");
        let mut problem = at(&policy.facts, &path, message);
        if stated {
            problem.severity = Severity::Error;
        }
        found.push(problem.suggesting("describe it in the models file, or name another"));
    }
}
