//! Who may spend what, on which models: `policy.yaml`, resolved.
//!
//! Decides what a policy file means and whether it is sound as a whole: a file with one error is
//! refused with all of its problems, and whoever reloads keeps the policy in force. It does not
//! hold balances (that is [`crate::ledger`]) and does not judge requests.
//!
//! The Execwall OR Gate's file loads unchanged, so does the Model Gateway's of models, and the AI
//! Firewall's variables are enough without any file. What Weir adds has defaults that hold budgets
//! strictly.

mod agents;
pub mod audit;
pub mod breaker;
pub mod changes;
pub mod console;
mod firewall;
pub mod guard;
pub mod keys;
mod limits;
pub mod models;
mod prices;
pub mod provider;
mod routing;
pub mod signatures;
pub mod teams;
pub mod upstream;
mod users;

use crate::budget::AccountSpec;
use crate::budget::tier::Threshold;
use crate::catalog::PriceOverride;
use crate::guard::Rules;
use crate::identity::{AgentId, TeamId, UserId};
use crate::limit::Limits;
use crate::money::Nanos;
use crate::provider::openrouter::OpenRouter;
use crate::provider::{OPENCLAW, Provider};
use crate::settings::ORCHESTRATOR_PORT;
use crate::settings::environment::Environment;
use crate::settings::file::{self, Files};
use crate::settings::firewall::is_in_force;
use crate::settings::origin::Fact;
use crate::settings::problem::{Problem, Problems};
use crate::settings::reader::Reader;
use breaker::Breaker;
use console::Console;
use keys::KeyRing;
use models::{Model, Models};
use provider::Block;
use signatures::Signatures;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use teams::Team;
use upstream::Upstream;

/// The agent whose budget and tiers unknown agents use, when it is configured.
pub const DEFAULT_AGENT: &str = "default";

/// A policy in force. Immutable; a reload makes a new one.
#[derive(Clone)]
pub struct Policy {
    /// The agents by name.
    pub agents: BTreeMap<AgentId, Arc<Agent>>,
    /// The teams by name.
    pub teams: BTreeMap<TeamId, Arc<Team>>,
    /// The account that every request is charged to besides its agent's.
    pub gateway: Option<Arc<AccountSpec>>,
    /// The keys that clients may present.
    pub keys: KeyRing,
    /// Where requests go.
    pub upstream: Upstream,
    /// Who serves models, by name. `openrouter` is what [`Policy::upstream`] says.
    pub providers: BTreeMap<String, Arc<Block>>,
    /// The name among them of whoever serves models that the models file does not describe.
    pub default_provider: String,
    /// The models that the models file describes, by the name that clients use.
    pub models: BTreeMap<String, Arc<Model>>,
    /// Other names of models, tasks included (`vitals`), and the models they stand for.
    pub aliases: BTreeMap<String, String>,
    /// The accounts of users.
    pub users: BTreeMap<UserId, Arc<AccountSpec>>,
    /// What users may ask for at a time.
    pub user_limits: BTreeMap<UserId, Limits>,
    /// The teams of users, with an account of their own or without.
    pub user_teams: BTreeMap<UserId, Arc<Team>>,
    /// How often a request is tried again at the last of its candidates.
    pub retries: u16,
    /// How long a request may take until its answer begins, all attempts together.
    pub deadline: Duration,
    /// Where budgets come from and spend goes to; nothing when it is switched off.
    pub console: Option<Arc<Console>>,
    /// The record of truth.
    pub spend_log: PathBuf,
    /// Whether answers carry `_execwall`.
    pub metadata: bool,
    /// Which answers are signed, and with what.
    pub signatures: Signatures,
    /// What the guard does for agents whose own section does not say otherwise.
    pub guard: Arc<guard::Guard>,
    /// What the guard looks for.
    pub rules: Rules,
    /// The files that add to that.
    pub rule_files: guard::RuleFiles,
    /// When spending is too much, and what happens then.
    pub breaker: Arc<Breaker>,
    /// How the worst case of a request's input is counted.
    pub bound: BoundMode,
    /// Whether `max_tokens` may be lowered to what the budget affords.
    pub fit_max_tokens: bool,
    /// The fewest output tokens worth dispatching a request for.
    pub min_output_tokens: u64,
    /// Input tokens held for each part of a message that is no text.
    pub media_tokens: u64,
    /// Held for a request that may use tools of the provider, such as a web search.
    pub server_tool_fee: Nanos,
    /// Output tokens held for when neither the client nor the price table gives a limit.
    pub default_max_output: u64,
    /// Prices that win over the bundled table.
    pub prices: BTreeMap<String, PriceOverride>,
    /// The price of models without one; without it they are refused under a hard cap.
    pub unpriced_ceiling: Option<PriceOverride>,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Problem>,
    /// Every setting in force and where it came from.
    pub facts: Vec<Fact>,
}

