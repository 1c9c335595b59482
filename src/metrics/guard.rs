//! What is measured of the guard.

use crate::guard::finding::{Action, Control};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

const CONTROLS: [Control; 5] = [
    Control::Injection,
    Control::Canary,
    Control::Secret,
    Control::Pii,
    Control::Leak,
];
const ACTIONS: [Action; 3] = [Action::Flag, Action::Redact, Action::Refuse];
const DIRECTIONS: [&str; 2] = ["in", "out"];

/// Metrics of the guard.
pub(super) struct Guard {
    findings: Vec<IntCounter>,
}

impl Guard {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = IntCounterVec::new(
            Opts::new(
                "weir_guard_findings_total",
                "What the guard found in requests (in) and answers (out), and what was done about it.",
            ),
            &["control", "direction", "action"],
        )?;
        registry.register(Box::new(family.clone()))?;
        let mut findings = Vec::with_capacity(CONTROLS.len() * DIRECTIONS.len() * ACTIONS.len());
        for control in CONTROLS {
            for direction in DIRECTIONS {
                for action in ACTIONS {
                    let labels = [control.name(), direction, action.name()];
                    findings.push(family.with_label_values(&labels));
                }
            }
        }
        Ok(Self { findings })
    }

    pub(super) fn found(&self, control: Control, out: bool, action: Action, count: u32) {
        let place = |all: &[Control]| all.iter().position(|one| *one == control);
        let action = ACTIONS.iter().position(|one| *one == action);
        if let (Some(control), Some(action)) = (place(&CONTROLS), action) {
            let at = (control * DIRECTIONS.len() + usize::from(out)) * ACTIONS.len() + action;
            if let Some(counter) = self.findings.get(at) {
                counter.inc_by(u64::from(count));
            }
        }
    }
}
