//! The guard on the way out: answers are screened after they were metered and before they are signed.
//!
//! Decides which answers are screened, and how a refusal looks: a whole answer becomes an error, a stream
//! ends with one, and what the provider still sends is read for the bill and goes nowhere. What is a finding
//! is [`crate::guard`]'s.

use super::context::Admission;
use super::head::{announced_length, is_stream, unknown_length};
use super::relay::joined;
use super::settle::Phase;
use crate::answer::{self, Answer, event};
use crate::auth::Identity;
use crate::gateway::guard::{Asked, Direction};
use crate::gateway::{Gateway, Live};
use crate::guard::canary::Canary;
use crate::guard::detect::Rules;
use crate::guard::finding::{Action, Control, Mode};
use crate::guard::input::Restore;
use crate::guard::quarantine::Who;
use crate::guard::screen::{Options, Screen, Setting, Watches};
use crate::policy::guard::{Guard, Taken};
use crate::refusal::Refusal;
use crate::stream::AnswerKind;
use crate::surface::Surface;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a caller got a strike.
const LEAKED: &str = "canary";

/// How the answer to a request is screened. By default not at all.
#[derive(Default)]
pub(crate) struct Screening {
    plan: Option<Box<Plan>>,
    work: Option<Box<Work>>,
}

/// What is to be done with any answer.
struct Plan {
    rules: Arc<Rules>,
    options: Options,
    asked: Asked,
    /// Who gets a strike for a canary.
    who: Option<Who>,
}

/// The answer that is on its way.
struct Work {
    /// Never locked: a context may be looked at from two threads, and a screen cannot be.
    screen: Mutex<Screen>,
    stream: bool,
    taken: usize,
    given: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    /// Refused, and that was said.
    Refused,
    /// Its end has left.
    Over,
}

impl Screening {
    /// For a request that is let in, with what is put back into its answer and the word that must not be
    /// in it.
    pub(super) fn of(
        live: &Live,
        identity: &Identity,
        surface: Surface,
        asked: Asked,
        restore: Option<Restore>,
        canary: Option<&[Canary]>,
    ) -> Self {
        let guard = &identity.agent.guard;
        if matches!(surface, Surface::CountTokens | Surface::Embeddings) {
            return Self::default();
        }
        let options = Options {
            secrets: setting(guard.secrets),
            pii: setting(guard.pii),
            contacts: guard.contacts,
            leak: setting(guard.leak),
            canary: canary.map_or(Mode::Off, |_| guard.canary),
            watches: canary.map(watches),
            restore: restore.map(Arc::new),
        };
        if options.is_off() {
            return Self::default();
        }
        Self {
            plan: Some(Box::new(Plan {
                rules: Arc::clone(&live.policy.rules.screen),
                options,
                asked,
                who: blamed(guard, identity),
            })),
            work: None,
        }
    }

    /// Prepares for an answer whose header is ready for the client.
    ///
    /// # Errors
    /// When a header of ours cannot be written.
    pub(super) fn begin(
        &mut self,
        response: &mut ResponseHeader,
        admission: &mut Admission,
    ) -> Result<()> {
        let Some(plan) = self.plan.as_ref().filter(|_| response.status.is_success()) else {
            return Ok(());
        };
        let stream = is_stream(response);
        let kind = if stream {
            AnswerKind::EventStream
        } else {
            AnswerKind::Json
        };
        let dialect = admission.journey.surface.dialect();
        let screen = Screen::new(dialect, kind, Arc::clone(&plan.rules), plan.options.clone());
        if screen.collects() {
            admission.link.keep_back();
            if admission.exchange.phase() == Phase::Dispatched {
                // The answer has begun, though nothing of it is to be seen: there is no other attempt.
                admission.exchange.enter(Phase::Answering);
            }
        } else if stream && announced_length(response).is_some() {
            unknown_length(response, admission)?;
        }
        self.work = Some(Box::new(Work {
            screen: Mutex::new(screen),
            stream,
            taken: 0,
            given: 0,
            state: State::Passing,
        }));
        Ok(())
    }

