//! Which tokenizer stands for a model, and by how much it may undercount.
//!
//! Only OpenAI's own models are counted exactly. For all others the count by `o200k_base` times a
//! factor per family is an *approximation*, on the high side for prose in Latin script, source code
//! and JSON. It is no bound: text dense in digits is up to 2.5 times (Qwen, Mistral), and Indic
//! scripts up to 3.3 times (Qwen, GLM), what `o200k_base` counts. Only one token per byte is a
//! bound.
//!
//! The factors of families with public vocabularies were measured against `o200k_base` on English,
//! German and French prose, Python, Rust, Markdown, e-mail, tables and JSON; the largest ratio of
//! any of these texts, rounded up, is the factor:
//!
//! | family | largest ratio | factor |
//! |---|---|---|
//! | Llama 3 and later | 1.22 | 1.25 |
//! | DeepSeek | 1.22 | 1.25 |
//! | Qwen | 1.22 | 1.25 |
//! | Mistral (Tekken) | 1.26 | 1.30 |
//! | Kimi | 1.37 | 1.40 |
//! | GLM | 1.20 | 1.25 |
//! | `MiniMax` | 1.05 | 1.10 |
//!
//! The others are set from what is published about them, with room: Claude 1.75 (its tokenizer
//! gives some 1.2 to 1.3 times GPT-4o's tokens, its latest one up to 1.35 times its former), the
//! 32,000-word vocabularies of Llama 2, Mistral 7B and Mixtral 1.60, every model that is not known
//! here 1.50.

use super::{Encoding, count};

/// A factor on a count, in hundredths, never below 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    hundredths: u64,
}

impl Correction {
    /// No correction: the tokenizer is the model's own.
    pub const EXACT: Self = Self { hundredths: 100 };

    /// The corrected count, rounded up.
    pub fn apply(self, tokens: u64) -> u64 {
        let scaled = u128::from(tokens) * u128::from(self.hundredths);
        u64::try_from(scaled.div_ceil(100)).unwrap_or(u64::MAX)
    }
}

/// OpenAI's models that use `cl100k_base`, by the beginnings of their names.
const CL100K: [&str; 6] = [
    "gpt-4-",
    "gpt-3.5",
    "gpt-35",
    "text-embedding",
    "davinci-002",
    "babbage-002",
];

/// The beginnings of the names of OpenAI's models.
const OPENAI: [&str; 9] = [
    "gpt-",
    "chatgpt",
    "codex",
    "o1",
    "o3",
    "o4",
    "text-embedding",
    "davinci-",
    "babbage-",
];

/// Families by a part of the name, first match wins; factors in hundredths.
const FAMILIES: [(&str, u64); 18] = [
    ("claude", 175),
    ("llama-2", 160),
    ("llama2", 160),
    ("codellama", 160),
    ("mistral-7b", 160),
    ("mixtral", 160),
    ("llama", 125),
    ("deepseek", 125),
    ("qwen", 125),
    ("qwq", 125),
    ("mistral", 130),
    ("ministral", 130),
    ("magistral", 130),
    ("devstral", 130),
    ("codestral", 130),
    ("kimi", 140),
    ("glm", 125),
    ("minimax", 110),
];

/// The factor of a model that is not known here.
const UNKNOWN: u64 = 150;

/// The tokenizer of a model, as a provider or as OpenRouter writes its name: `cl100k_base` for
/// OpenAI's GPT-4, GPT-3.5 and embeddings, `o200k_base` for everything else. For models that are
/// not OpenAI's the count is to be corrected; [`count_for`] does both.
pub fn encoding_for(model: &str) -> Encoding {
    let name = base_name(model);
    if name == "gpt-4" || CL100K.iter().any(|prefix| name.starts_with(prefix)) {
        Encoding::Cl100k
    } else {
        Encoding::O200k
    }
}

/// What a count by [`encoding_for`] is to be multiplied by for this model.
pub fn correction_for(model: &str) -> Correction {
    let name = base_name(model);
    if OPENAI.iter().any(|prefix| name.starts_with(prefix)) {
        return Correction::EXACT;
    }
    let lower = model.to_ascii_lowercase();
    let family = FAMILIES.iter().find(|(family, _)| lower.contains(family));
    Correction {
        hundredths: family.map_or(UNKNOWN, |(_, hundredths)| *hundredths),
    }
}

/// How many tokens `text` is for `model`: exact for OpenAI's, else the approximation described
/// above.
pub fn count_for(model: &str, text: &str) -> u64 {
    correction_for(model).apply(count(text, encoding_for(model)))
}

/// The name without vendor, `ft:` and variants.
fn base_name(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    name.split(':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_models_have_their_own_tokenizer() {
        for model in [
            "gpt-4o",
            "openai/gpt-4.1-mini",
            "gpt-5",
            "openrouter/openai/o3-mini:online",
        ] {
            assert_eq!(encoding_for(model), Encoding::O200k, "{model}");
            assert_eq!(correction_for(model), Correction::EXACT, "{model}");
        }
        for model in [
            "gpt-4",
            "openai/gpt-4-turbo",
            "ft:gpt-3.5-turbo-0613:me::x",
            "azure/gpt-35-turbo",
        ] {
            assert_eq!(encoding_for(model), Encoding::Cl100k, "{model}");
            assert_eq!(correction_for(model), Correction::EXACT, "{model}");
        }
    }

    #[test]
    fn other_models_are_counted_high() {
        for (model, count) in [
            ("anthropic/claude-3.5-sonnet", 175),
            ("meta-llama/Llama-3.3-70B-Instruct", 125),
            ("mistralai/mistral-7b-instruct", 160),
            ("mistralai/mistral-large-2512", 130),
            ("somebody/new-model", 150),
        ] {
            assert_eq!(correction_for(model).apply(100), count, "{model}");
        }
        assert_eq!(correction_for("claude-opus-4").apply(1), 2);
        assert_eq!(correction_for("claude-opus-4").apply(u64::MAX), u64::MAX);
    }
}
