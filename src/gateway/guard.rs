//! What the guard found, told to whoever wants to know.

use super::Gateway;
use crate::event::{self, Kind};
use crate::guard::audit::{Entry, Event, Found};
use crate::guard::finding::{Action, Control, Finding, Severity};
use crate::guard::quarantine::Who;
use crate::identity::{AgentId, KeyId, RequestId};
use std::sync::Arc;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In a request.
    In,
    /// In an answer.
    Out,
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub id: RequestId,
    /// The agent.
    pub agent: AgentId,
    /// The key, where there is one.
    pub key: Option<KeyId>,
}

impl Gateway {
    /// Tells of what was found: metrics and an event; never what it was.
    pub fn guard_found(
        &self,
        id: RequestId,
        agent: &AgentId,
        direction: Direction,
        found: &Finding,
    ) {
        self.metrics.guard_found(found, direction == Direction::Out);
        self.feed.tell(|| {
            Kind::Finding(event::Finding {
                id,
                agent: agent.clone(),
                control: found.control.name(),
                rule: Arc::clone(&found.rule),
                action: found.action.name(),
                severity: found.severity.name(),
                count: found.count,
            })
        });
    }

    /// The same of all that was found in one go, and a line of the audit.
    pub fn guard_noted(&self, asked: &Asked, direction: Direction, findings: &[Finding]) {
        let Some(worst) = findings.iter().map(|found| found.severity).max() else {
            return;
        };
        for found in findings {
            self.guard_found(asked.id, &asked.agent, direction, found);
        }
        self.audit.record(entry(asked, direction, findings, worst));
    }
}

fn entry(asked: &Asked, direction: Direction, findings: &[Finding], worst: Severity) -> Entry {
    let leaked = findings
        .iter()
        .any(|found| found.control == Control::Canary);
    let event = match direction {
        Direction::In => Event::InputValidation,
        Direction::Out if leaked => Event::CanaryTokenLeak,
        Direction::Out => Event::OutputFilter,
    };
    let action = findings.iter().map(|found| found.action).max();
    let action = action.unwrap_or(Action::Flag);
    let mut entry = Entry::new(event, worst, action.name());
    entry.who = asked.key.as_ref().map(Who::of_key);
    entry.key = asked.key.clone();
    entry.agent = Some(asked.agent.clone());
    entry.request = Some(asked.id);
    entry.findings = findings.iter().map(Found::from).collect();
    entry
}
