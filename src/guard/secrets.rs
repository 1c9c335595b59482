//! Keys, tokens and passwords: rules by keyword, by name of an assignment, and by what stands near.
//!
//! Decides where a secret begins and ends. A rule's pattern is only tried where one of its words is; which
//! of several findings in one place counts is decided by [`super::detect`].

pub(super) mod allow;
mod assigned;
pub(super) mod entropy;
mod near;

use self::allow::Allow;
use self::entropy::Bits;
use super::detect::{About, Pattern};
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) use near::{LONG, Near};

/// How far before a run a pattern may look, and what follows it, in bytes.
const BESIDE: usize = 4;

/// One rule for secrets, or a user's for other data.
pub(super) struct Rule {
    pub(super) about: Arc<About>,
    pub(super) form: Form,
    /// The least entropy.
    pub(super) entropy: Option<Bits>,
    /// A match takes in the letters, digits, `-` and `_` behind it.
    pub(super) to_end: bool,
    /// What looks like an example counts, too.
    pub(super) examples: bool,
    /// It only counts where no other rule finds something.
    pub(super) generic: bool,
    pub(super) allow: Option<Allow>,
}

/// How a rule finds something.
pub(super) enum Form {
    /// A pattern in a run of token characters that has one of the keywords.
    Token {
        keywords: Vec<String>,
        pattern: Pattern,
    },
    /// A value that is assigned to a name.
    Assigned {
        names: Vec<String>,
        /// The name must be written as `name`, `Name` or `NAME`.
        cased: bool,
        /// The value, from its start, with what ends it.
        value: Pattern,
    },
    /// A pattern near a word.
    Near(Near),
}

/// Something that a rule found: the rule by its number, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) rule: usize,
    pub(super) span: Range<usize>,
}

/// The rules, ready to search.
pub(super) struct Secrets {
    rules: Vec<Rule>,
    /// What no rule counts as a secret.
    never: Allow,
    keywords: Index,
    /// How keywords are written, by their first byte in lower case: the word, and whether in any case.
    spelled: HashMap<u8, Vec<(String, bool)>>,
    names: Index,
    /// The longest name, in bytes.
    longest_name: usize,
}

/// Words, and the rules that ask for each.
struct Index {
    finder: Option<AhoCorasick>,
    rules: Vec<Vec<usize>>,
}

impl Index {
    fn new<'a>(words: impl Iterator<Item = (&'a str, usize)>) -> Self {
        let mut distinct: Vec<String> = Vec::new();
        let mut rules: Vec<Vec<usize>> = Vec::new();
        for (word, rule) in words {
            let word = word.to_ascii_lowercase();
            match distinct.iter().position(|known| *known == word) {
                Some(at) => rules[at].push(rule),
                None => {
                    distinct.push(word);
                    rules.push(vec![rule]);
                }
            }
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&distinct);
        Self {
            finder: finder.ok().filter(|_| !distinct.is_empty()),
            rules,
        }
    }

    /// Tells `each` of every word in `text`, and its rules.
    fn each(&self, text: &[u8], mut each: impl FnMut(Range<usize>, &[usize])) {
        let Some(finder) = &self.finder else {
            return;
        };
        for found in finder.find_overlapping_iter(text) {
            if let Some(rules) = self.rules.get(found.pattern().as_usize()) {
                each(found.range(), rules);
            }
        }
    }
}

impl Secrets {
    pub(super) fn new(rules: Vec<Rule>, never: Allow) -> Self {
        let words = |pick: fn(&Form) -> &[String]| {
            let numbered = rules.iter().enumerate();
            numbered.flat_map(move |(number, rule)| {
                let words = pick(&rule.form).iter();
                words.map(move |word| (word.as_str(), number))
            })
        };
        let keywords = Index::new(words(|form| match form {
            Form::Token { keywords, .. } => keywords,
            Form::Assigned { .. } | Form::Near(_) => &[],
        }));
        let named = words(|form| match form {
            Form::Assigned { names, .. } => names,
            Form::Token { .. } | Form::Near(_) => &[],
        });
        let longest_name = named.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
        let names = Index::new(named);
        let mut spelled: HashMap<u8, Vec<(String, bool)>> = HashMap::new();
        for rule in &rules {
            let Form::Token { keywords, pattern } = &rule.form else {
                continue;
            };
            for keyword in keywords {
                let word = pattern.spelling(keyword);
                let first = keyword.as_bytes().first().map(u8::to_ascii_lowercase);
                if let Some(first) = first {
                    let words = spelled.entry(first).or_default();
                    words.push((word.unwrap_or(keyword).to_owned(), word.is_none()));
                }
            }
        }
        Self {
            keywords,
            spelled,
            names,
            longest_name,
            never,
            rules,
        }
    }

