//! One model of the models file.
//!
//! Decides what its keys mean by themselves. Whether the names in it exist is for when all models are
//! read; until then they are kept with their places.

use super::Model;
use crate::catalog::PriceOverride;
use crate::money::PicosPerToken;
use crate::policy::agents::model;
use crate::policy::limits;
use crate::policy::prices::plausible;
use crate::policy::provider::read::{Blocks, dialect, part, warn_unless_azure};
use crate::policy::routing::tokens;
use crate::provider::openrouter::OpenRouter;
use crate::provider::{self, Provider};
use crate::settings::problem::Complaint;
use crate::settings::reader::{Section, Value};
use crate::settings::units;
use crate::wire::Dialect;

/// A name that the file refers to, where it does.
pub(super) type Named<'r> = (Value<'r>, String);

/// A model whose names are not looked up yet.
pub(super) struct Draft<'r> {
    pub(super) name: String,
    pub(super) value: Value<'r>,
    /// The model, as far as it is known; its provider is not checked.
    pub(super) model: Model,
    pub(super) aliases: Vec<Named<'r>>,
    pub(super) fallbacks: Vec<Named<'r>>,
    pub(super) on_context_overflow: Option<Named<'r>>,
    pub(super) on_content_policy: Option<Named<'r>>,
    provider: Value<'r>,
    dialect: Option<Value<'r>>,
    /// Where the deployment is, to say so when the provider has none.
    section: Section<'r>,
}

impl<'r> Draft<'r> {
    /// Reads a model; nothing when it states no provider.
    pub(super) fn read(name: String, value: &Value<'r>) -> Option<Self> {
        let section = value.clone().section();
        let provider = section.required("provider", model, Clone::clone);
        let engine = section.or("engine", name.clone(), model, Clone::clone);
        let max_tokens =
            section.optional("max_tokens", |text| tokens(text, 1), ToString::to_string);
        let draft = Self {
            model: Model {
                provider: provider.clone().unwrap_or_default(),
                engine,
                max_tokens,
                timeout: section.optional("timeout", units::duration, |time| {
                    units::show_duration(*time)
                }),
                dialect: section.optional("dialect", dialect, ToString::to_string),
                deployment: section.optional("deployment", part, Clone::clone),
                fallbacks: Vec::new(),
                on_context_overflow: None,
                on_content_policy: None,
                limits: limits::read(&section),
                price: price(&section, max_tokens),
            },
            aliases: list(&section, "aliases"),
            fallbacks: list(&section, "fallbacks"),
            on_context_overflow: one(&section, "on_context_overflow"),
            on_content_policy: one(&section, "on_content_policy"),
            dialect: section.get("dialect"),
            provider: section.get("provider").unwrap_or_else(|| value.clone()),
            value: value.clone(),
            name,
            section,
        };
        provider.map(|_| draft)
    }

    /// Checks the provider, and that it serves the model in the dialect that the model is served in.
    pub(super) fn resolve(&mut self, blocks: &Blocks<'_>) {
        let name = &self.model.provider;
        if let Err(complaint) = blocks.known(name) {
            self.provider.error(complaint);
            return;
        }
        let block = blocks.get(name);
        let (kind, dialects): (&'static dyn Provider, &[Dialect]) = match block {
            Some(block) => (block.kind, &block.dialects),
            None if name == OpenRouter.name() => (&OpenRouter, OpenRouter.dialects()),
            // Something is wrong with the block, which has been said.
            None => return,
        };
        if self.model.deployment.is_some() {
            warn_unless_azure(&self.section, "deployment", kind);
        }
        match (self.model.dialect, &self.dialect) {
            (Some(dialect), Some(value)) if !dialects.contains(&dialect) => {
                let known: Vec<&str> = dialects.iter().map(|dialect| dialect.name()).collect();
                value.error(
                    Complaint::new(format!("`{name}` does not speak {dialect}"))
                        .suggesting(format!("one of: {}", known.join(", "))),
                );
            }
            (None, _) => {
                self.model.dialect = only_dialect(kind, &self.model.engine)
                    .filter(|dialect| dialects.contains(dialect));
            }
            _ => {}
        }
    }

    /// Remarks on a provider that has no key.
    pub(super) fn warn_of_missing_key(&self, variable: &str) {
        let provider = &self.model.provider;
        self.provider.warn(
            Complaint::new(format!("`{provider}` has no key: set {variable}"))
                .suggesting(format!("or write api_key under providers.{provider}")),
        );
    }
}

/// The dialect for models that OpenAI serves in no other.
fn only_dialect(kind: &'static dyn Provider, engine: &str) -> Option<Dialect> {
    let openai = provider::named("openai").is_some_and(|openai| openai == kind);
    let part = |wanted: &str| engine.split('-').any(|part| part == wanted);
    let reasons = ["o1-", "o3-", "gpt-5"]
        .iter()
        .any(|start| engine.starts_with(start));
    let only = (reasons && part("pro")) || part("codex") || engine.contains("deep-research");
    (openai && only).then_some(Dialect::Responses)
}

fn price(section: &Section<'_>, max_output: Option<u64>) -> Option<PriceOverride> {
    let price = |key| section.optional(key, per_token, |price| units::show_per_token(*price));
    match (price("input_cost"), price("output_cost")) {
        (Some(input), Some(output)) => Some(PriceOverride {
            input,
            output,
            cache_read: None,
            cache_write: None,
            max_output,
        }),
        (None, None) => None,
        _ => {
            section.error(Complaint::new(
                "`input_cost` and `output_cost` belong together",
            ));
            None
        }
    }
}

fn per_token(text: &str) -> Result<PicosPerToken, Complaint> {
    plausible(units::price_per_token(text)?)
}

fn one<'r>(section: &Section<'r>, key: &'static str) -> Option<Named<'r>> {
    let name = section.optional(key, model, Clone::clone)?;
    section.get(key).map(|value| (value, name))
}

fn list<'r>(section: &Section<'r>, key: &'static str) -> Vec<Named<'r>> {
    let Some(list) = section.get(key) else {
        return Vec::new();
    };
    let names: Vec<Named<'r>> = list
        .list()
        .into_iter()
        .filter_map(|item| item.read(model).map(|name| (item, name)))
        .collect();
    let shown: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
    section
        .reader()
        .fact(list.path(), shown.join(", "), list.origin());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openai_serves_as_responses_only_is_known_by_its_name() {
        let of = |kind, engine| only_dialect(provider::named(kind).unwrap(), engine);
        for engine in [
            "o1-pro",
            "o3-pro",
            "o3-pro-2025-06-10",
            "gpt-5-pro",
            "gpt-5.2-pro-2025-12-11",
            "gpt-5-codex",
            "gpt-5.1-codex-max",
            "codex-mini-latest",
            "o4-mini-deep-research",
        ] {
            assert_eq!(of("openai", engine), Some(Dialect::Responses), "{engine}");
            assert_eq!(of("azure", engine), None, "{engine}");
            assert_eq!(of("openrouter", engine), None, "{engine}");
        }
        for engine in ["gpt-4o", "o3", "gpt-5", "gpt-5-mini", "gemini-2.5-pro"] {
            assert_eq!(of("openai", engine), None, "{engine}");
        }
    }
}
