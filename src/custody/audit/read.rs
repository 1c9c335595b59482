//! Reading the audit's files: to verify them, to answer questions, to know which may go.

use super::{Verified, Wrong, numbered};
use crate::guard::audit::{Head, Line, Verifier};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of a file in which its last line is: none is longer.
const TAIL: u64 = 256 << 10;

/// The most rules that are counted one by one.
const RULES: usize = 200;

/// All files of the audit whose file in use is `path`, the oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let entries = match std::fs::read_dir(directory.unwrap_or(Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(number(path, &name.to_string_lossy()));
    }
    numbers.sort_unstable();
    let mut files: Vec<PathBuf> = numbers
        .into_iter()
        .map(|first| numbered(path, first))
        .collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// The number in the name of a file that was put aside.
fn number(path: &Path, name: &str) -> Option<u64> {
    let stem = path.file_stem()?.to_string_lossy();
    let rest = name.strip_prefix(&*stem)?.strip_prefix('-')?;
    let digits = rest.split('.').next()?.parse().ok()?;
    let whole = numbered(path, digits);
    (whole.file_name()?.to_string_lossy() == name).then_some(digits)
}

/// Verifies files one after the other, as one chain.
///
/// # Errors
/// When one of them cannot be read.
pub fn verify(files: &[PathBuf]) -> io::Result<Verified> {
    let mut verified = Verified {
        verifier: Verifier::default(),
        cut: 0,
        wrong: None,
    };
    for (at, path) in files.iter().enumerate() {
        let mut reader = BufReader::new(File::open(path)?);
        let mut number = 0;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            number += 1;
            let Some(line) = bytes.strip_suffix(b"\n") else {
                // Only the end of the last file may be cut.
                verified.cut = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                if at + 1 == files.len() {
                    return Ok(verified);
                }
                break;
            };
            let text = String::from_utf8_lossy(line);
            if let Err(error) = verified.verifier.line(&text) {
                verified.wrong = Some(Wrong {
                    path: path.clone(),
                    line: number,
                    error,
                });
                return Ok(verified);
            }
        }
    }
    Ok(verified)
}

/// Where a chain has come to, and what is wrong with its newest file.
#[derive(Debug)]
pub(super) struct Newest {
    pub head: Head,
    pub wrong: Option<Wrong>,
}

/// Where the chain of `path` has come to.
pub(super) fn head(path: &Path) -> io::Result<Newest> {
    let files = files(path)?;
    for file in files.iter().rev() {
        let verified = verify(std::slice::from_ref(file))?;
        let last = match &verified.wrong {
            None => Some(verified.verifier.head()).filter(|head| head.seq > 0),
            Some(_) => last(file)?.map(|line| line.head),
        };
        if let Some(head) = last {
            return Ok(Newest {
                head,
                wrong: verified.wrong,
            });
        }
    }
    Ok(Newest {
        head: Head::default(),
        wrong: None,
    })
}

/// The number of the first line of a file.
pub(super) fn first(path: &Path) -> io::Result<Option<u64>> {
    let reader = BufReader::new(File::open(path)?);
    for line in reader.split(b'\n') {
        if let Ok(line) = Line::read(&String::from_utf8_lossy(&line?)) {
            return Ok(Some(line.head.seq));
        }
    }
    Ok(None)
}

/// The last line of a file that can be read.
fn last(path: &Path) -> io::Result<Option<Line>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().rev().find_map(|line| Line::read(line).ok()))
}

/// Removes files that were put aside and have nothing since `since`, in Unix milliseconds.
pub(super) fn forget(path: &Path, since: u64) {
    let old = files(path).unwrap_or_default();
    for file in old.iter().filter(|file| *file != path) {
        let over = matches!(last(file), Ok(Some(line)) if line.at < since);
        if over && std::fs::remove_file(file).is_ok() {
            tracing::info!(path = %file.display(), "an old file of the audit was removed");
        }
    }
}

/// What is asked of the audit.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Nothing before that, in Unix milliseconds.
    pub since: u64,
    /// Only lines before this number, to go on with the next page.
    pub before: Option<u64>,
    /// Only this event.
    pub event: Option<String>,
    /// Only this severity.
    pub severity: Option<&'static str>,
    /// Only where something was found.
    pub flagged: bool,
    /// At most so many.
    pub limit: usize,
}

/// What it answers, the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The lines.
    pub events: Vec<Value>,
    /// The number before which the next page begins; `None` at the end.
    pub next: Option<u64>,
}

impl Query {
    /// The newest lines that are asked for.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn page(&self, path: &Path) -> io::Result<Page> {
        let mut page = Page::default();
        backwards(path, self.since, |line| {
            let seq = line.head.seq;
            if self.before.is_some_and(|before| seq >= before) || !self.wants(&line.fields) {
                return true;
            }
            if page.events.len() == self.limit {
                page.next = page
                    .events
                    .last()
                    .and_then(|event| event.get("seq"))
                    .and_then(Value::as_u64);
                return false;
            }
            page.events.push(line.fields);
            true
        })?;
        Ok(page)
    }

    fn wants(&self, fields: &Value) -> bool {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let event = self.event.as_deref();
        let flagged = || {
            text("outcome") != Some("passed")
                && matches!(
                    text("event"),
                    Some("input_validation" | "output_filter" | "canary_token_leak")
                )
        };
        event.is_none_or(|event| text("event") == Some(event))
            && self
                .severity
                .is_none_or(|severity| text("severity") == Some(severity))
            && (!self.flagged || flagged())
    }
}

/// What happened, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines.
    pub total: u64,
    /// By event.
    pub events: BTreeMap<String, u64>,
    /// By severity.
    pub severities: BTreeMap<String, u64>,
    /// By what was done.
    pub outcomes: BTreeMap<String, u64>,
    /// By rule.
    pub rules: BTreeMap<String, u64>,
    /// The newest line there is.
    pub head: Option<(u64, String)>,
}

impl Stats {
    /// What happened since then, in Unix milliseconds.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn since(path: &Path, since: u64) -> io::Result<Self> {
        let mut stats = Self::default();
        let newest = head(path)?.head;
        stats.head = (newest.seq > 0).then(|| (newest.seq, newest.hash.to_string()));
        backwards(path, since, |line| {
            stats.total += 1;
            let fields = &line.fields;
            let count = |counts: &mut BTreeMap<String, u64>, name: &str, more: u64| {
                *counts.entry(name.to_owned()).or_default() += more;
            };
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("other");
            count(&mut stats.events, text("event"), 1);
            count(&mut stats.severities, text("severity"), 1);
            count(&mut stats.outcomes, text("outcome"), 1);
            let found = fields.get("findings").and_then(Value::as_array);
            for found in found.into_iter().flatten() {
                let rule = found.get("rule").and_then(Value::as_str).unwrap_or("other");
                let known = stats.rules.len() < RULES || stats.rules.contains_key(rule);
                let more = found.get("count").and_then(Value::as_u64).unwrap_or(1);
                count(&mut stats.rules, if known { rule } else { "other" }, more);
            }
            true
        })?;
        Ok(stats)
    }
}

/// Hands out lines, the newest first, until one is older than `since` or nobody wants more.
fn backwards(path: &Path, since: u64, mut line: impl FnMut(Line) -> bool) -> io::Result<()> {
    for file in files(path)?.iter().rev() {
        let bytes = match std::fs::read(file) {
            // It was put aside, or removed, just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        let text = String::from_utf8_lossy(&bytes);
        for read in text.lines().rev().filter_map(|line| Line::read(line).ok()) {
            if read.at < since || !line(read) {
                return Ok(());
            }
        }
    }
    Ok(())
}
