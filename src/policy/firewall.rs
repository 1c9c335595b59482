//! The AI Firewall's variables as a policy.
//!
//! Decides what they mean: one key, one agent that gets the model it asks for, and one user with a hard
//! budget a day. When they are the policy is decided by [`crate::settings::firewall`].

use super::keys::{Key, KeyRing};
use super::provider::{Block, Endpoint, FIRST};
use super::upstream::{self, BaseUrl, Upstream};
use super::{Agent, BudgetSource, DEFAULT_AGENT, Policy, breaker, signatures};
use crate::budget::AccountSpec;
use crate::budget::period::{Period, PeriodKind};
use crate::budget::warn::Levels;
use crate::catalog::PriceOverride;
use crate::identity::{AccountId, AgentId, KeyId, UserId};
use crate::limit::Limits;
use crate::money::{Nanos, PicosPerToken};
use crate::provider::openrouter::OpenRouter;
use crate::provider::{self, Provider as _};
use crate::secret::{KeyDigest, Secret};
use crate::settings::environment::Environment;
use crate::settings::file::Files;
use crate::settings::firewall::{BASE_URL, BUDGET, DEFAULT_KEY, KEY, UPSTREAM_KEY};
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Problem, Problems};
use crate::settings::reader::Reader;
use crate::settings::units;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// A key that is shorter is remarked on, in bytes.
const SHORT_KEY: usize = 16;

/// What the key is called in records.
const KEY_ID: &str = "internal";

/// Where requests go when nothing else is said.
const DEFAULT_URL: &str = "https://openrouter.ai/api";

/// The budget of a day when nothing else is said.
const DEFAULT_BUDGET: Nanos = Nanos(5_000_000_000);

/// The longest silence accepted from the provider.
const PATIENCE: Duration = Duration::from_secs(300);

/// Models without a price cost a cent for a thousand tokens of input and three for output.
const UNPRICED: PriceOverride = PriceOverride {
    input: PicosPerToken(10_000_000),
    output: PicosPerToken(30_000_000),
    cache_read: None,
    cache_write: None,
    max_output: None,
};

/// What is to be said when there is a policy file, so that the variables do nothing.
pub(super) fn overruled(files: &Files, environment: &Environment) -> Option<Problem> {
    environment.filled(KEY)?;
    let message = format!("is not used, because {} is", files.policy.path.display());
    Some(
        remark(KEY, message)
            .suggesting("add the key to auth.keys there, or take the variable away"),
    )
}

/// The policy that the variables make.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn read(environment: &Environment) -> Result<Policy, Problems> {
    let reader = Reader::new("environment", environment);
    let limit = daily_limit(&reader);
    let (kind, base_url) = address(&reader);
    let api_key = upstream_key(&reader);
    let key = client_key(&reader);
    let absent = |key| reader.absent().section("cost_routing").section(key);
    let signatures = signatures::read(&absent("signatures"));
    let breaker = breaker::read(&absent("breaker"), None);
    for (path, value) in [
        (
            "cost_routing.openrouter.timeout_seconds",
            units::show_duration(PATIENCE),
        ),
        ("cost_routing.metadata", false.to_string()),
        (
            "cost_routing.unpriced_ceiling.input_usd_per_million",
            units::show_per_million(UNPRICED.input),
        ),
        (
            "cost_routing.unpriced_ceiling.output_usd_per_million",
            units::show_per_million(UNPRICED.output),
        ),
    ] {
        reader.fact(path, value, Origin::Default);
    }
    let findings = reader.finish()?;

    let (agent, user) = (counting_agent(limit), user(limit));
    let mut policy = Policy {
        upstream: Upstream {
            dialects: upstream::dialects(&base_url),
            private: !base_url.is_of(&BaseUrl::open_router()),
            api_key: api_key.clone(),
            timeout: PATIENCE,
            base_url: base_url.clone(),
            ..Upstream::default()
        },
        breaker: Arc::new(breaker),
        default_provider: kind.to_owned(),
        metadata: false,
        signatures,
        unpriced_ceiling: Some(UNPRICED),
        keys: KeyRing::of(Key::plain(
            KeyId::new(KEY_ID).expect("a plain word is a name"),
            agent.id.clone(),
            user.0.clone(),
            KeyDigest::of(key.expose().as_bytes()),
        )),
        warnings: remarks(environment),
        facts: findings.facts,
        ..Policy::default()
    };
    policy.warnings.extend(findings.warnings);
    policy.users.extend([user]);
    policy.agents.insert(agent.id.clone(), Arc::new(agent));
    if let Some(block) = block(kind, base_url, api_key) {
        policy.providers.insert(kind.to_owned(), Arc::new(block));
    }
    Ok(policy)
}

fn remark(variable: &str, message: impl Into<String>) -> Problem {
    Problem::of_file("environment", message)
        .warning()
        .under(variable)
}

