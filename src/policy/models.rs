//! `conf/models.yaml`: the Model Gateway's file of models, prices and a daily limit.
//!
//! Decides what that file means for Weir: its prices go below those of the policy, and its daily
//! limit becomes the account of the whole gateway when the policy has none. Every model it has is
//! served by a provider that is described or built in.

mod entry;
mod names;

use super::agents::{level, model};
use super::provider::Block;
use super::provider::read::Blocks;
use crate::budget::AccountSpec;
use crate::budget::period::{Period, PeriodKind};
use crate::budget::tier::{Threshold, WHOLE};
use crate::budget::warn::Levels;
use crate::catalog::PriceOverride;
use crate::identity::AccountId;
use crate::limit::Limits;
use crate::money::Nanos;
use crate::provider::{self, OPENCLAW};
use crate::settings::environment::Environment;
use crate::settings::file;
use crate::settings::origin::Fact;
use crate::settings::problem::{Complaint, Problem, Problems};
use crate::settings::reader::{Reader, Section};
use crate::settings::units;
use crate::wire::Dialect;
use entry::Draft;
use jiff::tz::TimeZone;
use names::{Names, circle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a models file says.
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// The models by the name that clients use.
    pub models: BTreeMap<String, Model>,
    /// Other names of models, tasks included, and the models they stand for.
    pub aliases: BTreeMap<String, String>,
    /// Who serves them: what the file describes and what is built in, but for OpenRouter, which is the
    /// policy's.
    pub providers: BTreeMap<String, Arc<Block>>,
    /// Which model serves which task.
    pub defaults: BTreeMap<String, String>,
    /// The prices stated, by model name and by engine name.
    pub prices: BTreeMap<String, PriceOverride>,
    /// Whether the environment names an OpenClaw gateway.
    pub openclaw: bool,
    /// The daily limit as an account of the whole gateway.
    pub gateway: Option<Arc<AccountSpec>>,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Problem>,
    /// Every setting in force and where it came from.
    pub facts: Vec<Fact>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Who serves it.
    pub provider: String,
    /// What the provider calls it.
    pub engine: String,
    /// The most output tokens of one answer.
    pub max_tokens: Option<u64>,
    /// The longest silence accepted.
    pub timeout: Option<Duration>,
    /// The only dialect in which the provider serves it, for models that are not served in all of the
    /// provider's (OpenAI's `o3-pro`: responses).
    pub dialect: Option<Dialect>,
    /// The deployment, where it is not called like the engine (Azure).
    pub deployment: Option<String>,
    /// Models to try after it, in order.
    pub fallbacks: Vec<String>,
    /// The model for prompts that are too long for it.
    pub on_context_overflow: Option<String>,
    /// The model for prompts that the provider's filter refuses.
    pub on_content_policy: Option<String>,
    /// What it may be asked for at a time, all agents together.
    pub limits: Limits,
    /// The price that the file states.
    pub price: Option<PriceOverride>,
}

/// Reads and checks a models file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, environment: &Environment) -> Result<Models, Problems> {
    let text = file::read(path)?;
    parse(&path.display().to_string(), &text, environment)
}

/// Checks the text of a models file called `file`; no text at all gives the built-in providers that
/// the environment mentions.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Models, Problems> {
    let reader = Reader::new(file, environment);
    let mut read = Models::default();
    let node = reader.parse(text);
    match &node {
        Some(node) => read.all(&reader.root(node)),
        None => read.all(&reader.absent()),
    }
    let findings = reader.finish()?;
    read.warnings = findings.warnings;
    read.facts = findings.facts;
    Ok(read)
}

impl Models {
    fn all(&mut self, root: &Section<'_>) {
        self.entries(root);
        if let Some(value) = root.get("budget") {
            self.budget(&value.section());
        }
    }

    /// Reads the models, who serves them, and the names that they have.
    fn entries(&mut self, root: &Section<'_>) {
        let mut drafts = Vec::new();
        for (name, value) in root.section("models").entries() {
            match model(name) {
                Ok(name) => drafts.extend(Draft::read(name, &value)),
                Err(complaint) => value.error(complaint),
            }
        }
        let wanted = drafts.iter().map(|draft| draft.model.provider.clone());
        let blocks = Blocks::read(root, &wanted.collect());
        let mut keyless = BTreeSet::new();
        for draft in &mut drafts {
            draft.resolve(&blocks);
            let provider = &draft.model.provider;
            if let Some(variable) = blocks.misses_key(provider)
                && keyless.insert(provider.clone())
            {
                draft.warn_of_missing_key(variable);
            }
        }
        let mut names = Names::of(&drafts);
        self.tasks(root.section("defaults"), &mut names);
        for draft in &drafts {
            self.add(draft, &names);
        }
        self.circles(&drafts);
        self.aliases = names.into_aliases();
        let environment = root.reader().environment;
        let named = provider::named(OPENCLAW).and_then(provider::Provider::environment);
        self.openclaw = named.is_some_and(|named| {
            let variables = [named.base_url, named.key];
            variables
                .iter()
                .any(|name| environment.filled(name).is_some())
        });
        self.providers = blocks.into_map();
    }

