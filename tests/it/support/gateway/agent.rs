//! Agents of a policy.

use std::fmt::Write as _;

/// The model of agents that name none: known to the price tables of both the gateway and the mock,
/// at the same price.
pub(crate) const MODEL: &str = "openai/gpt-4o-mini";

/// A model at one dollar per million input tokens and two per million output tokens, to the mock
/// and, after [`Setup::unit_prices`], to the gateway; at most a thousand output tokens.
pub(crate) const UNIT: &str = "test/unit";

/// An agent of a policy.
#[derive(Clone)]
pub(crate) struct Agent {
    name: String,
    lines: Vec<String>,
    tiers: Vec<(String, Vec<String>)>,
    untiered: bool,
}

impl Agent {
    /// An agent with a hard budget in dollars and, unless told otherwise, one tier with [`MODEL`].
    pub(crate) fn new(name: &str, total: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: vec![format!("budget_total: {total}")],
            tiers: Vec::new(),
            untiered: false,
        }
    }

    /// Goes on serving when the budget is spent.
    pub(crate) fn soft(self) -> Self {
        self.line("hard_cap: false")
    }

    /// Another line of the agent, such as `period: daily`.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// A tier, in file order.
    pub(crate) fn tier(mut self, threshold: &str, models: &[&str]) -> Self {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        self.tiers.push((threshold.to_owned(), models));
        self
    }

    /// No tiers: the client names the model.
    pub(crate) fn untiered(mut self) -> Self {
        self.untiered = true;
        self
    }

    /// One tier with [`UNIT`].
    pub(crate) fn unit(self) -> Self {
        self.tier("0.0", &[UNIT])
    }

    /// It as part of a policy.
    pub(super) fn yaml(&self) -> String {
        let mut text = format!("    {}:\n", self.name);
        for line in &self.lines {
            let _ = writeln!(text, "      {line}");
        }
        if self.untiered {
            return text;
        }
        text += "      tiers:\n";
        let one = [("0.0".to_owned(), vec![MODEL.to_owned()])];
        let tiers = if self.tiers.is_empty() {
            &one[..]
        } else {
            &self.tiers
        };
        for (threshold, models) in tiers {
            let _ = writeln!(text, "        - threshold: {threshold}\n          models:");
            for model in models {
                let _ = writeln!(text, "            - \"{model}\"");
            }
        }
        text
    }
}
