//! What OpenRouter's entries leave out or get wrong, from the vendors' own entries of the same models.
//!
//! The rules are stated in the documentation of [`super`].

use super::lookup;
use super::price::ModelPrice;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Applies both rules to every `openrouter/` entry.
pub(super) fn complete(models: &mut BTreeMap<Box<str>, ModelPrice>) {
    let changed: Vec<ModelPrice> = models
        .values()
        .filter(|price| price.provider == "openrouter")
        .filter_map(|price| {
            let mut better = price.clone();
            better.max_output = output_limit(price, models);
            if let Some(own) = same_price(price, models) {
                if better.long.is_empty() {
                    better.long.clone_from(&own.long);
                }
                better.priority = better.priority.or_else(|| own.priority.clone());
                better.flex = better.flex.or_else(|| own.flex.clone());
            }
            (better != *price).then_some(better)
        })
        .collect();
    for price in changed {
        models.insert(Box::from(price.name.as_str()), price);
    }
}

fn output_limit(price: &ModelPrice, models: &BTreeMap<Box<str>, ModelPrice>) -> Option<u64> {
    let own = lookup::own_names(lookup::plain(&price.name));
    // A date comes right behind the name, so everything wanted begins with it.
    let theirs = || {
        own.iter().flat_map(|c| {
            models
                .range::<str, _>((Bound::Included(c.name.as_ref()), Bound::Unbounded))
                .take_while(|(name, _)| name.starts_with(c.name.as_ref()))
                .filter(|(name, entry)| {
                    c.providers.contains(&entry.provider.as_str())
                        && (c.name == name.as_ref() || lookup::is_dated(name, &c.name))
                })
                .map(|(_, entry)| entry)
        })
    };
    let limit = price.max_output?;
    let Some(stated) = theirs().filter_map(|entry| entry.max_output).max() else {
        return Some(limit);
    };
    let is_window =
        price.max_input == Some(limit) || theirs().any(|entry| entry.max_input == Some(limit));
    Some(if is_window { stated } else { limit.max(stated) })
}

/// The vendor's own entry of exactly this model, if its base rates are the same.
fn same_price<'m>(
    price: &ModelPrice,
    models: &'m BTreeMap<Box<str>, ModelPrice>,
) -> Option<&'m ModelPrice> {
    let own = lookup::own_names(lookup::plain(&price.name));
    own.iter().find_map(|c| {
        models.get(c.name.as_ref()).filter(|entry| {
            c.providers.contains(&entry.provider.as_str())
                && entry.rates.input == price.rates.input
                && entry.rates.output == price.rates.output
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        name: &str,
        provider: &str,
        window: Option<u64>,
        output: u64,
    ) -> (Box<str>, ModelPrice) {
        let price = ModelPrice {
            name: name.to_owned(),
            provider: provider.to_owned(),
            max_input: window,
            max_output: Some(output),
            ..ModelPrice::default()
        };
        (Box::from(name), price)
    }

    fn corrected(entries: impl IntoIterator<Item = (Box<str>, ModelPrice)>) -> Option<u64> {
        let mut models: BTreeMap<_, _> = entries.into_iter().collect();
        complete(&mut models);
        models
            .values()
            .find(|price| price.provider == "openrouter")?
            .max_output
    }

    #[test]
    fn a_context_window_is_no_output_limit() {
        let theirs = || entry("claude-3-haiku-20240307", "anthropic", Some(200_000), 4_096);
        let ours = entry(
            "openrouter/anthropic/claude-3-haiku",
            "openrouter",
            None,
            200_000,
        );
        assert_eq!(corrected([ours, theirs()]), Some(4_096));
    }

    #[test]
    fn of_two_limits_the_larger_holds() {
        let ours = || {
            entry(
                "openrouter/openai/gpt-4o",
                "openrouter",
                Some(128_000),
                4_096,
            )
        };
        assert_eq!(
            corrected([ours(), entry("gpt-4o", "openai", None, 16_384)]),
            Some(16_384)
        );
        assert_eq!(
            corrected([ours(), entry("gpt-4o", "openai", None, 100)]),
            Some(4_096)
        );
    }

    #[test]
    fn another_model_or_another_seller_says_nothing() {
        let ours = || {
            entry(
                "openrouter/openai/gpt-4o",
                "openrouter",
                Some(128_000),
                4_096,
            )
        };
        assert_eq!(
            corrected([ours(), entry("gpt-4o", "azure", None, 9_999)]),
            Some(4_096)
        );
        assert_eq!(
            corrected([ours(), entry("gpt-4o-mini", "openai", None, 9_999)]),
            Some(4_096)
        );
        assert_eq!(corrected([ours()]), Some(4_096));
    }

    #[test]
    fn sets_that_openrouters_entry_lacks_are_the_vendors_if_the_price_is() {
        let catalog = crate::catalog::Catalog::bundled();
        let gemini = catalog.find("google/gemini-2.5-pro").unwrap();
        assert_eq!(gemini.name, "openrouter/google/gemini-2.5-pro");
        let (above, long) = gemini.long[0];
        assert_eq!(
            (above, long.input.0, long.output.0),
            (200_000, 2_500_000, 15_000_000)
        );
        assert!(catalog.find("openai/gpt-5").unwrap().priority.is_some());
        // OpenRouter's price for this one is another than the vendor's.
        assert!(
            catalog
                .find("openai/gpt-3.5-turbo")
                .unwrap()
                .priority
                .is_none()
        );
    }
}
