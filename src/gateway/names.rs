//! What a model is called in metrics.
//!
//! Decides which names are known, so that nobody who only sends requests, or answers them, makes up
//! labels.

use super::Live;
use crate::catalog;
use crate::metrics::Name;
use crate::policy::Policy;
use crate::provider::Provider;
use crate::route::Candidate;
use std::collections::HashSet;

/// Every model that the policy and the models file name.
pub(super) fn stated(policy: &Policy) -> HashSet<String> {
    let mut names: HashSet<String> = policy.models.keys().cloned().collect();
    names.extend(policy.aliases.keys().cloned());
    for agent in policy.agents.values() {
        names.extend(agent.tiers.iter().flatten().cloned());
        names.extend(agent.allowed.iter().flatten().cloned());
    }
    names
}

impl Live {
    /// The name of the model that answered a request to `candidate`; of the one that was asked where
    /// nobody did.
    pub fn name_of<'a>(&'a self, candidate: &'a Candidate, answered: Option<&'a str>) -> Name<'a> {
        let kind = candidate.block.kind;
        let asked = match (candidate.targets.as_slice(), answered) {
            ([only], _) => Some(only),
            (all, None) => all.first(),
            (all, Some(model)) => all
                .iter()
                .find(|target| target.engine == model || catalog::is_dated(model, &target.engine)),
        };
        match asked {
            Some(target) if self.stated.contains(&target.name) => {
                let aliases = &self.policy.aliases;
                Name::Stated(aliases.get(&target.name).unwrap_or(&target.name))
            }
            Some(target) => self.priced(kind, &target.engine, &target.name),
            None => answered.map_or(Name::Other, |model| self.priced(kind, model, model)),
        }
    }

    /// A name that only the price table may know. Of a name with many variants the one in the table.
    fn priced<'a>(&'a self, kind: &dyn Provider, engine: &str, shown: &'a str) -> Name<'a> {
        // The price of any free variant is no name.
        let real = |engine| {
            let price = self.catalog.find_at(kind, engine)?;
            (!price.name.starts_with('(')).then_some(price)
        };
        match real(engine).or_else(|| real(engine.strip_suffix(":free")?)) {
            Some(_) if shown.matches(':').count() < 2 => Name::Known(shown),
            Some(price) => Name::Known(&price.name),
            None => Name::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Endpoints;
    use crate::catalog::Catalog;
    use crate::route::Route;
    use crate::settings::environment::Environment;

    const POLICY: &str = "cost_routing:\n  agents:\n    a:\n      budget_total: 1\n      tiers:\n        \
                          - threshold: 0.0\n          models: [house/own, openai/gpt-4o-mini]\n";

    fn live() -> Live {
        let policy = crate::policy::parse("p", POLICY, &Environment::default()).unwrap();
        let catalog = Catalog::clone(&Catalog::bundled());
        Live::new(policy, catalog, &Endpoints::default())
    }

    #[test]
    fn names_that_nobody_knows_are_no_labels() {
        let live = live();
        let name = |model: &str, answered: Option<&str>| {
            let route = Route::of_request([model].into_iter(), live.directory()).unwrap();
            let candidate = &route.tiers[0].candidates[0];
            live.name_of(candidate, answered).text().to_owned()
        };
        assert_eq!(name("openai/gpt-4o", Some("anything")), "openai/gpt-4o");
        assert_eq!(name("house/own", None), "house/own");
        assert_eq!(name("mine/made-up", Some("openai/gpt-4o")), "other");
        assert_eq!(name("mine/made-up:free", None), "other");
        let variants = name("openai/gpt-4o:nitro:nitro:nitro", None);
        assert!(!variants.contains(':'), "{variants}");
    }

    #[test]
    fn of_several_models_the_one_that_answered_counts() {
        let live = live();
        let agent = live.policy.agents.keys().next().unwrap();
        let candidate = &live.route(agent).unwrap().tiers[0].candidates[0];
        assert_eq!(candidate.targets.len(), 2);
        for (answered, name) in [
            (None, Name::Stated("house/own")),
            (
                Some("openai/gpt-4o-mini"),
                Name::Stated("openai/gpt-4o-mini"),
            ),
            (
                Some("openai/gpt-4o-mini-2024-07-18"),
                Name::Stated("openai/gpt-4o-mini"),
            ),
            (Some("openai/gpt-4o"), Name::Known("openai/gpt-4o")),
            (Some("never/heard-of"), Name::Other),
        ] {
            assert_eq!(live.name_of(candidate, answered), name, "{answered:?}");
        }
    }
}
