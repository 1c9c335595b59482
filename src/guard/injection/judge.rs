//! A request's texts and what is to be said about them.

use super::Rules;
use super::read::Reading;
use crate::guard::phrases::Hit;
use crate::guard::score::{Fired, Reason, Score, heaviest};
use crate::guard::{Passage, Source};
use std::sync::Arc;

/// Whose texts are judged, and from which score on they count as attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The score from which what a caller says counts, in hundredths.
    pub from: u16,
    /// The score from which what a tool says counts, in hundredths.
    pub untrusted_from: u16,
    /// Whether what callers say is judged.
    pub callers: bool,
    /// Whether what tools and documents say is judged.
    pub untrusted: bool,
    /// Whether the operator's own texts are judged with the caller's.
    pub system: bool,
    /// Whether what a model said before is judged with the caller's: callers may make it up.
    pub assistant: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            from: 50,
            untrusted_from: 50,
            callers: true,
            untrusted: true,
            system: false,
            assistant: false,
        }
    }
}

/// What is said about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The worst of what the caller says, in one text or in several together.
    pub caller: Score,
    /// Whether that counts as an attack.
    pub attack: bool,
    /// The newest texts that make it one, by their numbers among the passages.
    pub blamed: Vec<usize>,
    /// The worst of what a tool says.
    pub untrusted: Score,
    /// Which texts of tools count as attacks, by their numbers among the passages.
    pub tainted: Vec<usize>,
    /// Every text with a score above nothing, by its number among the passages.
    pub scores: Vec<(usize, Score)>,
}

/// Between texts that are read together, in bytes.
const BETWEEN: usize = 2;

/// A text of a caller's, by its number among the passages, and what was found in it.
pub(super) type Said = (usize, Arc<Reading>);

/// How many texts in a row are read as one.
pub(super) const NEIGHBOURS: usize = 6;

impl Rules {
    /// Judges the texts of a request.
    pub fn judge(&self, passages: &[Passage<'_>], options: &Options) -> Verdict {
        let mut verdict = Verdict::default();
        let mut said: Vec<Said> = Vec::new();
        for (index, passage) in passages.iter().enumerate() {
            let asked = match passage.source {
                Source::User => options.callers,
                Source::System => options.callers && options.system,
                Source::Assistant => options.callers && options.assistant,
                Source::Tool => options.untrusted,
            };
            if !asked {
                continue;
            }
            let reading = self.known.get(passage.name(), || self.read(passage.text()));
            let trusted = passage.source != Source::Tool;
            let score = self.score(&mut reading.fired.clone(), trusted);
            if trusted {
                raise(&mut verdict.caller, &score);
                said.push((index, reading));
            } else {
                if score.total >= options.untrusted_from.max(1) {
                    verdict.tainted.push(index);
                }
                raise(&mut verdict.untrusted, &score);
            }
            if score.total > 0 {
                verdict.scores.push((index, score));
            }
        }
        if said.len() > 1 {
            raise(&mut verdict.caller, &self.together(&said));
        }
        let from = options.from.max(1);
        verdict.attack = options.callers && verdict.caller.total >= from;
        if verdict.attack {
            verdict.blamed = self.blamed(&said, &verdict.scores, from);
        }
        verdict
    }

    /// The score of one text by itself, as a caller or a tool would say it.
    pub fn judge_text(&self, text: &str, source: Source) -> Score {
        let mut reading = self.read(text);
        self.score(&mut reading.fired, source != Source::Tool)
    }

    fn score(&self, fired: &mut [Fired], trusted: bool) -> Score {
        let points = |rule: u16| {
            let rule = self.rules.get(usize::from(rule));
            rule.map_or(0, |rule| if trusted { rule.caller } else { rule.untrusted })
        };
        let reasons = heaviest(fired, points).into_iter().filter_map(|number| {
            let rule = self.rules.get(usize::from(number))?;
            Some(Reason {
                rule: rule.name.clone(),
                points: points(number),
            })
        });
        Score::of(reasons.collect())
    }

    /// What a caller says in several texts, read as one: an attack may be cut into pieces.
    pub(super) fn together(&self, said: &[Said]) -> Score {
        let mut hits = Vec::new();
        let mut fired = Vec::new();
        let mut offset = 0;
        let mut starts = Vec::with_capacity(said.len());
        for (index, (_, reading)) in said.iter().enumerate() {
            starts.push(offset);
            for hit in &reading.hits {
                let mut hit = *hit;
                hit.start += offset;
                hit.end += offset;
                hits.push(hit);
            }
            fired.extend(reading.fired.iter().map(|one| Fired {
                at: one.at + offset,
                rule: one.rule,
            }));
            offset += reading.length + BETWEEN;
            if let Some((_, next)) = said.get(index + 1) {
                self.seam(&reading.tail, &next.head, offset, &mut hits);
            }
        }
        hits.sort_unstable_by_key(|hit| (hit.start, hit.end, hit.class));
        self.structure.meet("", &hits, 0, &mut fired);
        fired.sort_unstable();
        let place = |at: usize| fired.partition_point(|one| one.at < at);
        let mut worst = Score::default();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + NEIGHBOURS).copied().unwrap_or(offset);
            let mut near = fired[place(*start)..place(end)].to_vec();
            raise(&mut worst, &self.score(&mut near, true));
            if end == offset {
                break;
            }
        }
        worst
    }

    /// Words that begin at the end of one text and end at the beginning of the next.
    fn seam(&self, tail: &str, head: &str, offset: usize, hits: &mut Vec<Hit>) {
        for between in ["", " "] {
            let seam = format!("{tail}{between}{head}");
            let mut found = Vec::new();
            self.lexicon.read(&seam, &mut found);
            let across = found
                .into_iter()
                .filter(|hit| hit.start < tail.len() && hit.end > tail.len() + between.len());
            hits.extend(across.map(|mut hit| {
                hit.start = (offset + hit.start).saturating_sub(tail.len());
                hit.end = (offset + hit.end).saturating_sub(tail.len());
                hit
            }));
        }
    }
}

fn raise(worst: &mut Score, score: &Score) {
    if score.total > worst.total {
        worst.clone_from(score);
    }
}
