//! Rules out of files: those that Weir brings, then a user's.
//!
//! Decides what a file may say; all that is wrong with it is reported with its place. What comes with Weir
//! is known to be right (a test reads it), so its patterns are compiled when they are needed first; a
//! user's are compiled at once.

use super::{About, Pattern, Rules};
use crate::guard::finding::{Control, Severity};
use crate::guard::leak::Indicator;
use crate::guard::pii::{Kind, Pii};
use crate::guard::secrets::allow::Allow;
use crate::guard::secrets::entropy::Bits;
use crate::guard::secrets::{Form, Near, Rule, Secrets};
use crate::settings::environment::Environment;
use crate::settings::problem::{Complaint, Problems, did_you_mean};
use crate::settings::reader::{Reader, Section, Value};
use std::collections::HashSet;
use std::sync::Arc;

const SECRETS: &str = include_str!("../../../conf/guard/secrets.yaml");
const PII: &str = include_str!("../../../conf/guard/pii.yaml");
const LEAK: &str = include_str!("../../../conf/guard/leak.yaml");

/// What ends a value that is assigned.
const END: &str = r#"(?:[\x60'"\s;]|\\[nr]|\z)"#;

/// How far from its word a pattern is looked for, unless a rule says otherwise.
const REACH: usize = 256;
/// In how many lines.
const LINES: usize = 3;
/// The farthest that a rule may look.
const FARTHEST: usize = 4096;

/// A user's file.
#[derive(Clone, Copy, Debug)]
pub struct Extra<'a> {
    /// How problems call it.
    pub file: &'a str,
    /// What it says.
    pub text: &'a str,
}

#[derive(Default)]
struct Loaded {
    secrets: Vec<Rule>,
    never: Option<Allow>,
    kinds: Vec<(Kind, Arc<About>)>,
    leak: Vec<Indicator>,
    ids: HashSet<String>,
    /// Those of the file that is being read.
    own: HashSet<String>,
}

