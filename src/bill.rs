//! From what an answer told us to what it costs.
//!
//! The provider's own cost first, then its token counts times the price table, then our own count;
//! each marked. Missing, negative or absurd numbers never lower a bill below our own count; of an
//! answer that broke off before its output was counted, the input is taken as stated and the output
//! as we counted it. Pure: it neither holds nor posts money.

use crate::catalog::{self, Catalog, ModelPrice};
use crate::money::{MAX_AMOUNT, Nanos, PicosPerToken};
use crate::provider::Provider;
use crate::route::Target;
use crate::stream::Reading;
use crate::usage::ServiceTier;
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
    /// Who was asked.
    pub provider: &'static dyn Provider,
    /// The models it was sent to, in order, as the provider calls them.
    pub asked: &'a [String],
    /// The price that a file states for the one model asked; it holds for its dated versions, too.
    pub own: Option<&'a ModelPrice>,
    /// The models asked with the prices that were found for them; may be empty.
    pub known: &'a [Target],
    /// The service tier it asked for.
    pub service_tier: ServiceTier,
}

/// The bill for one answer; `input` counts the request's tokens when the provider did not. `None`
/// when the provider reported an error before any content and named neither usage nor cost, which is
/// documented as free. An answer that broke off before its first word is not: its prompt may have
/// been worked on.
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
    if let Some(cost) = stated_cost(reading).filter(|cost| *cost > Nanos::ZERO) {
        return done(cost, CostSource::Provider, reported);
    }
    let cost_of = |usage: &Usage| match price {
        Some(price) => price.cost(usage, terms.service_tier),
        None => UNPRICED.times(usage.total()).ceil_nanos(),
    };
    if reading.output_open && reported.input > 0 {
        let begun = Usage {
            output: reading.own_output.max(reported.output),
            ..reported
        };
        return done(cost_of(&begun), CostSource::Estimated, begun);
    }
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
    if !reading.saw_content && reading.usage.is_none() && reading.error.is_some() {
        return None;
    }
    let own = Usage {
        input: input().max(reported.input),
        output: reading.own_output.max(reported.output),
        ..Usage::default()
    };
    done(cost_of(&own), CostSource::Estimated, own)
}

/// What the provider says it charges. Where it went through an account of the user's own at the
/// provider behind, both ask for money.
fn stated_cost(reading: &Reading) -> Option<Nanos> {
    match reading.upstream_cost.filter(|_| reading.is_byok) {
        Some(upstream) => Some(reading.cost.unwrap_or_default() + upstream),
        None => reading.cost,
    }
}

