//! One entry of a price table, from raw JSON text to a [`ModelPrice`].
//!
//! Decides what each field name means and what stands in for a rate that nobody states. It knows
//! litellm's field names, because the table keeps them; it does not know how models are found.
//!
//! # What stands in for an unstated rate
//!
//! A zero beside a non-zero main rate is a placeholder in the sources, not a gift: it counts as
//! unstated. Then, always on the safe side:
//!
//! | part | stand-in |
//! |---|---|
//! | cache read | the input rate |
//! | cache write | the input rate; 1.25 x for Claude and Qwen, 2 x for Gemini (input plus storage) |
//! | cache write, 1 h | the 5-minute rate; at least 2 x input for Claude |
//! | reasoning, audio, image | the output or input rate of the same set |
//! | a part of a long-context or tier set | input and output: the base set's; reasoning, audio and image: the dearer of the base set's and the set's own input or output; cache: as above, from the set's own input rate |
//! | a long-context set of a tier that has none | the dearer, part by part, of the tier's base set and the standard long-context set |
//!
//! A cache write stated below the input rate is a storage fee on top of it for Gemini, and the
//! input rate for the others.

use super::fields::Fields;
use super::price::{ModelPrice, Rates, Tariff};
use crate::money::{MoneyError, Nanos, PicosPerToken};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Anything above a cent per token is a price per thousand or per million in the wrong place.
const DEAREST_TOKEN: PicosPerToken = PicosPerToken(10_000_000_000);

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {reason}")]
pub struct FieldError {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A part that a source may state a rate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Input,
    Output,
    CacheRead,
    /// `input_cost_per_token_cache_hit`: an older spelling of the cache read rate.
    CacheHit,
    CacheWrite,
    CacheWrite1h,
    Reasoning,
    AudioInput,
    AudioOutput,
    ImageInput,
    /// Rates that are kept in the table but that no usage counts apart: cached audio, image output.
    Uncounted,
}

/// Which tier a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Standard,
    Priority,
    Flex,
}

/// What a field of a token rate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateField {
    pub(super) part: Part,
    pub(super) tier: Tier,
    /// Above this many input tokens; zero for the base set.
    pub(super) above: u64,
}

/// Reads a field name such as `input_cost_per_token_above_200k_tokens_priority`; `None` when it is
/// no token rate.
pub(super) fn rate_field(name: &str) -> Option<RateField> {
    let (rest, tier) = if let Some(rest) = name.strip_suffix("_priority") {
        (rest, Tier::Priority)
    } else if let Some(rest) = name.strip_suffix("_flex") {
        (rest, Tier::Flex)
    } else {
        (name, Tier::Standard)
    };
    let (base, above) = match rest
        .strip_suffix("_tokens")
        .and_then(|r| r.rsplit_once("_above_"))
    {
        Some((base, count)) => {
            let (digits, unit) = count.strip_suffix('k').map_or((count, 1), |d| (d, 1000));
            (base, digits.parse::<u64>().ok()?.checked_mul(unit)?)
        }
        None => (rest, 0),
    };
    let part = match base {
        "input_cost_per_token" => Part::Input,
        "output_cost_per_token" => Part::Output,
        "cache_read_input_token_cost" => Part::CacheRead,
        "input_cost_per_token_cache_hit" => Part::CacheHit,
        "cache_creation_input_token_cost" => Part::CacheWrite,
        "cache_creation_input_token_cost_above_1hr" => Part::CacheWrite1h,
        "output_cost_per_reasoning_token" => Part::Reasoning,
        "input_cost_per_audio_token" => Part::AudioInput,
        "output_cost_per_audio_token" => Part::AudioOutput,
        "input_cost_per_image_token" => Part::ImageInput,
        "output_cost_per_image_token"
        | "cache_read_input_audio_token_cost"
        | "cache_read_input_token_cost_per_audio_token"
        | "cache_creation_input_audio_token_cost" => Part::Uncounted,
        _ => return None,
    };
    Some(RateField { part, tier, above })
}

/// The rates of one set, as far as the source states them.
#[derive(Clone, Copy, Debug, Default)]
struct Stated {
    input: Option<PicosPerToken>,
    output: Option<PicosPerToken>,
    cache_read: Option<PicosPerToken>,
    cache_hit: Option<PicosPerToken>,
    cache_write: Option<PicosPerToken>,
    cache_write_1h: Option<PicosPerToken>,
    reasoning: Option<PicosPerToken>,
    audio_input: Option<PicosPerToken>,
    audio_output: Option<PicosPerToken>,
    image_input: Option<PicosPerToken>,
}

impl Stated {
    fn set(&mut self, part: Part, rate: PicosPerToken) {
        let slot = match part {
            Part::Input => &mut self.input,
            Part::Output => &mut self.output,
            Part::CacheRead => &mut self.cache_read,
            Part::CacheHit => &mut self.cache_hit,
            Part::CacheWrite => &mut self.cache_write,
            Part::CacheWrite1h => &mut self.cache_write_1h,
            Part::Reasoning => &mut self.reasoning,
            Part::AudioInput => &mut self.audio_input,
            Part::AudioOutput => &mut self.audio_output,
            Part::ImageInput => &mut self.image_input,
            Part::Uncounted => return,
        };
        *slot = Some(rate);
    }

