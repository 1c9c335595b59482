//! Error answers that are read whole: said in the client's dialect, or replaced by another model's
//! answer.
//!
//! Decides what an error is about. The answer is kept back meanwhile, so that the client sees one
//! answer only.

use super::context::Admission;
use super::redact::Redactor;
use crate::answer::Answer;
use crate::dialect;
use crate::dialect::form::Failure;
use crate::policy::models::Model;
use crate::route::{Candidate, Route};
use bytes::Bytes;
use std::sync::Arc;

/// The most that is kept of an error answer, in bytes.
const ERROR_LIMIT: usize = 64 << 10;

/// An error answer that is being read.
pub(crate) struct Collected {
    redactor: Redactor,
    status: u16,
    body: Vec<u8>,
    translate: bool,
    judge: bool,
}

impl Collected {
    /// An answer whose header was seen. `translate`: it is not in the client's dialect; `judge`:
    /// another model may take over.
    pub(crate) fn new(redactor: Redactor, status: u16, translate: bool, judge: bool) -> Self {
        Self {
            redactor,
            status,
            body: Vec::new(),
            translate,
            judge,
        }
    }

    /// Takes a piece in; at the end gives what goes to the client, if anything does.
    pub(crate) fn push(
        &mut self,
        piece: Bytes,
        end: bool,
        admission: &mut Admission,
    ) -> Option<Bytes> {
        let piece = self.redactor.pass(piece, end);
        let room = ERROR_LIMIT.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if end { self.decide(admission) } else { None }
    }

    /// Another model takes over, or the answer goes on in the client's dialect.
    fn decide(&mut self, admission: &mut Admission) -> Option<Bytes> {
        let failure = dialect::failure(admission.asked_in, self.status, &self.body);
        if self.judge {
            let model = judge(self.status, admission);
            let other = model.as_ref().and_then(|model| match verdict(&failure) {
                Some(Verdict::ContextOverflow) => model.on_context_overflow.as_deref(),
                Some(Verdict::ContentPolicy) => model.on_content_policy.as_deref(),
                None => None,
            });
            let candidate = other.and_then(|name| detour(name, admission));
            if let Some(candidate) = candidate.filter(|_| !admission.link.client_gone()) {
                admission.journey.detour(candidate);
                admission.again = true;
                admission.link.discard();
                return None;
            }
            admission.link.forget_body();
            admission.link.release();
        }
        if !self.translate {
            return Some(Bytes::from(std::mem::take(&mut self.body)));
        }
        let shape = admission.journey.surface.shape();
        Some(Answer::failure_in(shape, self.status, &failure).body)
    }
}

/// The candidate for a model that takes over, as far as the cost breaker lets it.
fn detour(name: &str, admission: &Admission) -> Option<Arc<Candidate>> {
    let journey = &admission.journey;
    let directory = journey.live.directory();
    let candidate = Route::detour(name, directory)?;
    let able = |candidate: &Candidate| candidate.asked_in(journey.surface.dialect()).is_some();
    let rules = &journey.live.policy.breaker.rules;
    candidate.at(journey.judged.level, rules, directory, able)
}

/// Whether an error of that status may be one for which another model takes over: what the models
/// file says about the one that was asked.
pub(crate) fn judge(status: u16, admission: &Admission) -> Option<Arc<Model>> {
    let model = admission.candidate.model()?;
    let configured = model.on_context_overflow.is_some() || model.on_content_policy.is_some();
    (matches!(status, 400 | 413 | 422) && configured && !admission.journey.detoured)
        .then(|| Arc::clone(model))
}

/// For which of its errors another model takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    ContextOverflow,
    ContentPolicy,
}

/// What an error is about, by its code, else by the words that providers without a code use.
fn verdict(failure: &Failure) -> Option<Verdict> {
    let code = failure.code.as_deref().unwrap_or_default();
    let message = failure.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if code == "context_length_exceeded"
        || says(&[
            "maximum context length",
            "prompt is too long",
            "context window",
            "exceeds the maximum number of tokens",
            "input token count",
        ])
    {
        return Some(Verdict::ContextOverflow);
    }
    let filtered = matches!(
        code,
        "content_filter" | "content_policy_violation" | "invalid_prompt" | "moderation"
    );
    (filtered
        || says(&[
            "content management policy",
            "content policy",
            "usage policy",
            "moderation",
        ]))
    .then_some(Verdict::ContentPolicy)
}
