//! Requests, tokens and concurrency per minute, and the size of a request.
//!
//! Decides whether a request may go on, by the limits of everything it falls under, all in one step.
//! A request that is refused does not count. Tokens are reserved before they are known and corrected
//! once they are; a reservation is never larger than the limit, so that no request is refused for
//! good. It does not know money; that is [`crate::ledger`].
//!
//! A minute is the sixty seconds up to now, in steps of a second.

mod minute;

use minute::State;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The limits of one key, agent, user, model or team; `None` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens, input and output together, in any minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests at a time.
    pub concurrent_requests: Option<u64>,
    /// Bytes of a request's body.
    pub request_bytes: Option<usize>,
}

impl Limits {
    /// Whether there is no limit at all.
    pub const fn is_none(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
            && self.concurrent_requests.is_none()
            && self.request_bytes.is_none()
    }
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A key.
    Key,
    /// An agent.
    Agent,
    /// A user.
    User,
    /// A model.
    Model,
    /// A team.
    Team,
}

impl Kind {
    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Model => "model",
            Self::Team => "team",
        }
    }
}

/// Something that a request falls under, and its limits.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub id: &'a str,
    /// Its limits.
    pub limits: Limits,
}

/// Which of its limits a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What the limit is of.
    pub kind: Kind,
    /// `requests`, `tokens` or `concurrent requests`.
    pub what: &'static str,
    /// The limit.
    pub limit: u64,
    /// Seconds until it may be tried again, at least 1.
    pub retry_after: u64,
}

/// How much of the tightest limits is left, for `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of requests; `None` without such a limit.
    pub requests: Option<Left>,
    /// Of tokens; `None` without such a limit.
    pub tokens: Option<Left>,
    /// Of requests at a time; `None` without such a limit.
    pub concurrent: Option<Left>,
}

impl Standing {
    /// Takes over what is left of the limits of `state` where it is less.
    fn tighten(&mut self, state: &State, limits: &Limits, now: u64) {
        let tighter = |kept: &mut Option<Left>, new: Option<Left>| {
            if let Some(new) = new
                && kept.is_none_or(|old| new.remaining < old.remaining)
            {
                *kept = Some(new);
            }
        };
        let left = |limit: Option<u64>, used| Some(state.left(limit?, used, now));
        tighter(
            &mut self.requests,
            left(limits.requests_per_minute, state.requests),
        );
        tighter(
            &mut self.tokens,
            left(limits.tokens_per_minute, state.tokens),
        );
        let concurrent = limits.concurrent_requests.map(|limit| Left {
            limit,
            remaining: limit.saturating_sub(state.open),
            reset: 0,
        });
        tighter(&mut self.concurrent, concurrent);
    }
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub limit: u64,
    /// What is left of it now.
    pub remaining: u64,
    /// Seconds until all of it is there again.
    pub reset: u64,
}

type Shared = Arc<Mutex<State>>;

/// Every limit of the process.
#[derive(Debug, Default)]
pub struct Limiter {
    states: RwLock<HashMap<(Kind, String), Shared>>,
}

/// A request that was let in: it counts until it is cancelled or corrected, and is in flight until
/// it is dropped.
#[derive(Debug)]
#[must_use = "a request is in flight for as long as its permit lives"]
pub struct Permit {
    claims: Vec<(Shared, Limits)>,
    at: u64,
    tokens: u64,
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Limiter {
    /// Lets a request in that is expected to use `tokens`, if every limit of `claims`, of which no two
    /// are the same, allows it. `None` when none of them has a limit. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The first limit that is met; then nothing is counted.
    pub fn admit<'a>(
        &self,
        claims: impl IntoIterator<Item = Claim<'a>>,
        tokens: u64,
        now: u64,
    ) -> Result<Option<Permit>, Exceeded> {
        let mut limited: Vec<Claim<'a>> = claims
            .into_iter()
            .filter(|claim| !claim.limits.is_none())
            .collect();
        if limited.is_empty() {
            return Ok(None);
        }
        // One order for everybody, so that no two requests wait for each other.
        limited.sort_by_key(|claim| (claim.kind, claim.id));
        let states: Vec<Shared> = limited
            .iter()
            .map(|claim| self.state(claim.kind, claim.id))
            .collect();
        let mut locked: Vec<MutexGuard<'_, State>> = states.iter().map(lock).collect();
        for (state, claim) in locked.iter_mut().zip(&limited) {
            state.roll(now);
            if let Some(exceeded) = state.exceeds(claim, tokens, now) {
                return Err(exceeded);
            }
        }
        for (state, claim) in locked.iter_mut().zip(&limited) {
            let most = claim.limits.tokens_per_minute.unwrap_or(u64::MAX);
            state.add(now, 1, tokens.min(most));
            state.open += 1;
        }
        drop(locked);
        let limits = limited.iter().map(|claim| claim.limits);
        Ok(Some(Permit {
            claims: states.into_iter().zip(limits).collect(),
            at: now,
            tokens,
        }))
    }

    /// How much of the tightest limits of `claims` is left at `now`, in Unix seconds. Nothing is
    /// counted.
    pub fn standing<'a>(&self, claims: impl IntoIterator<Item = Claim<'a>>, now: u64) -> Standing {
        let mut standing = Standing::default();
        let unused = State::default();
        for claim in claims {
            let key = (claim.kind, claim.id.to_owned());
            let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
            let known = states.get(&key).map(Arc::clone);
            drop(states);
            match known {
                None => standing.tighten(&unused, &claim.limits, now),
                Some(state) => {
                    let mut state = lock(&state);
                    state.roll(now);
                    standing.tighten(&state, &claim.limits, now);
                }
            }
        }
        standing
    }

    fn state(&self, kind: Kind, id: &str) -> Shared {
        let key = (kind, id.to_owned());
        let known = self.states.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = known.get(&key) {
            return Arc::clone(state);
        }
        drop(known);
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(states.entry(key).or_default())
    }
}

impl Permit {
    /// Takes the request back: it was refused for another reason, so it does not count.
    pub fn cancel(self) {
        for (state, limits) in &self.claims {
            let tokens = reserved(self.tokens, limits);
            lock(state).remove(self.at, 1, tokens);
        }
    }

    /// Puts the tokens that were used in place of those that were expected. Only the first call
    /// counts.
    pub fn correct(&mut self, used: u64) {
        let expected = std::mem::replace(&mut self.tokens, used);
        for (state, limits) in &self.claims {
            let mut state = lock(state);
            state.remove(self.at, 0, reserved(expected, limits));
            if state.seconds.iter().any(|second| second.at == self.at) {
                state.add(self.at, 0, used);
            }
        }
    }

    /// How much of the tightest limits is left at `now`, in Unix seconds.
    pub fn standing(&self, now: u64) -> Standing {
        let mut standing = Standing::default();
        for (state, limits) in &self.claims {
            let mut state = lock(state);
            state.roll(now);
            standing.tighten(&state, limits, now);
        }
        standing
    }
}

/// What was counted for `tokens` under `limits`.
fn reserved(tokens: u64, limits: &Limits) -> u64 {
    tokens.min(limits.tokens_per_minute.unwrap_or(u64::MAX))
}

impl Drop for Permit {
    fn drop(&mut self) {
        for (state, _) in &self.claims {
            let mut state = lock(state);
            state.open = state.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
