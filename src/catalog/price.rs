//! What one model charges, and what a usage costs at that.
//!
//! Decides which rate applies to which token: long-context rates, service tiers, the parts of a
//! usage. It does not know how models are named or where prices come from.

use crate::money::{Nanos, Picos, PicosPerToken};
use crate::usage::{ServiceTier, Usage};

/// One full set of rates. Every rate is known: what a source does not state is filled in
/// conservatively when the entry is read (see `catalog/entry.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input tokens that are none of the below.
    pub input: PicosPerToken,
    /// Input tokens read from the provider's cache.
    pub cache_read: PicosPerToken,
    /// Input tokens written to the provider's cache for five minutes.
    pub cache_write: PicosPerToken,
    /// Input tokens written to the provider's cache for an hour.
    pub cache_write_1h: PicosPerToken,
    /// Output tokens that are none of the below.
    pub output: PicosPerToken,
    /// Output tokens spent on reasoning.
    pub reasoning: PicosPerToken,
    /// Input tokens that are audio.
    pub audio_input: PicosPerToken,
    /// Output tokens that are audio.
    pub audio_output: PicosPerToken,
    /// Input tokens that are an image. Usage does not count them apart; only bounds use it.
    pub image_input: PicosPerToken,
}

impl Rates {
    /// The dearer of both sets, part by part.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
            audio_input: self.audio_input.max(other.audio_input),
            audio_output: self.audio_output.max(other.audio_output),
            image_input: self.image_input.max(other.image_input),
        }
    }

    /// The dearest rate that a text token of the input can meet, cache writes included.
    fn text_input(&self) -> PicosPerToken {
        self.input
            .max(self.cache_read)
            .max(self.cache_write)
            .max(self.cache_write_1h)
    }

    fn is_free(&self) -> bool {
        self.text_input().0 == 0
            && self.output.0 == 0
            && self.reasoning.0 == 0
            && self.audio_input.0 == 0
            && self.audio_output.0 == 0
    }
}

/// The rates of one service tier: the base set and the sets for long inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// Up to the first threshold.
    pub rates: Rates,
    /// Above each threshold of total input tokens, ascending.
    pub long: Vec<(u64, Rates)>,
}

/// What one model charges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPrice {
    /// The name it has in the table (or in the policy, for an override).
    pub name: String,
    /// Who sells it, in the table's own spelling; empty for an override.
    pub provider: String,
    /// The standard rates.
    pub rates: Rates,
    /// The standard rates for long inputs: (above this many input tokens, rates), ascending. All
    /// tokens of such a request are billed at them, as the providers do.
    pub long: Vec<(u64, Rates)>,
    /// The rates of the priority tier, when there are any.
    pub priority: Option<Box<Tariff>>,
    /// The rates of the flex tier, when there are any.
    pub flex: Option<Box<Tariff>>,
    /// The most output tokens of one answer; `None` when nobody says.
    pub max_output: Option<u64>,
    /// The most input tokens; `None` when nobody says.
    pub max_input: Option<u64>,
    /// A fee per request, besides tokens.
    pub per_request: Nanos,
    /// The dearest fee of one web search.
    pub search: Nanos,
    /// The fee per image in the input, besides tokens. Not part of [`ModelPrice::cost`]: usage does
    /// not count images.
    pub image: Nanos,
}

impl ModelPrice {
    /// What `usage` costs on `tier`: parts times their rates plus the fees per request and per web
    /// search, summed exactly and rounded up once. A tier without rates of its own bills the
    /// standard ones. Zero usage costs the fee per request.
    ///
    /// Parts that exceed their total are charged as they are: an absurd usage is never cheaper.
    /// Cached audio tokens are charged as audio *and* as cached, because usage does not say how
    /// many are both.
    pub fn cost(&self, usage: &Usage, tier: ServiceTier) -> Nanos {
        let rates = self.rates_for(usage.input, tier);
        let plain_input = usage
            .input
            .saturating_sub(usage.cache_read)
            .saturating_sub(usage.cache_write)
            .saturating_sub(usage.cache_write_1h)
            .saturating_sub(usage.audio_input);
        let plain_output = usage
            .output
            .saturating_sub(usage.reasoning)
            .saturating_sub(usage.audio_output);
        let searches = Picos(
            picos(self.search)
                .0
                .saturating_mul(u128::from(usage.searches)),
        );
        let parts = [
            rates.input.times(plain_input),
            rates.cache_read.times(usage.cache_read),
            rates.cache_write.times(usage.cache_write),
            rates.cache_write_1h.times(usage.cache_write_1h),
            rates.audio_input.times(usage.audio_input),
            rates.output.times(plain_output),
            rates.reasoning.times(usage.reasoning),
            rates.audio_output.times(usage.audio_output),
            picos(self.per_request),
            searches,
        ];
        parts.into_iter().sum::<Picos>().ceil_nanos()
    }

