//! What a new policy changes, in words for the log and for whoever asked.
//!
//! Decides what is worth saying and how it reads. Values are shown as `weir check` shows them; of a
//! secret only that it is another one.

use super::Policy;
use super::keys::Key;
use crate::secret::{KeyDigest, Secret};
use crate::settings::origin::Fact;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sections whose keys are names, and what each of those names is.
const NAMED: [(&str, &str); 6] = [
    ("cost_routing.agents.", "agent"),
    ("cost_routing.users.", "user"),
    ("cost_routing.teams.", "team"),
    ("cost_routing.prices.", "price of"),
    ("models.", "model"),
    ("providers.", "provider"),
];

/// What is sent to providers may be nobody else's business.
const HEADERS: &str = ".headers.";

/// Keys are told apart by their ids, not by their places in the file.
const KEYS: [&str; 2] = ["auth.keys[", "cost_routing.signatures.keys["];

/// The differences, one a line: who came and went, then keys, then settings.
pub fn between(old: &Policy, new: &Policy) -> Vec<String> {
    let (before, after) = (settings(old), settings(new));
    let mut said = Vec::new();
    let (gone, come) = came_and_went(&before, &after, &mut said);
    keys(old, new, &mut said);
    sent_keys(old, new, &mut said);
    said.extend(new.signatures.changes(&old.signatures));
    said.extend(new.breaker.changes(&old.breaker));
    said.extend(new.rule_files.changes(&old.rule_files));
    let paths: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    for path in paths {
        let told = thing(path).is_some_and(|thing| gone.contains(&thing) || come.contains(&thing));
        let (was, is) = (before.get(path), after.get(path));
        if told || was == is {
            continue;
        }
        if path.contains(HEADERS) {
            said.push(format!("{path} changed"));
            continue;
        }
        said.push(match (was, is) {
            (Some(was), Some(is)) => format!("{path} is {is}, was {was}"),
            (None, Some(is)) => format!("{path} is {is}, was not set"),
            (Some(was), None) => format!("{path} is not set any more, was {was}"),
            (None, None) => continue,
        });
    }
    said
}

/// The settings that are compared one by one.
fn settings(policy: &Policy) -> BTreeMap<&str, &str> {
    let secret =
        |fact: &Fact| fact.path.ends_with(".api_key") || fact.path.ends_with("webhook.secret");
    let key = |fact: &Fact| KEYS.iter().any(|keys| fact.path.starts_with(keys));
    policy
        .facts
        .iter()
        .filter(|fact| !key(fact) && !secret(fact))
        .map(|fact| (fact.path.as_str(), fact.value.as_str()))
        .collect()
}

/// Something that has a name.
type Thing<'a> = (&'static str, &'a str);

/// What a setting belongs to, if that has a name: names with dots are quoted in paths.
fn thing(path: &str) -> Option<Thing<'_>> {
    let (rest, what) = NAMED
        .iter()
        .find_map(|(prefix, what)| Some((path.strip_prefix(prefix)?, *what)))?;
    let end = match rest.strip_prefix('"') {
        Some(quoted) => quoted.find("\".").map_or(rest.len(), |at| at + 2),
        None => rest.find('.').unwrap_or(rest.len()),
    };
    Some((what, rest[..end].trim_matches('"')))
}

type Things<'a> = BTreeSet<Thing<'a>>;

fn came_and_went<'p>(
    before: &BTreeMap<&'p str, &'p str>,
    after: &BTreeMap<&'p str, &'p str>,
    said: &mut Vec<String>,
) -> (Things<'p>, Things<'p>) {
    let things = |settings: &BTreeMap<&'p str, &'p str>| -> Things<'p> {
        settings.keys().filter_map(|path| thing(path)).collect()
    };
    let (old, new) = (things(before), things(after));
    let gone: Things<'p> = old.difference(&new).copied().collect();
    let come: Things<'p> = new.difference(&old).copied().collect();
    said.extend(
        gone.iter()
            .map(|(what, name)| format!("{what} `{name}` removed")),
    );
    said.extend(
        come.iter()
            .map(|(what, name)| format!("{what} `{name}` added")),
    );
    (gone, come)
}

fn keys(old: &Policy, new: &Policy, said: &mut Vec<String>) {
    let by_id = |policy: &Policy| -> BTreeMap<String, Arc<Key>> {
        let keys = policy.keys.keys().into_iter();
        keys.map(|key| (key.id.to_string(), Arc::clone(key)))
            .collect()
    };
    let (before, after) = (by_id(old), by_id(new));
    for (id, key) in &before {
        match after.get(id) {
            None => said.push(format!("key `{id}` revoked")),
            Some(other) if other.digest() != key.digest() => {
                said.push(format!("key `{id}` replaced, the one before is revoked"));
            }
            Some(other) => {
                let differs = other.differs(key).join(", ");
                if !differs.is_empty() {
                    said.push(format!("key `{id}` changed: {differs}"));
                }
            }
        }
    }
    let added = after.keys().filter(|id| !before.contains_key(*id));
    said.extend(added.map(|id| format!("key `{id}` added")));
    match (before.is_empty(), after.is_empty()) {
        (false, true) => said.push("no keys any more: only this machine is served".into()),
        (true, false) => said.push("every request needs a key from now on".into()),
        _ => {}
    }
}

