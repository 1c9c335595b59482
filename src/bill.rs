//! From what an answer told us to what it costs.
//!
//! The provider's own cost first, then its token counts times the price table, then our own count;
//! each marked. Missing, negative or absurd numbers never lower a bill below our own count. Pure:
//! it neither holds nor posts money.

use crate::catalog::{Catalog, ModelPrice, ServiceTier};
use crate::money::{MAX_AMOUNT, Nanos, PicosPerToken};
use crate::stream::Reading;
use crate::usage::{Bill, CostSource, Usage};

/// What a thousandth of a dollar per hundred tokens was to the Execwall OR Gate: the charge for a
/// token of a model without any price, under a soft limit only.
const UNPRICED: PicosPerToken = PicosPerToken(10_000_000);

/// Usage below this share of our own count is not believed: tokenizers differ, but not fourfold.
const BELIEVABLE: u64 = 4;

/// What the request was, as far as its bill goes.
pub struct Terms<'a> {
    /// The prices in force when it was admitted.
    pub catalog: &'a Catalog,
    /// The models it was sent to, in order.
    pub asked: &'a [String],
    /// The service tier it asked for.
    pub service_tier: ServiceTier,
}

/// The bill for one answer; `input` counts the request's tokens when the provider did not. `None`
/// when nothing shows that the provider did any work.
pub fn bill(reading: &Reading, terms: &Terms<'_>, input: impl FnOnce() -> u64) -> Option<Bill> {
    let price = price(reading, terms);
    let model = reading
        .model
        .clone()
        .or_else(|| terms.asked.first().cloned())
        .unwrap_or_default();
    let done = |cost: Nanos, source, usage| {
        Some(Bill {
            cost: cost.min(MAX_AMOUNT),
            source,
            usage,
            model,
            prices: terms.catalog.version().clone(),
        })
    };
    let reported = reading.usage.unwrap_or_default();
    if let Some(cost) = reading.cost.filter(|cost| *cost > Nanos::ZERO) {
        return done(cost, CostSource::Provider, reported);
    }
    let cost_of = |usage: &Usage| match price {
        Some(price) => price.cost(usage, terms.service_tier),
        None => UNPRICED.times(usage.total()).ceil_nanos(),
    };
    let believable = reported.input > 0
        && reported.output >= reading.own_output / BELIEVABLE
        && (reported.output > 0 || !reading.saw_content);
    if reading.usage.is_some() && believable {
        let source = if price.is_some() {
            CostSource::Usage
        } else {
            CostSource::Estimated
        };
        return done(cost_of(&reported), source, reported);
    }
    if !reading.saw_content && reading.usage.is_none() {
        return None;
    }
    let own = Usage {
        input: input().max(reported.input),
        output: reading.own_output.max(reported.output),
        ..Usage::default()
    };
    done(cost_of(&own), CostSource::Estimated, own)
}

/// The estimate for an attempt that was dispatched and of which nothing came back: its input.
pub fn unanswered(terms: &Terms<'_>, input: u64) -> Bill {
    let usage = Usage {
        input,
        ..Usage::default()
    };
    let price = terms
        .asked
        .iter()
        .find_map(|model| terms.catalog.find_or_ceiling(model));
    Bill {
        cost: price.map_or_else(
            || UNPRICED.times(input).ceil_nanos(),
            |price| price.cost(&usage, terms.service_tier),
        ),
        source: CostSource::Estimated,
        usage,
        model: terms.asked.first().cloned().unwrap_or_default(),
        prices: terms.catalog.version().clone(),
    }
}

/// The price of the model that answered, else of the first one asked for that has a price.
fn price<'a>(reading: &Reading, terms: &Terms<'a>) -> Option<&'a ModelPrice> {
    reading
        .model
        .iter()
        .chain(terms.asked)
        .find_map(|model| terms.catalog.find_or_ceiling(model))
}