/// How the worst case of a request's input is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoundMode {
    /// One token for every byte: never too little.
    #[default]
    Strict,
    /// By the tokenizer: closer, but a provider may count more.
    Estimate,
}

/// Where an agent's budget is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetSource {
    /// In the policy file.
    #[default]
    Local,
    /// By whoever pushes to the budget API.
    Console,
}

impl BudgetSource {
    /// The name in policy files and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Console => "console",
        }
    }
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// Its own account.
    pub account: Arc<AccountSpec>,
    /// All accounts that its requests are charged to whoever asks: its own first, then those of its
    /// team and the teams above, then the gateway's.
    pub accounts: Vec<Arc<AccountSpec>>,
    /// The thresholds of its tiers, in file order.
    pub thresholds: Vec<Threshold>,
    /// The models of each tier. No tiers at all: the agent gets the model it asks for.
    pub tiers: Vec<Vec<String>>,
    /// The models that an agent without tiers may ask for; `None` for any.
    pub allowed: Option<Vec<String>>,
    /// What it may ask for at a time.
    pub limits: Limits,
    /// The team that it belongs to.
    pub team: Option<Arc<Team>>,
    /// Where its budget is set.
    pub budget_source: BudgetSource,
    /// What the guard does for it.
    pub guard: Arc<guard::Guard>,
}

impl Default for Policy {
    /// No agents, no keys, and the default of every setting.
    fn default() -> Self {
        Self {
            agents: BTreeMap::new(),
            teams: BTreeMap::new(),
            gateway: None,
            keys: KeyRing::default(),
            upstream: Upstream::default(),
            providers: BTreeMap::new(),
            default_provider: OpenRouter.name().to_owned(),
            models: BTreeMap::new(),
            aliases: BTreeMap::new(),
            users: BTreeMap::new(),
            user_limits: BTreeMap::new(),
            user_teams: BTreeMap::new(),
            retries: 2,
            deadline: Duration::from_secs(600),
            console: None,
            spend_log: PathBuf::from("./spend.jsonl"),
            metadata: true,
            signatures: Signatures::default(),
            guard: Arc::default(),
            rules: Rules::default(),
            rule_files: guard::RuleFiles::default(),
            breaker: Arc::default(),
            bound: BoundMode::Strict,
            fit_max_tokens: true,
            min_output_tokens: 16,
            media_tokens: 16_384,
            server_tool_fee: Nanos(50_000_000),
            default_max_output: 16_384,
            prices: BTreeMap::new(),
            unpriced_ceiling: None,
            warnings: Vec::new(),
            facts: Vec::new(),
        }
    }
}

impl fmt::Debug for Policy {
    /// Names and numbers only: a policy holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("agents", &self.agents.keys().collect::<Vec<_>>())
            .field("keys", &self.keys.len())
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// Reads and checks a policy file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, environment: &Environment) -> Result<Policy, Problems> {
    let text = file::read(path)?;
    parse(&path.display().to_string(), &text, environment)
}

/// The policy of a gateway that has a models file only: its daily limit binds, and whoever is served is one
/// agent whose account counts.
const MODELS_ONLY: &str = "cost_routing: {agents: {default: {budget_total: 1000000, hard_cap: false, period: daily, \
                           timezone: UTC, warn_at: []}}}";

/// What the API Orchestrator's variables make: the same, and every model has a price, if only the ceiling of
/// those without one. The breaker is the only limit then, and must not be told too little.
const ORCHESTRATOR_ONLY: &str = "cost_routing: {agents: {default: {budget_total: 1000000, hard_cap: false, \
                                  period: daily, timezone: UTC, warn_at: []}}, \
                                  unpriced_ceiling: {input_usd_per_million: 15, output_usd_per_million: 75}}";

/// Reads the policy and, if there is one, the models file, and puts them together. Where there is no
/// policy file, the AI Firewall's variables may be the policy; else a models file with a daily limit will do.
///
/// # Errors
/// Everything that is wrong with either.
pub fn load_all(files: &Files, environment: &Environment) -> Result<Policy, Problems> {
    let orchestrator = files.policy.is_left_out()
        && !is_in_force(files, environment)
        && environment.filled(ORCHESTRATOR_PORT).is_some();
    let with_gateway = orchestrator.then(|| with_gateway(environment));
    let environment = with_gateway.as_ref().unwrap_or(environment);
    let models = if files.models.is_left_out() {
        models::parse(&files.models.path.display().to_string(), "", environment)
    } else {
        models::load(&files.models.path, environment)
    };
    let limited = |models: &Models| models.gateway.as_ref().is_some_and(|all| all.hard);
    let policy = if is_in_force(files, environment) {
        firewall::read(environment)
    } else if orchestrator {
        read("(no policy file)", ORCHESTRATOR_ONLY, environment).map(|mut policy| {
            let remark = "there is no policy.yaml, so the cost circuit breaker is the only limit";
            let remark = Problem::of_file(ORCHESTRATOR_PORT, remark);
            policy.warnings.push(remark.warning());
            policy
        })
    } else if files.policy.is_left_out() && models.as_ref().is_ok_and(limited) {
        read("(no policy file)", MODELS_ONLY, environment).map(|mut policy| {
            let place = files.models.path.display().to_string();
            policy.warnings.push(
                Problem::of_file(
                    &place,
                    "there is no policy.yaml, so its daily limit is the only one",
                )
                .warning(),
            );
            policy
        })
    } else {
        read_file(files, environment)
    };
    match (policy, models) {
        (Ok(mut policy), Ok(models)) => {
            policy.adopt(models);
            Ok(policy)
        }
        (Ok(policy), Err(problems)) => Err(Problems(
            policy.warnings.into_iter().chain(problems.0).collect(),
        )),
        (Err(problems), Ok(models)) => Err(Problems(
            problems.0.into_iter().chain(models.warnings).collect(),
        )),
        (Err(problems), Err(more)) => Err(Problems(problems.0.into_iter().chain(more.0).collect())),
    }
}