/// Providers, and the console, that are there as before and are sent another key.
fn sent_keys(old: &Policy, new: &Policy, said: &mut Vec<String>) {
    let digest = |key: &Option<Secret>| key.as_ref().map(Secret::digest);
    for (name, block) in &new.providers {
        let Some(before) = old.providers.get(name) else {
            continue;
        };
        let of = |block: &super::Block| -> Vec<(String, [Option<KeyDigest>; 2])> {
            let endpoints = block.endpoints.iter();
            endpoints
                .map(|endpoint| {
                    let keys = [digest(&endpoint.api_key), digest(&endpoint.fallback_key)];
                    (endpoint.name.clone(), keys)
                })
                .collect()
        };
        if of(before) != of(block) {
            said.push(format!("provider `{name}` is sent other keys"));
        }
    }
    if let (Some(before), Some(now)) = (&old.console, &new.console)
        && before.api_key.digest() != now.api_key.digest()
    {
        said.push("the console is sent another key".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;
    use crate::settings::environment::Environment;

    const KEY_A: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    const KEY_B: &str = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";

    fn of(text: &str, variables: &[(&str, &str)]) -> Policy {
        let environment = Environment::of(variables.iter().copied());
        parse("policy.yaml", text, &environment).unwrap()
    }

    fn said(old: &str, new: &str) -> Vec<String> {
        between(&of(old, &[]), &of(new, &[]))
    }

    fn agents(agents: &str) -> String {
        format!("cost_routing:\n  agents: {{{agents}}}\n")
    }

    fn with_keys(keys: &str) -> String {
        agents("a: {budget_total: 1}, b: {budget_total: 1}") + "auth: {keys: [" + keys + "]}\n"
    }

    #[test]
    fn agents_come_and_go_by_name_and_limits_with_both_values() {
        let old =
            agents("a: {budget_total: 10, limits: {requests_per_minute: 5}}, b: {budget_total: 1}");
        let new = agents("a: {budget_total: 5, hard_cap: false}, \"c.d\": {budget_total: 1}");
        assert_eq!(
            said(&old, &new),
            [
                "agent `b` removed",
                "agent `c.d` added",
                "cost_routing.agents.a.budget_total is $5.00, was $10.00",
                "cost_routing.agents.a.hard_cap is false, was true",
                "cost_routing.agents.a.limits.requests_per_minute is not set any more, was 5",
            ]
        );
        assert_eq!(said(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn keys_are_told_apart_by_their_ids_wherever_they_stand() {
        let one = format!("{{id: one, sha256: {KEY_A}, agent: a}}");
        let two = format!("{{id: two, sha256: {KEY_B}, agent: a}}");
        let moved = with_keys(&format!("{two}, {one}"));
        assert_eq!(
            said(&with_keys(&format!("{one}, {two}")), &moved),
            Vec::<String>::new()
        );
        assert_eq!(said(&moved, &with_keys(&one)), ["key `two` revoked"]);
        let limited = format!(
            "{{id: two, sha256: {KEY_B}, agent: b, limits: {{concurrent_requests: 1}}, expires: 2030-01-01}}"
        );
        assert_eq!(
            said(&with_keys(&two), &with_keys(&limited)),
            ["key `two` changed: agents, limits, expires"]
        );
        let other = format!("{{id: one, sha256: {KEY_B}, agent: a}}");
        assert_eq!(
            said(&with_keys(&one), &with_keys(&other)),
            ["key `one` replaced, the one before is revoked"]
        );
        assert_eq!(
            said(&with_keys(&one), &with_keys("")),
            [
                "key `one` revoked",
                "no keys any more: only this machine is served"
            ]
        );
    }

    #[test]
    fn values_that_are_sent_to_a_provider_are_not_said() {
        let of = |value: &str| {
            let mut policy = of(&agents("a: {budget_total: 1}"), &[]);
            let models = format!(
                "providers: {{own: {{base_url: \"http://h/v1\", headers: {{X-Tenant: {value}}}}}}}"
            );
            let environment = Environment::default();
            policy
                .adopt(crate::policy::models::parse("models.yaml", &models, &environment).unwrap());
            policy
        };
        let said = between(&of("sesame-1"), &of("sesame-2"));
        assert_eq!(said, ["providers.own.headers.X-Tenant changed"]);
    }

    #[test]
    fn another_key_for_a_provider_is_said_without_the_key() {
        let text = agents("a: {budget_total: 1}") + "  openrouter: {api_key: \"${K}\"}\n";
        let (old, new) = (
            of(&text, &[("K", "sesame-1")]),
            of(&text, &[("K", "sesame-2")]),
        );
        assert_eq!(
            between(&old, &new),
            ["provider `openrouter` is sent other keys"]
        );
    }
}
