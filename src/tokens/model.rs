//! Which tokenizer stands for a model, and by how much it may undercount.
//!
//! Only OpenAI's own models are counted exactly. For all others `o200k_base` times a correction is
//! an approximation, on the high side for ordinary text; it is no bound.

use super::Encoding;

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

/// The tokenizer of a model, as a provider or as OpenRouter writes its name. `cl100k_base` for
/// OpenAI's GPT-4, GPT-3.5 and embeddings, `o200k_base` for everything else; see
/// [`correction_for`].
pub fn encoding_for(model: &str) -> Encoding {
    const CL100K: [&str; 6] = [
        "gpt-4-",
        "gpt-3.5",
        "gpt-35",
        "text-embedding",
        "davinci-002",
        "babbage-002",
    ];
    let name = base_name(model);
    if name == "gpt-4" || CL100K.iter().any(|prefix| name.starts_with(prefix)) {
        Encoding::Cl100k
    } else {
        Encoding::O200k
    }
}

/// What a count by [`encoding_for`] is to be multiplied by for this model.
pub fn correction_for(model: &str) -> Correction {
    const FAMILIES: [(&str, u64); 1] = [("claude", 175)];
    let name = base_name(model);
    FAMILIES
        .iter()
        .find(|(family, _)| name.contains(family))
        .map_or(Correction::EXACT, |(_, hundredths)| Correction {
            hundredths: *hundredths,
        })
}

/// The name without vendor, `ft:` and variants.
fn base_name(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    name.split(':').next().unwrap_or(name)
}