/// All rules, with what the files of `extra` add and switch off.
pub(super) fn load(extra: &[Extra<'_>]) -> Result<Rules, Problems> {
    let environment = Environment::default();
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    let bundled = [
        Extra {
            file: "conf/guard/secrets.yaml",
            text: SECRETS,
        },
        Extra {
            file: "conf/guard/pii.yaml",
            text: PII,
        },
        Extra {
            file: "conf/guard/leak.yaml",
            text: LEAK,
        },
    ];
    let files = bundled.iter().map(|file| (file, true));
    for (file, trusted) in files.chain(extra.iter().map(|file| (file, false))) {
        let reader = Reader::new(file.file, &environment);
        loaded.own.clear();
        if let Some(node) = reader.parse(file.text) {
            loaded.file(&reader.root(&node), trusted);
        }
        if let Err(found) = reader.finish() {
            problems.extend(found.0);
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let Loaded {
        secrets,
        never,
        kinds,
        leak,
        ..
    } = loaded;
    Ok(Rules::new(
        Secrets::new(secrets, never.unwrap_or_default()),
        Pii::new(kinds),
        leak,
    ))
}

impl Loaded {
    fn file(&mut self, root: &Section<'_>, trusted: bool) {
        if let Some(off) = root.get("off") {
            for item in off.list() {
                self.switch_off(&item);
            }
        }
        if trusted && let Some(never) = root.get("never") {
            self.never = Some(allow(&never.section(), trusted));
        }
        for (key, control) in [("secrets", Control::Secret), ("pii", Control::Pii)] {
            let items = root.get(key).map(|value| value.list()).unwrap_or_default();
            for item in items {
                self.rule(&item.section(), control, trusted);
            }
        }
        let phrases = root
            .get("leak")
            .map(|value| value.list())
            .unwrap_or_default();
        for item in phrases {
            self.phrase(&item);
        }
    }

    /// A rule that is not wanted, by its name.
    fn switch_off(&mut self, item: &Value<'_>) {
        let Some(id) = item.written() else {
            return;
        };
        if !self.remove(id) {
            let known: Vec<&str> = self.ids.iter().map(String::as_str).collect();
            let mut complaint = Complaint::new(format!("there is no rule `{id}`"));
            complaint.suggestion = did_you_mean(id, &known);
            item.error(complaint);
        }
    }

    /// Takes a rule out; `false` when there is none of that name.
    fn remove(&mut self, id: &str) -> bool {
        self.secrets.retain(|rule| *rule.about.rule != *id);
        self.kinds.retain(|(_, about)| *about.rule != *id);
        self.leak.retain(|indicator| *indicator.about.rule != *id);
        self.ids.remove(id)
    }

    fn phrase(&mut self, item: &Value<'_>) {
        let Some(phrase) = item.written() else {
            return;
        };
        if phrase.len() < 5 || phrase.len() > 100 {
            item.error(Complaint::new("must have 5 to 100 bytes"));
            return;
        }
        let phrase = phrase.to_ascii_lowercase();
        self.ids.insert(phrase.clone());
        let mut about = About::new(Control::Leak, &phrase, Severity::Medium);
        about.label = "PROMPT_LEAK".into();
        self.leak.push(Indicator {
            about: Arc::new(about),
            phrase,
        });
    }

    fn rule(&mut self, section: &Section<'_>, control: Control, trusted: bool) {
        let Some(id) = text(section, "id") else {
            section.error(Complaint::new("a rule must have an `id`"));
            return;
        };
        if !self.own.insert(id.clone()) {
            section.error(Complaint::new(format!("there is a rule `{id}` already")));
            return;
        }
        // One of an earlier file gives way.
        self.remove(&id);
        self.ids.insert(id.clone());
        let mut about = About::new(control, &id, severity(section));
        if let Some(label) = text(section, "label") {
            about.label = label.into();
        }
        about.contact = flag(section, "contact");
        if let Some(kind) = section.get("kind") {
            let about = Arc::new(about);
            self.kinds.extend(kind_of(&kind).map(|kind| (kind, about)));
            return;
        }
        let entropy = section.get("entropy").and_then(|value| {
            let bits = Bits::parse(value.written()?);
            if bits.is_none() {
                value.error(Complaint::new("must be a number from 0 to below 8"));
            }
            bits
        });
        let allowed = section
            .get("allow")
            .map(|value| allow(&value.section(), trusted));
        let (to_end, examples) = (flag(section, "to_end"), flag(section, "examples"));
        let generic = flag(section, "generic");
        if let Some(form) = form(section, trusted) {
            self.secrets.push(Rule {
                about: Arc::new(about),
                form,
                entropy,
                to_end,
                examples,
                generic,
                allow: allowed,
            });
        }
    }
}

fn kind_of(value: &Value<'_>) -> Option<Kind> {
    let name = value.written()?;
    let kind = Kind::ALL.iter().find(|(_, known)| *known == name);
    if kind.is_none() {
        let mut complaint = Complaint::new("must be card, iban, ssn, phone or email");
        complaint.suggestion = did_you_mean(name, &Kind::ALL.map(|(_, known)| known));
        value.error(complaint);
    }
    kind.map(|(kind, _)| *kind)
}

fn form(section: &Section<'_>, trusted: bool) -> Option<Form> {
    let keywords = words(section, "keywords", 2);
    let names = words(section, "names", 2);
    let near = words(section, "near", 3);
    let cased = flag(section, "cased");
    match (keywords, names, near) {
        (Some(keywords), None, None) => Some(Form::Token {
            pattern: pattern(section, "match", trusted)?,
            keywords,
        }),
        (None, Some(names), None) => {
            let value = section.get("value").or_else(|| missing(section, "value"))?;
            let source = value.written()?;
            if !trusted && let Err(reason) = Pattern::checked(source) {
                value.error(Complaint::new(reason));
                return None;
            }
            Some(Form::Assigned {
                names,
                cased,
                value: Pattern::trusted(format!(r"\A({source}){END}")),
            })
        }
        (None, None, Some(words)) => Some(Form::Near(Near {
            words,
            pattern: pattern(section, "match", trusted)?,
            before: number(section, "before").unwrap_or(0),
            reach: number(section, "reach").unwrap_or(REACH),
            lines: number(section, "lines").unwrap_or(LINES),
            until: optional(section, "until", trusted),
            shortest: number(section, "shortest").unwrap_or(64),
            open: optional(section, "open", true),
        })),
        _ => {
            section.error(Complaint::new(
                "must have `keywords` and `match`, `names` and `value`, or `near` and `match`",
            ));
            None
        }
    }
}

fn missing<'r>(section: &Section<'r>, key: &str) -> Option<Value<'r>> {
    section.error(Complaint::new(format!("must have `{key}`")));
    None
}

fn pattern(section: &Section<'_>, key: &'static str, trusted: bool) -> Option<Pattern> {
    let value = section.get(key).or_else(|| missing(section, key))?;
    read_pattern(&value, trusted)
}

fn optional(section: &Section<'_>, key: &'static str, trusted: bool) -> Option<Pattern> {
    read_pattern(&section.get(key)?, trusted)
}

fn read_pattern(value: &Value<'_>, trusted: bool) -> Option<Pattern> {
    let source = value.written()?;
    if trusted {
        return Some(Pattern::trusted(source));
    }
    match Pattern::checked(source) {
        Ok(pattern) => Some(pattern),
        Err(reason) => {
            value.error(Complaint::new(reason));
            None
        }
    }
}

fn allow(section: &Section<'_>, trusted: bool) -> Allow {
    let patterns = |key| {
        let items = section
            .get(key)
            .map(|value| value.list())
            .unwrap_or_default();
        let read = items.iter().filter_map(|item| {
            let source = item.written()?;
            if !trusted && let Err(reason) = Allow::check(source) {
                item.error(Complaint::new(reason));
                return None;
            }
            Some(source.to_owned())
        });
        read.collect::<Vec<String>>()
    };
    let words = text(section, "words").unwrap_or_default();
    let words = words.split_whitespace().map(str::to_owned).collect();
    Allow::new(&patterns("values"), &patterns("matches"), words)
}

fn text(section: &Section<'_>, key: &'static str) -> Option<String> {
    section.get(key)?.written().map(str::to_owned)
}

fn words(section: &Section<'_>, key: &'static str, shortest: usize) -> Option<Vec<String>> {
    let value = section.get(key)?;
    let words = value.list();
    if words.is_empty() {
        value.error(Complaint::new("must have at least one word"));
    }
    let read = words.iter().filter_map(|word| {
        let text = word.written()?;
        if text.len() < shortest || text.len() > 100 {
            word.error(Complaint::new(format!("must have {shortest} to 100 bytes")));
        }
        Some(text.to_ascii_lowercase())
    });
    Some(read.collect())
}

fn flag(section: &Section<'_>, key: &'static str) -> bool {
    let Some(value) = section.get(key) else {
        return false;
    };
    match value.written() {
        Some("true") => true,
        Some("false") | None => false,
        Some(_) => {
            value.error(Complaint::new("must be true or false"));
            false
        }
    }
}

fn number(section: &Section<'_>, key: &'static str) -> Option<usize> {
    let value = section.get(key)?;
    let number = value
        .written()?
        .parse()
        .ok()
        .filter(|number| *number <= FARTHEST);
    if number.is_none() {
        value.error(Complaint::new(format!("must be a number up to {FARTHEST}")));
    }
    number
}

fn severity(section: &Section<'_>) -> Severity {
    let Some(value) = section.get("severity") else {
        return Severity::High;
    };
    match value.written() {
        Some("low") => Severity::Low,
        Some("medium") => Severity::Medium,
        Some("critical") => Severity::Critical,
        Some("high") | None => Severity::High,
        Some(_) => {
            value.error(Complaint::new("must be low, medium, high or critical"));
            Severity::High
        }
    }
}
