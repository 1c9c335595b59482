//! Which settings a running process does not take over.
//!
//! Settings are fixed while a process runs. When the files say something else by now, this names what,
//! so that nobody waits for it to take effect.

use super::Settings;
use super::stores::Server;
use crate::secret::{KeyDigest, Secret};
use std::collections::BTreeMap;

/// The paths of the settings that `read` has otherwise than `running`, in order.
pub fn needed(running: &Settings, read: &Settings) -> Vec<String> {
    let (before, after) = (shown(running), shown(read));
    let mut paths: Vec<String> = before
        .keys()
        .chain(after.keys())
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| (*path).to_owned())
        .collect();
    let (before, after) = (secrets(running), secrets(read));
    let others = before.iter().zip(&after).filter(|(old, new)| old != new);
    paths.extend(others.map(|((path, _), _)| (*path).to_owned()));
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn shown(settings: &Settings) -> BTreeMap<&str, &str> {
    let facts = settings.facts.iter();
    facts
        .map(|fact| (fact.path.as_str(), fact.value.as_str()))
        .collect()
}

/// What is shown by its length only.
fn secrets(settings: &Settings) -> [(&'static str, Option<KeyDigest>); 6] {
    let stores = &settings.stores;
    let redis = stores.redis.as_ref();
    let sentinel = redis.and_then(|redis| match &redis.server {
        Server::Sentinel(sentinel) => sentinel.password.as_ref(),
        Server::Tcp(_) | Server::Unix(_) | Server::Cluster(_) => None,
    });
    let redis = redis.and_then(|redis| redis.password.as_ref());
    let postgres = stores.postgres.as_ref();
    let postgres = postgres.and_then(|postgres| postgres.password.as_ref());
    let model = settings.insights.embedding.model.as_ref();
    let model = model.and_then(|model| model.api_key.as_ref());
    [
        ("admin.token", settings.admin.token.as_ref()),
        ("otel.headers", settings.otel.headers.as_ref()),
        ("stores.redis.password", redis),
        ("stores.redis.sentinel.password", sentinel),
        ("stores.postgres.password", postgres),
        ("insights.embedding.api_key", model),
    ]
    .map(|(path, secret)| (path, secret.map(Secret::digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;

    fn of(text: &str) -> Settings {
        crate::settings::parse("weir.yaml", text, &Environment::default())
            .ok()
            .unwrap()
    }

    #[test]
    fn what_is_the_same_needs_no_restart_wherever_it_stands() {
        let stated = of("log:\n  level: info\nshutdown: {grace: 10m}");
        assert_eq!(needed(&of(""), &stated), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named_also_when_it_comes_or_goes() {
        let tls = "listen: {tls: {address: \"127.0.0.1:1\", cert: a, key: b}}\n";
        let other = "listen: {http: \"127.0.0.1:1\"}\nlimits: {headers: 50}";
        let names = [
            "limits.headers",
            "listen.http",
            "listen.tls.address",
            "listen.tls.cert",
            "listen.tls.h2",
            "listen.tls.key",
        ];
        assert_eq!(needed(&of(tls), &of(other)), names);
        assert_eq!(needed(&of(other), &of(tls)), names);
    }

    #[test]
    fn another_secret_of_the_same_length_is_another_secret() {
        let of = |token, password| {
            of(&format!(
                "admin: {{token: {token}}}\nstores: {{redis: {{url: \"redis://h\", password: {password}}}}}"
            ))
        };
        let running = of("sesame-sesame-1", "one");
        assert_eq!(
            needed(&running, &of("sesame-sesame-2", "two")),
            ["admin.token", "stores.redis.password"]
        );
        assert_eq!(
            needed(&running, &of("sesame-sesame-1", "one")),
            Vec::<String>::new()
        );
    }
}
