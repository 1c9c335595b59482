//! A request on its way from one attempt to the next: what they share, and what is left to try.
//!
//! Decides whether there is a further attempt after a failure, at which candidate, and after which
//! wait. How an attempt is held for and written is `attempt.rs`'s.

use super::breaker::Judged;
use crate::auth::Identity;
use crate::budget::AccountSpec;
use crate::gateway::{Gateway, Live};
use crate::identity::RequestId;
use crate::limit::Permit;
use crate::route::{Candidate, Route};
use crate::surface::Surface;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait before the same candidate is asked again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(250);

/// The longest wait that is worth it, whatever a provider asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What all attempts of one request share.
pub(crate) struct Journey {
    pub id: RequestId,
    pub live: Arc<Live>,
    pub identity: Identity,
    /// The accounts that it is charged to, where they are not just the agent's.
    pub(super) accounts: Option<Vec<Arc<AccountSpec>>>,
    pub surface: Surface,
    pub route: Arc<Route>,
    /// The tier that the first attempt was granted.
    pub tier: usize,
    /// The number of the current candidate of that tier.
    pub(super) at: usize,
    /// A candidate that is no part of the tier, and the only one left.
    pub(super) other: Option<Arc<Candidate>>,
    /// The client's body, as it came.
    pub(super) body: Bytes,
    /// The model in the path, for surfaces that have it there.
    pub(super) model: Option<String>,
    pub(super) depth: usize,
    /// When an answer must have begun.
    pub deadline: Instant,
    /// Endpoints of the current candidate that failed.
    pub tried: Vec<usize>,
    /// How often the last candidate was asked again.
    pub(super) retries: u16,
    /// Reservations taken.
    pub(super) holds: u16,
    /// How long to wait before the next attempt.
    pub wait: Option<Duration>,
    /// What the next attempt begins with.
    pub next: Next,
    /// Whether another model took over in a special case; it happens once.
    pub detoured: bool,
    /// The place among the limits of key, agent, user and teams.
    pub permit: Option<Permit>,
    /// What the cost breaker made of it.
    pub judged: Judged,
}

/// What the next attempt begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// What is prepared already: nothing of it was sent.
    Prepared,
    /// A new hold and a new body for the current candidate.
    Again,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// No connection: nothing was sent.
    Unconnected,
    /// It was sent, and nothing came back.
    Lost,
    /// A status that says to try later, or elsewhere, and how long to wait.
    Status(Option<Duration>),
}

impl Journey {
    /// A journey that has not begun.
    #[expect(clippy::too_many_arguments, reason = "what a request is made of")]
    pub(crate) fn new(
        gateway: &Gateway,
        id: RequestId,
        live: Arc<Live>,
        identity: Identity,
        surface: Surface,
        route: Arc<Route>,
        body: Bytes,
        model: Option<String>,
        arrived: Instant,
    ) -> Self {
        let accounts = match identity.accounts(&live.policy) {
            Cow::Borrowed(_) => None,
            Cow::Owned(accounts) => Some(accounts),
        };
        Self {
            id,
            deadline: arrived + live.policy.deadline,
            depth: gateway.settings.limits.json_depth,
            live,
            identity,
            accounts,
            surface,
            route,
            tier: 0,
            at: 0,
            other: None,
            body,
            model,
            tried: Vec::new(),
            retries: 0,
            holds: 0,
            wait: None,
            next: Next::Prepared,
            detoured: false,
            permit: None,
            judged: Judged::default(),
        }
    }

    /// Every account that the request falls under.
    pub(super) fn accounts(&self) -> &[Arc<AccountSpec>] {
        let agent = &self.identity.agent;
        self.accounts.as_deref().unwrap_or(&agent.accounts)
    }

    /// The candidates of the tier.
    pub(super) fn of_tier(&self) -> &[Arc<Candidate>] {
        let tiers = &self.route.tiers;
        let tier = tiers.get(self.tier).or(tiers.last());
        tier.map_or(&[], |tier| &tier.candidates)
    }

    /// The candidate that is tried now.
    pub(super) fn current(&self) -> Option<&Arc<Candidate>> {
        self.other.as_ref().or_else(|| self.of_tier().get(self.at))
    }

    /// The client's body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes a tier that was picked without a hold, and gives its first candidate.
    pub(crate) fn at_tier(&mut self, number: usize) -> Option<Arc<Candidate>> {
        self.tier = number;
        self.current().cloned()
    }

    /// On to the next candidate, if there is one.
    pub(super) fn advance(&mut self) -> bool {
        let more = self.other.is_none() && self.at + 1 < self.of_tier().len();
        if more {
            self.at += 1;
            self.tried.clear();
            self.retries = 0;
        }
        more
    }

    /// Puts another model in front, for a prompt that this one cannot take.
    pub(crate) fn detour(&mut self, candidate: Arc<Candidate>) {
        self.detoured = true;
        self.other = Some(candidate);
        self.tried.clear();
        self.retries = 0;
        self.next = Next::Again;
        self.wait = None;
    }

    /// Whether there is something left to try after an attempt at endpoint `door` (of `doors`)
    /// failed, and prepares for it.
    pub(crate) fn fails(&mut self, failed: Failed, door: usize, doors: usize) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        self.tried.push(door);
        let sent = failed != Failed::Unconnected;
        self.wait = None;
        self.next = if sent { Next::Again } else { Next::Prepared };
        // A lost request may have been worked on: the same provider is not asked twice.
        if self.tried.len() < doors && failed != Failed::Lost {
            return true;
        }
        if self.advance() {
            self.next = Next::Again;
            return true;
        }
        if failed == Failed::Lost || self.retries >= self.live.policy.retries {
            return false;
        }
        let asked = match failed {
            Failed::Status(wait) => wait,
            _ => None,
        };
        let wait = asked.unwrap_or_default().max(jittered(self.retries));
        if wait > LONGEST_WAIT || Instant::now() + wait >= self.deadline {
            return false;
        }
        self.retries += 1;
        self.tried.clear();
        self.wait = Some(wait);
        true
    }
}

/// A wait before try `number` (from 0): between half of it and all of it, so that those who failed
/// together do not come back together.
fn jittered(number: u16) -> Duration {
    let most = BACKOFF.as_millis() << number.min(6);
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(most / 2..=most))
}
