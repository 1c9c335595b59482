//! `weir guard measure injection`: recall on attacks and false positives on harmless texts.

use super::transform;
use crate::guard::injection::{Options, Rules};
use crate::guard::score::Score;
use crate::guard::{Passage, Source};
use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The thresholds that are shown, in hundredths.
const THRESHOLDS: [u16; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];

/// The threshold unless a policy says otherwise.
const DEFAULT: u16 = 50;

/// In how many harmless documents each indirect attack is planted.
const PLANTED: usize = 3;

/// How good the rules against prompt injection are. Each file has a JSON object on each line: `text`, and
/// `kind`, whose part before a colon is the class. Attacks of the class `indirect` are planted in the
/// carriers and judged as what a tool says; all others are what a caller says.
#[derive(Debug, Args)]
pub(super) struct InjectionArgs {
    /// Texts that are attacks
    #[arg(long, value_name = "FILE")]
    attacks: Option<PathBuf>,
    /// Texts that are not
    #[arg(long, value_name = "FILE")]
    benign: Option<PathBuf>,
    /// Harmless documents: files `carrier_*.jsonl` with `context`, a text or a list of lines
    #[arg(long, value_name = "DIR")]
    carriers: Option<PathBuf>,
    /// Rules of your own, in addition to the bundled ones
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Each attack in disguises, too
    #[arg(long)]
    transforms: bool,
    /// Show which texts are judged wrongly at the default threshold, and why
    #[arg(long)]
    wrong: bool,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    #[serde(default)]
    kind: String,
}

impl Row {
    fn class(&self) -> &str {
        self.kind.split(':').next().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Carrier {
    context: Context,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Context {
    Text(String),
    Lines(Vec<String>),
}

fn rows<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not as expected", path.display(), number + 1))
        })
        .collect()
}

/// The scores of the texts of a class.
#[derive(Default)]
struct Scores(Vec<u16>);

impl Scores {
    /// How many are over a threshold.
    fn over(&self, threshold: u16) -> usize {
        self.0.iter().filter(|score| **score >= threshold).count()
    }

    fn line(&self, name: &str) {
        let shares =
            THRESHOLDS.map(|from| format!("{:>7}", percent(self.over(from), self.0.len())));
        println!("  {name:<28}{:>6}{}", self.0.len(), shares.concat());
    }
}

/// A share in percent with one decimal.
fn percent(some: usize, all: usize) -> String {
    let thousandths = (some * 1000 + all / 2).checked_div(all).unwrap_or_default();
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

fn header(title: &str) {
    let marks = THRESHOLDS.map(|from| format!("{:>7}", format!("0.{}", from / 10)));
    println!("\n{title} (percent, by threshold)");
    println!("  {:<28}{:>6}{}", "", "texts", marks.concat());
}

/// The score of a request with these texts.
fn judge(rules: &Rules, source: Source, texts: &[String]) -> Score {
    let passages: Vec<Passage<'_>> = texts
        .iter()
        .map(|text| Passage::plain(source, text))
        .collect();
    let verdict = rules.judge(&passages, &Options::default());
    match source {
        Source::Tool => verdict.untrusted,
        _ => verdict.caller,
    }
}

fn explain(text: &str, score: &Score) {
    let head: String = text.chars().take(100).collect();
    let reasons = score.reasons.iter();
    let reasons: Vec<String> = reasons
        .map(|reason| format!("{} {}", reason.rule, reason.points))
        .collect();
    println!(
        "    {:>3}  {:?}  [{}]",
        score.total,
        head,
        reasons.join(", ")
    );
}

/// Runs the command.
pub(super) fn run(args: &InjectionArgs) -> anyhow::Result<ExitCode> {
    let rules = match &args.rules {
        None => Rules::bundled(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            Arc::new(Rules::parse(&path.display().to_string(), &text)?)
        }
    };
    if args.attacks.is_none() && args.benign.is_none() && args.carriers.is_none() {
        bail!("there is nothing to measure: name --attacks, --benign or --carriers");
    }
    let attacks: Vec<Row> = args.attacks.as_deref().map_or(Ok(Vec::new()), rows)?;
    let benign: Vec<Row> = args.benign.as_deref().map_or(Ok(Vec::new()), rows)?;
    let carriers = args.carriers.as_deref().map_or(Ok(Vec::new()), carriers)?;
    let (indirect, direct): (Vec<Row>, Vec<Row>) = attacks
        .into_iter()
        .partition(|row| row.class() == "indirect");
    let measure = Measure {
        rules: &rules,
        wrong: args.wrong,
    };
    measure.direct(&direct);
    measure.indirect(&indirect, &carriers);
    measure.harmless(&benign, &carriers);
    if args.transforms {
        measure.transformed(&direct);
    }
    Ok(ExitCode::SUCCESS)
}

fn carriers(directory: &Path) -> anyhow::Result<Vec<(bool, String)>> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("{} cannot be read", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("carrier_") && name.ends_with(".jsonl"))
        })
        .collect();
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let code = name.to_string_lossy().contains("code");
        for carrier in rows::<Carrier>(&name)? {
            let text = match carrier.context {
                Context::Text(text) => text,
                Context::Lines(lines) => lines.join("\n"),
            };
            all.push((code, text));
        }
    }
    Ok(all)
}

