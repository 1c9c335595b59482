//! The output limits of OpenRouter's entries, set right by the vendors' own.
//!
//! The rule is stated in the documentation of [`super`].

use super::lookup;
use super::price::ModelPrice;
use std::collections::BTreeMap;

/// Applies the rule to every `openrouter/` entry.
pub(super) fn correct(models: &mut BTreeMap<Box<str>, ModelPrice>) {
    let corrected: Vec<(Box<str>, u64)> = models
        .iter()
        .filter(|(_, price)| price.provider == "openrouter")
        .filter_map(|(name, price)| {
            let model = lookup::plain(name);
            let own = lookup::own_names(model);
            let theirs = || {
                models.iter().filter(|(name, entry)| {
                    own.iter().any(|c| {
                        c.providers.contains(&entry.provider.as_str())
                            && (c.name == name.as_ref() || lookup::is_dated(name, &c.name))
                    })
                })
            };
            let stated = theirs().filter_map(|(_, entry)| entry.max_output).max()?;
            let limit = price.max_output?;
            let is_window = price.max_input == Some(limit)
                || theirs().any(|(_, entry)| entry.max_input == Some(limit));
            let right = if is_window { stated } else { limit.max(stated) };
            (right != limit).then(|| (name.clone(), right))
        })
        .collect();
    for (name, limit) in corrected {
        if let Some(price) = models.get_mut(&name) {
            price.max_output = Some(limit);
        }
    }
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
        correct(&mut models);
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
}
