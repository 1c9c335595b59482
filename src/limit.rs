//! Requests, tokens and concurrency per minute, and the size of a request.
//!
//! Decides whether a request may go on, by the limits of everything it falls under, all in one step.
//! A request that is refused does not count. Tokens are reserved before they are known and corrected
//! once they are; a reservation is never larger than the limit, so that no request is refused for
//! good. It does not know money; that is [`crate::ledger`].
//!
//! A minute is the sixty seconds up to now, in steps of a second. Counts are this process's own; those that
//! several gateways share are asked for beside them, see [`shared`].

pub mod shared;

use shared::Beyond;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The length of a minute, in seconds.
const MINUTE: u64 = 60;

/// The limits of one key, agent, user or model; `None` for none.
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
}

impl Kind {
    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Model => "model",
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

/// The last minute of one key, agent, user or model.
#[derive(Debug, Default)]
struct State {
    seconds: VecDeque<Second>,
    requests: u64,
    tokens: u64,
    open: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    requests: u64,
    tokens: u64,
}

impl State {
    fn roll(&mut self, now: u64) {
        while let Some(first) = self.seconds.front().copied()
            && first.at + MINUTE <= now
        {
            self.seconds.pop_front();
            self.requests = self.requests.saturating_sub(first.requests);
            self.tokens = self.tokens.saturating_sub(first.tokens);
        }
    }

    /// Seconds until what `left` counts has fallen to `most`.
    fn wait(&self, now: u64, mut left: u64, most: u64, of: fn(&Second) -> u64) -> u64 {
        for second in &self.seconds {
            if left <= most {
                break;
            }
            left = left.saturating_sub(of(second));
            if left <= most {
                return (second.at + MINUTE).saturating_sub(now).max(1);
            }
        }
        if left <= most { 1 } else { MINUTE }
    }

    fn exceeds(&self, claim: &Claim<'_>, tokens: u64, now: u64) -> Option<Exceeded> {
        let limits = &claim.limits;
        let exceeded = |what, limit, retry_after| {
            Some(Exceeded {
                kind: claim.kind,
                what,
                limit,
                retry_after,
            })
        };
        if let Some(limit) = limits
            .concurrent_requests
            .filter(|limit| self.open >= *limit)
        {
            return exceeded("concurrent requests", limit, 1);
        }
        if let Some(limit) = limits
            .requests_per_minute
            .filter(|limit| self.requests >= *limit)
        {
            let wait = self.wait(now, self.requests, limit.saturating_sub(1), |s| s.requests);
            return exceeded("requests", limit, wait);
        }
        let limit = limits.tokens_per_minute?;
        let tokens = tokens.min(limit);
        if self.tokens.saturating_add(tokens) <= limit {
            return None;
        }
        let wait = self.wait(now, self.tokens, limit - tokens, |s| s.tokens);
        exceeded("tokens", limit, wait)
    }

    /// The counts of the second `at`, made if there are none.
    fn second(&mut self, at: u64) -> &mut Second {
        let place = self.seconds.partition_point(|second| second.at < at);
        if self.seconds.get(place).is_none_or(|second| second.at != at) {
            let new = Second {
                at,
                ..Second::default()
            };
            self.seconds.insert(place, new);
        }
        &mut self.seconds[place]
    }

    fn add(&mut self, at: u64, requests: u64, tokens: u64) {
        let second = self.second(at);
        second.requests += requests;
        second.tokens = second.tokens.saturating_add(tokens);
        self.requests += requests;
        self.tokens = self.tokens.saturating_add(tokens);
    }

    fn remove(&mut self, at: u64, requests: u64, tokens: u64) {
        let Some(second) = self.seconds.iter_mut().find(|second| second.at == at) else {
            // It is more than a minute ago: nothing of it counts any more.
            return;
        };
        let requests = requests.min(second.requests);
        let tokens = tokens.min(second.tokens);
        second.requests -= requests;
        second.tokens -= tokens;
        self.requests -= requests;
        self.tokens -= tokens;
    }

    fn left(&self, limit: u64, used: u64, now: u64) -> Left {
        let last = self.seconds.back().map_or(now, |second| second.at);
        Left {
            limit,
            remaining: limit.saturating_sub(used),
            reset: if used == 0 {
                0
            } else {
                (last + MINUTE).saturating_sub(now)
            },
        }
    }
}

type Cell = Arc<Mutex<State>>;

/// Every limit of the process.
#[derive(Debug, Default)]
pub struct Limiter {
    states: RwLock<HashMap<(Kind, String), Cell>>,
}

/// A request that was let in: it counts until it is cancelled or corrected, and is in flight until
/// it is dropped.
#[derive(Debug)]
#[must_use = "a request is in flight for as long as its permit lives"]
pub struct Permit {
    claims: Vec<(Cell, Limits)>,
    at: u64,
    tokens: u64,
    /// Its place in a store that several gateways share.
    beyond: Option<Beyond>,
}

fn lock(state: &Cell) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Limiter {
    /// Lets a request in that is expected to use `tokens`, if every limit of `claims` allows it.
    /// `None` when none of them has a limit. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The first limit that is met; then nothing is counted.
    pub fn admit(
        &self,
        claims: &[Claim<'_>],
        tokens: u64,
        now: u64,
    ) -> Result<Option<Permit>, Exceeded> {
        let mut limited: Vec<&Claim<'_>> = claims
            .iter()
            .filter(|claim| !claim.limits.is_none())
            .collect();
        if limited.is_empty() {
            return Ok(None);
        }
        // One order for everybody, so that no two requests wait for each other.
        limited.sort_by_key(|claim| (claim.kind, claim.id));
        let states: Vec<Cell> = limited
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
            beyond: None,
        }))
    }

    fn state(&self, kind: Kind, id: &str) -> Cell {
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
    pub fn cancel(mut self) {
        if let Some(beyond) = &mut self.beyond {
            beyond.cancel();
        }
        for (state, limits) in &self.claims {
            let tokens = reserved(self.tokens, limits);
            lock(state).remove(self.at, 1, tokens);
        }
    }

    /// Puts the tokens that were used in place of those that were expected. Only the first call
    /// counts.
    pub fn correct(&mut self, used: u64) {
        if let Some(beyond) = &mut self.beyond {
            beyond.correct(used);
        }
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
        let tighter = |kept: &mut Option<Left>, new: Left| {
            if kept.is_none_or(|old| new.remaining < old.remaining) {
                *kept = Some(new);
            }
        };
        if let Some(beyond) = &self.beyond {
            standing = beyond.standing(now);
        }
        for (state, limits) in &self.claims {
            let mut state = lock(state);
            state.roll(now);
            if let Some(limit) = limits.requests_per_minute {
                tighter(
                    &mut standing.requests,
                    state.left(limit, state.requests, now),
                );
            }
            if let Some(limit) = limits.tokens_per_minute {
                tighter(&mut standing.tokens, state.left(limit, state.tokens, now));
            }
        }
        standing
    }

    /// Whether a store that several gateways share had no say in it, because it was away.
    pub fn is_alone(&self) -> bool {
        self.beyond.as_ref().is_some_and(Beyond::is_away)
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
