//! A user's own rules, in files of their own.

use crate::guard::detect::{self, Extra};
use crate::guard::{Rules, injection};
use crate::settings::file;
use crate::settings::fingerprint::Fingerprint;
use crate::settings::problem::{Complaint, Problems};
use crate::settings::reader::{Section, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// What is added to the words and rules of injection.
    pub injection: Option<PathBuf>,
    /// What is added to the rules for secrets, personal data and words of a system prompt.
    pub screen: Vec<PathBuf>,
    /// What they held when they were read.
    print: Fingerprint,
}

impl Files {
    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.injection.iter().chain(&self.screen)
    }

    /// What they held when they were read.
    pub fn print(&self) -> &Fingerprint {
        &self.print
    }

    /// Which of them hold something else than they did in `old`, in words.
    pub(in crate::policy) fn changes(&self, old: &Self) -> Vec<String> {
        let other = |path: &&PathBuf| {
            let before = old.paths().any(|known| known == *path);
            before && !self.print.agrees_on(&old.print, path)
        };
        let changed = self.paths().filter(other);
        changed
            .map(|path| format!("guard.rules: {} changed", path.display()))
            .collect()
    }
}

/// Reads the section and the files that it names.
pub(in crate::policy) fn read(section: &Section<'_>) -> (Rules, Files) {
    let mut files = Files::default();
    let mut rules = Rules::default();
    if let Some(value) = section.get("injection") {
        files.injection = path(&value);
        let path = files.injection.clone();
        if let Some(own) = contents(&value, path.as_deref(), &mut files.print) {
            let parsed = injection::Rules::parse(&own.0, &own.1);
            if let Some(parsed) = sound(&value, parsed) {
                rules.injection = Arc::new(parsed);
            }
        }
    }
    if let Some(list) = section.get("screen") {
        let mut texts = Vec::new();
        for value in list.list() {
            let path = path(&value);
            texts.extend(contents(&value, path.as_deref(), &mut files.print));
            files.screen.extend(path);
        }
        let extra: Vec<Extra<'_>> = texts
            .iter()
            .map(|(file, text)| Extra { file, text })
            .collect();
        if !extra.is_empty()
            && let Some(parsed) = sound(&list, detect::Rules::parse(&extra))
        {
            rules.screen = Arc::new(parsed);
        }
    }
    (rules, files)
}

fn path(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.read(|text| match text.trim() {
        "" => Err(Complaint::new("must be the path of a file")),
        path => Ok(PathBuf::from(path)),
    })?;
    let shown = path.display().to_string();
    value.reader().fact(value.path(), shown, value.origin());
    Some(path)
}

/// The name and the text of a file.
fn contents(
    value: &Value<'_>,
    path: Option<&Path>,
    print: &mut Fingerprint,
) -> Option<(String, String)> {
    let path = path?;
    let text = sound(value, file::read(path))?;
    print.add(path, &text);
    Some((path.display().to_string(), text))
}

/// Problems in a file of rules are problems of the policy.
fn sound<T>(value: &Value<'_>, read: Result<T, Problems>) -> Option<T> {
    read.map_err(|problems| {
        for problem in problems.0 {
            value.error(Complaint::new(problem.to_string()));
        }
    })
    .ok()
}
