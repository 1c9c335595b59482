//! What looks like a secret and is none: examples, names of variables, words.

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use std::sync::OnceLock;

/// What a rule lets pass.
#[derive(Default)]
pub(in crate::guard) struct Allow {
    values: Either,
    matches: Either,
    words: Vec<String>,
    finder: OnceLock<Option<AhoCorasick>>,
}

/// Patterns, any of which will do, as one.
#[derive(Default)]
struct Either {
    source: Option<String>,
    compiled: OnceLock<Option<Regex>>,
}

impl Either {
    fn new(patterns: &[String]) -> Self {
        let source = (!patterns.is_empty()).then(|| format!("(?:{})", patterns.join(")|(?:")));
        Self {
            source,
            compiled: OnceLock::new(),
        }
    }

    fn is_match(&self, text: &[u8]) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let compiled = self.compiled.get_or_init(|| compile(source).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source)
        .unicode(false)
        .size_limit(4 << 20)
        .build()
}

impl Allow {
    /// Lets pass what these say.
    pub(in crate::guard) fn new(values: &[String], matches: &[String], words: Vec<String>) -> Self {
        Self {
            values: Either::new(values),
            matches: Either::new(matches),
            words,
            finder: OnceLock::new(),
        }
    }

    /// Whether a pattern for it can be read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::guard) fn check(pattern: &str) -> Result<(), String> {
        match compile(pattern) {
            Ok(_) => Ok(()),
            Err(regex::Error::CompiledTooBig(_)) => Err("is too large".into()),
            Err(_) => Err("is no regular expression".into()),
        }
    }

    /// Whether a pattern cannot be compiled.
    #[cfg(test)]
    pub(in crate::guard) fn is_broken(&self) -> bool {
        let sources = [&self.values.source, &self.matches.source];
        sources
            .into_iter()
            .flatten()
            .any(|source| compile(source).is_err())
    }

    /// Whether this one passes.
    pub(in crate::guard) fn passes(&self, value: &[u8], whole: &[u8]) -> bool {
        self.values.is_match(value) || self.matches.is_match(whole) || self.has_word(value)
    }

    fn has_word(&self, value: &[u8]) -> bool {
        if self.words.is_empty() {
            return false;
        }
        let finder = self.finder.get_or_init(|| {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(&self.words)
                .ok()
        });
        finder.as_ref().is_some_and(|finder| finder.is_match(value))
    }
}