/// An attack at the beginning, in the middle or at the end of a document.
fn plant(attack: &str, document: &str, place: usize) -> String {
    let middle = document
        .char_indices()
        .skip(document.chars().count() / 2)
        .find(|(_, one)| one.is_whitespace())
        .map_or(document.len(), |(at, _)| at);
    match place % 3 {
        0 => format!("{attack}\n{document}"),
        1 => format!("{}\n{attack}\n{}", &document[..middle], &document[middle..]),
        _ => format!("{document}\n{attack}"),
    }
}

struct Measure<'a> {
    rules: &'a Rules,
    wrong: bool,
}

impl Measure<'_> {
    fn direct(&self, attacks: &[Row]) {
        let mut classes: BTreeMap<&str, Scores> = BTreeMap::new();
        let mut missed = Vec::new();
        for row in attacks {
            let score = judge(self.rules, Source::User, std::slice::from_ref(&row.text));
            classes.entry("all direct").or_default().0.push(score.total);
            classes.entry(row.class()).or_default().0.push(score.total);
            if score.total < DEFAULT {
                missed.push((&row.text, score));
            }
        }
        self.table("Recall on direct attacks", &classes);
        self.show("missed", &missed);
    }

    fn indirect(&self, attacks: &[Row], carriers: &[(bool, String)]) {
        let mut classes: BTreeMap<&str, Scores> = BTreeMap::new();
        let mut missed = Vec::new();
        for (index, row) in attacks.iter().enumerate() {
            // Code is planted among code.
            let code = row.text.contains("```");
            let fitting: Vec<&String> = carriers
                .iter()
                .filter(|(is_code, _)| *is_code == code)
                .map(|(_, text)| text)
                .collect();
            for place in 0..PLANTED.min(fitting.len()) {
                let step = fitting.len() / PLANTED.min(fitting.len());
                let document = fitting[(index + place * step) % fitting.len()];
                let score = judge(
                    self.rules,
                    Source::Tool,
                    &[plant(&row.text, document, place)],
                );
                classes
                    .entry("all indirect")
                    .or_default()
                    .0
                    .push(score.total);
                let kind = row.kind.split(':').nth(1).unwrap_or_default();
                classes.entry(kind).or_default().0.push(score.total);
                if score.total < DEFAULT {
                    missed.push((&row.text, score));
                }
            }
        }
        self.table(
            "Recall on indirect attacks, each in three documents",
            &classes,
        );
        self.show("missed", &missed);
    }

    fn harmless(&self, benign: &[Row], carriers: &[(bool, String)]) {
        let mut classes: BTreeMap<&str, Scores> = BTreeMap::new();
        let mut wrong = Vec::new();
        for row in benign {
            let text = std::slice::from_ref(&row.text);
            let said = judge(self.rules, Source::User, text);
            classes.entry("all said").or_default().0.push(said.total);
            classes.entry(row.class()).or_default().0.push(said.total);
            let found = judge(self.rules, Source::Tool, text);
            classes
                .entry("as a tool's")
                .or_default()
                .0
                .push(found.total);
            if said.total >= DEFAULT || found.total >= DEFAULT {
                wrong.push((&row.text, said.max(found)));
            }
        }
        for (_, document) in carriers {
            let score = judge(self.rules, Source::Tool, std::slice::from_ref(document));
            classes.entry("documents").or_default().0.push(score.total);
            if score.total >= DEFAULT {
                wrong.push((document, score));
            }
        }
        self.table("False positives", &classes);
        self.show("flagged", &wrong);
    }

    fn transformed(&self, attacks: &[Row]) {
        let mut classes: BTreeMap<&str, Scores> = BTreeMap::new();
        let plain = Scores(
            attacks
                .iter()
                .map(|row| judge(self.rules, Source::User, std::slice::from_ref(&row.text)).total)
                .collect(),
        );
        let mut all = Scores::default();
        for (name, transform) in transform::ALL {
            let scores = classes.entry(name).or_default();
            for row in attacks {
                let total = judge(self.rules, Source::User, &transform(&row.text)).total;
                scores.0.push(total);
                all.0.push(total);
            }
        }
        if attacks.is_empty() {
            return;
        }
        self.table("Recall on direct attacks in disguise", &classes);
        plain.line("as they are");
        all.line("all disguises");
        println!("\nRecall in disguise, relative to as they are, at the default threshold");
        let base = plain.over(DEFAULT);
        for (name, scores) in &classes {
            println!("  {name:<28}{:>6} %", percent(scores.over(DEFAULT), base));
        }
        let together = percent(all.over(DEFAULT), base * transform::ALL.len());
        println!("  {:<28}{together:>6} %", "all disguises");
    }

    fn table(&self, title: &str, classes: &BTreeMap<&str, Scores>) {
        if classes.is_empty() {
            return;
        }
        header(title);
        for (name, scores) in classes {
            scores.line(name);
        }
    }

    fn show(&self, what: &str, texts: &[(&String, Score)]) {
        if self.wrong && !texts.is_empty() {
            println!("  {what} at the default threshold:");
            for (text, score) in texts {
                explain(text, score);
            }
        }
    }
}
