//! How an answer is to be made, in Google's words: sampling, limits, form, reasoning.
//!
//! Decides what amount of reasoning a word stands for with which model.

use super::json::Json;
use crate::dialect::form::{Conversation, Effort, Format, Reasoning, Writing};

/// The smallest budget that a word for effort stands for.
const LEAST_BUDGET: u64 = 1024;

/// What of a model's name bears on what it takes.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    name: &'a str,
    /// The generation; `None` when the name does not say.
    generation: Option<u32>,
}

impl<'a> Model<'a> {
    /// What the model of that name takes.
    pub(super) fn named(engine: &'a str) -> Self {
        let name = engine.rsplit('/').next().unwrap_or(engine);
        let generation = name.strip_prefix("gemini-").and_then(|rest| {
            rest.split(|character: char| !character.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        Self { name, generation }
    }

    /// From the third generation on a call without its signature is refused. What a name like
    /// `gemini-flash-latest` stands for changes, and older models do not mind.
    pub(super) fn wants_signatures(self) -> bool {
        match self.generation {
            Some(generation) => generation >= 3,
            None => self.name.starts_with("gemini-") && self.name.ends_with("-latest"),
        }
    }

    /// Whether an amount of reasoning is a word and not a number.
    fn has_levels(self) -> bool {
        self.generation.is_some_and(|generation| generation >= 3)
    }

    /// The largest budget it takes.
    fn most_budget(self) -> u64 {
        if self.name.contains("pro") {
            32_768
        } else {
            24_576
        }
    }
}

/// Writes the sampling, the limits and the form of the answer.
pub(super) fn generation(
    json: &mut Json,
    conversation: &Conversation<'_>,
    writing: &Writing<'_>,
    model: Model<'_>,
) {
    let limit = writing.max_tokens.or(conversation.max_tokens);
    let mut config = Json::new();
    config.object(|json| {
        if let Some(limit) = limit {
            json.raw("maxOutputTokens", &limit.to_string());
        }
        for (key, number) in [
            ("temperature", &conversation.temperature),
            ("topP", &conversation.top_p),
            ("frequencyPenalty", &conversation.frequency_penalty),
            ("presencePenalty", &conversation.presence_penalty),
            ("seed", &conversation.seed),
        ] {
            if let Some(number) = number {
                json.raw(key, &number.0);
            }
        }
        if let Some(top_k) = conversation.top_k {
            json.raw("topK", &top_k.to_string());
        }
        if !conversation.stop.is_empty() {
            json.array("stopSequences", &conversation.stop, |json, text| {
                json.text(text);
            });
        }
        if let Some(Format::Object | Format::Schema { .. }) = &conversation.format {
            json.string("responseMimeType", "application/json");
        }
        if let Some(Format::Schema { schema, .. }) = &conversation.format {
            json.raw("responseJsonSchema", &schema.0);
        }
        if let Some(reasoning) = &conversation.reasoning {
            thinking(
                json,
                reasoning,
                limit.unwrap_or(writing.default_max_tokens),
                model,
            );
        }
    });
    if !config.is_empty_object() {
        json.raw("generationConfig", &config.into_text());
    }
}

fn thinking(json: &mut Json, reasoning: &Reasoning, limit: u64, model: Model<'_>) {
    let most = model.most_budget();
    let mut config = Json::new();
    config.object(|json| {
        match (reasoning.budget, reasoning.effort) {
            (Some(budget), _) => json.raw("thinkingBudget", &budget.min(most).to_string()),
            (None, Some(effort)) if model.has_levels() => {
                json.string("thinkingLevel", level(effort, model));
            }
            (None, Some(effort)) => {
                let budget = budget(effort, limit).min(most);
                json.raw("thinkingBudget", &budget.to_string());
            }
            (None, None) => {}
        }
        if let Some(shown) = reasoning.shown {
            json.raw("includeThoughts", if shown { "true" } else { "false" });
        }
    });
    if !config.is_empty_object() {
        json.raw("thinkingConfig", &config.into_text());
    }
}

/// Only the small models can think next to nothing, and none can be told not to think at all.
fn level(effort: Effort, model: Model<'_>) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal if model.name.contains("flash") => "minimal",
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Highest => "high",
    }
}

/// The number of tokens that a word stands for when the answer may have `limit`.
fn budget(effort: Effort, limit: u64) -> u64 {
    let percent = match effort {
        Effort::None => return 0,
        Effort::Minimal => 10,
        Effort::Low => 20,
        Effort::Medium => 50,
        Effort::High => 80,
        Effort::Highest => 95,
    };
    (limit / 100)
        .saturating_mul(percent)
        .saturating_add(limit % 100 * percent / 100)
        .max(LEAST_BUDGET)
}
