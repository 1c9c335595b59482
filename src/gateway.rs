//! The running gateway: what the proxy and the admin API work on together.
//!
//! Policy and prices are one snapshot: requests keep the one they began with. Where snapshots come from
//! is decided in [`source`], how one takes the place of another in [`reload`]. Which limits count,
//! this process's own or those that gateways share, is decided here.

pub mod breaker;
mod day;
pub mod guard;
pub mod inner;
mod names;
mod outgoing;
pub mod reload;
pub mod source;
mod warn;
pub mod watch;

use crate::balance::Endpoints;
use crate::catalog::Catalog;
use crate::classifier::Asking;
use crate::custody::{Audit, Canaries, Quarantine};
use crate::feed::Feed;
use crate::fleet::Fleet;
use crate::settings::{Lasting, QuarantineRules};

use crate::identity::AgentId;
use crate::insight::Insights;
use crate::ledger::Book;
use crate::ledger::day::Today;
use crate::ledger::log::Clock;
use crate::limit::shared::Shared;
use crate::limit::{Claim, Exceeded, Limiter, Permit, Standing};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::route::{Directory, Route};
use crate::settings::Settings;
use crate::trace::Tracer;
use arc_swap::ArcSwap;
use http::HeaderName;
pub use outgoing::{Door, Outgoing};
use reload::Seen;
use source::{Fixed, Source};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use tokio::sync::Mutex;

/// One consistent configuration: a policy and the prices it implies.
pub struct Live {
    /// Who may spend what.
    pub policy: Policy,
    /// The bundled table with the policy's own prices on top.
    pub catalog: Catalog,
    /// What every request to a provider carries, by the name of its block.
    outgoing: HashMap<String, Arc<Outgoing>>,
    /// Client headers that go to any of the providers, besides those that always do.
    passes: Vec<HeaderName>,
    /// The routes of agents with tiers.
    routes: HashMap<AgentId, Arc<Route>>,
    /// Every model that the policy names.
    stated: HashSet<String>,
}

impl Live {
    /// Resolves what follows from a policy and its prices. What is known of endpoints is kept in
    /// `endpoints`, which outlives it.
    pub fn new(policy: Policy, catalog: Catalog, endpoints: &Endpoints) -> Self {
        let directory = Directory {
            policy: &policy,
            catalog: &catalog,
        };
        let tiered = policy
            .agents
            .values()
            .filter(|agent| !agent.tiers.is_empty());
        let routes = tiered
            .map(|agent| {
                (
                    agent.id.clone(),
                    Arc::new(Route::of_agent(agent, directory)),
                )
            })
            .collect();
        let outgoing = policy.providers.values().map(|block| {
            let outgoing = Outgoing::new(block, endpoints);
            (block.name.clone(), Arc::new(outgoing))
        });
        let outgoing: HashMap<String, Arc<Outgoing>> = outgoing.collect();
        let mut passes: Vec<HeaderName> = Vec::new();
        for name in outgoing.values().flat_map(|outgoing| &outgoing.passes) {
            if !passes.contains(name) {
                passes.push(name.clone());
            }
        }
        Self {
            stated: names::stated(&policy),
            outgoing,
            passes,
            routes,
            policy,
            catalog,
        }
    }

    /// The route of an agent; `None` for one without tiers.
    pub fn route(&self, agent: &AgentId) -> Option<&Arc<Route>> {
        self.routes.get(agent)
    }

    /// How a provider is spoken to.
    pub fn outgoing(&self, block: &str) -> Option<&Arc<Outgoing>> {
        self.outgoing.get(block)
    }

    /// Client headers that go to any of the providers, besides those that always do.
    pub fn passes(&self) -> &[HeaderName] {
        &self.passes
    }

    /// Who serves which model.
    pub fn directory(&self) -> Directory<'_> {
        Directory {
            policy: &self.policy,
            catalog: &self.catalog,
        }
    }
}

