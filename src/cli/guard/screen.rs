//! `weir guard measure secrets` and `measure pii`: what is found in labelled texts, and what is found wrongly.

use crate::guard::detect::{Extra, Found, Rules, Wanted};
use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// How many secrets of labelled texts are found. The file has a JSON object on each line: `b64`, the text in
/// base64, `label`, 1 where a secret is in it and 0 where none is, and `rule`, the kind of secret.
#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    /// The labelled texts
    #[arg(long, value_name = "FILE")]
    samples: PathBuf,
    /// Rules of your own, in addition to the bundled ones
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Show which texts are judged wrongly, by their lines
    #[arg(long)]
    wrong: bool,
}

/// How much personal data of labelled texts is found. The file has a JSON object on each line: `text`,
/// `entity`, the kind of data, and `expected_count`, how often it is there.
#[derive(Debug, Args)]
pub(super) struct PiiArgs {
    /// The labelled texts
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Rules of your own, in addition to the bundled ones
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Show which texts are judged wrongly, by their lines
    #[arg(long)]
    wrong: bool,
}

#[derive(Deserialize)]
struct Sample {
    rule: String,
    label: u8,
    b64: String,
}

#[derive(Deserialize)]
struct Case {
    entity: String,
    text: String,
    expected_count: u64,
}

/// The kinds of data that are looked for, as labels call them, and the rules for them.
const ENTITIES: &[(&str, &str)] = &[
    ("credit_card", "credit_card"),
    ("iban", "iban"),
    ("us_ssn", "ssn"),
    ("ssn", "ssn"),
    ("phone", "phone"),
    ("email", "email"),
];

/// How often something was found where it is, and where it is not.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    there: usize,
    found: usize,
    not_there: usize,
    wrong: usize,
}

impl Count {
    fn add(&mut self, there: bool, found: bool) {
        if there {
            self.there += 1;
            self.found += usize::from(found);
        } else {
            self.not_there += 1;
            self.wrong += usize::from(found);
        }
    }

    fn line(&self, name: &str) {
        println!(
            "  {name:<38}{:>7}{:>7}{:>9}   {:>7}{:>7}{:>9}",
            self.there,
            self.found,
            percent(self.found, self.there),
            self.not_there,
            self.wrong,
            percent(self.wrong, self.not_there),
        );
    }
}

/// A share in percent with one decimal; nothing of nothing is no share.
fn percent(some: usize, all: usize) -> String {
    if all == 0 {
        return "-".into();
    }
    let thousandths = (some * 1000 + all / 2) / all;
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// Prints a table; the last line is about all together.
fn table(title: &str, counts: &BTreeMap<String, Count>) {
    println!("{title}");
    println!(
        "  {:<38}{:>7}{:>7}{:>9}   {:>7}{:>7}{:>9}",
        "", "there", "found", "recall", "absent", "found", "wrongly"
    );
    let mut all = Count::default();
    for (name, count) in counts {
        count.line(name);
        all.there += count.there;
        all.found += count.found;
        all.not_there += count.not_there;
        all.wrong += count.wrong;
    }
    all.line("all");
}

/// Measures secrets.
///
/// # Errors
/// When a file cannot be read, or is not of the form it should be.
pub(super) fn secrets(args: &SecretsArgs) -> anyhow::Result<ExitCode> {
    let rules = rules(args.rules.as_deref())?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for (line, sample) in rows::<Sample>(&args.samples)? {
        let Some(bytes) = base64(&sample.b64) else {
            bail!("{}:{line}: `b64` is no base64", args.samples.display());
        };
        let found = rules.find(&String::from_utf8_lossy(&bytes), Wanted::SECRETS);
        let there = sample.label == 1;
        if args.wrong && there == found.is_empty() {
            wrong(line, &sample.rule, there, &found);
        }
        counts
            .entry(sample.rule)
            .or_default()
            .add(there, !found.is_empty());
    }
    table("secrets: texts by the rule they were written for", &counts);
    Ok(ExitCode::SUCCESS)
}

/// Measures personal data.
///
/// # Errors
/// When a file cannot be read, or is not of the form it should be.
pub(super) fn pii(args: &PiiArgs) -> anyhow::Result<ExitCode> {
    let rules = rules(args.rules.as_deref())?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for (line, case) in rows::<Case>(&args.cases)? {
        let Some((_, rule)) = ENTITIES.iter().find(|(entity, _)| *entity == case.entity) else {
            *others.entry(case.entity).or_default() += 1;
            continue;
        };
        let mut found = rules.find(&case.text, Wanted::PII);
        found.retain(|found| *found.about.rule == **rule);
        let there = case.expected_count > 0;
        if args.wrong && there == found.is_empty() {
            wrong(line, &case.entity, there, &found);
        }
        counts
            .entry(case.entity)
            .or_default()
            .add(there, !found.is_empty());
    }
    table("personal data: texts by the kind they are about", &counts);
    if !others.is_empty() {
        let others: Vec<String> = others
            .iter()
            .map(|(entity, count)| format!("{entity} ({count})"))
            .collect();
        println!("  not looked for: {}", others.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which text was judged wrongly; never the text.
fn wrong(line: usize, kind: &str, there: bool, found: &[Found]) {
    if there {
        println!("line {line}: {kind}: missed");
    }
    for found in found {
        println!("line {line}: {kind}: {} found wrongly", found.about.rule);
    }
}

fn rules(own: Option<&Path>) -> anyhow::Result<Arc<Rules>> {
    let Some(path) = own else {
        return Ok(Rules::bundled());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let file = path.display().to_string();
    let rules = Rules::parse(&[Extra {
        file: &file,
        text: &text,
    }])?;
    Ok(Arc::new(rules))
}

/// The objects of a file, with their lines.
fn rows<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<(usize, T)>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let row = serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not as expected", path.display(), number + 1))?;
            Ok((number + 1, row))
        })
        .collect()
}

/// The bytes that base64 stands for.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        if group.len() == 1 {
            return None;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YWJjZA", "abcd"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("a"), None);
        assert_eq!(base64("a b="), None);
    }

    #[test]
    fn shares_are_rounded() {
        assert_eq!(percent(2, 3), "66.7 %");
        assert_eq!(percent(1, 1), "100.0 %");
        assert_eq!(percent(0, 0), "-");
    }
}
