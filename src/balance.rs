//! Which of a provider's endpoints gets a request, and which is left alone for a while.
//!
//! Decides by what is in flight and how long answers took to begin; an endpoint that fails several
//! times in a row is ejected, and probed with one request at a time once its time is over. What
//! other gateways say of an endpoint is a hint: it comes last, and fails once before it is ejected here,
//! too. It knows neither addresses nor requests: callers keep one [`Health`] an endpoint and say what happened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Failures in a row after which an endpoint is ejected.
pub const FAILURES: u32 = 5;

/// How long an endpoint is ejected the first time, in milliseconds; twice as long each time after.
pub const EJECTED: u64 = 5_000;

/// The longest ejection, in milliseconds.
pub const LONGEST: u64 = 60_000;

/// The weight of a new latency in the average, as a shift: an eighth.
const SMOOTHING: u32 = 3;

/// The latency that an endpoint without one is taken to have, in microseconds: it is tried early.
const UNKNOWN: u64 = 1_000;

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub struct Health {
    in_flight: AtomicU32,
    /// The average time to the head of an answer, in microseconds; 0 before the first.
    latency: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Ejected until then, in Unix milliseconds; 0 when it is not.
    until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// Whether a probe is under way.
    probing: AtomicU32,
    /// Ejected by another gateway until then, in Unix milliseconds.
    hinted: AtomicU64,
}

/// How a request to an endpoint ended, as far as its health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer began after so many microseconds, whatever it said about the request.
    Answered(u64),
    /// No connection, no answer, 5xx, or 429.
    Failed,
    /// Nothing can be said: the client left, or nothing was sent.
    Unknown,
}

impl Health {
    /// Whether it is ejected at `now` (Unix milliseconds).
    pub fn is_ejected(&self, now: u64) -> bool {
        self.until.load(Ordering::Relaxed) > now
    }

    /// For how long it is still ejected at `now` (Unix milliseconds), in milliseconds.
    pub fn ejected_for(&self, now: u64) -> u64 {
        self.until.load(Ordering::Relaxed).saturating_sub(now)
    }

    /// Whether another gateway has ejected it, as far as is known at `now`.
    pub fn is_hinted(&self, now: u64) -> bool {
        self.hinted.load(Ordering::Relaxed) > now
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a request may go there at `now`: not while it is ejected, and after that one at a
    /// time until one has succeeded.
    fn available(&self, now: u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == 0 || (until <= now && self.probing.load(Ordering::Relaxed) == 0)
    }

    /// The lower, the better: requests in flight times the time an answer takes to begin.
    fn load(&self) -> u128 {
        let latency = match self.latency.load(Ordering::Relaxed) {
            0 => UNKNOWN,
            known => known,
        };
        (u128::from(self.in_flight()) + 1) * u128::from(latency)
    }

    fn ended(&self, outcome: Outcome, now: u64) -> bool {
        match outcome {
            Outcome::Unknown => false,
            Outcome::Answered(micros) => {
                self.failures.store(0, Ordering::Relaxed);
                self.ejections.store(0, Ordering::Relaxed);
                self.until.store(0, Ordering::Relaxed);
                self.hinted.store(0, Ordering::Relaxed);
                let micros = micros.max(1);
                // Two answers at once may lose one of their latencies: an average bears that.
                let old = self.latency.load(Ordering::Relaxed);
                let new = if old == 0 {
                    micros
                } else {
                    old - (old >> SMOOTHING) + (micros >> SMOOTHING)
                };
                self.latency.store(new.max(1), Ordering::Relaxed);
                false
            }
            Outcome::Failed => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                let probed = self.until.load(Ordering::Relaxed) != 0;
                // Another gateway has found out what four more failures would show.
                if failures < FAILURES && !probed && !self.is_hinted(now) {
                    return false;
                }
                if self.is_ejected(now) {
                    // Requests that were on their way when it was ejected.
                    return false;
                }
                let times = self.ejections.fetch_add(1, Ordering::Relaxed).min(16);
                let time = EJECTED.saturating_mul(1 << times).min(LONGEST);
                self.until
                    .store(now.saturating_add(time), Ordering::Relaxed);
                true
            }
        }
    }
}

/// A request on its way to an endpoint. Ends with [`Visit::end`]; dropping it ends it as
/// [`Outcome::Unknown`].
#[derive(Debug)]
pub struct Visit {
    health: Arc<Health>,
    probe: bool,
    open: bool,
}

