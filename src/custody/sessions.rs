//! The canaries of sessions, for everything in the process that puts one into a prompt or looks for one.
//!
//! Decides who is asked: the memory of this process, and for what is new there, or was not asked about for a
//! while, Redis, where gateways agree on a token by who was first. Without Redis each gateway has tokens of
//! its own, and knows no others: an answer to another one's prompt may then hold a token that is not found.

use crate::fleet::Wards;
use crate::guard::canary::Canary;
use crate::guard::session::{Known, SessionId, Sessions, Tokens};
use crate::ledger::log::Clock;
use crate::settings::Lasting;
use std::sync::{Arc, OnceLock};

/// There is no token: the system has no random numbers. Nothing may be sent without one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no canary can be made: {0}")]
pub struct NoCanary(#[from] getrandom::Error);

/// The canaries of sessions.
pub struct Canaries {
    sessions: Sessions,
    clock: Clock,
    shared: OnceLock<Arc<Wards>>,
}

impl Canaries {
    /// Sessions of this process only.
    pub fn new(lasting: Lasting, clock: Clock) -> Self {
        Self {
            sessions: Sessions::new(lasting),
            clock,
            shared: OnceLock::new(),
        }
    }

    /// Agrees on tokens with other gateways from now on.
    pub fn share(&self, wards: Arc<Wards>) {
        // Whoever is set first stays.
        let _ = self.shared.set(wards);
    }

    /// The token for the next turn of a session, and the one before where there is one.
    ///
    /// # Errors
    /// [`NoCanary`].
    pub async fn canary_for(&self, id: &SessionId) -> Result<Tokens, NoCanary> {
        let now = self.clock.millis();
        let (mine, before) = match self.sessions.find(id, now) {
            Known::Now(tokens) => return Ok(tokens),
            Known::Unsure(tokens) if self.shared.get().is_none() => return Ok(tokens),
            Known::Unsure(tokens) => (tokens.current, tokens.before),
            Known::Nothing { before } => (Canary::new()?, before),
        };
        Ok(match self.agreed(id, now, &mine).await {
            Some((token, earlier)) => {
                let before = earlier.or(before);
                self.sessions.put(id, now, &token, before.as_ref(), true)
            }
            None => self.sessions.put(id, now, &mine, before.as_ref(), false),
        })
    }

    /// The tokens that an answer in a session must not hold; `None` where there never was one.
    pub async fn watched(&self, id: &SessionId) -> Option<Tokens> {
        let now = self.clock.millis();
        if let Some(tokens) = self.sessions.watched(id, now) {
            return Some(tokens);
        }
        let epoch = self.sessions.epoch(id, now);
        let wards = self.shared.get()?;
        let [now_stored, stored] = [epoch, epoch.wrapping_sub(1)].map(|epoch| id.stored(epoch));
        let keep = self.sessions.keep();
        let tokens = wards.token(&now_stored, &stored, "", keep).await?;
        let [current, before] = tokens.map(|token| Canary::parse(&token?));
        match (current, before) {
            (Some(current), before) => {
                let put = self.sessions.put(id, now, &current, before.as_ref(), true);
                Some(put)
            }
            (None, before) => before.map(|current| Tokens {
                current,
                before: None,
            }),
        }
    }

    /// How many sessions are remembered here.
    pub fn count(&self) -> usize {
        self.sessions.count()
    }

    async fn agreed(
        &self,
        id: &SessionId,
        now: u64,
        mine: &Canary,
    ) -> Option<(Canary, Option<Canary>)> {
        let wards = self.shared.get()?;
        let epoch = self.sessions.epoch(id, now);
        let [current, before] = [epoch, epoch.wrapping_sub(1)].map(|epoch| id.stored(epoch));
        let (keep, token) = (self.sessions.keep(), mine.token());
        let tokens = wards.token(&current, &before, token, keep).await?;
        // Whatever somebody else has put there: what is no token is not believed.
        let [there, earlier] = tokens.map(|token| Canary::parse(&token?));
        Some((there?, earlier))
    }
}
