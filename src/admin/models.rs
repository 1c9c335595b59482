//! `/v1/models`: what the caller may ask for, in one shape that the SDKs of OpenAI and of Anthropic
//! both read.
//!
//! Decides which models are listed. Whoever may send a request may see its list; nobody sees more
//! than it may use. An agent that may ask for any model is shown those of the models file.

use super::{Peer, Refused, Reply, Shared, TASK, reply};
use crate::auth;
use crate::policy::{Agent, Policy};
use crate::refusal::Refusal;
use crate::surface;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// When models were made is not known, for which both APIs have this.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Whether the rest of a path names a model, as it is or as the SDKs escape it.
pub(super) fn named(rest: &str) -> bool {
    let escapes = [
        ("%2F", "/"),
        ("%2f", "/"),
        ("%3A", ":"),
        ("%3a", ":"),
        ("%40", "@"),
    ];
    let plain = escapes
        .iter()
        .fold(rest.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        });
    surface::is_model(&plain)
}

/// `GET /v1/models`.
pub(super) async fn all(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
) -> Reply {
    let live = shared.gateway.live();
    let agent = shared.caller(&headers, peer)?.agent;
    let names = usable(&live.policy, &agent);
    let data: Vec<Value> = names.iter().map(|name| entry(&live.policy, name)).collect();
    Ok(reply(&json!({
        "object": "list",
        "data": data,
        "has_more": false,
        "first_id": names.first(),
        "last_id": names.last(),
    })))
}

/// `GET /v1/models/{model}`.
pub(super) async fn one(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(model): Path<String>,
) -> Reply {
    let live = shared.gateway.live();
    let agent = shared.caller(&headers, peer)?.agent;
    if usable(&live.policy, &agent).contains(&model.as_str()) {
        return Ok(reply(&entry(&live.policy, &model)));
    }
    let model = auth::shown(&model);
    Err(Refused(Refusal::ModelNotFound { model }))
}

/// The models that an agent may ask for or is given, each once: those of its tiers, else those it is
/// allowed, else those of the models file and their other names.
fn usable<'p>(policy: &'p Policy, agent: &'p Agent) -> Vec<&'p str> {
    let mut seen = BTreeSet::new();
    let mut names: Vec<&str> = match &agent.allowed {
        _ if !agent.tiers.is_empty() => agent.tiers.iter().flatten().map(String::as_str).collect(),
        Some(allowed) => allowed.iter().map(String::as_str).collect(),
        None => {
            let aliases = policy.aliases.keys();
            let aliases = aliases.filter(|name| !name.starts_with(TASK));
            let names = policy.models.keys().chain(aliases);
            names.map(String::as_str).collect()
        }
    };
    names.retain(|name| seen.insert(*name));
    names
}

fn entry(policy: &Policy, name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": owner(policy, name),
        "type": "model",
        "display_name": name,
        "created_at": EPOCH,
    })
}

/// Who serves a model: its provider in the models file, else the vendor in its name.
fn owner<'a>(policy: &'a Policy, name: &'a str) -> &'a str {
    let known = policy.aliases.get(name).map_or(name, String::as_str);
    match policy.models.get(known) {
        Some(model) => &model.provider,
        None => name
            .split_once('/')
            .map_or("openrouter", |(vendor, _)| vendor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::models;
    use crate::settings::environment::Environment;
    use std::sync::Arc;

    /// An agent with tiers, one with a list, one with neither, and a file with two models.
    fn policy() -> Policy {
        let text = "cost_routing:
  agents:
    tiered:
      budget_total: 1
      tiers:
        - {threshold: 0.5, models: [openai/gpt-4o, fast]}
        - {threshold: 0.0, models: [openai/gpt-4o, mistralai/mistral-7b-instruct]}
    free: {budget_total: 1}
";
        let environment = Environment::default();
        let mut policy = crate::policy::parse("policy.yaml", text, &environment).unwrap();
        let file = "models:
  slow: {provider: anthropic}
  fast: {provider: openai, engine: gpt-4o-mini}
";
        let file = models::parse("models.yaml", file, &environment).unwrap();
        let described = file.models.into_iter();
        policy.models = described
            .map(|(name, model)| (name, Arc::new(model)))
            .collect();
        let aliases = ["vitals", "task:vitals"].map(|name| (name.to_owned(), "fast".to_owned()));
        policy.aliases = aliases.into();
        policy
    }

    #[test]
    fn an_agent_sees_what_it_may_use_and_every_model_once() {
        let policy = policy();
        let tiered = usable(&policy, &policy.agents["tiered"]);
        assert_eq!(
            tiered,
            ["openai/gpt-4o", "fast", "mistralai/mistral-7b-instruct"]
        );
        assert_eq!(
            usable(&policy, &policy.agents["free"]),
            ["fast", "slow", "vitals"]
        );
        let mut listed = Agent::clone(&policy.agents["free"]);
        listed.allowed = Some(vec!["slow".into(), "openai/o3".into(), "slow".into()]);
        assert_eq!(usable(&policy, &listed), ["slow", "openai/o3"]);
        listed.allowed = Some(Vec::new());
        assert!(usable(&policy, &listed).is_empty());
    }

    #[test]
    fn a_model_belongs_to_whoever_serves_it() {
        let policy = policy();
        for (name, owner) in [
            ("fast", "openai"),
            ("vitals", "openai"),
            ("slow", "anthropic"),
            ("mistralai/mistral-7b-instruct", "mistralai"),
            ("gpt-4o", "openrouter"),
        ] {
            assert_eq!(entry(&policy, name)["owned_by"], owner, "{name}");
        }
    }
}
