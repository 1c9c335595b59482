//! A user's own rules, in files of their own.

use crate::guard::detect::{self, Extra};
use crate::guard::{Rules, injection};
use crate::settings::file;
use crate::settings::problem::{Complaint, Problems};
use crate::settings::reader::{Section, Value};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// What is added to the words and rules of injection.
    pub injection: Option<PathBuf>,
    /// What is added to the rules for secrets, personal data and words of a system prompt.
    pub screen: Vec<PathBuf>,
    /// What they held, as digests.
    held: BTreeMap<PathBuf, [u8; 32]>,
}

impl Files {
    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.injection.iter().chain(&self.screen)
    }

    fn hold(&mut self, (path, text): (String, String)) {
        let digest = Sha256::digest(text.as_bytes()).into();
        self.held.insert(path.into(), digest);
    }

    /// Those that were read before, too, and held something else then.
    pub fn changed_since<'f>(&'f self, before: &'f Self) -> impl Iterator<Item = &'f PathBuf> {
        let other = |path: &PathBuf, held: &[u8; 32]| {
            let before = before.held.get(path);
            before.is_some_and(|before| before != held)
        };
        let held = self.held.iter();
        held.filter(move |(path, held)| other(path, held))
            .map(|(path, _)| path)
    }
}

/// Reads the section and the files that it names.
pub(in crate::policy) fn read(section: &Section<'_>) -> (Rules, Files) {
    let mut files = Files::default();
    let mut rules = Rules::default();
    if let Some(value) = section.get("injection") {
        files.injection = path(&value);
        if let Some(own) = contents(&value, files.injection.as_deref()) {
            let parsed = injection::Rules::parse(&own.0, &own.1);
            if let Some(parsed) = sound(&value, parsed) {
                rules.injection = Arc::new(parsed);
            }
            files.hold(own);
        }
    }
    if let Some(list) = section.get("screen") {
        let mut texts = Vec::new();
        for value in list.list() {
            let path = path(&value);
            texts.extend(contents(&value, path.as_deref()));
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
        texts.into_iter().for_each(|text| files.hold(text));
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
fn contents(value: &Value<'_>, path: Option<&Path>) -> Option<(String, String)> {
    let path = path?;
    let text = sound(value, file::read(path))?;
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
