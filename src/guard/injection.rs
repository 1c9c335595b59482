//! Text that tries to take the instructions over: how much it looks like that, and why.
//!
//! Decides on a score and explains it; what is done about one is policy. What callers say is judged apart
//! from what tools and documents say: nobody is to blame for the latter, and it has no business giving
//! orders. The rules are a file (`conf/guard/injection.yaml`) that a user reads and extends. None of this
//! prevents anything: it finds what its rules know, in the disguises that it knows.

mod blame;
mod compile;
mod fence;
mod file;
mod judge;
mod read;

pub use fence::fence;
pub use judge::{Options, Verdict};

use super::known::Known;
use super::phrases::{Classes, Lexicon};
use super::structure::Structure;
use crate::settings::problem::Problems;
use regex::Regex;
use std::fmt;
use std::sync::{Arc, LazyLock};

const BUNDLED: &str = include_str!("../../conf/guard/injection.yaml");

/// The name that problems of the bundled rules are told under.
const BUNDLED_FILE: &str = "conf/guard/injection.yaml";

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let draft = file::read(BUNDLED_FILE, BUNDLED).expect("the bundled rules are tested");
    let rules = compile::compile(BUNDLED_FILE, &draft).expect("the bundled rules are tested");
    Arc::new(rules)
});

/// What a text is compared with.
pub struct Rules {
    lexicon: Lexicon,
    structure: Structure,
    patterns: Vec<Pattern>,
    seen: Vec<(file::Seen, u16)>,
    rules: Vec<Rule>,
    classes: Vec<String>,
    /// Words of these classes are what a disguise hides.
    backwards: Classes,
    rot13: Classes,
    /// Texts that came before.
    known: Known<read::Reading>,
}

/// A rule by its name, and what it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: Arc<str>,
    /// To the score of what a caller says.
    caller: i16,
    /// To the score of what a tool says.
    untrusted: i16,
}

/// A rule that is a regular expression, and the words that must be there for it to be tried.
#[derive(Debug)]
struct Pattern {
    rule: u16,
    regex: Regex,
    beside: Classes,
    reach: usize,
}

impl Rules {
    /// Those that Weir brings along.
    pub fn bundled() -> Arc<Self> {
        Arc::clone(&RULES)
    }

    /// Those of a user's file: in addition to the bundled ones, unless it says `bundled: false`. A rule
    /// of the same name takes the place of the bundled one, words are added to the bundled classes.
    ///
    /// # Errors
    /// Everything that is wrong with the file, with its places.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let own = file::read(file, text)?;
        let draft = if own.bundled {
            file::read(BUNDLED_FILE, BUNDLED)?.and(own)
        } else {
            own
        };
        compile::compile(file, &draft)
    }

    /// The words of each class in a text, as [`Self::judge`] sees them without disguises: for whoever writes
    /// rules.
    pub fn words(&self, text: &str) -> Vec<(&str, String)> {
        let folded = super::view::fold(text).text;
        let mut hits = Vec::new();
        self.lexicon.read(&folded, &mut hits);
        let named = hits.iter().filter_map(|hit| {
            let class = self.classes.get(usize::from(hit.class))?;
            Some((class.as_str(), folded[hit.start..hit.end].to_owned()))
        });
        named.collect()
    }

    /// The names of the rules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_files;
#[cfg(test)]
mod tests_of_measure;