    pub(super) fn rule(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number)
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    #[cfg(test)]
    pub(super) fn never(&self) -> &Allow {
        &self.never
    }

    /// Whether a keyword begins in a run, at a place where a word begins.
    pub(super) fn may_begin(&self, run: &[u8]) -> bool {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (0..run.len()).any(|at| {
            if at > 0 && is_word(run[at - 1]) {
                return false;
            }
            let part = &run[at..];
            let words = self.spelled.get(&part[0].to_ascii_lowercase());
            words.into_iter().flatten().any(|(word, any_case)| {
                let word = word.as_bytes();
                let shared = part.len().min(word.len());
                let (part, word) = (&part[..shared], &word[..shared]);
                part == word || *any_case && part.eq_ignore_ascii_case(word)
            })
        })
    }

    /// Searches a run of token characters.
    pub(super) fn in_run(&self, text: &[u8], run: &Range<usize>, out: &mut Vec<Hit>) {
        self.tokens(text, run, out);
        self.assigned(text, run, out);
    }

    fn tokens(&self, text: &[u8], run: &Range<usize>, out: &mut Vec<Hit>) {
        // For each rule where to look, in order; what overlaps is one.
        let mut regions: Vec<(usize, Range<usize>)> = Vec::new();
        let mut last: Vec<usize> = Vec::new();
        self.keywords.each(&text[run.clone()], |found, rules| {
            if last.is_empty() {
                last.resize(self.rules.len(), usize::MAX);
            }
            for &number in rules {
                let Some(longest) = self.token(number).map(|pattern| pattern.longest) else {
                    continue;
                };
                // A pattern may ask for what stands before a run, such as a quotation mark.
                let from = (run.start + found.start)
                    .saturating_sub(longest)
                    .max(run.start.saturating_sub(1));
                let to = (run.start + found.end).saturating_add(longest).min(run.end);
                match last.get(number).and_then(|&at| regions.get_mut(at)) {
                    Some((_, region)) if region.end >= from => region.end = region.end.max(to),
                    _ => {
                        last[number] = regions.len();
                        regions.push((number, from..to));
                    }
                }
            }
        });
        for (number, region) in regions {
            let limit = (region.end + BESIDE).min(text.len());
            let Some(pattern) = self.token(number) else {
                continue;
            };
            let mut at = region.start;
            while at < region.end
                && let Some(found) = pattern.regex.find_at(&text[..limit], at)
                && found.start() < region.end
            {
                // What a match took in behind it is not searched for another.
                let end = self.take(text, number, &pattern.regex, found.range(), limit, out);
                at = end.max(at + 1);
            }
        }
    }

    fn token(&self, number: usize) -> Option<&super::detect::Compiled> {
        match &self.rules.get(number)?.form {
            Form::Token { pattern, .. } => pattern.get(),
            Form::Assigned { .. } | Form::Near(_) => None,
        }
    }

    /// Takes a match in, if it is a secret by all that its rule says. Where it ends.
    fn take(
        &self,
        text: &[u8],
        number: usize,
        regex: &regex::bytes::Regex,
        whole: Range<usize>,
        limit: usize,
        out: &mut Vec<Hit>,
    ) -> usize {
        let mut span = whole.clone();
        if regex.captures_len() > 1
            && let Some(groups) = regex.captures_at(&text[..limit], whole.start)
            && let Some(group) = groups
                .iter()
                .skip(1)
                .flatten()
                .find(|group| !group.is_empty())
        {
            span = group.range();
        }
        self.judge(text, number, whole, span, out)
    }

    /// Takes in what stands at `span`, if it is a secret by all that its rule says. Where the match ends.
    fn judge(
        &self,
        text: &[u8],
        number: usize,
        whole: Range<usize>,
        mut span: Range<usize>,
        out: &mut Vec<Hit>,
    ) -> usize {
        let end = whole.end;
        let Some(rule) = self.rules.get(number) else {
            return end;
        };
        let value = &text[span.clone()];
        if rule.entropy.is_some_and(|least| Bits::of(value) < least)
            || rule
                .allow
                .as_ref()
                .is_some_and(|allow| allow.passes(value, &text[whole]))
            || (!rule.examples && self.never.passes(value, value))
        {
            return end;
        }
        if rule.to_end {
            let more = text[span.end..].iter();
            span.end += more
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                .count();
        }
        let end = end.max(span.end);
        out.push(Hit { rule: number, span });
        end
    }
}
