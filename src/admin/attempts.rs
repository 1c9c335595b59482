//! Wrong admin tokens per address: five a minute, then none are looked at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ALLOWED: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered at most; beyond that the oldest are forgotten.
const REMEMBERED: usize = 4096;

/// The wrong tokens of the last minute.
#[derive(Default)]
pub(super) struct Attempts {
    failures: Mutex<HashMap<Option<IpAddr>, Vec<Instant>>>,
}

impl Attempts {
    /// Whether this address may present a token now.
    pub(super) fn may_try(&self, peer: Option<IpAddr>) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = failures.get_mut(&peer) else {
            return true;
        };
        times.retain(|at| at.elapsed() < WINDOW);
        if times.is_empty() {
            failures.remove(&peer);
            return true;
        }
        times.len() < ALLOWED
    }

    /// Notes a wrong token.
    pub(super) fn failed(&self, peer: Option<IpAddr>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED {
            failures.retain(|_, times| times.last().is_some_and(|at| at.elapsed() < WINDOW));
            if failures.len() >= REMEMBERED {
                failures.clear();
            }
        }
        failures.entry(peer).or_default().push(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_wrong_token_within_a_minute_is_not_looked_at() {
        let attempts = Attempts::default();
        let peer = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..5 {
            assert!(attempts.may_try(peer));
            attempts.failed(peer);
        }
        assert!(!attempts.may_try(peer));
        assert!(attempts.may_try(Some(IpAddr::from([192, 0, 2, 2]))));
    }
}
