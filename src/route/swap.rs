//! Other models in the places of some.
//!
//! Decides what is left of a route when models are replaced or may not run: every tier keeps its number, in each
//! no model stands twice, and a tier of which nothing is left takes the models of the nearest one that has some.

use super::{Candidate, Directory, Route, Target, Tier, candidates};
use crate::breaker::rules::Named;
use crate::breaker::{Level, Place, Rules};
use http::HeaderValue;
use std::sync::Arc;

/// What becomes of a route.
#[derive(Clone, Debug)]
pub enum Swapped {
    /// It stays as it is.
    Same,
    /// This one is taken; and the first model of the old one that is not in it.
    Other(Route, String),
    /// Nothing of it runs.
    Nothing,
}

impl Target {
    /// The model as the breaker judges it.
    fn named(&self) -> Named<'_> {
        Named {
            name: &self.name,
            engine: &self.engine,
            trusted: self.model.is_some(),
        }
    }
}

impl Route {
    /// The same at a level of the breaker. `able` says which candidates can serve the request at all.
    pub fn at(
        &self,
        level: Level,
        rules: &Rules,
        directory: Directory<'_>,
        able: impl Fn(&Candidate) -> bool,
    ) -> Swapped {
        let targets = |tier: &Tier| -> Vec<Target> {
            let candidates = tier.candidates.iter();
            candidates
                .flat_map(|candidate| candidate.targets.iter().cloned())
                .collect()
        };
        let mut gone = None;
        let tiers: Vec<Option<Tier>> = self
            .tiers
            .iter()
            .map(|tier| {
                let (mut left, mut changed) = (Vec::<Target>::new(), false);
                for target in targets(tier) {
                    let taken = match rules.place(level, target.named()) {
                        Place::Stays => Some(target),
                        other => {
                            changed = true;
                            gone.get_or_insert_with(|| target.name.clone());
                            match other {
                                Place::Taken(to) => instead(to, directory, &able),
                                _ => None,
                            }
                        }
                    };
                    left.extend(
                        taken.filter(|taken| left.iter().all(|known| known.name != taken.name)),
                    );
                }
                match (changed, left.is_empty()) {
                    (false, _) => Some(tier.clone()),
                    (true, true) => None,
                    (true, false) => Some(of(left)),
                }
            })
            .collect();
        let Some(gone) = gone else {
            return Swapped::Same;
        };
        let nearest = |at: usize| {
            let all = tiers.iter().enumerate();
            let there = all.filter_map(|(other, tier)| Some((other.abs_diff(at), tier.as_ref()?)));
            there.min_by_key(|(distance, _)| *distance)
        };
        let tiers: Option<Vec<Tier>> = (0..tiers.len())
            .map(|at| nearest(at).map(|(_, tier)| tier.clone()))
            .collect();
        match tiers.filter(|tiers| !tiers.is_empty()) {
            Some(tiers) => {
                let models = tiers.iter().map(|tier| tier.models.to_vec()).collect();
                Swapped::Other(Self { tiers, models }, gone)
            }
            None => Swapped::Nothing,
        }
    }
}

impl Candidate {
    /// What takes the place of a candidate at a level: itself, another one, or nothing.
    pub fn at(
        self: &Arc<Self>,
        level: Level,
        rules: &Rules,
        directory: Directory<'_>,
        able: impl Fn(&Candidate) -> bool,
    ) -> Option<Arc<Self>> {
        let route = Route {
            tiers: vec![Tier {
                models: Arc::from([]),
                candidates: vec![Arc::clone(self)],
                header: None,
            }],
            models: Vec::new(),
        };
        match route.at(level, rules, directory, able) {
            Swapped::Same => Some(Arc::clone(self)),
            Swapped::Other(route, _) => route.tiers.first()?.candidates.first().cloned(),
            Swapped::Nothing => None,
        }
    }
}

/// The model that takes a place, where it can be asked.
fn instead(
    to: &str,
    directory: Directory<'_>,
    able: &impl Fn(&Candidate) -> bool,
) -> Option<Target> {
    let target = directory.of_client(to)?;
    let candidate = candidates(vec![target.clone()], false).pop()?;
    able(&candidate).then_some(target)
}

fn of(targets: Vec<Target>) -> Tier {
    let models: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    Tier {
        header: HeaderValue::try_from(models.join(",")).ok(),
        models: models.into(),
        candidates: candidates(targets, false),
    }
}