/// The estimate for an attempt that was dispatched and of which nothing came back: its input.
pub fn unanswered(terms: &Terms<'_>, input: u64) -> Bill {
    let usage = Usage {
        input,
        ..Usage::default()
    };
    let asked = terms.asked.iter();
    let price = terms.own.or_else(|| {
        asked
            .clone()
            .find_map(|model| terms.catalog.find_or_ceiling_at(terms.provider, model))
    });
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

/// Whether nothing that was asked for has any price, so that nothing was held for it and the bill is a flat rate.
pub fn is_unpriced(bill: &Bill, terms: &Terms<'_>) -> bool {
    let priced = |model: &String| {
        let price = terms.catalog.find_or_ceiling_at(terms.provider, model);
        price.is_some()
    };
    bill.source == CostSource::Estimated
        && terms.own.is_none()
        && !terms.asked.iter().chain([&bill.model]).any(priced)
}

/// The part of a bill that is for input, by the prices; zero for a model without any.
pub fn input_cost(bill: &Bill, terms: &Terms<'_>) -> Nanos {
    let price = terms.own.or_else(|| {
        terms
            .catalog
            .find_or_ceiling_at(terms.provider, &bill.model)
    });
    let input = Usage {
        output: 0,
        reasoning: 0,
        audio_output: 0,
        searches: 0,
        ..bill.usage
    };
    price.map_or(Nanos::ZERO, |price| price.cost(&input, terms.service_tier))
}

/// The price of the model that answered, else of the first one asked for that has a price.
fn price<'a>(reading: &Reading, terms: &Terms<'a>) -> Option<&'a ModelPrice> {
    let as_asked = |model: &str| {
        let mut asked = terms.asked.iter();
        asked.any(|engine| model == engine || catalog::is_dated(model, engine))
    };
    let own = terms
        .own
        .filter(|_| reading.model.as_deref().is_none_or(as_asked));
    let known = || {
        let model = reading.model.as_deref()?;
        let mut known = terms.known.iter();
        known.find(|target| target.engine == model)?.price.as_ref()
    };
    own.or_else(known).or_else(|| {
        let mut models = reading.model.iter().chain(terms.asked);
        models.find_map(|model| terms.catalog.find_or_ceiling_at(terms.provider, model))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PriceOverride;
    use crate::provider::openrouter::OpenRouter;
    use std::collections::BTreeMap;

    /// $1 per million tokens in, $2 per million out; `free` is free.
    fn catalog() -> Catalog {
        let price = |input, output| PriceOverride {
            input: PicosPerToken(input),
            output: PicosPerToken(output),
            cache_read: None,
            cache_write: None,
            max_output: None,
        };
        let prices = [("dear", price(1_000_000, 2_000_000)), ("free", price(0, 0))];
        let prices = prices.map(|(name, price)| (name.to_owned(), price));
        Catalog::bundled().with_overrides(&BTreeMap::from(prices))
    }

    fn usage(input: u64, output: u64) -> Option<Usage> {
        Some(Usage {
            input,
            output,
            ..Usage::default()
        })
    }

    fn billed(reading: &Reading, asked: &str) -> Option<(i64, CostSource)> {
        let catalog = catalog();
        let asked = [asked.to_owned()];
        let terms = Terms {
            catalog: &catalog,
            provider: &OpenRouter,
            asked: &asked,
            own: None,
            known: &[],
            service_tier: ServiceTier::Default,
        };
        bill(reading, &terms, || 100).map(|bill| (bill.cost.0, bill.source))
    }

    #[test]
    fn the_providers_own_cost_comes_first() {
        let reading = Reading {
            usage: usage(1000, 1000),
            cost: Some(Nanos(42)),
            ..Reading::default()
        };
        assert_eq!(billed(&reading, "dear"), Some((42, CostSource::Provider)));
    }

    #[test]
    fn with_an_account_of_the_users_own_both_bills_count() {
        let reading = Reading {
            usage: usage(1000, 1000),
            cost: Some(Nanos(42)),
            upstream_cost: Some(Nanos(1000)),
            is_byok: true,
            ..Reading::default()
        };
        assert_eq!(billed(&reading, "dear"), Some((1042, CostSource::Provider)));
    }

    #[test]
    fn a_cost_of_zero_for_a_priced_model_is_not_believed_and_for_a_free_one_it_is() {
        let reading = Reading {
            usage: usage(1000, 1000),
            cost: Some(Nanos::ZERO),
            ..Reading::default()
        };
        assert_eq!(
            billed(&reading, "dear"),
            Some((3_000_000, CostSource::Usage))
        );
        assert_eq!(billed(&reading, "free"), Some((0, CostSource::Usage)));
    }

    #[test]
    fn absurd_usage_never_lowers_the_bill_below_our_own_count() {
        let reading = Reading {
            usage: usage(1, 1),
            own_output: 1000,
            saw_content: true,
            ..Reading::default()
        };
        let own = 100 * 1000 + 1000 * 2000;
        assert_eq!(billed(&reading, "dear"), Some((own, CostSource::Estimated)));
        let silent = Reading {
            usage: None,
            ..reading
        };
        assert_eq!(billed(&silent, "dear"), Some((own, CostSource::Estimated)));
    }

    #[test]
    fn an_answer_that_broke_off_costs_its_stated_input_and_our_count_of_its_output() {
        let reading = Reading {
            usage: usage(40, 0),
            output_open: true,
            own_output: 30,
            saw_content: true,
            ..Reading::default()
        };
        let cost = |reading: &Reading| billed(reading, "dear");
        let due = 40 * 1000 + 30 * 2000;
        assert_eq!(cost(&reading), Some((due, CostSource::Estimated)));
        // Before its first word, its input was read all the same.
        let silent = Reading {
            own_output: 0,
            saw_content: false,
            error: Some("overloaded".into()),
            ..reading.clone()
        };
        assert_eq!(cost(&silent), Some((40_000, CostSource::Estimated)));
        let nothing = Reading {
            usage: usage(0, 0),
            ..reading
        };
        let due = 100 * 1000 + 30 * 2000;
        assert_eq!(cost(&nothing), Some((due, CostSource::Estimated)));
    }

    #[test]
    fn embeddings_are_billed_by_their_input() {
        let reading = Reading {
            usage: usage(7, 0),
            total_tokens: Some(7),
            done: true,
            ..Reading::default()
        };
        assert_eq!(billed(&reading, "dear"), Some((7000, CostSource::Usage)));
        let silent = Reading {
            done: true,
            ..Reading::default()
        };
        let due = Some((100_000, CostSource::Estimated));
        assert_eq!(billed(&silent, "dear"), due);
    }

    #[test]
    fn a_model_without_a_price_costs_what_the_execwall_or_gate_charged_for_it() {
        let reading = Reading {
            usage: usage(50, 50),
            ..Reading::default()
        };
        let cost = Some((1_000_000, CostSource::Estimated));
        assert_eq!(billed(&reading, "nobody/knows"), cost);
    }

    #[test]
    fn an_error_without_any_work_is_free() {
        let reading = Reading {
            error: Some("overloaded".into()),
            ..Reading::default()
        };
        assert_eq!(billed(&reading, "dear"), None);
    }
}
