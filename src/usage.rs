//! What one exchange used: token counts in one shape for every provider.
//!
//! Decides nothing about prices. Providers translate their own fields into [`Usage`]; the catalogue
//! prices it.

use serde::{Deserialize, Serialize};

/// Token counts of one exchange. Parts are *inside* their totals (the OpenAI convention), whatever
/// the provider's own convention is: `cache_read + cache_write + audio_input <= input` and
/// `reasoning + audio_output <= output` for every honest answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens written to the provider's cache (five-minute lifetime where it matters).
    pub cache_write: u64,
    /// Input tokens written to the provider's cache with a one-hour lifetime.
    pub cache_write_1h: u64,
    /// Input tokens that were audio.
    pub audio_input: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Output tokens that were audio.
    pub audio_output: u64,
    /// Web searches that the provider made and bills by the piece. Records from before they were
    /// counted say nothing of them, and neither do those without any.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// The service tier that a request asks for, or that an answer was served on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// The standard rates.
    #[default]
    Default,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
}

impl ServiceTier {
    /// What a request's `service_tier` may be billed at. A word that is not known here (`auto`,
    /// `scale`, next year's) may turn out to be the dearest tier, so it counts as that.
    pub fn of_request(text: &str) -> Self {
        match text {
            "default" | "standard" | "standard_only" => Self::Default,
            "flex" => Self::Flex,
            _ => Self::Priority,
        }
    }

    /// What an answer's `service_tier` says it was billed at; an unknown word is the standard tier.
    pub fn of_answer(text: &str) -> Self {
        match text {
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            _ => Self::Default,
        }
    }

    /// The stable name, as OpenAI spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

/// Where the amount on a bill came from, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// The provider said what it charges.
    Provider,
    /// The provider's token counts times the price table.
    Usage,
    /// Our own token counts times the price table: the provider's were missing or absurd.
    Estimated,
    /// Nothing is known about the answer: the whole reservation is charged.
    Unresolved,
}

impl CostSource {
    /// The stable name used in records, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Usage => "usage",
            Self::Estimated => "estimated",
            Self::Unresolved => "unresolved",
        }
    }
}

/// What is charged for one attempt, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The charge.
    pub cost: crate::money::Nanos,
    /// How it was found.
    pub source: CostSource,
    /// The tokens it stands for; all zero when nothing is known.
    pub usage: Usage,
    /// The model that answered, else the one asked for.
    pub model: String,
    /// Version of the price table that was in force.
    pub prices: std::sync::Arc<str>,
}

/// How an attempt that was sent went, besides what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The block of the policy that was asked.
    pub provider: String,
    /// From its hold to its end, in milliseconds.
    pub latency_ms: u64,
    /// From its hold to the header of the answer; `None` without one.
    pub first_byte_ms: Option<u64>,
    /// The status that the provider answered with; 0 for none.
    pub http: u16,
    /// What went wrong, one of a closed set; `None` for a whole answer.
    pub error: Option<&'static str>,
    /// The part of the charge that is for input, by the prices.
    pub input: crate::money::Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_written_only_where_there_were_some() {
        let before = r#"{"input":3,"cache_read":0,"cache_write":0,"cache_write_1h":0,"audio_input":0,"output":4,"reasoning":0,"audio_output":0}"#;
        let usage: Usage = serde_json::from_str(before).unwrap();
        assert_eq!(usage.searches, 0);
        assert_eq!(serde_json::to_string(&usage).unwrap(), before);
        let searched = Usage {
            searches: 2,
            ..usage
        };
        let text = serde_json::to_string(&searched).unwrap();
        assert_eq!(text, before.replace('}', r#","searches":2}"#));
        assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), searched);
    }
}