    /// Screens a piece of an answer; `done` when it is the last one.
    pub(super) fn pass(
        &mut self,
        piece: Option<Bytes>,
        done: bool,
        admission: &Admission,
    ) -> Option<Bytes> {
        let Some(work) = &mut self.work else {
            return piece;
        };
        if admission.again {
            // Another model takes over: this answer is dropped.
            self.work = None;
            return piece;
        }
        let piece = piece.unwrap_or_default();
        match work.state {
            State::Refused => return None,
            // Nobody waits for what follows the end, and nobody has screened it.
            State::Over => {
                let blank = piece.iter().all(u8::is_ascii_whitespace);
                return (blank && !piece.is_empty()).then_some(piece);
            }
            State::Passing => {}
        }
        work.taken += piece.len();
        let screen = work.screen();
        let mut out = screen.push(piece);
        if done {
            out = joined(out, screen.finish()).unwrap_or_default();
        }
        let (refused, collects) = (screen.refused(), screen.collects());
        work.given += out.len();
        if let Some(control) = refused {
            if work.stream {
                work.state = State::Refused;
                let refusal = Refusal::AnswerBlocked(what(control));
                let last = event::refusal_event(admission.journey.surface, &refusal);
                out = joined(out, last).unwrap_or_default();
            } else if done {
                work.state = State::Refused;
                out = work.replaced(control, admission);
            }
        }
        if done && work.state == State::Passing {
            work.state = State::Over;
        }
        if done && collects {
            let longer = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
            admission
                .link
                .lengthen(longer(work.given) - longer(work.taken));
            admission.link.release();
        }
        (!out.is_empty()).then_some(out)
    }

    /// The end of a stream that broke off, `held` being what the meter still had of it. `None` when the
    /// client has read of its end already.
    pub(super) fn broken_off(&mut self, held: Bytes) -> Option<Bytes> {
        let Some(work) = &mut self.work else {
            return Some(held);
        };
        if work.state != State::Passing {
            return None;
        }
        work.state = State::Over;
        let screen = work.screen();
        let out = screen.push(held);
        Some(joined(out, screen.finish()).unwrap_or_default())
    }

    /// Tells what was found, once the answer is over.
    pub(super) fn report(&mut self, gateway: &Gateway) {
        let (Some(plan), Some(mut work)) = (&self.plan, self.work.take()) else {
            return;
        };
        let findings = work.screen().findings();
        gateway.guard_noted(&plan.asked, Direction::Out, &findings);
        let leaked = findings
            .iter()
            .any(|found| found.control == Control::Canary && found.action == Action::Refuse);
        if let Some(who) = plan.who.as_ref().filter(|_| leaked) {
            gateway.quarantine.strike_soon(who, LEAKED);
        }
    }
}

impl Work {
    fn screen(&mut self) -> &mut Screen {
        self.screen
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that takes the place of a whole answer.
    fn replaced(&mut self, control: Control, admission: &Admission) -> Bytes {
        let refusal = Refusal::AnswerBlocked(what(control));
        let shape = admission.journey.surface.shape();
        let id = admission.journey.id.to_string();
        admission
            .link
            .set_status(answer::status_in(shape, &refusal));
        let body = Answer::refusal_in(shape, &refusal, &id).body;
        self.given = body.len();
        body
    }
}

/// Who gets a strike, where callers are counted.
pub(super) fn blamed(guard: &Guard, identity: &Identity) -> Option<Who> {
    let key = identity.key.as_ref().filter(|_| guard.quarantine)?;
    Some(Who::of_key(key))
}

/// The same in the screen's words.
pub(super) fn setting(taken: Taken) -> Setting {
    Setting {
        mode: if taken.is_on() { taken.mode } else { Mode::Off },
        action: taken.outcome(),
    }
}

fn watches(canaries: &[Canary]) -> Watches {
    let canaries = canaries.to_vec();
    Arc::new(move || {
        let mut all: Vec<_> = canaries.iter().map(Canary::watch).collect();
        Box::new(move |piece: &str| {
            all.iter_mut()
                .fold(false, |found, one| found | one.push(piece))
        })
    })
}

/// What a client may read of it.
const fn what(control: Control) -> &'static str {
    match control {
        Control::Secret => "a key or a password",
        Control::Pii => "personal data",
        Control::Leak | Control::Canary => "internal instructions",
        Control::Injection => "instructions",
    }
}
