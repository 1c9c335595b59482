//! The file of rules: what stands in it, and everything that is wrong with it.

use crate::settings::problem::{Problem, Problems, did_you_mean};
use crate::settings::yaml::{self, Entry, Kind, Mark, Node};

/// What a text shows besides its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Text in characters that nobody sees.
    Hidden,
    /// Many characters that nobody sees.
    Unseen,
    /// Letters of other alphabets within Latin words.
    Lookalikes,
    /// Something that meets rules, in an encoding.
    Encoded,
    /// Something that meets rules, spaced out, in digits, backwards or rotated.
    Disguised,
}

impl Seen {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("hidden", Self::Hidden),
        ("unseen", Self::Unseen),
        ("lookalikes", Self::Lookalikes),
        ("encoded", Self::Encoded),
        ("disguised", Self::Disguised),
    ];
}

/// What meets a rule, by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Near {
        steps: Vec<Vec<String>>,
        ordered: bool,
        within: usize,
        across: bool,
        unless: Vec<String>,
    },
    Many {
        of: Vec<String>,
        least: usize,
        within: usize,
    },
    Match {
        pattern: String,
        beside: Vec<String>,
        reach: usize,
    },
    Seen(Seen),
}

/// A rule as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DraftRule {
    pub(super) mark: Mark,
    pub(super) name: String,
    pub(super) test: Test,
    pub(super) caller: i16,
    pub(super) untrusted: i16,
}

/// A file of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) bundled: bool,
    pub(super) words: Vec<(String, Vec<String>)>,
    /// Classes whose words are looked for backwards and rotated, too.
    pub(super) disguised: Vec<String>,
    pub(super) rules: Vec<DraftRule>,
    off: Vec<String>,
}

