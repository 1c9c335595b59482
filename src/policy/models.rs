//! `conf/models.yaml`: the Model Gateway's file of models, prices and a daily limit.
//!
//! Decides what that file means for Weir: its prices go below those of the policy, and its daily
//! limit becomes the account of the whole gateway when the policy has none.

use super::agents::model;
use super::prices::plausible;
use super::routing::tokens;
use crate::budget::AccountSpec;
use crate::budget::period::{Period, PeriodKind};
use crate::budget::tier::Threshold;
use crate::catalog::PriceOverride;
use crate::dialect::Dialect;
use crate::identity::AccountId;
use crate::limit::Limits;
use crate::money::{Nanos, PicosPerToken};
use crate::settings::environment::Environment;
use crate::settings::file;
use crate::settings::origin::Fact;
use crate::settings::problem::{Complaint, Problem, Problems};
use crate::settings::reader::{Reader, Section};
use crate::settings::units;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a models file says.
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// The models by the name that clients use.
    pub models: BTreeMap<String, Model>,
    /// Which model serves which task.
    pub defaults: BTreeMap<String, String>,
    /// The prices stated, by model name and by engine name.
    pub prices: BTreeMap<String, PriceOverride>,
    /// The daily limit as an account of the whole gateway.
    pub gateway: Option<Arc<AccountSpec>>,
    /// The share of the daily limit at which a warning is due.
    pub warning_threshold: Option<Threshold>,
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

/// Checks the text of a models file called `file`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Models, Problems> {
    let reader = Reader::new(file, environment);
    let mut read = Models::default();
    if let Some(node) = reader.parse(text) {
        let root = reader.root(&node);
        for (name, value) in root.section("models").entries() {
            match model(name) {
                Ok(name) => read.add(name, &value.section()),
                Err(complaint) => value.error(complaint),
            }
        }
        for (task, value) in root.section("defaults").entries() {
            let Some(name) = value.read(model) else {
                continue;
            };
            if !read.models.contains_key(&name) {
                value.warn(Complaint::new(format!(
                    "`{name}` is none of this file's models"
                )));
            }
            read.defaults.insert(task.to_owned(), name);
        }
        if let Some(value) = root.get("budget") {
            read.budget(&value.section());
        }
    }
    let findings = reader.finish()?;
    read.warnings = findings.warnings;
    read.facts = findings.facts;
    Ok(read)
}

impl Models {
    fn add(&mut self, name: String, section: &Section<'_>) {
        let provider = section.required("provider", model, Clone::clone);
        let engine = section.or("engine", name.clone(), model, Clone::clone);
        let price = |key| section.optional(key, per_token, |price| units::show_per_token(*price));
        let (input, output) = (price("input_cost"), price("output_cost"));
        let max_tokens =
            section.optional("max_tokens", |text| tokens(text, 1), ToString::to_string);
        let timeout = section.optional("timeout", units::duration, |time| {
            units::show_duration(*time)
        });
        let mut stated = None;
        match (input, output) {
            (Some(input), Some(output)) => {
                let price = PriceOverride {
                    input,
                    output,
                    cache_read: None,
                    cache_write: None,
                    max_output: max_tokens,
                };
                stated = Some(price);
                self.prices.entry(engine.clone()).or_insert(price);
                self.prices.insert(name.clone(), price);
            }
            (None, None) => {}
            _ => section.error(Complaint::new(
                "`input_cost` and `output_cost` belong together",
            )),
        }
        let Some(provider) = provider else { return };
        self.models.insert(
            name,
            Model {
                provider,
                engine,
                max_tokens,
                timeout,
                dialect: None,
                deployment: None,
                fallbacks: Vec::new(),
                on_context_overflow: None,
                on_content_policy: None,
                limits: Limits::default(),
                price: stated,
            },
        );
    }

    fn budget(&mut self, section: &Section<'_>) {
        let limit = section.required("daily_limit_usd", units::money, |limit| {
            units::show_money(*limit)
        });
        let hard = section.or("hard_stop", true, units::flag, ToString::to_string);
        self.warning_threshold = section.optional("warning_threshold", units::share, |share| {
            units::show_share(*share)
        });
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
            })
        });
    }
}

fn per_token(text: &str) -> Result<PicosPerToken, Complaint> {
    plausible(units::price_per_token(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "models:
  gpt-4o:
    provider: openai
    engine: gpt-4o
    input_cost: 0.0000025   # USD per token
    output_cost: 0.00001
    max_tokens: 8192
  o3-pro:
    provider: openai
    timeout: 300
defaults:
  self_reflection: o3-pro
  vitals: gpt-4o
  experiment: o3-pro
budget:
  daily_limit_usd: 20
  hard_stop: true          # Block requests when limit reached
  warning_threshold: 0.8   # Warn at 80% usage
";

    fn read(text: &str) -> Result<Models, Problems> {
        parse("conf/models.yaml", text, &Environment::default())
    }

    #[test]
    fn the_model_gateways_file_loads_unchanged() {
        let models = read(EXAMPLE).unwrap();
        assert_eq!(models.warnings, []);
        let price = &models.prices["gpt-4o"];
        assert_eq!(
            (price.input, price.output),
            (PicosPerToken(2_500_000), PicosPerToken(10_000_000))
        );
        assert_eq!(price.max_output, Some(8192));
        assert_eq!(
            models.models["o3-pro"].timeout,
            Some(Duration::from_secs(300))
        );
        assert_eq!(models.defaults["vitals"], "gpt-4o");
        let gateway = models.gateway.unwrap();
        assert_eq!(
            (gateway.limit, gateway.hard, gateway.period.kind),
            (Nanos::usd(20), true, PeriodKind::Daily)
        );
    }

    #[test]
    fn a_price_per_million_in_the_wrong_place_is_noticed() {
        let text = EXAMPLE
            .replace("0.0000025", "2.5")
            .replace("max_tokens", "max_token");
        let problems = read(&text).unwrap_err().0;
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 3, "{shown:?}");
        assert!(
            shown
                .iter()
                .any(|p| p.contains(":5:17: error: models.gpt-4o.input_cost: is more than a cent"))
        );
        assert!(
            shown
                .iter()
                .any(|p| p.contains("did you mean `max_tokens`?"))
        );
    }
}
