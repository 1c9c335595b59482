//! What the guard found, told to whoever wants to know.

use super::Gateway;
use crate::event::{self, Kind};
use crate::guard::finding::Finding;
use crate::identity::{AgentId, RequestId};
use std::sync::Arc;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In a request.
    In,
    /// In an answer.
    Out,
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
        let out = direction == Direction::Out;
        self.metrics.guard_found(found, out);
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
}