/// The API Orchestrator's variables, with its default for where the OpenClaw gateway is.
fn with_gateway(environment: &Environment) -> Environment {
    let environment = environment.clone();
    let gateway = crate::provider::named(OPENCLAW).and_then(Provider::environment);
    match gateway.and_then(|gateway| Some((gateway.base_url, gateway.default_url?))) {
        Some((name, url)) if environment.filled(name).is_none() => {
            environment.with_dotenv("(default)", &format!("{name}={url}"))
        }
        _ => environment,
    }
}

fn read_file(files: &Files, environment: &Environment) -> Result<Policy, Problems> {
    let text = file::read(&files.policy.path)?;
    let mut policy = read(&files.policy.path.display().to_string(), &text, environment)?;
    policy
        .warnings
        .extend(firewall::overruled(files, environment));
    Ok(policy)
}

/// Checks the text of a policy file called `file`; there is no models file then.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Policy, Problems> {
    let mut policy = read(file, text, environment)?;
    policy.adopt(models::parse("conf/models.yaml", "", environment)?);
    Ok(policy)
}

/// What the policy file says by itself.
fn read(file: &str, text: &str, environment: &Environment) -> Result<Policy, Problems> {
    let reader = Reader::new(file, environment);
    let mut policy = match reader.parse(text) {
        Some(node) => routing::read(&mut reader.root(&node)),
        None => Policy::default(),
    };
    let findings = reader.finish()?;
    policy.warnings = findings.warnings;
    policy.facts = findings.facts;
    Ok(policy)
}

impl Policy {
    /// The agent of that name, else the `default` agent.
    pub fn agent(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents
            .get(id)
            .or_else(|| self.agents.get(DEFAULT_AGENT))
    }

    /// Every account of this policy, each once.
    pub fn accounts(&self) -> Vec<Arc<AccountSpec>> {
        let agents = self.agents.values().map(|agent| &agent.account);
        let teams = self.teams.values().map(|team| &team.account);
        let all = agents.chain(self.users.values()).chain(teams);
        all.chain(&self.gateway).cloned().collect()
    }

    /// Takes over what a models file says: its models and providers; its prices, where this policy
    /// states none; and its daily limit, when this policy has no limit for the whole gateway.
    pub fn adopt(&mut self, models: Models) {
        for (model, price) in models.prices {
            self.prices.entry(model).or_insert(price);
        }
        if self.gateway.is_none() {
            self.gateway = models.gateway;
            self.gather();
        }
        let open_router = Block::open_router(&self.upstream);
        // Without a key for OpenRouter, what nobody describes is asked of the gateway that the variables name.
        let elsewhere = !self
            .upstream
            .base_url
            .is_of(&upstream::BaseUrl::open_router());
        if models.openclaw
            && self.default_provider == OpenRouter.name()
            && !(open_router.has_key() || elsewhere)
        {
            OPENCLAW.clone_into(&mut self.default_provider);
        }
        let own = std::mem::replace(&mut self.providers, models.providers);
        self.providers.extend(own);
        self.providers
            .insert(open_router.name.clone(), Arc::new(open_router));
        let with_name = models.models.into_iter();
        self.models = with_name
            .map(|(name, model)| (name, Arc::new(model)))
            .collect();
        self.aliases = models.aliases;
        self.warnings.extend(models.warnings);
        self.facts.extend(models.facts);
    }

    /// Gathers the accounts of every agent anew.
    fn gather(&mut self) {
        for agent in self.agents.values_mut() {
            let agent = Arc::make_mut(agent);
            let teams = agent.team.iter().flat_map(Team::line);
            let teams = teams.map(|team| &team.account);
            let accounts = std::iter::once(&agent.account).chain(teams);
            agent.accounts = accounts.chain(&self.gateway).cloned().collect();
        }
    }
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "policy/tests_of_mistakes.rs"]
mod tests_of_mistakes;

#[cfg(test)]
#[path = "policy/tests_of_additions.rs"]
mod tests_of_additions;