impl Draft {
    /// This and, over it, another one.
    pub(super) fn and(mut self, own: Self) -> Self {
        for (class, words) in own.words {
            match self.words.iter_mut().find(|(name, _)| *name == class) {
                Some((_, all)) => all.extend(words),
                None => self.words.push((class, words)),
            }
        }
        self.disguised.extend(own.disguised);
        self.rules.retain(|rule| {
            !own.off.contains(&rule.name) && own.rules.iter().all(|one| one.name != rule.name)
        });
        self.rules.extend(own.rules);
        self
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(file: &str, text: &str) -> Result<Draft, Problems> {
    let mut reader = Reader {
        file,
        problems: Vec::new(),
    };
    let parsed = yaml::parse(text);
    for fault in parsed.faults {
        reader.report(fault.mark, "", fault.message);
    }
    let mut draft = Draft {
        bundled: true,
        ..Draft::default()
    };
    if let Some(root) = &parsed.root
        && !root.is_null()
    {
        for entry in reader.mapping(root, "") {
            reader.top(entry, &mut draft);
        }
    }
    if reader.problems.is_empty() {
        Ok(draft)
    } else {
        reader
            .problems
            .sort_by_key(|problem| (problem.line, problem.column));
        Err(Problems(reader.problems))
    }
}

pub(super) struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

const LONGEST: usize = 400;

impl Reader<'_> {
    fn report(&mut self, mark: Mark, path: &str, message: impl Into<String>) {
        let mut problem = Problem::of_file(self.file, message).under(path);
        (problem.line, problem.column) = (mark.line, mark.column);
        self.problems.push(problem);
    }

    fn unknown(&mut self, entry: &Entry, path: &str, known: &[&str]) {
        self.report(entry.mark, path, format!("unknown key `{}`", entry.key));
        if let Some(problem) = self.problems.last_mut() {
            problem.suggestion = did_you_mean(&entry.key, known);
        }
    }

    fn mapping<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Entry] {
        match &node.kind {
            Kind::Mapping(entries) => entries,
            _ => {
                self.report(
                    node.mark,
                    path,
                    format!("expected a mapping, found {}", node.describe()),
                );
                &[]
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            _ => {
                self.report(
                    node.mark,
                    path,
                    format!("expected a list, found {}", node.describe()),
                );
                &[]
            }
        }
    }

    fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar { text, .. } if !text.trim().is_empty() => Some(text.trim()),
            _ => {
                self.report(node.mark, path, "expected a text");
                None
            }
        }
    }

    fn flag(&mut self, node: &Node, path: &str) -> bool {
        match self.text(node, path) {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => {
                self.report(node.mark, path, "expected true or false");
                false
            }
        }
    }

    fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
        &mut self,
        node: &Node,
        path: &str,
        bounds: std::ops::RangeInclusive<T>,
    ) -> Option<T> {
        let number = self.text(node, path)?.parse::<T>().ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let message = format!(
                "expected a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            );
            self.report(node.mark, path, message);
        }
        number
    }

    /// Names, one or a list of them; `|` in a name stands between several.
    fn names(&mut self, node: &Node, path: &str) -> Vec<String> {
        if let Kind::List(items) = &node.kind {
            return items
                .iter()
                .flat_map(|item| self.names(item, path))
                .collect();
        }
        let text = self.text(node, path).unwrap_or_default();
        let names = text.split('|').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    }

    fn top(&mut self, entry: &Entry, draft: &mut Draft) {
        let path = entry.key.as_str();
        match path {
            "bundled" => draft.bundled = self.flag(&entry.value, path),
            "disguised" => draft.disguised = self.names(&entry.value, path),
            "off" => draft.off = self.names(&entry.value, path),
            "words" => {
                for class in self.mapping(&entry.value, path) {
                    let path = format!("words.{}", class.key);
                    let words = self.words(&class.value, &path);
                    draft.words.push((class.key.clone(), words));
                }
            }
            "rules" => {
                for (index, rule) in self.list(&entry.value, path).iter().enumerate() {
                    if let Some(rule) = self.rule(rule, &format!("rules[{index}]")) {
                        if draft.rules.iter().any(|one| one.name == rule.name) {
                            self.report(
                                rule.mark,
                                &rule.name,
                                "there is a rule of this name already",
                            );
                        }
                        draft.rules.push(rule);
                    }
                }
            }
            _ => self.unknown(
                entry,
                "",
                &["bundled", "disguised", "off", "words", "rules"],
            ),
        }
    }

    fn words(&mut self, node: &Node, path: &str) -> Vec<String> {
        let mut words = Vec::new();
        for item in self.list(node, path) {
            let Some(word) = self.text(item, path) else {
                continue;
            };
            if word.chars().count() > LONGEST {
                self.report(item.mark, path, "longer than 400 characters");
            } else if crate::guard::phrases::is_usable(word) {
                words.push(word.to_owned());
            } else {
                self.report(
                    item.mark,
                    path,
                    "it needs a word of two letters at least, and at most 64 alternatives of one",
                );
            }
        }
        words
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<DraftRule> {
        let entries = self.mapping(node, path);
        let get = |key: &str| entries.iter().find(|entry| entry.key == key);
        let name = match get("name") {
            Some(entry) => self.text(&entry.value, path)?.to_owned(),
            None => {
                self.report(node.mark, path, "a rule needs a `name`");
                return None;
            }
        };
        let path = name.as_str();
        let (caller, untrusted) = match get("points") {
            Some(entry) => self.points(&entry.value, path)?,
            None => {
                self.report(node.mark, path, "a rule needs `points`");
                return None;
            }
        };
        let test = match (get("near"), get("many"), get("match"), get("seen")) {
            (Some(near), None, None, None) => {
                self.known(
                    entries,
                    path,
                    &["near", "ordered", "within", "across", "unless"],
                );
                self.near(&near.value, path, get)
            }
            (None, Some(many), None, None) => {
                self.known(entries, path, &["many", "least", "within"]);
                self.many(&many.value, path, get)
            }
            (None, None, Some(pattern), None) => {
                self.known(entries, path, &["match", "beside", "reach"]);
                self.pattern(&pattern.value, path, get)
            }
            (None, None, None, Some(seen)) => {
                self.known(entries, path, &["seen"]);
                self.seen(&seen.value, path)
            }
            _ => {
                self.report(
                    node.mark,
                    path,
                    "a rule needs one of `near`, `many`, `match` and `seen`",
                );
                None
            }
        }?;
        Some(DraftRule {
            mark: node.mark,
            name,
            test,
            caller,
            untrusted,
        })
    }

    fn known(&mut self, entries: &[Entry], path: &str, keys: &[&str]) {
        let always = ["name", "about", "points", "original"];
        for entry in entries {
            if !always.contains(&entry.key.as_str()) && !keys.contains(&entry.key.as_str()) {
                self.unknown(entry, path, keys);
            }
        }
    }

    fn points(&mut self, node: &Node, path: &str) -> Option<(i16, i16)> {
        let Kind::Mapping(entries) = &node.kind else {
            let points = self.number(node, path, -100..=100)?;
            return Some((points, points));
        };
        let mut points = (0, 0);
        for entry in entries {
            let value = self.number(&entry.value, path, -100..=100);
            match entry.key.as_str() {
                "caller" => points.0 = value?,
                "untrusted" => points.1 = value?,
                _ => self.unknown(entry, path, &["caller", "untrusted"]),
            }
        }
        Some(points)
    }
}

mod test;
