//! OpenAI's words for how much is thought, which chat completions and responses have in common.

use super::form::{Effort, Inexpressible, Reasoning};
use super::value::Value;

/// Reads a word.
pub(super) fn read(value: &Value<'_, '_>) -> Result<Effort, Inexpressible> {
    match &*value.text()? {
        "none" => Ok(Effort::None),
        "minimal" => Ok(Effort::Minimal),
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" | "max" => Ok(Effort::Highest),
        _ => Err(value.wrong("must be none, minimal, low, medium, high or xhigh")),
    }
}

/// The word for an amount of reasoning. A number of tokens becomes the smallest word that covers it
/// among the three that every reasoning model knows.
pub(super) fn write(reasoning: &Reasoning, max_tokens: u64) -> Option<&'static str> {
    if let Some(effort) = reasoning.effort {
        return Some(match effort {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Highest => "xhigh",
        });
    }
    let budget = reasoning.budget?;
    let covers = |tenths: u64| (max_tokens / 10).saturating_mul(tenths).max(1024) >= budget;
    Some(match budget {
        0 => "none",
        _ if covers(2) => "low",
        _ if covers(5) => "medium",
        _ => "high",
    })
}
