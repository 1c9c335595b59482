//! The search for secrets, personal data and words of a system prompt in a text.
//!
//! Decides which findings count where several overlap. The rules are files (`conf/guard`), to which a user
//! adds; what each kind of rule looks for is decided by `secrets`, `pii` and
//! `leak`. Ordinary text is passed over fast: only runs of token characters, places with many
//! digits, `@` and a few words are looked at closely.

mod load;
mod pattern;
mod phrases;
mod scan;
mod spacing;
mod tail;
#[cfg(test)]
mod tests;

pub(super) use pattern::{Compiled, Pattern};
pub(super) use phrases::Phrases;
pub(super) use scan::is_token;
pub(super) use spacing::Spacing;

pub use load::Extra;
pub(super) use tail::Seen;
pub use tail::Watched;

use super::finding::{Action, Control, Finding, Severity};
use super::known::{Known, Name, Weight};
use super::leak::Indicator;
use super::pii::Pii;
use super::secrets::{Form, Hit, Secrets};
use crate::settings::problem::Problems;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What a rule is called, and what becomes of its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What is looked for.
    pub control: Control,
    /// The rule, by its name in the files.
    pub rule: Arc<str>,
    /// What stands between `[REDACTED_` and the number.
    pub label: Arc<str>,
    /// How bad a finding is.
    pub severity: Severity,
    /// How somebody can be reached: told of, and not replaced, unless that is asked for.
    pub contact: bool,
}

impl About {
    /// A rule with the label that its name gives.
    pub fn new(control: Control, rule: &str, severity: Severity) -> Self {
        let prefix = match control {
            Control::Secret => "API_KEY_",
            Control::Leak => "PROMPT_",
            Control::Pii | Control::Canary | Control::Injection => "",
        };
        let name = rule.chars().map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
            _ => '_',
        });
        Self {
            control,
            rule: rule.into(),
            label: prefix.chars().chain(name).collect::<String>().into(),
            severity,
            contact: false,
        }
    }

    /// A finding of this rule.
    pub fn finding(&self, action: Action, count: u32) -> Finding {
        Finding {
            control: self.control,
            rule: Arc::clone(&self.rule),
            severity: self.severity,
            action,
            count,
        }
    }
}

/// What was found, and where; never the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub about: Arc<About>,
    /// Where it is in the text, in bytes.
    pub span: Range<usize>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Keys, tokens, passwords.
    pub secrets: bool,
    /// Personal data.
    pub pii: bool,
    /// Words of a system prompt.
    pub leak: bool,
}

impl Wanted {
    /// Everything there are rules for.
    pub const ALL: Self = Self {
        secrets: true,
        pii: true,
        leak: true,
    };
    /// Keys, tokens, passwords.
    pub const SECRETS: Self = Self {
        secrets: true,
        pii: false,
        leak: false,
    };
    /// Personal data.
    pub const PII: Self = Self {
        secrets: false,
        pii: true,
        leak: false,
    };

    /// Whether nothing is looked for.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    fn bits(self) -> u8 {
        u8::from(self.secrets) | u8::from(self.pii) << 1 | u8::from(self.leak) << 2
    }
}

impl Weight for Vec<Found> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// All rules, ready to search.
pub struct Rules {
    secrets: Secrets,
    pii: Pii,
    leak: Vec<Indicator>,
    /// The words of rules that look near a word, then the indicators of a leak.
    phrases: Phrases,
    /// For which rule each of those words is.
    near: Vec<usize>,
    /// Texts that came before.
    known: Known<Vec<Found>>,
}

/// A finding before it is known whether it counts.
struct Candidate {
    /// Smaller is more specific.
    rank: u32,
    /// The place of the rule among its like.
    order: usize,
    about: Arc<About>,
    span: Range<usize>,
}

impl Rules {
    /// The rules that Weir brings.
    pub fn bundled() -> Arc<Self> {
        static BUNDLED: OnceLock<Arc<Rules>> = OnceLock::new();
        Arc::clone(BUNDLED.get_or_init(|| {
            let rules = load::load(&[]);
            Arc::new(rules.expect("the files that come with Weir are right, a test reads them"))
        }))
    }

