//! What a store of limits that several gateways share is asked, and how its word is taken.
//!
//! A request has to be let in by this process's own counts first: they are never above those of all
//! gateways, so that what they refuse is refused. Then the store decides. When it is away the
//! process's own word is enough: limits are no money.

use super::{Claim, Exceeded, Left, Limiter, Limits, Permit, Standing};
use std::fmt::Debug;

/// Limits that several gateways share.
#[async_trait::async_trait]
pub trait Shared: Send + Sync + Debug {
    /// Lets a request in that is expected to use `tokens`, if every limit of `claims` allows it.
    async fn admit(&self, claims: &[Claim<'_>], tokens: u64) -> Verdict;

    /// How much of the tightest limits of `claims` is left; `None` when the store is away. Nothing is
    /// counted.
    async fn standing(&self, claims: &[Claim<'_>]) -> Option<Standing>;
}

/// What a store of shared limits says.
#[derive(Debug)]
pub enum Verdict {
    /// It is let in, and what is left of the tightest limits.
    In(Box<dyn Place>, Standing),
    /// It met a limit; nothing is counted.
    Out(Exceeded),
    /// The store is away. It may still have counted the request.
    Away(Box<dyn Place>),
    /// None of these limits can be shared.
    Nothing,
}

/// A request that a store has counted. It is in flight there until this is dropped.
pub trait Place: Send + Sync + Debug {
    /// Does not count it.
    fn cancel(&mut self);

    /// Puts the tokens that were used in place of those that were expected.
    fn correct(&mut self, used: u64);
}

/// What a permit has beyond its own process.
#[derive(Debug)]
pub(super) struct Beyond {
    place: Box<dyn Place>,
    /// What was left, and when; `None` when the store was away.
    standing: Option<(Standing, u64)>,
}

impl Beyond {
    pub(super) fn cancel(&mut self) {
        self.place.cancel();
    }

    pub(super) fn correct(&mut self, used: u64) {
        self.place.correct(used);
    }

    /// What was left, its times counted from `now`.
    pub(super) fn standing(&self, now: u64) -> Standing {
        let Some((standing, then)) = self.standing else {
            return Standing::default();
        };
        let passed = now.saturating_sub(then);
        let later = |left: Left| Left {
            reset: left.reset.saturating_sub(passed),
            ..left
        };
        Standing {
            requests: standing.requests.map(later),
            tokens: standing.tokens.map(later),
            concurrent: standing.concurrent,
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.standing.is_none()
    }
}

impl Limits {
    /// Whether any of them counts requests, which is what gateways can do together.
    pub const fn can_be_shared(&self) -> bool {
        self.requests_per_minute.is_some()
            || self.tokens_per_minute.is_some()
            || self.concurrent_requests.is_some()
    }
}

/// A permit of this process that is taken back unless the store lets the request in, too.
struct Pending(Option<Permit>);

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.cancel();
        }
    }
}

impl Limiter {
    /// As [`Limiter::admit`], by the limits of all gateways that share `store`.
    ///
    /// # Errors
    /// The first limit that is met; then nothing is counted.
    pub async fn admit_among(
        &self,
        store: &dyn Shared,
        claims: &[Claim<'_>],
        tokens: u64,
        now: u64,
    ) -> Result<Option<Permit>, Exceeded> {
        let own = self.admit(claims.iter().copied(), tokens, now)?;
        let mut pending = Pending(own);
        if pending.0.is_none() {
            return Ok(None);
        }
        let (place, standing) = match store.admit(claims, tokens).await {
            Verdict::In(place, standing) => (place, Some((standing, now))),
            Verdict::Away(place) => (place, None),
            Verdict::Out(exceeded) => return Err(exceeded),
            Verdict::Nothing => return Ok(pending.0.take()),
        };
        let permit = pending.0.take();
        Ok(permit.map(|mut permit| {
            permit.beyond = Some(Beyond { place, standing });
            permit
        }))
    }
}

#[cfg(test)]
mod tests;
