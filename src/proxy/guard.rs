//! The guard on the way in: what is searched for in a request before anything of it counts.
//!
//! Decides what becomes of a finding: the request is refused, its body is changed, or somebody is told. What
//! is a finding is [`crate::guard`]'s, who wants what done about it the policy's.

use super::inner::asker;
use super::receive::Stop;
use super::screening::{Screening, blamed, setting};
use crate::auth::Identity;
use crate::gateway::guard::{Asked, Direction};
use crate::gateway::{Gateway, Live};
use crate::guard::canary::Canary;
use crate::guard::finding::{Action, Control, Finding, Mode, Severity};
use crate::guard::injection::{self, Verdict, fence};
use crate::guard::input::{self, Restore};
use crate::guard::quarantine::{Text, Who};
use crate::guard::score::Reason;
use crate::guard::session::{Owner, SessionId, Tokens};
use crate::guard::{Passage, Source, plant, text};
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

/// How deep a body may be nested: no deeper than it is read, where it is.
pub(super) fn deepest(identity: &Identity, limit: usize) -> usize {
    let guard = &identity.agent.guard;
    if guard.looks_in() || guard.looks_out() {
        limit.min(text::DEPTH)
    } else {
        limit
    }
}

/// One request on its way in.
pub(super) struct Incoming<'a> {
    pub gateway: &'a Gateway,
    pub live: &'a Live,
    pub identity: &'a Identity,
    pub surface: Surface,
    /// What the client calls the conversation.
    pub session: Option<String>,
    pub asked: Asked,
}