impl Visit {
    /// A request sets out at `now` (Unix milliseconds).
    pub fn begin(health: &Arc<Health>, now: u64) -> Self {
        health.in_flight.fetch_add(1, Ordering::Relaxed);
        let until = health.until.load(Ordering::Relaxed);
        let probe = until != 0 && until <= now;
        if probe {
            health.probing.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            health: Arc::clone(health),
            probe,
            open: true,
        }
    }

    /// It ended. True when the endpoint is ejected for it. Later calls say nothing: only the first
    /// outcome counts.
    pub fn end(&mut self, outcome: Outcome, now: u64) -> bool {
        if !std::mem::take(&mut self.open) {
            return false;
        }
        self.health.in_flight.fetch_sub(1, Ordering::Relaxed);
        let ejected = self.health.ended(outcome, now);
        if self.probe {
            self.health.probing.fetch_sub(1, Ordering::Relaxed);
        }
        ejected
    }
}

impl Visit {
    /// For how long its endpoint is still ejected at `now`, in milliseconds.
    pub fn ejected_for(&self, now: u64) -> u64 {
        self.health.ejected_for(now)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end(Outcome::Unknown, 0);
    }
}

/// The endpoint for the next request, out of `all`, without those in `tried`: the one with the least
/// load among those available; one that another gateway has ejected only when there is no other.
/// `None` when every one was tried or is ejected.
pub fn choose(all: &[Arc<Health>], tried: &[usize], now: u64) -> Option<usize> {
    let open = |at: &usize| !tried.contains(at) && all[*at].available(now);
    let last = |at: &usize| (all[*at].is_hinted(now), all[*at].load());
    (0..all.len()).filter(open).min_by_key(last)
}

/// The health of every endpoint of the process, by name; it outlives configurations.
#[derive(Debug, Default)]
pub struct Endpoints {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    health: Arc<Health>,
    /// What it is called among gateways.
    told: String,
}

impl Endpoints {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the endpoint of that name; the same for as long as the process lives. Other
    /// gateways are told of it as `told`.
    pub fn health(&self, name: &str, told: &str) -> Arc<Health> {
        let mut known = self.known();
        let entry = known.entry(name.to_owned()).or_insert_with(|| Known {
            told: told.to_owned(),
            ..Known::default()
        });
        Arc::clone(&entry.health)
    }

