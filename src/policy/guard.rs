//! What the guard does for whom: the section `guard`, and what an agent's own section says otherwise.
//!
//! Decides nothing about texts; that is [`crate::guard`]'s. Everything is off unless it is asked for: no
//! prompt is read that nobody wants read.

mod classifier;
mod rules;

use crate::guard::finding::{Action, Control, Mode};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Section, Value};
use crate::settings::units;
pub use classifier::Classifier;
pub use rules::Files as RuleFiles;
pub(super) use rules::read as read_rules;
use std::sync::Arc;

/// A threshold of a score, in hundredths, so that it is compared exactly.
pub type Hundredths = u16;

/// The score from which a text counts as an attack, unless a policy says otherwise.
pub const THRESHOLD: Hundredths = 50;

/// How one control is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether, and how seriously.
    pub mode: Mode,
    /// What is done about a finding when it is enforced.
    pub action: Act,
}

/// What is done about a finding when its control is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is told and passes.
    Flag,
    /// What was found is replaced.
    Redact,
    /// The text is put between marks that say it is no instruction.
    Fence,
    /// The request, or its answer, is refused.
    Refuse,
}

impl Act {
    /// The name in policy files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Fence => "fence",
            Self::Refuse => "refuse",
        }
    }
}

impl Taken {
    const fn off(action: Act) -> Self {
        Self {
            mode: Mode::Off,
            action,
        }
    }

    /// Whether anything is looked for.
    pub fn is_on(self) -> bool {
        self.mode != Mode::Off
    }

    /// What becomes of a finding.
    pub fn act(self) -> Act {
        match self.mode {
            Mode::Enforce => self.action,
            Mode::Off | Mode::Observe => Act::Flag,
        }
    }

    /// The same in the words of findings; a fence changes the text.
    pub fn outcome(self) -> Action {
        match self.act() {
            Act::Flag => Action::Flag,
            Act::Redact | Act::Fence => Action::Redact,
            Act::Refuse => Action::Refuse,
        }
    }
}

/// What the guard does for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What callers say.
    pub injection: Taken,
    /// The score from which that counts.
    pub injection_from: Hundredths,
    /// What tools and documents say, for which no caller is blamed.
    pub untrusted: Taken,
    /// The score from which that counts.
    pub untrusted_from: Hundredths,
    /// A token in the system prompt that no answer may hold.
    pub canary: Mode,
    /// Keys and passwords in answers.
    pub secrets: Taken,
    /// Personal data in answers.
    pub pii: Taken,
    /// Words of a system prompt in answers.
    pub leak: Taken,
    /// Whether personal data includes how somebody is reached: addresses and telephone numbers.
    pub contacts: bool,
    /// Keys and passwords in requests.
    pub input_secrets: Taken,
    /// Personal data in requests.
    pub input_pii: Taken,
    /// Whether what was replaced in a request is put back in its answer.
    pub restore: bool,
    /// Whether callers who attack are counted, and kept out after a few times.
    pub quarantine: bool,
    /// Somebody else who judges what callers say, after us.
    pub classifier: Option<Arc<Classifier>>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            injection: Taken::off(Act::Refuse),
            injection_from: THRESHOLD,
            untrusted: Taken::off(Act::Fence),
            untrusted_from: THRESHOLD,
            canary: Mode::Off,
            secrets: Taken::off(Act::Redact),
            pii: Taken::off(Act::Redact),
            leak: Taken::off(Act::Flag),
            contacts: false,
            input_secrets: Taken::off(Act::Redact),
            input_pii: Taken::off(Act::Redact),
            restore: true,
            quarantine: true,
            classifier: None,
        }
    }
}

impl Guard {
    /// Whether requests are looked at.
    pub fn looks_in(&self) -> bool {
        self.judges() || self.input_secrets.is_on() || self.input_pii.is_on()
    }

    /// Whether texts are judged.
    pub fn judges(&self) -> bool {
        self.injection.is_on() || self.untrusted.is_on()
    }

    /// Whether answers are looked at.
    pub fn looks_out(&self) -> bool {
        self.secrets.is_on() || self.pii.is_on() || self.leak.is_on() || self.canary != Mode::Off
    }

    /// How what a control finds in an answer is taken.
    pub fn outgoing(&self, control: Control) -> Taken {
        match control {
            Control::Injection => Taken::off(Act::Flag),
            Control::Secret => self.secrets,
            Control::Pii => self.pii,
            Control::Leak => self.leak,
            Control::Canary => Taken {
                mode: self.canary,
                action: Act::Refuse,
            },
        }
    }
}

/// Reads a section: what it does not say is as in `outer`.
pub(super) fn read(section: &Section<'_>, outer: &Guard) -> Guard {
    const TO_CALLERS: &[Act] = &[Act::Refuse, Act::Flag];
    const TO_TEXTS: &[Act] = &[Act::Fence, Act::Refuse, Act::Flag];
    const TO_ANSWERS: &[Act] = &[Act::Redact, Act::Refuse, Act::Flag];
    let (injection, injection_from) = judged(
        section,
        "injection",
        (outer.injection, outer.injection_from),
        TO_CALLERS,
    );
    let (untrusted, untrusted_from) = judged(
        section,
        "untrusted",
        (outer.untrusted, outer.untrusted_from),
        TO_TEXTS,
    );
    let input = section.section("input");
    Guard {
        injection,
        injection_from,
        untrusted,
        untrusted_from,
        canary: canary(section, outer.canary),
        secrets: taken(section, "secrets", outer.secrets, TO_ANSWERS).0,
        pii: taken(section, "pii", outer.pii, TO_ANSWERS).0,
        leak: taken(section, "leak", outer.leak, TO_ANSWERS).0,
        contacts: flag(section, "contacts", outer.contacts),
        input_secrets: taken(&input, "secrets", outer.input_secrets, TO_ANSWERS).0,
        input_pii: taken(&input, "pii", outer.input_pii, TO_ANSWERS).0,
        restore: flag(&input, "restore", outer.restore),
        quarantine: flag(section, "quarantine", outer.quarantine),
        classifier: match section.get("classifier") {
            Some(own) => classifier::read(&own.section()).map(Arc::new),
            None => outer.classifier.clone(),
        },
    }
}

