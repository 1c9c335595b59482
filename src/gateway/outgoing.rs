//! What every request to a provider carries, prepared once per configuration.

use crate::balance::{Endpoints, Health};
use crate::policy::provider::{Block, Endpoint};
use crate::policy::upstream::BaseUrl;
use crate::provider::{Call, Provider};
use crate::secret::Secret;
use crate::wire::Dialect;
use http::{HeaderName, HeaderValue, header};
use std::sync::Arc;

/// A provider, ready to be spoken to.
pub struct Outgoing {
    /// As it is configured.
    pub block: Arc<Block>,
    /// Its addresses.
    pub doors: Vec<Door>,
    /// The health of each.
    pub health: Vec<Arc<Health>>,
    /// Client headers that go there, besides those that always do.
    pub passes: Vec<HeaderName>,
}

/// One address of a provider, and what goes there every time.
pub struct Door {
    /// Where it is.
    pub base_url: BaseUrl,
    /// Headers that every request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The deployment, where it is not called like the engine.
    pub deployment: Option<String>,
    /// The version of the API.
    pub api_version: Option<String>,
    /// The key, by dialect.
    key: Keys,
    /// The key for when the client brought none.
    fallback: Keys,
    secrets: [Option<Secret>; 2],
}

/// A key as the header that a request of each dialect carries.
type Keys = Vec<(Dialect, HeaderName, HeaderValue)>;

impl Outgoing {
    /// Prepares a block. Texts that are no valid header are left out; the policy has been checked
    /// not to have any.
    pub fn new(block: &Arc<Block>, endpoints: &Endpoints) -> Self {
        let name = |endpoint: &Endpoint| {
            format!(
                "{}/{} {}",
                block.name, endpoint.name, endpoint.base_url.text
            )
        };
        // A path or a query may be a secret.
        let told = |endpoint: &Endpoint| {
            format!(
                "{}/{} {}",
                block.name,
                endpoint.name,
                host(&endpoint.base_url)
            )
        };
        Self {
            doors: block
                .endpoints
                .iter()
                .map(|endpoint| Door::new(block, endpoint))
                .collect(),
            health: block
                .endpoints
                .iter()
                .map(|endpoint| endpoints.health(&name(endpoint), &told(endpoint)))
                .collect(),
            passes: passes(block),
            block: Arc::clone(block),
        }
    }
}

impl Door {
    fn new(block: &Block, endpoint: &Endpoint) -> Self {
        let json = HeaderValue::from_static("application/json");
        // What cannot be read cannot be metered.
        let identity = HeaderValue::from_static("identity");
        let mut headers = vec![
            (header::CONTENT_TYPE, json),
            (header::ACCEPT_ENCODING, identity),
        ];
        headers.extend(text(&host(&endpoint.base_url)).map(|host| (header::HOST, host)));
        let fixed = block.kind.headers().iter().map(|(n, v)| (*n, *v));
        let own = block.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in fixed.chain(own) {
            let name = name.to_ascii_lowercase().parse::<HeaderName>();
            if let (Ok(name), Some(value)) = (name, text(value)) {
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
            }
        }
        let keys = |key: &Option<Secret>| {
            let key = key.as_ref().filter(|key| !key.is_empty());
            key.map(|key| keys(block.kind, key)).unwrap_or_default()
        };
        Self {
            base_url: endpoint.base_url.clone(),
            headers,
            deployment: endpoint.deployment.clone(),
            api_version: endpoint.api_version.clone(),
            key: keys(&endpoint.api_key),
            fallback: keys(&endpoint.fallback_key),
            secrets: [endpoint.api_key.clone(), endpoint.fallback_key.clone()],
        }
    }

    /// The header with the key: the configured one; without one the client's own `Authorization`,
    /// where no Weir key was used; else the one from the environment.
    pub fn authorization(
        &self,
        dialect: Dialect,
        client: Option<&HeaderValue>,
    ) -> Option<(HeaderName, HeaderValue)> {
        let of = |keys: &Keys| {
            keys.iter()
                .find(|(known, _, _)| *known == dialect)
                .map(|(_, name, value)| (name.clone(), value.clone()))
        };
        of(&self.key)
            .or_else(|| client.map(|value| (header::AUTHORIZATION, value.clone())))
            .or_else(|| of(&self.fallback))
    }

    /// The keys that must not show in an answer.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().flatten()
    }
}

/// The client's headers that are passed on: those of the provider's kind that the configuration does
/// not state itself.
fn passes(block: &Block) -> Vec<HeaderName> {
    let stated = |name: &str| {
        let mut own = block.headers.iter().filter(|(_, value)| !value.is_empty());
        own.any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    let passes = block.kind.passes().iter();
    passes
        .filter(|name| !stated(name))
        .map(|name| HeaderName::from_static(name))
        .collect()
}

fn keys(kind: &dyn Provider, key: &Secret) -> Keys {
    let prepared = |dialect: Dialect| {
        let call = Call {
            dialect,
            engine: "",
            stream: false,
            count_tokens: false,
            deployment: None,
            api_version: None,
        };
        let (name, value) = kind.key(&call, key.expose());
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((dialect, name, value))
    };
    Dialect::ALL.into_iter().filter_map(prepared).collect()
}

fn text(text: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(text)
        .ok()
        .filter(|value| !value.is_empty())
}

/// The `Host` header of an address: without the scheme's own port.
fn host(url: &BaseUrl) -> String {
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.clone()
    };
    match (url.https, url.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}
