//! The patterns of rules: regular expressions over bytes, compiled when they are needed first.
//!
//! Decides which patterns a user may write: those whose matches have a bounded length, so that a stream
//! need not wait for ever, and whose automaton is small. All of them take linear time.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use std::sync::OnceLock;

/// The longest match that a user's pattern may have, in bytes.
pub(in crate::guard) const LONGEST: usize = 4096;

/// The largest automaton of a user's pattern, in bytes.
const LARGEST: usize = 1 << 18;

/// A pattern that is compiled at its first use.
pub(in crate::guard) struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Compiled>>,
}

/// A pattern that is ready.
pub(in crate::guard) struct Compiled {
    /// Finds it.
    pub regex: Regex,
    /// The length of its longest match, in bytes.
    pub longest: usize,
}

impl Pattern {
    /// A pattern that is known to be right.
    pub(in crate::guard) fn trusted(source: impl Into<Box<str>>) -> Self {
        Self {
            source: source.into(),
            compiled: OnceLock::new(),
        }
    }

    /// A pattern that a user wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::guard) fn checked(source: &str) -> Result<Self, String> {
        let hir = parser().parse(source).map_err(|error| said(&error))?;
        let properties = hir.properties();
        match properties.maximum_len() {
            None => {
                return Err(
                    "has a repetition without an end; write {0,50} for *, {1,50} for +".into(),
                );
            }
            Some(longest) if longest > LONGEST => {
                return Err(format!("may match {longest} bytes; {LONGEST} is the most"));
            }
            Some(0) => return Err("matches nothing but the empty text".into()),
            Some(_) => {}
        }
        if properties.minimum_len() == Some(0) {
            return Err("matches the empty text".into());
        }
        let pattern = Self::trusted(source);
        match compile(source, LARGEST) {
            Ok(compiled) => {
                let _ = pattern.compiled.set(Some(compiled));
                Ok(pattern)
            }
            Err(_) => Err("is too large; use shorter repetitions".into()),
        }
    }

    /// How the pattern spells a word that is in it; `None` when it takes any case, or does not say.
    pub(in crate::guard) fn spelling(&self, word: &str) -> Option<&str> {
        if self.source.starts_with("(?i)") {
            return None;
        }
        let at = self
            .source
            .to_ascii_lowercase()
            .find(&word.to_ascii_lowercase())?;
        self.source.get(at..at + word.len())
    }

    /// The pattern, ready. `None` only for one that is wrong.
    pub(in crate::guard) fn get(&self) -> Option<&Compiled> {
        let compiled = self
            .compiled
            .get_or_init(|| compile(&self.source, LARGEST * 32).ok());
        compiled.as_ref()
    }
}

fn parser() -> regex_syntax::Parser {
    ParserBuilder::new().unicode(false).utf8(false).build()
}

/// The reason in one line, without a drawing of the place.
fn said(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => "is no regular expression".into(),
    }
}

fn compile(source: &str, largest: usize) -> Result<Compiled, regex::Error> {
    let regex = RegexBuilder::new(source)
        .unicode(false)
        .size_limit(largest)
        .build()?;
    let longest = parser()
        .parse(source)
        .ok()
        .and_then(|hir| hir.properties().maximum_len());
    Ok(Compiled {
        regex,
        longest: longest.unwrap_or(LONGEST),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_may_not_write_is_said() {
        let complaint = |source| Pattern::checked(source).err();
        assert_eq!(complaint(r"\bkey-[a-z]{4,40}"), None);
        for (source, words) in [
            ("a+", "without an end"),
            ("a{1,5000}", "may match 5000 bytes"),
            ("a{0,5}", "matches the empty text"),
            ("(a", "unclosed group"),
            ("[a-z", "unclosed"),
            (r"(?:[a-z0-9]{900}\d{900}){2}", "too large"),
            ("^", "nothing but"),
        ] {
            let said = complaint(source).unwrap_or_default();
            assert!(said.contains(words), "{source}: {said}");
        }
    }
}
