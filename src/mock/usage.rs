//! Token counts and costs as they will be announced, before any interface gives them its field names.

use super::announced::Announced;
use super::behaviour::{Cost, UsageForm};
use crate::money::Nanos;

/// Token counts before they are bent into a form. Each is what its field will say: whether cached
/// tokens are inside or beside the input is the interface's matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cached: u64,
    pub(super) cache_write: u64,
    pub(super) cache_write_1h: u64,
    pub(super) reasoning: u64,
    pub(super) tool_use: u64,
}

/// The usage of an answer in the form that was asked for.
pub(super) enum Usage {
    /// There is to be none.
    Off,
    /// `null`.
    Null,
    Numbers(Numbers),
}

/// Usage that has numbers.
#[derive(Clone)]
pub(super) struct Numbers {
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) counts: Counts,
    /// `"` when numbers are announced as strings.
    pub(super) quote: &'static str,
    /// Whether the numbers are bent and have nothing to do with the content.
    pub(super) bent: bool,
    cost: Option<Nanos>,
    /// The text after `"cost":`.
    pub(super) cost_text: Option<String>,
}

/// Saturating, for announcing.
pub(super) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Usage {
    /// `charges`: whether there is a cost unless one was asked for; `input` is what it is computed
    /// from.
    pub(super) fn new(
        form: UsageForm,
        counts: Counts,
        cost: &Cost,
        charges: bool,
        model: &str,
        input: u64,
    ) -> Self {
        let (announced_input, output) = match form {
            UsageForm::Off => return Self::Off,
            UsageForm::Null => return Self::Null,
            UsageForm::Negative => (-whole(counts.input).max(1), -whole(counts.output).max(1)),
            UsageForm::Huge => (i64::MAX - 1, i64::MAX - 1),
            UsageForm::Zero => (0, 0),
            _ => (whole(counts.input), whole(counts.output)),
        };
        let quote = if form == UsageForm::Text { "\"" } else { "" };
        let (cost, cost_text) = match cost {
            Cost::Off => (None, None),
            Cost::Exactly(amount) => (Some(*amount), Some(format!("{quote}{amount}{quote}"))),
            Cost::Wrong(text) => (None, Some(text.clone())),
            Cost::Computed if !charges => (None, None),
            Cost::Computed => {
                let amount = match form {
                    UsageForm::Zero => Nanos::ZERO,
                    _ => super::price::cost(model, input, counts.output),
                };
                (Some(amount), Some(format!("{quote}{amount}{quote}")))
            }
        };
        Self::Numbers(Numbers {
            input: announced_input,
            output,
            counts,
            quote,
            bent: matches!(
                form,
                UsageForm::Negative | UsageForm::Huge | UsageForm::Zero
            ),
            cost,
            cost_text,
        })
    }

    /// The member of an object that says this, made by `numbers` for honest and bent numbers alike;
    /// empty when there is to be none.
    pub(super) fn member(&self, name: &str, numbers: impl FnOnce(&Numbers) -> String) -> String {
        match self {
            Self::Off => String::new(),
            Self::Null => format!(r#","{name}":null"#),
            Self::Numbers(says) => format!(r#","{name}":{}"#, numbers(says)),
        }
    }

    /// What it says.
    pub(super) fn announced(&self) -> Option<Announced> {
        match self {
            Self::Numbers(numbers) => Some(numbers.announced()),
            Self::Off | Self::Null => None,
        }
    }
}

impl Numbers {
    /// The same before the answer was over: with so many output tokens, unless the numbers are bent.
    pub(super) fn so_far(&self, output: u64) -> Self {
        let mut so_far = self.clone();
        if !self.bent {
            so_far.output = whole(output).min(self.output);
        }
        so_far
    }

    /// A number as it is announced.
    pub(super) fn text(&self, number: i64) -> String {
        format!("{0}{number}{0}", self.quote)
    }

    /// What is said.
    pub(super) fn announced(&self) -> Announced {
        Announced {
            prompt_tokens: self.input,
            completion_tokens: self.output,
            cached_tokens: whole(self.counts.cached),
            cache_write_tokens: whole(self.counts.cache_write),
            cache_write_1h_tokens: whole(self.counts.cache_write_1h),
            reasoning_tokens: whole(self.counts.reasoning),
            tool_use_tokens: 0,
            cost_nanos: self.cost.map(|cost| cost.0),
        }
    }
}