    /// Fills what is not stated; `base` is the set that this one is a variation of.
    fn resolve(&self, family: Family, base: &Rates) -> Rates {
        let own = |rate: Option<PicosPerToken>| rate.filter(|r| r.0 > 0);
        let input = self.input.unwrap_or(base.input);
        let output = self.output.unwrap_or(base.output);
        let (write, write_1h) = family.cache_writes(input, self.cache_write, self.cache_write_1h);
        Rates {
            input,
            cache_read: own(self.cache_read)
                .or(own(self.cache_hit))
                .unwrap_or(input),
            cache_write: write,
            cache_write_1h: write_1h,
            output,
            reasoning: own(self.reasoning).unwrap_or(output.max(base.reasoning)),
            audio_input: own(self.audio_input).unwrap_or(input.max(base.audio_input)),
            audio_output: own(self.audio_output).unwrap_or(output.max(base.audio_output)),
            image_input: own(self.image_input).unwrap_or(input.max(base.image_input)),
        }
    }
}

/// Whose rules for cache writes a model follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Gemini,
    Qwen,
    Other,
}

impl Family {
    pub(super) fn of(name: &str) -> Self {
        if name.contains("claude") {
            Self::Claude
        } else if name.contains("gemini") {
            Self::Gemini
        } else if name.contains("qwen") || name.contains("Qwen") {
            Self::Qwen
        } else {
            Self::Other
        }
    }

    /// The rates of five-minute and one-hour cache writes.
    pub(super) fn cache_writes(
        self,
        input: PicosPerToken,
        stated: Option<PicosPerToken>,
        stated_1h: Option<PicosPerToken>,
    ) -> (PicosPerToken, PicosPerToken) {
        let quarters = |n: u64| PicosPerToken(input.0.saturating_mul(n).div_ceil(4));
        let write = match (stated.filter(|r| r.0 > 0), self) {
            (Some(rate), Self::Gemini) if rate < input => PicosPerToken(input.0 + rate.0),
            (Some(rate), _) => rate.max(input),
            (None, Self::Claude | Self::Qwen) => quarters(5),
            (None, Self::Gemini) => quarters(8),
            (None, Self::Other) => input,
        };
        let floor = if self == Self::Claude {
            write.max(quarters(8))
        } else {
            write
        };
        (write, stated_1h.map_or(floor, |rate| rate.max(floor)))
    }
}

/// Takes an entry apart.
///
/// # Errors
/// It is no object.
pub(super) fn object(json: &str) -> Result<Fields<'_>, FieldError> {
    serde_json::from_str(json).map_err(|_| wrong("(all)", "not an object"))
}

/// Reads an entry. `Ok(None)` when it states no price per token, so that nothing can be priced by
/// it.
///
/// # Errors
/// The first field that cannot be read.
pub(super) fn read(name: &str, fields: &Fields<'_>) -> Result<Option<ModelPrice>, FieldError> {
    if let Some(field) = fields.duplicate() {
        return Err(wrong(field, "given twice"));
    }
    let mut sets: BTreeMap<(Tier, u64), Stated> = BTreeMap::new();
    let mut price = ModelPrice {
        name: name.to_owned(),
        ..ModelPrice::default()
    };
    let mut legacy_max = None;
    let mut embeds = false;
    for (field, value) in &fields.0 {
        let text = value.get();
        match field.as_ref() {
            "litellm_provider" => price.provider = string(field, text)?,
            "mode" => embeds = string(field, text)? == "embedding",
            "max_input_tokens" => price.max_input = whole(field, text)?,
            "max_output_tokens" => price.max_output = whole(field, text)?,
            "max_tokens" => legacy_max = whole(field, text)?,
            "input_cost_per_request" => price.per_request = amount(field, text)?,
            "input_cost_per_image" => price.image = amount(field, text)?,
            "search_context_cost_per_query" => price.search = dearest(field, text)?,
            "tiered_pricing" => read_ranges(field, text, &mut sets)?,
            _ => {
                if let Some(RateField { part, tier, above }) = rate_field(field) {
                    let set = sets.entry((tier, above)).or_default();
                    set.set(part, rate(field, text)?);
                }
            }
        }
    }
    price.max_output = price.max_output.or(legacy_max);
    let Some(base) = sets.get(&(Tier::Standard, 0)) else {
        return Ok(None);
    };
    if base.input.is_none() || (base.output.is_none() && !embeds) {
        return Ok(None);
    }
    fill(&mut price, &sets);
    Ok(Some(price))
}