impl Incoming<'_> {
    /// Looks at a body: the one to go on with, and how its answer is screened.
    ///
    /// # Errors
    /// When the policy does not let it through.
    pub(super) async fn examine(&self, body: Bytes) -> Result<(Bytes, Screening), Stop> {
        let guard = &*self.identity.agent.guard;
        if !guard.looks_in() && !guard.looks_out() {
            return Ok((body, Screening::default()));
        }
        // Nobody reads a body that is no text: it is refused when it is parsed.
        let Ok(text) = std::str::from_utf8(&body) else {
            return Ok((body, Screening::default()));
        };
        let (changed, restore) = self.searched(guard, text).await?;
        let text = changed.as_deref().unwrap_or(text);
        let (planted, tokens) = self.planted(guard, text).await?;
        let body = planted.or(changed.map(Bytes::from)).unwrap_or(body);
        let canaries: Option<Vec<Canary>> = tokens.map(|tokens| tokens.all().cloned().collect());
        let screening = Screening::of(
            self.live,
            self.identity,
            self.surface,
            self.asked.clone(),
            restore,
            canaries.as_deref(),
        );
        Ok((body, screening))
    }

    /// The body once its texts were judged and what must not leave was taken out, where that changes it, and
    /// what of that is put back into its answer.
    async fn searched(
        &self,
        guard: &Guard,
        body: &str,
    ) -> Result<(Option<String>, Option<Restore>), Stop> {
        // Also what this process asks itself: whoever asks knows patterns, and nothing of an agent's policy.
        let judges = guard.judges();
        let redacts = guard.input_secrets.is_on() || guard.input_pii.is_on();
        if !judges && !redacts {
            return Ok((None, None));
        }
        self.readable(guard, body)?;
        let passages = text::passages(self.surface.dialect(), body);
        let fenced = if judges {
            self.judged(guard, body, &passages).await?
        } else {
            None
        };
        if !redacts {
            return Ok((fenced, None));
        }
        let (redacted, restore) = match &fenced {
            // The texts stand at other places now.
            Some(fenced) => {
                let passages = text::passages(self.surface.dialect(), fenced);
                self.redacted(guard, fenced, &passages)?
            }
            None => self.redacted(guard, body, &passages)?,
        };
        Ok((redacted.or(fenced), restore))
    }

    /// Refuses what cannot be read, where something would be done about what it says.
    fn readable(&self, guard: &Guard, body: &str) -> Result<(), Stop> {
        // What is embedded gives no orders.
        let judges = guard.injection.act() == Act::Refuse && self.surface != Surface::Embeddings;
        let redacts = [guard.input_secrets, guard.input_pii];
        let redacts = redacts.iter().any(|taken| taken.act() != Act::Flag);
        if (judges || redacts) && text::has_token_numbers(self.surface.dialect(), body) {
            return Err(Refusal::PromptBlocked("numbers of tokens in the place of a text").into());
        }
        Ok(())
    }

    /// Whether it is an attack; the body, if it has to be another one.
    async fn judged(
        &self,
        guard: &Guard,
        body: &str,
        passages: &[Passage<'_>],
    ) -> Result<Option<String>, Stop> {
        let options = injection::Options {
            from: guard.injection_from,
            untrusted_from: guard.untrusted_from,
            callers: guard.injection.is_on(),
            untrusted: guard.untrusted.is_on(),
            ..injection::Options::default()
        };
        let verdict = self.live.policy.rules.injection.judge(passages, &options);
        self.attacks(guard, &verdict, passages).await?;
        if verdict.tainted.is_empty() {
            return Ok(None);
        }
        let reasons = &verdict.untrusted.reasons;
        self.tell(guard.untrusted, reasons, verdict.tainted.len());
        match guard.untrusted.act() {
            Act::Refuse => Err(Refusal::PromptBlocked("instructions in a tool's result").into()),
            Act::Fence => Ok(Some(fenced(body, passages, &verdict))),
            Act::Flag | Act::Redact => Ok(None),
        }
    }

    /// The body without secrets and personal data, where it has any, and what is put back into its answer.
    fn redacted(
        &self,
        guard: &Guard,
        body: &str,
        passages: &[Passage<'_>],
    ) -> Result<(Option<String>, Option<Restore>), Stop> {
        let options = input::Options {
            secrets: setting(guard.input_secrets),
            pii: setting(guard.input_pii),
            contacts: guard.contacts,
        };
        let rules = &self.live.policy.rules.screen;
        let Some(redacted) = input::redact(body, passages, rules, options) else {
            return Ok((None, None));
        };
        self.gateway
            .guard_noted(&self.asked, Direction::In, &redacted.findings);
        if redacted.refused {
            return Err(Refusal::PromptBlocked("secrets or personal data").into());
        }
        let restore = Some(redacted.restore).filter(|restore| guard.restore && !restore.is_empty());
        Ok((redacted.body, restore))
    }

    /// The body with a word behind its system prompt that no answer may hold.
    async fn planted(
        &self,
        guard: &Guard,
        body: &str,
    ) -> Result<(Option<Bytes>, Option<Tokens>), Stop> {
        if guard.canary == Mode::Off || asker().is_some() {
            return Ok((None, None));
        }
        let owner = match &self.identity.key {
            Some(key) => Owner::Key(key),
            None => Owner::Caller(self.asked.agent.as_str()),
        };
        let session = SessionId::of(owner, self.session.as_deref().unwrap_or_default());
        let tokens = match self.gateway.canaries.canary_for(&session).await {
            Ok(tokens) => tokens,
            Err(error) => {
                tracing::error!(%error, "a prompt has no canary");
                return match guard.canary {
                    Mode::Enforce => Err(Refusal::GuardUnavailable.into()),
                    Mode::Off | Mode::Observe => Ok((None, None)),
                };
            }
        };
        let sentence = tokens.current.instruction();
        Ok(
            match plant::behind_system(self.surface.dialect(), body, &sentence) {
                Some(planted) => (Some(planted.into()), Some(tokens)),
                None => (None, None),
            },
        )
    }

    /// What the caller says.
    async fn attacks(
        &self,
        guard: &Guard,
        verdict: &Verdict,
        passages: &[Passage<'_>],
    ) -> Result<(), Stop> {
        let culprits = if verdict.attack {
            self.tell(guard.injection, &verdict.caller.reasons, 1);
            verdict.blamed.clone()
        } else if guard.injection.is_on() {
            let flagged = self.flagged(guard, passages).await?;
            if flagged.is_empty() {
                return Ok(());
            }
            self.found(guard.injection, "classifier".into(), 1);
            flagged
        } else {
            return Ok(());
        };
        if guard.injection.act() != Act::Refuse {
            return Ok(());
        }
        // What is embedded is a document more often than not, and nobody is blamed for those.
        let who = blamed(guard, self.identity).filter(|_| self.surface != Surface::Embeddings);
        if let Some(who) = who {
            let texts = culprits.iter().filter_map(|at| passages.get(*at));
            self.strike(&who, texts.map(Passage::text)).await;
        }
        Err(Refusal::PromptBlocked("an attempt to change its instructions").into())
    }

    /// Holds these texts against a caller: once, as its conversation has them in every turn from now on.
    async fn strike(&self, who: &Who, texts: impl Iterator<Item = &str>) {
        let quarantine = &self.gateway.quarantine;
        if asker().is_some() {
            // The routes of the API Orchestrator count every request.
            quarantine.strike(who, ATTACK).await;
            return;
        }
        let key = self.identity.key.as_ref();
        let key = key.and_then(|key| self.live.policy.keys.digest_of(key));
        let text = Text::of(key, who, texts);
        quarantine.strike_once(who, ATTACK, text).await;
    }

    /// Which texts somebody else calls an attack: the newest, or those of which it does not say which.
    async fn flagged(&self, guard: &Guard, passages: &[Passage<'_>]) -> Result<Vec<usize>, Stop> {
        let Some(classifier) = &guard.classifier else {
            return Ok(Vec::new());
        };
        // What was said before the model's last answer was judged then.
        let last = passages
            .iter()
            .rposition(|passage| passage.source == Source::Assistant)
            .map_or(0, |at| at + 1);
        let numbered = passages.iter().enumerate().skip(last);
        let (numbers, said): (Vec<usize>, Vec<&str>) = numbered
            .filter(|(_, passage)| passage.source == Source::User)
            .map(|(number, passage)| (number, passage.text()))
            .unzip();
        if said.is_empty() {
            return Ok(Vec::new());
        }
        match self.gateway.classifier.flags(classifier, &said).await {
            Ok(flagged) => {
                let flagged = flagged.iter().filter_map(|at| numbers.get(*at));
                Ok(flagged.copied().collect())
            }
            Err(error) => {
                tracing::warn!(%error, "the classifier did not judge a request");
                let refuses = guard.injection.act() == Act::Refuse && !classifier.passes_unjudged;
                if refuses {
                    return Err(Refusal::GuardUnavailable.into());
                }
                Ok(Vec::new())
            }
        }
    }

    /// Tells of the rule that weighs most.
    fn tell(&self, taken: Taken, reasons: &[Reason], count: usize) {
        let rule = reasons
            .first()
            .map_or_else(|| "score".into(), |reason| Arc::clone(&reason.rule));
        self.found(taken, rule, u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn found(&self, taken: Taken, rule: Arc<str>, count: u32) {
        let action = taken.outcome();
        let severity = match action {
            Action::Refuse => Severity::High,
            Action::Flag | Action::Redact => Severity::Medium,
        };
        let finding = Finding {
            control: Control::Injection,
            rule,
            severity,
            action,
            count,
        };
        self.gateway
            .guard_noted(&self.asked, Direction::In, &[finding]);
    }
}

/// The body with marks around what tools say that looks like instructions.
fn fenced(body: &str, passages: &[Passage<'_>], verdict: &Verdict) -> String {
    let tainted = verdict.tainted.iter().filter_map(|at| passages.get(*at));
    let texts: Vec<_> = tainted
        .map(|passage| (passage.at.clone(), fence(passage.text())))
        .collect();
    plant::replaced(body, &texts)
}