fn remarks(environment: &Environment) -> Vec<Problem> {
    let mut found = Vec::new();
    if environment.filled(UPSTREAM_KEY).is_none() {
        let message = "no provider key is configured, so requests go to the provider without one";
        found.push(
            remark("cost_routing.openrouter.api_key", message)
                .suggesting(format!("set {UPSTREAM_KEY}")),
        );
    }
    let key = environment.filled(KEY).map(str::trim);
    if key.is_some_and(|key| key.len() < SHORT_KEY) {
        let message = format!("the key is shorter than {SHORT_KEY} characters");
        found.push(remark(KEY, message).suggesting("set it to a long random text"));
    }
    found
}

fn daily_limit(reader: &Reader<'_>) -> Nanos {
    const PATH: &str = "cost_routing.users.default.budget_total";
    let limit = match reader.environment.filled(BUDGET) {
        None => (DEFAULT_BUDGET, Origin::Default),
        Some(text) => match units::money(text) {
            Ok(limit) => (limit, Origin::Variable(BUDGET)),
            Err(complaint) => {
                reader.report_variable(BUDGET, complaint);
                return DEFAULT_BUDGET;
            }
        },
    };
    reader.fact(PATH, units::show_money(limit.0), limit.1);
    reader.fact(
        "cost_routing.users.default.period",
        PeriodKind::Daily.name(),
        Origin::Default,
    );
    limit.0
}

/// The kind of provider, and its address as a block of that kind has it.
fn address(reader: &Reader<'_>) -> (&'static str, BaseUrl) {
    let stated = reader.environment.filled(BASE_URL).map(str::trim);
    let origin = if stated.is_some() {
        Origin::Variable(BASE_URL)
    } else {
        Origin::Default
    };
    let above = stated.unwrap_or(DEFAULT_URL).trim_end_matches('/');
    let above = above.strip_suffix("/v1").unwrap_or(above);
    let plain = match BaseUrl::parse(above) {
        Ok(url) => url,
        Err(complaint) => {
            reader.report_variable(BASE_URL, complaint);
            return (OpenRouter.name(), BaseUrl::open_router());
        }
    };
    let kind = match plain.host.to_ascii_lowercase().as_str() {
        "api.openai.com" => "openai",
        "api.anthropic.com" => "anthropic",
        _ => OpenRouter.name(),
    };
    let url = if kind == "anthropic" {
        plain
    } else {
        BaseUrl {
            path: format!("{}/v1", plain.path),
            text: format!("{}/v1", plain.text),
            ..plain
        }
    };
    reader.fact("cost_routing.openrouter.base_url", url.text.clone(), origin);
    (kind, url)
}

fn upstream_key(reader: &Reader<'_>) -> Option<Secret> {
    let key = reader.environment.filled(UPSTREAM_KEY).map(str::trim);
    let origin = match key {
        Some(_) => Origin::Variable(UPSTREAM_KEY),
        None => Origin::Default,
    };
    let shown = masked(key.unwrap_or_default());
    reader.fact("cost_routing.openrouter.api_key", shown, origin);
    key.map(|key| Secret::new(key.to_owned()))
}

fn client_key(reader: &Reader<'_>) -> Secret {
    let key = reader.environment.filled(KEY).map(str::trim);
    let (key, origin) = match key {
        Some(key) => (key, Origin::Variable(KEY)),
        None => (DEFAULT_KEY, Origin::Default),
    };
    reader.fact("auth.keys[0].id", KEY_ID, Origin::Default);
    reader.fact("auth.keys[0].key", masked(key), origin);
    Secret::new(key.to_owned())
}

fn daily(id: AccountId, limit: Nanos, hard: bool) -> Arc<AccountSpec> {
    Arc::new(AccountSpec {
        id,
        limit,
        opening: Nanos::ZERO,
        hard,
        period: Period {
            kind: PeriodKind::Daily,
            zone: TimeZone::UTC,
        },
        warn: if hard {
            Levels::default()
        } else {
            Levels::of([])
        },
    })
}

/// The agent, whose account only counts: it is the user's that holds.
fn counting_agent(limit: Nanos) -> Agent {
    let id = AgentId::new(DEFAULT_AGENT).expect("a plain word is a name");
    let account = daily(AccountId::agent(&id), limit, false);
    Agent {
        id,
        accounts: vec![Arc::clone(&account)],
        account,
        thresholds: Vec::new(),
        tiers: Vec::new(),
        allowed: None,
        limits: Limits::default(),
        team: None,
        budget_source: BudgetSource::Local,
        guard: Arc::default(),
    }
}

fn user(limit: Nanos) -> (UserId, Arc<AccountSpec>) {
    let id = UserId::new("default").expect("a plain word is a name");
    let account = daily(AccountId::user(&id), limit, true);
    (id, account)
}

/// The provider's block; OpenRouter's follows from the rest of the policy.
fn block(kind: &str, base_url: BaseUrl, api_key: Option<Secret>) -> Option<Block> {
    let kind = provider::named(kind).filter(|kind| kind.name() != OpenRouter.name())?;
    Some(Block {
        name: kind.name().to_owned(),
        kind,
        endpoints: vec![Endpoint {
            name: FIRST.to_owned(),
            base_url,
            api_key,
            fallback_key: None,
            deployment: None,
            api_version: None,
        }],
        dialects: kind.dialects().to_vec(),
        headers: Vec::new(),
        timeout: PATIENCE,
        private: false,
    })
}

#[cfg(test)]
mod tests;
