//! The guard on the way in: what is searched for in a request before anything of it counts.
//!
//! Decides what becomes of a finding: the request is refused, its body is changed, or somebody is told. What
//! is a finding is [`crate::guard`]'s, who wants what done about it the policy's.

use super::receive::Stop;
use crate::auth::Identity;
use crate::gateway::guard::Direction;
use crate::gateway::{Gateway, Live};
use crate::guard::finding::{Action, Control, Finding, Severity};
use crate::guard::injection::{Options, Verdict, fence};
use crate::guard::quarantine::Who;
use crate::guard::{Passage, Source, plant, text};
use crate::identity::RequestId;
use crate::policy::guard::{Act, Guard, Taken};
use crate::refusal::Refusal;
use crate::surface::Surface;
use bytes::Bytes;
use std::sync::Arc;

/// Why a key got a strike.
const ATTACK: &str = "injection";

/// Refuses callers who are in quarantine.
///
/// # Errors
/// [`Refusal::KeyQuarantined`].
pub(super) fn admitted(gateway: &Gateway, identity: &Identity) -> Result<(), Refusal> {
    match gateway.quarantine.check_key(identity.key.as_ref()) {
        None => Ok(()),
        Some(quarantined) => Err(Refusal::KeyQuarantined(quarantined.remaining())),
    }
}

/// One request on its way in.
pub(super) struct Incoming<'a> {
    pub gateway: &'a Gateway,
    pub live: &'a Live,
    pub identity: &'a Identity,
    pub surface: Surface,
    pub id: RequestId,
}

impl Incoming<'_> {
    /// Looks at a body: the one to go on with.
    ///
    /// # Errors
    /// When the policy does not let it through.
    pub(super) async fn examine(&self, body: Bytes) -> Result<Bytes, Stop> {
        let guard = &self.identity.agent.guard;
        if !guard.judges() {
            return Ok(body);
        }
        let passages = text::passages(self.surface.dialect(), &body);
        let options = Options {
            from: guard.injection_from,
            untrusted_from: guard.untrusted_from,
            callers: guard.injection.is_on(),
            untrusted: guard.untrusted.is_on(),
            ..Options::default()
        };
        let verdict = self.live.policy.rules.injection.judge(&passages, &options);
        self.attacks(guard, &verdict, &passages).await?;
        if verdict.tainted.is_empty() {
            return Ok(body);
        }
        self.tell(
            guard.untrusted,
            &verdict.untrusted.reasons,
            verdict.tainted.len(),
        );
        match guard.untrusted.act() {
            Act::Refuse => Err(Refusal::PromptBlocked("instructions in a tool's result").into()),
            Act::Fence => Ok(fenced(&body, &passages, &verdict).into()),
            Act::Flag | Act::Redact => Ok(body),
        }
    }

    /// What the caller says.
    async fn attacks(
        &self,
        guard: &Guard,
        verdict: &Verdict,
        passages: &[Passage<'_>],
    ) -> Result<(), Stop> {
        if verdict.attack {
            self.tell(guard.injection, &verdict.caller.reasons, 1);
        } else if guard.injection.is_on() && self.is_flagged(guard, passages).await? {
            self.found(guard.injection, "classifier".into(), 1);
        } else {
            return Ok(());
        }
        if guard.injection.act() != Act::Refuse {
            return Ok(());
        }
        if let (true, Some(key)) = (guard.quarantine, &self.identity.key) {
            self.gateway
                .quarantine
                .strike(&Who::of_key(key), ATTACK)
                .await;
        }
        Err(Refusal::PromptBlocked("an attempt to change its instructions").into())
    }

    /// Whether somebody else calls it an attack.
    async fn is_flagged(&self, guard: &Guard, passages: &[Passage<'_>]) -> Result<bool, Stop> {
        let Some(classifier) = &guard.classifier else {
            return Ok(false);
        };
        // What was said before the model's last answer was judged then.
        let last = passages
            .iter()
            .rposition(|passage| passage.source == Source::Assistant)
            .map_or(0, |at| at + 1);
        let said: Vec<&str> = passages[last..]
            .iter()
            .filter(|passage| passage.source == Source::User)
            .map(|passage| &*passage.text)
            .collect();
        if said.is_empty() {
            return Ok(false);
        }
        match self.gateway.classifier.flags(classifier, &said).await {
            Ok(flagged) => Ok(flagged),
            Err(error) => {
                tracing::warn!(%error, "the classifier did not judge a request");
                let refuses = guard.injection.act() == Act::Refuse && !classifier.passes_unjudged;
                if refuses {
                    return Err(Refusal::GuardUnavailable.into());
                }
                Ok(false)
            }
        }
    }

    /// Tells of the rule that weighs most.
    fn tell(&self, taken: Taken, reasons: &[crate::guard::score::Reason], count: usize) {
        let rule = reasons
            .first()
            .map_or_else(|| "score".into(), |reason| Arc::clone(&reason.rule));
        self.found(taken, rule, u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn found(&self, taken: Taken, rule: Arc<str>, count: u32) {
        let action = taken.outcome();
        let finding = Finding {
            control: Control::Injection,
            rule,
            severity: if action == Action::Refuse {
                Severity::High
            } else {
                Severity::Medium
            },
            action,
            count,
        };
        let agent = &self.identity.agent.id;
        self.gateway
            .guard_found(self.id, agent, Direction::In, &finding);
    }
}

/// The body with marks around what tools say that looks like instructions.
fn fenced(body: &[u8], passages: &[Passage<'_>], verdict: &Verdict) -> Vec<u8> {
    let tainted = verdict.tainted.iter().filter_map(|at| passages.get(*at));
    let texts: Vec<_> = tainted
        .map(|passage| (passage.at.clone(), fence(&passage.text)))
        .collect();
    plant::replaced(body, &texts)
}
