//! The screen of an answer: what leaves for the client, searched and rewritten on its way.
//!
//! Decides what of an answer may leave now, what is replaced, and whether the answer is refused. It works on
//! the text that a client will read: per choice, per argument of a tool call, per block of content, escapes
//! of JSON undone. Of a stream, events wait only while their text could still become a finding
//! ([`super::detect`] says from where); whatever has no finding leaves byte by byte as it came. How a refusal
//! looks is decided by whoever asks, and nothing of what was found has left then.
//!
//! Memory is bounded: text that waits for more than [`WAITING`] bytes is replaced as a whole, and an event
//! waits for at most [`PATIENCE`] others that say nothing new about its text.

mod events;
mod judge;
mod rewrite;
mod stream;
#[cfg(test)]
mod tests;
mod walk;
mod whole;

use self::events::Events;
use self::judge::Judge;
use self::whole::Whole;
use super::detect::{Rules, Wanted, Watched};
use super::finding::{Action, Control, Finding, Mode};
use super::input::Restore;
use crate::stream::AnswerKind;
use crate::wire::Dialect;
use bytes::Bytes;
use std::sync::Arc;

/// The most text that waits to become a finding or not, in bytes.
pub const WAITING: usize = 16 << 10;

/// How many events may pass an event that waits without new text for it.
pub const PATIENCE: u32 = 32;

/// How one control is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether, and how seriously.
    pub mode: Mode,
    /// What is done about a finding when it is enforced.
    pub action: Action,
}

impl Default for Setting {
    /// Off.
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            action: Action::Flag,
        }
    }
}

impl Setting {
    /// A control that is enforced.
    pub const fn enforce(action: Action) -> Self {
        Self {
            mode: Mode::Enforce,
            action,
        }
    }

    /// A control whose findings are told of.
    pub const fn observe() -> Self {
        Self {
            mode: Mode::Observe,
            action: Action::Flag,
        }
    }

    fn is_on(self) -> bool {
        self.mode != Mode::Off
    }

    /// What becomes of a finding.
    pub(super) fn outcome(self) -> Action {
        match self.mode {
            Mode::Enforce => self.action,
            Mode::Off | Mode::Observe => Action::Flag,
        }
    }

    /// Whether findings change what leaves.
    fn acts(self) -> bool {
        self.outcome() != Action::Flag
    }
}

/// Watches one text for the token of a session: it is handed the text piece by piece, and says whether the
/// token is there by now.
pub type Watch = Box<dyn FnMut(&str) -> bool + Send>;

/// Makes a [`Watch`] for each text of an answer.
pub type Watches = Arc<dyn Fn() -> Watch + Send + Sync>;

/// What a screen does.
#[derive(Clone, Default)]
pub struct Options {
    /// Keys, tokens, passwords.
    pub secrets: Setting,
    /// Personal data.
    pub pii: Setting,
    /// Whether mail addresses and telephone numbers are acted upon like other personal data, and not only
    /// told of.
    pub contacts: bool,
    /// Words of a system prompt. They cannot be hidden by replacing them, but that is done, too.
    pub leak: Setting,
    /// The token of the session. A finding refuses the answer where it is enforced.
    pub canary: Mode,
    /// Watches for that token.
    pub watches: Option<Watches>,
    /// What is put back into the answer.
    pub restore: Option<Arc<Restore>>,
}

impl Options {
    /// Whether nothing is to be done.
    pub fn is_off(&self) -> bool {
        self.wanted().is_none() && !self.watches_canary() && self.restore.is_none()
    }

    fn watches_canary(&self) -> bool {
        self.canary != Mode::Off && self.watches.is_some()
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            secrets: self.secrets.is_on(),
            pii: self.pii.is_on(),
            leak: self.leak.is_on(),
        }
    }

    /// Whether the answer may be changed or refused, so that parts of it may have to wait.
    fn acts(&self) -> bool {
        let settings = [self.secrets, self.pii, self.leak];
        settings.into_iter().any(Setting::acts)
            || self.canary == Mode::Enforce && self.watches.is_some()
            || self.restore.is_some()
    }

    fn watched(&self) -> Watched {
        Watched {
            secrets: self.secrets.is_on(),
            pii: self.pii.is_on(),
            contacts: self.pii.acts() && self.contacts,
            leak: self.leak.acts(),
            canary: self.watches_canary(),
            placeholders: self.restore.is_some(),
        }
    }
}

/// Screens one answer.
pub struct Screen {
    judge: Judge,
    framing: Framing,
}

enum Framing {
    /// There is no text in it.
    Nothing,
    Events(Box<Events>),
    Whole(Whole),
}

impl Screen {
    /// A screen for an answer that has not begun, in the dialect of the client.
    pub fn new(dialect: Dialect, kind: AnswerKind, rules: Arc<Rules>, options: Options) -> Self {
        let acts = options.acts();
        Self {
            judge: Judge::new(rules, options),
            framing: match kind {
                _ if dialect == Dialect::Embeddings => Framing::Nothing,
                AnswerKind::EventStream => Framing::Events(Box::new(Events::new(acts))),
                AnswerKind::Json => Framing::Whole(Whole::new(acts)),
            },
        }
    }

    /// Takes a piece of the answer in: what may leave now.
    #[must_use]
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        match &mut self.framing {
            Framing::Events(events) => events.push(piece, &mut self.judge),
            Framing::Whole(whole) => whole.push(piece),
            Framing::Nothing => piece,
        }
    }

    /// The end of the answer: all that waited.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        match &mut self.framing {
            Framing::Events(events) => events.finish(&mut self.judge),
            Framing::Whole(whole) => whole.finish(&mut self.judge),
            Framing::Nothing => Bytes::new(),
        }
    }

    /// Why the answer is refused, if it is. Nothing leaves any more then.
    pub fn refused(&self) -> Option<Control> {
        self.judge.refused()
    }

    /// What was found so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.judge.findings()
    }

    /// Whether an answer is held back until its end: whole JSON that may be changed.
    pub fn collects(&self) -> bool {
        matches!(&self.framing, Framing::Whole(whole) if whole.collects())
    }
}