    /// Every endpoint and its health, ordered by name.
    pub fn all(&self) -> Vec<(String, Arc<Health>)> {
        let known = self.known();
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, known)| (name.clone(), Arc::clone(&known.health)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The endpoints that are ejected at `now`, as others are told of them, and for how many
    /// milliseconds they still are.
    pub fn ejected(&self, now: u64) -> Vec<(String, u64)> {
        let left = |health: &Health| {
            let until = health.until.load(Ordering::Relaxed);
            until.saturating_sub(now)
        };
        let known = self.known();
        let all = known
            .values()
            .map(|known| (known.told.clone(), left(&known.health)));
        all.filter(|(_, left)| *left > 0).collect()
    }

    /// Takes over which endpoints other gateways have ejected, and for how many milliseconds they will
    /// have. Those that are not named are not ejected any more.
    pub fn hint(&self, hints: &HashMap<String, u64>, now: u64) {
        for known in self.known().values() {
            let left = hints.get(&known.told).copied().unwrap_or(0);
            let until = if left == 0 {
                0
            } else {
                now.saturating_add(left.min(LONGEST))
            };
            known.health.hinted.store(until, Ordering::Relaxed);
        }
    }

    /// How many endpoints other gateways have ejected.
    pub fn hinted(&self, now: u64) -> usize {
        let known = self.known();
        known.values().filter(|k| k.health.is_hinted(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Arc<Health>> {
        (0..3).map(|_| Arc::default()).collect()
    }

    fn fail(health: &Arc<Health>, times: u32, now: u64) -> bool {
        (0..times).fold(false, |_, _| {
            Visit::begin(health, now).end(Outcome::Failed, now)
        })
    }

    #[test]
    fn the_endpoint_with_the_least_in_flight_and_the_shortest_wait_is_chosen() {
        let all = three();
        for (health, micros) in all.iter().zip([10_000, 10_000, 90_000]) {
            Visit::begin(health, 1).end(Outcome::Answered(micros), 1);
        }
        let _busy = Visit::begin(&all[0], 1);
        assert_eq!(choose(&all, &[], 1), Some(1));
        assert_eq!(choose(&all, &[1], 1), Some(0));
        assert_eq!(choose(&all, &[0, 1], 1), Some(2));
        assert_eq!(choose(&all, &[0, 1, 2], 1), None);
    }

    #[test]
    fn a_failing_endpoint_is_ejected_for_longer_each_time_and_probed_back_one_at_a_time() {
        let all = three();
        assert!(!fail(&all[0], FAILURES - 1, 1_000));
        assert!(fail(&all[0], 1, 1_000), "the fifth failure ejects");
        assert!(all[0].is_ejected(1_000 + EJECTED - 1));
        assert_eq!(all[0].ejected_for(1_000), EJECTED);
        assert_eq!(choose(&all, &[1, 2], 1_000 + EJECTED - 1), None);

        let later = 1_000 + EJECTED;
        assert_eq!(choose(&all, &[1, 2], later), Some(0));
        let mut probe = Visit::begin(&all[0], later);
        assert_eq!(choose(&all, &[1, 2], later), None, "one probe at a time");
        assert!(
            probe.end(Outcome::Failed, later),
            "one more failure ejects again"
        );
        assert!(all[0].is_ejected(later + 2 * EJECTED - 1));

        let last = later + 2 * EJECTED;
        Visit::begin(&all[0], last).end(Outcome::Answered(5), last);
        assert!(!all[0].is_ejected(last));
        assert!(!fail(&all[0], FAILURES - 1, last), "it starts over");
        assert_eq!(all[0].in_flight(), 0);
    }

    #[test]
    fn failures_that_are_not_in_a_row_eject_nothing() {
        let health = Arc::<Health>::default();
        for _ in 0..20 {
            assert!(!fail(&health, FAILURES - 1, 1));
            Visit::begin(&health, 1).end(Outcome::Answered(1), 1);
        }
    }

    #[test]
    fn a_visit_that_is_dropped_or_ended_twice_counts_once() {
        let health = Arc::<Health>::default();
        let mut visit = Visit::begin(&health, 1);
        drop(Visit::begin(&health, 1));
        visit.end(Outcome::Answered(1), 1);
        visit.end(Outcome::Failed, 1);
        drop(visit);
        assert_eq!(health.in_flight(), 0);
        assert_eq!(health.failures.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_known_of_an_endpoint_outlives_a_configuration() {
        let endpoints = Endpoints::default();
        fail(&endpoints.health("a", "a"), FAILURES, 7);
        assert!(endpoints.health("a", "a").is_ejected(8));
        assert!(!endpoints.health("b", "b").is_ejected(8));
        assert_eq!(endpoints.all().len(), 2);
    }

    #[test]
    fn what_others_ejected_comes_last_and_is_never_refused() {
        let endpoints = Endpoints::default();
        let all = ["a", "b"].map(|name| endpoints.health(name, &format!("host {name}")));
        let hint = |name: &str, left| {
            let hints = HashMap::from([(format!("host {name}"), left)]);
            endpoints.hint(&hints, 1_000);
        };
        hint("a", 500);
        assert_eq!(endpoints.hinted(1_000), 1);
        let _busy: Vec<_> = (0..9).map(|_| Visit::begin(&all[1], 1_000)).collect();
        assert_eq!(
            choose(&all, &[], 1_000),
            Some(1),
            "however busy the other is"
        );
        assert_eq!(choose(&all, &[1], 1_000), Some(0), "when there is no other");
        assert_eq!(choose(&all[..1], &[], 1_000), Some(0));
        assert_eq!(choose(&all, &[], 1_500), Some(0), "its time is over");
        hint("a", u64::MAX);
        assert_eq!(endpoints.hinted(1_000 + LONGEST - 1), 1);
        assert_eq!(endpoints.hinted(1_000 + LONGEST), 0, "bounded");
        hint("b", 500);
        assert_eq!(choose(&all, &[], 1_000), Some(0), "not named any more");
        // Others of which nothing is known here.
        hint("c", 500);
        assert_eq!(endpoints.hinted(1_000), 0);
    }

    #[test]
    fn a_hint_spares_the_failures_that_another_gateway_had() {
        let endpoints = Endpoints::default();
        let health = endpoints.health("a", "a");
        endpoints.hint(&HashMap::from([("a".to_owned(), 500)]), 1_000);
        assert!(fail(&health, 1, 1_000), "one is enough");
        assert_eq!(endpoints.ejected(1_001), [("a".to_owned(), EJECTED - 1)]);
        assert!(endpoints.ejected(1_000 + EJECTED).is_empty());
        // And an answer is better than a hint.
        let good = endpoints.health("b", "b");
        endpoints.hint(&HashMap::from([("b".to_owned(), 500)]), 1_000);
        Visit::begin(&good, 1_000).end(Outcome::Answered(1), 1_000);
        assert!(!good.is_hinted(1_000));
        assert!(!fail(&good, FAILURES - 1, 1_000));
    }
}