fn flag(section: &Section<'_>, key: &'static str, outer: bool) -> bool {
    section.or(key, outer, units::flag, ToString::to_string)
}

fn canary(section: &Section<'_>, outer: Mode) -> Mode {
    section.or("canary", outer, mode, |mode| mode_name(*mode).to_owned())
}

/// A control that is `off`, `observe` or `enforce`, or a section with `mode` and more.
fn taken<'r>(
    section: &Section<'r>,
    key: &'static str,
    outer: Taken,
    acts: &[Act],
) -> (Taken, Option<Section<'r>>) {
    let show = |mode: &Mode| mode_name(*mode).to_owned();
    let Some(value) = section.get(key).filter(Value::is_mapping) else {
        let mode = section.or(key, outer.mode, mode, show);
        return (Taken { mode, ..outer }, None);
    };
    let inner = value.section();
    let mode = inner.or("mode", outer.mode, mode, show);
    let action = inner.or(
        "action",
        outer.action,
        |text| named(text, acts, |act| act.name()),
        |act| act.name().to_owned(),
    );
    (Taken { mode, action }, Some(inner))
}

fn judged(
    section: &Section<'_>,
    key: &'static str,
    outer: (Taken, Hundredths),
    acts: &[Act],
) -> (Taken, Hundredths) {
    let (taken, inner) = taken(section, key, outer.0, acts);
    let from = inner.map_or(outer.1, |inner| {
        inner.or("threshold", outer.1, threshold, |from| {
            format!("{}.{:02}", from / 100, from % 100)
        })
    });
    (taken, from)
}

fn mode(text: &str) -> Result<Mode, Complaint> {
    // YAML's older readers take a bare `off` for a switch, and people write one.
    let text = match text.trim() {
        "false" => "off",
        other => other,
    };
    named(text, &[Mode::Off, Mode::Observe, Mode::Enforce], |mode| {
        mode_name(*mode)
    })
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn named<T: Copy>(
    text: &str,
    all: &[T],
    name: impl Fn(&T) -> &'static str,
) -> Result<T, Complaint> {
    let text = text.trim();
    let names: Vec<&str> = all.iter().map(&name).collect();
    let found = all.iter().find(|one| name(one) == text);
    found.copied().ok_or_else(|| Complaint {
        message: format!("must be one of {}", names.join(", ")),
        suggestion: did_you_mean(text, &names),
    })
}

/// A share with at most two decimals, such as `0.5`.
fn threshold(text: &str) -> Result<Hundredths, Complaint> {
    let complaint = || Complaint::new("must be a number from 0.01 to 1, with at most two decimals");
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 1 {
        return Err(complaint());
    }
    let whole: Hundredths = whole.parse().unwrap_or(0);
    let part: Hundredths = format!("{part:0<2}").parse().unwrap_or(0);
    let from = whole * 100 + part;
    if (1..=100).contains(&from) {
        Ok(from)
    } else {
        Err(complaint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, Policy};
    use crate::settings::environment::Environment;

    fn policy(guard: &str, own: &str) -> Result<Policy, String> {
        let text = format!(
            "guard: {guard}\ncost_routing:\n  agents:\n    a: {{budget_total: 1, guard: {own}}}\n    b: {{budget_total: 1}}\n"
        );
        policy::parse("policy.yaml", &text, &Environment::default())
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_is_looked_for_unless_somebody_asks() {
        let policy = policy("{}", "{}").unwrap();
        let guard = &policy.agents["a"].guard;
        assert!(!guard.looks_in() && !guard.looks_out());
    }

    #[test]
    fn an_agent_says_what_is_otherwise_than_for_all() {
        let policy = policy(
            "{injection: enforce, secrets: {mode: observe, action: refuse}, input: {pii: enforce}}",
            "{injection: {mode: enforce, threshold: 0.7}, secrets: enforce, canary: enforce}",
        )
        .unwrap();
        let (own, all) = (&policy.agents["a"].guard, &policy.agents["b"].guard);
        assert_eq!((own.injection_from, all.injection_from), (70, 50));
        assert_eq!(
            (own.secrets.act(), all.secrets.act()),
            (Act::Refuse, Act::Flag)
        );
        assert_eq!((own.canary, all.canary), (Mode::Enforce, Mode::Off));
        assert_eq!(own.input_pii.act(), Act::Redact);
        assert_eq!(own.untrusted.action, Act::Fence);
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_its_place() {
        for (guard, place) in [
            ("{injection: enforced}", "guard.injection"),
            (
                "{injection: {mode: enforce, action: fence}}",
                "guard.injection.action",
            ),
            (
                "{injection: {mode: enforce, threshold: 1.5}}",
                "guard.injection.threshold",
            ),
            ("{injektion: enforce}", "guard.injektion"),
            (
                "{secrets: {mode: enforce, treshold: 1}}",
                "guard.secrets.treshold",
            ),
        ] {
            let problems = policy(guard, "{}").unwrap_err();
            assert!(problems.contains(place), "{guard}: {problems}");
        }
    }
}
