//! What stands in the place of what was found.
//!
//! Decides the text of a placeholder and its number: `[REDACTED_SSN_1]`, the same number for the same value
//! within an answer. Values are known by a keyed hash only, with a key of this redactor's own.

use super::detect::About;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// How every placeholder begins.
pub const OPENING: &str = "[REDACTED_";

/// The placeholders of one answer, or of one request.
#[derive(Default)]
pub struct Redactor {
    key: RandomState,
    /// For each label the hashes of its values, and their numbers.
    numbers: HashMap<Arc<str>, HashMap<u64, u32>>,
}

impl Redactor {
    /// What stands for `value`, and whether this value was new.
    pub fn placeholder(&mut self, about: &About, value: &str) -> (String, bool) {
        let hash = self.key.hash_one(value);
        let numbers = self.numbers.entry(Arc::clone(&about.label)).or_default();
        let next = u32::try_from(numbers.len()).map_or(u32::MAX, |count| count.saturating_add(1));
        let number = *numbers.entry(hash).or_insert(next);
        (
            format!("{OPENING}{}_{number}]", about.label),
            number == next,
        )
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Redactor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::finding::{Control, Severity};

    fn about(control: Control, name: &str) -> About {
        About::new(control, name, Severity::High)
    }

    #[test]
    fn the_same_value_has_the_same_number() {
        let mut redactor = Redactor::default();
        let key = about(Control::Secret, "anthropic_key");
        let ssn = about(Control::Pii, "ssn");
        let mut text = |about, value| redactor.placeholder(about, value);
        assert_eq!(
            text(&key, "a"),
            ("[REDACTED_API_KEY_ANTHROPIC_KEY_1]".into(), true)
        );
        assert_eq!(
            text(&key, "b"),
            ("[REDACTED_API_KEY_ANTHROPIC_KEY_2]".into(), true)
        );
        assert_eq!(
            text(&key, "a"),
            ("[REDACTED_API_KEY_ANTHROPIC_KEY_1]".into(), false)
        );
        assert_eq!(text(&ssn, "a"), ("[REDACTED_SSN_1]".into(), true));
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
