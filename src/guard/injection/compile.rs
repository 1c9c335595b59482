//! Rules by name into rules by number.

use super::file::{Draft, DraftRule, Test};
use super::{Pattern, Rule, Rules};
use crate::guard::known::Known;
use crate::guard::phrases::{Classes, Lexicon, MOST_CLASSES};
use crate::guard::structure::{Shape, Structure};
use crate::settings::problem::{Problem, Problems, did_you_mean};
use regex::{Regex, RegexBuilder};

/// The longest regular expression, in bytes.
const LONGEST: usize = 1_000;
/// The most a counted repetition may count.
const REPEATED: u32 = 200;
/// The largest compiled form, in bytes.
const LARGEST: usize = 512 * 1024;
const MOST_RULES: usize = 1_000;
const MOST_WORDS: usize = 20_000;

/// Compiles an expression of a rule, within bounds. Every expression takes time that grows with the text
/// and not faster; the bounds are on the constant.
///
/// # Errors
/// What is wrong with it.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err(format!("the pattern is longer than {LONGEST} bytes"));
    }
    for counted in pattern.split('{').skip(1) {
        let inner = counted.split('}').next().unwrap_or_default();
        let counts = inner
            .split(',')
            .filter_map(|count| count.trim().parse::<u32>().ok());
        if counts.max().is_some_and(|most| most > REPEATED) {
            return Err(format!("a repetition counts further than {REPEATED}"));
        }
    }
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .multi_line(true)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
            other => format!("not a regular expression: {other}"),
        })
}

/// Makes rules of a draft.
///
/// # Errors
/// Names of classes that there are not, and too much of anything.
pub(super) fn compile(file: &str, draft: &Draft) -> Result<Rules, Problems> {
    let mut compiler = Compiler {
        file,
        classes: draft.words.iter().map(|(name, _)| name.as_str()).collect(),
        problems: Vec::new(),
    };
    // Two more for what is found backwards and rotated.
    let words = draft
        .words
        .iter()
        .map(|(_, words)| words.len())
        .sum::<usize>();
    if draft.words.len() + 2 > MOST_CLASSES || words > MOST_WORDS || draft.rules.len() > MOST_RULES
    {
        let message = format!(
            "too much: at most {} classes, {MOST_WORDS} words and {MOST_RULES} rules",
            MOST_CLASSES - 2
        );
        return Err(Problem::of_file(file, message).into());
    }
    let rules = compiler.run(draft);
    if compiler.problems.is_empty() {
        Ok(rules)
    } else {
        Err(Problems(compiler.problems))
    }
}

struct Compiler<'a> {
    file: &'a str,
    classes: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn run(&mut self, draft: &Draft) -> Rules {
        let number = |index: usize| u8::try_from(index).unwrap_or(u8::MAX);
        let mut words = Vec::new();
        for (index, (_, list)) in draft.words.iter().enumerate() {
            words.extend(list.iter().map(|word| (number(index), word.clone())));
        }
        let none = DraftRule {
            mark: crate::settings::yaml::Mark::START,
            name: "disguised".to_owned(),
            test: Test::Seen(super::file::Seen::Disguised),
            caller: 0,
            untrusted: 0,
        };
        let keyed = self.classes(&draft.disguised, &none);
        let backwards = number(draft.words.len());
        let rot13 = number(draft.words.len() + 1);
        let mut compiled = Rules {
            lexicon: Lexicon::new(&words, keyed, backwards, rot13),
            structure: Structure::default(),
            patterns: Vec::new(),
            seen: Vec::new(),
            rules: Vec::new(),
            classes: draft.words.iter().map(|(name, _)| name.clone()).collect(),
            backwards: 1 << backwards,
            rot13: 1 << rot13,
            known: Known::default(),
        };
        let mut shapes = Vec::new();
        for (index, rule) in draft.rules.iter().enumerate() {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            compiled.rules.push(Rule {
                name: rule.name.as_str().into(),
                caller: rule.caller,
                untrusted: rule.untrusted,
            });
            match &rule.test {
                Test::Seen(seen) => compiled.seen.push((*seen, index)),
                Test::Match {
                    pattern,
                    beside,
                    reach,
                } => match regex(pattern) {
                    Ok(regex) => compiled.patterns.push(Pattern {
                        rule: index,
                        regex,
                        beside: self.classes(beside, rule),
                        reach: *reach,
                    }),
                    Err(message) => self.report(rule, message),
                },
                Test::Many { of, least, within } => shapes.push((
                    index,
                    Shape::Many {
                        of: self.classes(of, rule),
                        least: *least,
                        within: *within,
                    },
                )),
                Test::Near {
                    steps,
                    ordered,
                    within,
                    across,
                    unless,
                } => shapes.push((
                    index,
                    Shape::Near {
                        steps: steps.iter().map(|step| self.classes(step, rule)).collect(),
                        ordered: *ordered,
                        within: *within,
                        across: *across,
                        unless: self.classes(unless, rule),
                    },
                )),
            }
        }
        compiled.structure = Structure::new(shapes);
        compiled
    }

    fn report(&mut self, rule: &DraftRule, message: String) {
        let mut problem = Problem::of_file(self.file, message).under(rule.name.as_str());
        (problem.line, problem.column) = (rule.mark.line, rule.mark.column);
        self.problems.push(problem);
    }

    fn classes(&mut self, names: &[String], rule: &DraftRule) -> Classes {
        let mut classes = 0;
        for name in names {
            match self.classes.iter().position(|class| class == name) {
                Some(index) => classes |= 1 << index,
                None => {
                    self.report(rule, format!("there are no words `{name}`"));
                    let suggestion = did_you_mean(name, &self.classes);
                    if let Some(problem) = self.problems.last_mut() {
                        problem.suggestion = suggestion;
                    }
                }
            }
        }
        classes
    }
}
