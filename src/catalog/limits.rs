//! The output limits of OpenRouter's entries, set right by the vendors' own.
//!
//! The rule is stated in the documentation of [`super`].

use super::lookup;
use super::price::ModelPrice;
use std::collections::HashMap;

/// Applies the rule to every `openrouter/` entry.
pub(super) fn correct(models: &mut HashMap<Box<str>, ModelPrice>) {
    // The vendors' own entries by name and by name without a date.
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
