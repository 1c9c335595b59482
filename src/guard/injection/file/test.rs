//! What meets a rule, read from a file.

use super::{Entry, Kind, Node, Reader, Seen, Test, did_you_mean};
use crate::guard::structure::MOST;

impl Reader<'_> {
    pub(super) fn near<'n>(
        &mut self,
        node: &Node,
        path: &str,
        get: impl Fn(&str) -> Option<&'n Entry>,
    ) -> Option<Test> {
        let steps: Vec<Vec<String>> = self
            .list(node, path)
            .iter()
            .map(|step| self.names(step, path))
            .collect();
        if steps.is_empty() || steps.len() > 6 || steps.iter().any(Vec::is_empty) {
            self.report(node.mark, path, "`near` names one to six classes of words");
            return None;
        }
        let ordered = get("ordered").is_none_or(|entry| self.flag(&entry.value, path));
        let across = get("across").is_some_and(|entry| self.flag(&entry.value, path));
        let within = match get("within") {
            Some(entry) => self.number(&entry.value, path, 1..=2000)?,
            None => 60,
        };
        let unless = get("unless").map(|entry| self.names(&entry.value, path));
        Some(Test::Near {
            steps,
            ordered,
            within,
            across,
            unless: unless.unwrap_or_default(),
        })
    }

    pub(super) fn many<'n>(
        &mut self,
        node: &Node,
        path: &str,
        get: impl Fn(&str) -> Option<&'n Entry>,
    ) -> Option<Test> {
        let of = self.names(node, path);
        let least = match get("least") {
            Some(entry) => self.number(&entry.value, path, 1..=MOST)?,
            None => {
                self.report(node.mark, path, "`many` needs `least`: how many words");
                return None;
            }
        };
        let within = match get("within") {
            Some(entry) => self.number(&entry.value, path, 1..=20_000)?,
            None => 2_000,
        };
        Some(Test::Many { of, least, within })
    }

    pub(super) fn pattern<'n>(
        &mut self,
        node: &Node,
        path: &str,
        get: impl Fn(&str) -> Option<&'n Entry>,
    ) -> Option<Test> {
        let pattern = self.text(node, path)?.to_owned();
        if let Err(message) = super::super::compile::regex(&pattern) {
            self.report(node.mark, path, message);
            return None;
        }
        let Some(beside) = get("beside") else {
            let message = "`match` needs `beside`: the words that must be there for it to be tried";
            self.report(node.mark, path, message);
            return None;
        };
        let beside = self.names(&beside.value, path);
        let reach = match get("reach") {
            Some(entry) => self.number(&entry.value, path, 1..=1000)?,
            None => 100,
        };
        Some(Test::Match {
            pattern,
            beside,
            reach,
        })
    }

    pub(super) fn seen(&mut self, node: &Node, path: &str) -> Option<Test> {
        let name = match &node.kind {
            Kind::Scalar { text, .. } => text.trim(),
            _ => "",
        };
        let found = Seen::ALL.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            self.report(
                node.mark,
                path,
                format!("`{name}` is nothing that a text shows"),
            );
            if let Some(problem) = self.problems.last_mut() {
                problem.suggestion = did_you_mean(name, &Seen::ALL.map(|(known, _)| known));
            }
        }
        found.map(|(_, seen)| Test::Seen(*seen))
    }
}
