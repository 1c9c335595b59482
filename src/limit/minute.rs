//! The last minute of one party, second by second.
//!
//! Decides what still counts and how long to wait until less does. Whose minute it is, and which of
//! its limits hold, is said by the caller.

use super::{Claim, Exceeded, Left};
use std::collections::VecDeque;

/// The length of a minute, in seconds.
pub(super) const MINUTE: u64 = 60;

/// The last minute of one key, agent, user, model or team.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seconds: VecDeque<Second>,
    pub(super) requests: u64,
    pub(super) tokens: u64,
    pub(super) open: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Second {
    pub(super) at: u64,
    requests: u64,
    tokens: u64,
}

impl State {
    pub(super) fn roll(&mut self, now: u64) {
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

    pub(super) fn exceeds(&self, claim: &Claim<'_>, tokens: u64, now: u64) -> Option<Exceeded> {
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

    pub(super) fn add(&mut self, at: u64, requests: u64, tokens: u64) {
        let second = self.second(at);
        second.requests += requests;
        second.tokens = second.tokens.saturating_add(tokens);
        self.requests += requests;
        self.tokens = self.tokens.saturating_add(tokens);
    }

    pub(super) fn remove(&mut self, at: u64, requests: u64, tokens: u64) {
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

    pub(super) fn left(&self, limit: u64, used: u64, now: u64) -> Left {
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
