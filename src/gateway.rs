//! The running gateway: what the proxy and the admin API work on together.
//!
//! Decides how a new configuration takes effect: policy and prices are resolved first and swapped
//! as one; requests keep the snapshot they began with.

mod outgoing;

use crate::balance::Endpoints;
use crate::catalog::Catalog;
use crate::fleet::Fleet;
use crate::identity::AgentId;
use crate::ledger::Book;
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::route::{Directory, Route};
use crate::settings::Settings;
use arc_swap::ArcSwap;
use http::HeaderName;
pub use outgoing::{Door, Outgoing};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

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

/// Reads the configuration files anew; on failure every problem as a line of text.
pub type Reload = Box<dyn Fn() -> Result<Live, Vec<String>> + Send + Sync>;

/// State shared by everything in the process.
pub struct Gateway {
    live: ArcSwap<Live>,
    reload: Reload,
    /// How the process runs.
    pub settings: Settings,
    /// Balances and the record of truth.
    pub book: Arc<Book>,
    /// What other gateways know, where budgets are shared.
    pub fleet: Option<Arc<Fleet>>,
    /// Requests, tokens and concurrency of keys, agents, users, teams and models.
    pub limiter: Limiter,
    /// What is measured.
    pub metrics: Metrics,
    /// Set once the process was told to leave.
    pub stopping: Arc<AtomicBool>,
    /// Requests being served.
    pub in_flight: Arc<AtomicUsize>,
}

impl Gateway {
    /// A gateway that starts with `live`.
    pub fn new(
        live: Live,
        reload: Reload,
        settings: Settings,
        book: Arc<Book>,
        fleet: Option<Arc<Fleet>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            live: ArcSwap::from_pointee(live),
            reload,
            settings,
            book,
            fleet,
            metrics,
            limiter: Limiter::default(),
            stopping: Arc::default(),
            in_flight: Arc::default(),
        }
    }

    /// The configuration in force, for the length of one request.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Reads the files anew and puts them in force.
    ///
    /// # Errors
    /// Every problem found; then nothing has changed.
    pub fn reload(&self) -> Result<Arc<Live>, Vec<String>> {
        let live = Arc::new((self.reload)()?);
        self.book.adopt(&live.policy.accounts());
        self.live.store(Arc::clone(&live));
        Ok(live)
    }
}