/// Resolves the stated sets into the tariffs of the price.
fn fill(price: &mut ModelPrice, sets: &BTreeMap<(Tier, u64), Stated>) {
    let family = Family::of(&price.name);
    let of = |tier: Tier| sets.iter().filter(move |((t, _), _)| *t == tier);
    let standard = tariff(of(Tier::Standard), family, &Rates::default(), &[]);
    for (tier, slot) in [
        (Tier::Priority, &mut price.priority),
        (Tier::Flex, &mut price.flex),
    ] {
        if of(tier).next().is_some() {
            let own = tariff(of(tier), family, &standard.rates, &standard.long);
            *slot = Some(Box::new(own));
        }
    }
    price.rates = standard.rates;
    price.long = standard.long;
}

fn tariff<'s>(
    sets: impl Iterator<Item = (&'s (Tier, u64), &'s Stated)>,
    family: Family,
    base: &Rates,
    standard_long: &[(u64, Rates)],
) -> Tariff {
    let sets: Vec<(u64, &Stated)> = sets.map(|((_, above), set)| (*above, set)).collect();
    let first = sets.iter().find(|(above, _)| *above == 0);
    let rates = first.map_or(*base, |(_, set)| set.resolve(family, base));
    let mut long: BTreeMap<u64, Rates> = standard_long
        .iter()
        .map(|(above, standard)| (*above, standard.max(&rates)))
        .collect();
    for (above, set) in sets.iter().filter(|(above, _)| *above > 0) {
        long.insert(*above, set.resolve(family, &rates));
    }
    Tariff {
        rates,
        long: long.into_iter().collect(),
    }
}

/// `tiered_pricing`: a list of sets, each with a `range` of input tokens from (exclusive) to
/// (inclusive). The last one goes on for ever.
fn read_ranges(
    field: &str,
    text: &str,
    sets: &mut BTreeMap<(Tier, u64), Stated>,
) -> Result<(), FieldError> {
    let ranges: Vec<Fields<'_>> =
        serde_json::from_str(text).map_err(|_| wrong(field, "not a list of objects"))?;
    for range in &ranges {
        let bounds = range.get("range").unwrap_or_default();
        let bounds: Vec<&RawValue> = serde_json::from_str(bounds)
            .map_err(|_| wrong(field, "a set without a `range` of two numbers"))?;
        let from = bounds
            .first()
            .map(|from| whole(field, from.get()))
            .transpose()?
            .flatten();
        let from = from.ok_or_else(|| wrong(field, "a set without a `range` of two numbers"))?;
        let set = sets.entry((Tier::Standard, from)).or_default();
        for (name, value) in range.0.iter().filter(|(name, _)| name != "range") {
            match rate_field(name) {
                Some(RateField {
                    part,
                    tier: Tier::Standard,
                    above: 0,
                }) => {
                    set.set(part, rate(field, value.get())?);
                }
                _ => return Err(wrong(field, &format!("unknown field `{name}`"))),
            }
        }
    }
    Ok(())
}

/// Whether any token rate is above a cent: a price per thousand or per million in the wrong place.
pub(super) fn has_implausible_rate(fields: &Fields<'_>) -> bool {
    fields.0.iter().any(|(name, value)| {
        rate_field(name).is_some()
            && PicosPerToken::parse_usd(value.get()).is_ok_and(|rate| rate > DEAREST_TOKEN)
    })
}

fn wrong(field: &str, reason: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: reason.to_owned(),
    }
}

fn string(field: &str, text: &str) -> Result<String, FieldError> {
    serde_json::from_str(text).map_err(|_| wrong(field, "not a string"))
}

/// A count of tokens: `8192` or `8192.0`; `null` is none.
fn whole(field: &str, text: &str) -> Result<Option<u64>, FieldError> {
    if text == "null" {
        return Ok(None);
    }
    let digits = text.strip_suffix(".0").unwrap_or(text);
    digits
        .parse()
        .map(Some)
        .map_err(|_| wrong(field, &format!("`{text}` is no whole number of tokens")))
}

fn rate(field: &str, text: &str) -> Result<PicosPerToken, FieldError> {
    let rate = PicosPerToken::parse_usd(text).map_err(|error| money(field, text, error))?;
    if rate > DEAREST_TOKEN {
        let reason = format!("`{text}` is more than a cent per token: is it a price per million?");
        return Err(wrong(field, &reason));
    }
    Ok(rate)
}

fn amount(field: &str, text: &str) -> Result<Nanos, FieldError> {
    match Nanos::parse_usd(text) {
        Ok(amount) if amount >= Nanos::ZERO => Ok(amount),
        Ok(_) => Err(money(field, text, MoneyError::Negative)),
        Err(error) => Err(money(field, text, error)),
    }
}

fn money(field: &str, text: &str, error: MoneyError) -> FieldError {
    wrong(field, &format!("`{text}` is no price in dollars: {error}"))
}

/// The largest amount in an object of amounts.
fn dearest(field: &str, text: &str) -> Result<Nanos, FieldError> {
    let fields: Fields<'_> =
        serde_json::from_str(text).map_err(|_| wrong(field, "not an object of prices"))?;
    fields
        .0
        .iter()
        .try_fold(Nanos::ZERO, |most, (name, value)| {
            amount(&format!("{field}.{name}"), value.get()).map(|next| most.max(next))
        })
}

#[cfg(test)]
mod tests;
