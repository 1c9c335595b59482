//! What an answer said it used, in numbers that a bill can be computed from.

use serde::Serialize;

use super::record::Record;

/// What an answer said it used, each number as its field said it. Numbers that are no integers
/// count as absent. Where an interface has no such field the number is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Announced {
    /// `prompt_tokens`, `input_tokens` or `promptTokenCount`. Anthropic's excludes what was read
    /// from and written to the cache; the others include it.
    pub prompt_tokens: i64,
    /// `completion_tokens`, `output_tokens` or `candidatesTokenCount`. Gemini's excludes thoughts;
    /// the others include reasoning.
    pub completion_tokens: i64,
    /// Tokens read from the cache.
    pub cached_tokens: i64,
    /// Tokens written to the cache, for an hour or less.
    pub cache_write_tokens: i64,
    /// Tokens written to the cache for an hour; Anthropic's only, and beside `cache_write_tokens`.
    pub cache_write_1h_tokens: i64,
    /// Tokens of reasoning or thoughts.
    pub reasoning_tokens: i64,
    /// `toolUsePromptTokenCount`, on top of the prompt.
    pub tool_use_tokens: i64,
    /// The cost in nano-dollars; absent when there was none or it was no amount of money.
    pub cost_nanos: Option<i64>,
}

/// Announced tokens divided into parts that have a price each: no token is in two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Input that the cache had no part in, tool results included.
    pub input: i64,
    /// Input read from the cache.
    pub cache_read: i64,
    /// Input written to the cache.
    pub cache_write: i64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: i64,
    /// Output without reasoning.
    pub output: i64,
    /// Reasoning or thoughts.
    pub reasoning: i64,
}

impl Record {
    /// What was announced, divided into parts by the rules of the interface.
    pub fn parts(&self) -> Option<Parts> {
        let says = self.announced?;
        let cache = says.cached_tokens + says.cache_write_tokens + says.cache_write_1h_tokens;
        let (inside, on_top) = match self.dialect {
            "messages" => (0, 0),
            "gemini" => (cache, says.reasoning_tokens),
            _ => (cache, 0),
        };
        Some(Parts {
            input: says
                .prompt_tokens
                .saturating_sub(inside)
                .saturating_add(says.tool_use_tokens),
            cache_read: says.cached_tokens,
            cache_write: says.cache_write_tokens,
            cache_write_1h: says.cache_write_1h_tokens,
            output: says
                .completion_tokens
                .saturating_add(on_top)
                .saturating_sub(says.reasoning_tokens),
            reasoning: says.reasoning_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_divided_by_its_own_rules() {
        let says = Announced {
            prompt_tokens: 100,
            completion_tokens: 50,
            cached_tokens: 30,
            cache_write_tokens: 10,
            cache_write_1h_tokens: 0,
            reasoning_tokens: 20,
            tool_use_tokens: 5,
            cost_nanos: None,
        };
        for (dialect, input, output) in [
            ("chat", 65, 30),
            ("responses", 65, 30),
            ("messages", 105, 30),
            ("gemini", 65, 50),
        ] {
            let record = Record {
                dialect,
                announced: Some(says),
                ..Record::default()
            };
            let parts = record.parts().unwrap();
            assert_eq!((parts.input, parts.output), (input, output), "{dialect}");
            assert_eq!((parts.cache_read, parts.reasoning), (30, 20));
        }
        assert_eq!(Record::default().parts(), None);
    }
}