    fn tasks(&mut self, mut section: Section<'_>, names: &mut Names) {
        for (task, value) in section.entries() {
            let Some(name) = value.read(model) else {
                continue;
            };
            if !names.exists(&name) {
                value.warn(Complaint::new(format!(
                    "`{name}` is none of this file's models"
                )));
            }
            value
                .reader()
                .fact(value.path(), name.clone(), value.origin());
            names.task(&value, task, &name);
            self.defaults.insert(task.to_owned(), name);
        }
    }

    fn add(&mut self, draft: &Draft<'_>, names: &Names) {
        let model = Model {
            fallbacks: draft
                .fallbacks
                .iter()
                .filter_map(|named| names.resolve(named))
                .collect(),
            on_context_overflow: draft
                .on_context_overflow
                .as_ref()
                .and_then(|named| names.resolve(named)),
            on_content_policy: draft
                .on_content_policy
                .as_ref()
                .and_then(|named| names.resolve(named)),
            ..draft.model.clone()
        };
        if let Some(price) = model.price {
            self.state_price(draft, &draft.name, price);
            if model.engine != draft.name {
                self.state_price(draft, &model.engine, price);
            }
        }
        self.models.insert(draft.name.clone(), model);
    }

    /// Takes a price for a name. Two models may run the same engine; when they disagree on its price,
    /// the dearer one holds for the engine.
    fn state_price(&mut self, draft: &Draft<'_>, name: &str, price: PriceOverride) {
        let Some(other) = self.prices.get_mut(name) else {
            self.prices.insert(name.to_owned(), price);
            return;
        };
        if (other.input, other.output) != (price.input, price.output) {
            draft.value.warn(Complaint::new(format!(
                "another model states another price for `{name}`; the dearer one holds"
            )));
        }
        other.input = other.input.max(price.input);
        other.output = other.output.max(price.output);
        other.max_output = other.max_output.max(price.max_output);
    }

    /// Reports models that lead back to themselves.
    fn circles(&self, drafts: &[Draft<'_>]) {
        let model = |name: &str| self.models.get(name);
        let fallbacks = |name: &str| -> Vec<&str> {
            let list = model(name).map(|model| model.fallbacks.as_slice());
            list.unwrap_or_default()
                .iter()
                .map(String::as_str)
                .collect()
        };
        let overflow = |name: &str| -> Vec<&str> {
            let next = model(name).and_then(|model| model.on_context_overflow.as_deref());
            next.into_iter().collect()
        };
        let refused = |name: &str| -> Vec<&str> {
            let next = model(name).and_then(|model| model.on_content_policy.as_deref());
            next.into_iter().collect()
        };
        let mut told = BTreeSet::new();
        for draft in drafts {
            let ways = [
                ("fallbacks", circle(&draft.name, &fallbacks)),
                ("on_context_overflow", circle(&draft.name, &overflow)),
                ("on_content_policy", circle(&draft.name, &refused)),
            ];
            for (key, way) in ways {
                let Some(way) = way.filter(|_| !told.contains(&(key, draft.name.as_str()))) else {
                    continue;
                };
                draft.value.error(Complaint::new(format!(
                    "its `{key}` lead back to it: {}",
                    way.join(" -> ")
                )));
                told.extend(way.into_iter().map(|name| (key, name)));
            }
        }
    }

    fn budget(&mut self, section: &Section<'_>) {
        let limit = section.required("daily_limit_usd", units::money, |limit| {
            units::show_money(*limit)
        });
        let hard = section.or("hard_stop", true, units::flag, ToString::to_string);
        let usual = Levels::default();
        let usual = usual.all().first().copied().unwrap_or(Threshold(WHOLE));
        let warn = section.or("warning_threshold", usual, level, |share| {
            units::show_share(*share)
        });
        let levels = Levels::of([warn]);
        self.gateway = limit.map(|limit| {
            Arc::new(AccountSpec {
                id: AccountId::gateway(),
                limit,
                opening: Nanos::ZERO,
                hard,
                period: Period {
                    kind: PeriodKind::Daily,
                    zone: TimeZone::UTC,
                },
                warn: if hard { levels } else { levels.and_the_limit() },
            })
        });
    }
}

#[cfg(test)]
mod tests;