/// State shared by everything in the process.
pub struct Gateway {
    live: ArcSwap<Live>,
    /// Where configurations come from.
    source: Source,
    /// What no reload changes.
    fixed: Fixed,
    /// Held by the reload that is under way.
    seen: Mutex<Seen>,
    /// How the process runs.
    pub settings: Settings,
    /// Balances and the record of truth.
    pub book: Arc<Book>,
    /// What other gateways know, where budgets are shared.
    pub fleet: Option<Arc<Fleet>>,
    /// Requests, tokens and concurrency of keys, agents, users, teams and models.
    limiter: Limiter,
    /// The same of all gateways together, where they are shared.
    shared_limits: Option<Arc<dyn Shared>>,
    /// What is measured.
    pub metrics: Metrics,
    /// Finished requests, for whoever asks; `None` where they are not kept.
    pub insights: Option<Arc<Insights>>,
    /// What happens, for whoever watches.
    pub feed: Arc<Feed>,
    /// Records requests as traces, where that is wanted.
    pub tracer: Option<Tracer>,
    /// Callers that are refused because too many of their requests were caught.
    pub quarantine: Arc<Quarantine>,
    /// The way to somebody else who judges texts.
    pub classifier: Asking,
    /// The secret tokens of conversations.
    pub canaries: Arc<Canaries>,
    /// What the guard did, for whoever has to account for it.
    pub audit: Arc<Audit>,
    /// What was settled today.
    day: day::Reader,
    /// How far spending has come.
    pub breaker: breaker::Breaker,
    /// Exhausted budgets that the log has told of.
    exhausted: warn::Told,
    /// Set once the process was told to leave.
    pub stopping: Arc<AtomicBool>,
    /// Requests being served.
    pub in_flight: Arc<AtomicUsize>,
}

impl Gateway {
    /// A gateway that starts with `live`, as `source` gave it.
    pub fn new(
        live: Live,
        source: Source,
        settings: Settings,
        book: Arc<Book>,
        fleet: Option<Arc<Fleet>>,
        metrics: Metrics,
    ) -> Self {
        metrics.configured();
        let fixed = Fixed::new(&settings, &live.policy);
        let day = day::Reader::new(Today::of(&live.policy.spend_log));
        let breaker = breaker::Breaker::beside(&live.policy.spend_log, &live.policy.breaker);
        let read = source.begun().clone().and(fixed.print());
        let read = read.and(live.policy.rule_files.print());
        Self {
            live: ArcSwap::from_pointee(live),
            seen: Mutex::new(Seen::new(read)),
            source,
            fixed,
            settings,
            book,
            fleet,
            metrics,
            limiter: Limiter::default(),
            shared_limits: None,
            insights: None,
            feed: Arc::default(),
            tracer: None,
            classifier: Asking::default(),
            quarantine: Arc::new(Quarantine::in_memory(
                QuarantineRules::default(),
                Clock::default(),
            )),
            canaries: Arc::new(Canaries::new(Lasting::default(), Clock::default())),
            audit: Arc::new(Audit::off()),
            day,
            breaker,
            exhausted: warn::Told::default(),
            stopping: Arc::default(),
            in_flight: Arc::default(),
        }
    }

    /// The same, with limits that gateways share.
    #[must_use]
    pub fn sharing(self, limits: Option<Arc<dyn Shared>>) -> Self {
        Self {
            shared_limits: limits,
            ..self
        }
    }

    /// The same, with finished requests kept.
    #[must_use]
    pub fn keeping(self, insights: Option<Arc<Insights>>) -> Self {
        Self { insights, ..self }
    }

    /// The same, with requests recorded as traces.
    #[must_use]
    pub fn traced(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// The same, with what is remembered of callers kept outside this process, too.
    #[must_use]
    pub fn guarding(
        self,
        quarantine: Arc<Quarantine>,
        canaries: Arc<Canaries>,
        audit: Arc<Audit>,
    ) -> Self {
        Self {
            quarantine,
            canaries,
            audit,
            ..self
        }
    }

    /// Nothing more happens: what is on its way to whoever records it is sent. Waits for that.
    pub fn told_all(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.sink.close();
        }
    }

    /// Lets a request in that is expected to use `tokens`, if every limit of `claims` allows it, here
    /// and among all gateways. `None` when none of them has a limit. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The first limit that is met; then nothing is counted.
    pub async fn admit<'a>(
        &self,
        claims: impl IntoIterator<Item = Claim<'a>>,
        tokens: u64,
        now: u64,
    ) -> Result<Option<Permit>, Exceeded> {
        let Some(shared) = &self.shared_limits else {
            return self.limiter.admit(claims, tokens, now);
        };
        let claims: Vec<Claim<'a>> = claims.into_iter().collect();
        let among = self.limiter.admit_among(&**shared, &claims, tokens, now);
        let permit = among.await?;
        if permit.as_ref().is_some_and(Permit::is_alone) {
            self.metrics.limited_alone();
        }
        Ok(permit)
    }

    /// How much of the tightest limits of `claims` is left, here and among all gateways. Nothing is
    /// counted.
    pub async fn standing<'a>(
        &self,
        claims: impl IntoIterator<Item = Claim<'a>>,
        now: u64,
    ) -> Standing {
        let claims: Vec<Claim<'a>> = claims.into_iter().collect();
        let own = self.limiter.standing(claims.iter().copied(), now);
        let Some(shared) = &self.shared_limits else {
            return own;
        };
        let all = shared.standing(&claims).await;
        all.unwrap_or_default().tightest(own)
    }

    /// The configuration in force, for the length of one request.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }
}