    /// The same with what a user's files add and switch off.
    ///
    /// # Errors
    /// All problems of the files, with their places.
    pub fn parse(extra: &[Extra<'_>]) -> Result<Self, Problems> {
        load::load(extra)
    }

    fn new(secrets: Secrets, pii: Pii, leak: Vec<Indicator>) -> Self {
        let mut words: Vec<&str> = Vec::new();
        let mut near = Vec::new();
        for (number, rule) in secrets.rules().iter().enumerate() {
            if let Form::Near(form) = &rule.form {
                words.extend(form.words.iter().map(String::as_str));
                near.resize(words.len(), number);
            }
        }
        words.extend(leak.iter().map(|indicator| indicator.phrase.as_str()));
        Self {
            phrases: Phrases::new(&words),
            near,
            secrets,
            pii,
            leak,
            known: Known::default(),
        }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.secrets.rules().len() + self.pii.len() + self.leak.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in `text`, from its start to its end; no two findings overlap.
    pub fn find(&self, text: &str, wanted: Wanted) -> Vec<Found> {
        let text = spacing::spaced(text);
        self.find_in(&text, 0..text.len(), wanted, &mut Vec::new())
    }

    /// What is in a text, which may be known by its name from before.
    pub(super) fn find_again<'t>(
        &self,
        name: Name,
        text: impl FnOnce() -> &'t str,
        wanted: Wanted,
    ) -> Arc<Vec<Found>> {
        self.known
            .get(name.about(wanted.bits()), || self.find(text(), wanted))
    }

    /// What is in `range` of `text`; what stands before it is looked at where a rule asks for it, and a
    /// finding may begin there. `seen` has the words before it that rules look near, and gets those in it.
    pub(super) fn find_in(
        &self,
        text: &str,
        range: Range<usize>,
        wanted: Wanted,
        seen: &mut Vec<Seen>,
    ) -> Vec<Found> {
        let mut candidates = Vec::new();
        let bytes = text.as_bytes();
        if wanted.secrets || wanted.pii {
            self.in_places(bytes, range.clone(), wanted, &mut candidates);
        }
        if wanted.secrets || wanted.leak {
            self.at_phrases(bytes, range.clone(), wanted, seen, &mut candidates);
        }
        if wanted.pii {
            self.pii.addresses(bytes, range, |about, span| {
                candidates.push(Candidate {
                    rank: 4,
                    order: 0,
                    about: Arc::clone(about),
                    span,
                });
            });
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        decide(text, candidates)
    }

    fn in_places(
        &self,
        text: &[u8],
        range: Range<usize>,
        wanted: Wanted,
        out: &mut Vec<Candidate>,
    ) {
        let mut hits = Vec::new();
        scan::places(text, range, |place| match place {
            scan::Place::Run(run) if wanted.secrets => self.secrets.in_run(text, &run, &mut hits),
            scan::Place::Digits(digits) if wanted.pii => {
                self.pii.numbers(text, digits, |rank, about, span| {
                    out.push(Candidate {
                        rank: 2 + rank,
                        order: 0,
                        about: Arc::clone(about),
                        span,
                    });
                })
            }
            scan::Place::Run(_) | scan::Place::Digits(_) => {}
        });
        self.take(hits, out);
    }

    fn take(&self, hits: Vec<Hit>, out: &mut Vec<Candidate>) {
        for Hit { rule: number, span } in hits {
            if let Some(rule) = self.secrets.rule(number) {
                out.push(Candidate {
                    rank: u32::from(rule.generic) * 10,
                    order: number,
                    about: Arc::clone(&rule.about),
                    span,
                });
            }
        }
    }

    fn at_phrases(
        &self,
        text: &[u8],
        range: Range<usize>,
        wanted: Wanted,
        seen: &mut Vec<Seen>,
        out: &mut Vec<Candidate>,
    ) {
        let from = range.start.saturating_sub(self.phrases.longest());
        // None is found twice here: only those from before can be the same.
        let before = seen.len();
        self.phrases.find(text, from..range.end, |number, at| {
            match self.near.get(number) {
                Some(&rule) => {
                    if wanted.secrets && !seen[..before].contains(&(rule, at)) {
                        seen.push((rule, at));
                    }
                }
                None => {
                    if let Some(indicator) = self
                        .leak
                        .get(number - self.near.len())
                        .filter(|_| wanted.leak)
                    {
                        out.push(Candidate {
                            rank: 20,
                            order: 0,
                            about: Arc::clone(&indicator.about),
                            span: at..at + indicator.phrase.len(),
                        });
                    }
                }
            }
        });
        if seen.is_empty() || !wanted.secrets {
            return;
        }
        seen.sort_unstable();
        let mut hits = Vec::new();
        for same in seen.chunk_by(|one, other| one.0 == other.0) {
            let places: Vec<usize> = same.iter().map(|(_, at)| *at).collect();
            self.secrets.near(text, same[0].0, &places, &mut hits);
        }
        self.take(hits, out);
    }
}

/// Leaves of findings that overlap the most specific one, then the longest, then that of the first rule.
fn decide(text: &str, mut candidates: Vec<Candidate>) -> Vec<Found> {
    candidates.sort_by_key(|one| {
        (
            one.rank,
            usize::MAX - one.span.len(),
            one.order,
            one.span.start,
        )
    });
    let mut taken: std::collections::BTreeMap<usize, (usize, Arc<About>)> =
        std::collections::BTreeMap::new();
    for Candidate { about, span, .. } in candidates {
        // Patterns are about bytes: a character is taken as a whole.
        let start = (0..=span.start)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let end = (span.end..text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len());
        let before = taken.range(..end).next_back();
        if start < end && before.is_none_or(|(_, (other, _))| *other <= start) {
            taken.insert(start, (end, about));
        }
    }
    taken
        .into_iter()
        .map(|(start, (end, about))| Found {
            about,
            span: start..end,
        })
        .collect()
}