    /// The rates that an exchange of `input_tokens` on `tier` is billed at.
    pub fn rates_for(&self, input_tokens: u64, tier: ServiceTier) -> &Rates {
        let (rates, long) = match (tier, &self.priority, &self.flex) {
            (ServiceTier::Priority, Some(tariff), _) | (ServiceTier::Flex, _, Some(tariff)) => {
                (&tariff.rates, &tariff.long)
            }
            _ => (&self.rates, &self.long),
        };
        long.iter()
            .rev()
            .find(|(above, _)| input_tokens > *above)
            .map_or(rates, |(_, rates)| rates)
    }

    /// The dearest rate that one of at most `input_tokens` input tokens can meet. `strict` counts
    /// cache writes, audio and images in; without it only plain and cached text. `tier` is what
    /// the request asks for: a provider may serve another tier than that, at the standard rates,
    /// so both count.
    pub fn worst_input(
        &self,
        input_tokens: u64,
        strict: bool,
        tier: Option<ServiceTier>,
    ) -> PicosPerToken {
        self.reachable(input_tokens, tier, |rates| {
            if strict {
                rates
                    .text_input()
                    .max(rates.audio_input)
                    .max(rates.image_input)
            } else {
                rates.input.max(rates.cache_read)
            }
        })
    }

    /// As strict as [`ModelPrice::worst_input`], for a request that carries neither audio nor
    /// images.
    pub fn worst_text_input(&self, input_tokens: u64, tier: Option<ServiceTier>) -> PicosPerToken {
        self.reachable(input_tokens, tier, Rates::text_input)
    }

    /// The dearest rate that an output token can meet after an input of at most `input_tokens`.
    /// `audio` says whether the request asks for audio answers.
    pub fn worst_output(
        &self,
        input_tokens: u64,
        tier: Option<ServiceTier>,
        audio: bool,
    ) -> PicosPerToken {
        self.reachable(input_tokens, tier, |rates| {
            let text = rates.output.max(rates.reasoning);
            if audio {
                text.max(rates.audio_output)
            } else {
                text
            }
        })
    }

    /// An allowance for input tokens that a provider adds to a request of its own accord, which no
    /// count of the body's bytes covers: system prompts of its own, and those that come with tools.
    /// Not a documented maximum. Recorded answers show some 680 tokens on Grok 4 for a prompt of
    /// three words, and 480 on Claude when functions are given; the allowance is 1,024 for both,
    /// 256 for other models with tools and 128 without. What server tools fetch is not in it.
    pub fn hidden_input(&self, tools: bool) -> u64 {
        let grok = self.name.contains("grok");
        let claude = self.name.contains("claude");
        match (grok || (claude && tools), tools) {
            (true, _) => 1024,
            (false, true) => 256,
            (false, false) => 128,
        }
    }

    /// Whether nothing about it costs money.
    pub fn is_free(&self) -> bool {
        self.per_request == Nanos::ZERO
            && self.rates.is_free()
            && self.long.iter().all(|(_, rates)| rates.is_free())
    }

    /// The largest rate over every set that a request of at most `input_tokens` can be billed at.
    fn reachable(
        &self,
        input_tokens: u64,
        tier: Option<ServiceTier>,
        rate: impl Fn(&Rates) -> PicosPerToken,
    ) -> PicosPerToken {
        let asked = match tier {
            None | Some(ServiceTier::Default) => None,
            Some(ServiceTier::Flex) => self.flex.as_deref(),
            Some(ServiceTier::Priority) => self.priority.as_deref(),
        };
        let standard = std::iter::once((&self.rates, &self.long));
        standard
            .chain(asked.map(|tariff| (&tariff.rates, &tariff.long)))
            .flat_map(|(rates, long)| {
                let met = long.iter().filter(|(above, _)| input_tokens > *above);
                std::iter::once(rates).chain(met.map(|(_, rates)| rates))
            })
            .map(rate)
            .max()
            .unwrap_or_default()
    }
}

fn picos(amount: Nanos) -> Picos {
    Picos(u128::from(amount.at_least_zero().0.unsigned_abs()) * 1000)
}

#[cfg(test)]
mod tests;
