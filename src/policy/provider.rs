//! Provider blocks: who serves models, at which addresses, with which keys.
//!
//! Decides what `providers:` in the models file and the environment's variables mean. Addresses come
//! from here only, never from a client.
//!
//! A block of the name of a kind (`openai`) is built in: what it does not say is filled in from the
//! variables of that kind, and from its own address. A key from a variable goes to the kind's own
//! address only, or to where a block of the kind's name says.

pub(super) mod read;

use super::upstream::{BaseUrl, Upstream};
use crate::provider::Provider;
use crate::provider::openrouter::OpenRouter;
use crate::secret::Secret;
use crate::wire::Dialect;
use std::fmt;
use std::time::Duration;

/// The name of an endpoint that is the only one.
pub(super) const FIRST: &str = "1";

/// A provider as it is configured.
#[derive(Clone)]
pub struct Block {
    /// The name that models refer to.
    pub name: String,
    /// How it is spoken to.
    pub kind: &'static dyn Provider,
    /// Where it is reached; never empty. Requests are balanced over them.
    pub endpoints: Vec<Endpoint>,
    /// The dialects it understands.
    pub dialects: Vec<Dialect>,
    /// Headers that every request to it carries.
    pub headers: Vec<(String, String)>,
    /// The longest silence accepted from it.
    pub timeout: Duration,
    /// Whether a public name may resolve to an address of a private network.
    pub private: bool,
}

/// One address of a provider.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name among the provider's endpoints: the region, else its number.
    pub name: String,
    /// Under which its routes lie.
    pub base_url: BaseUrl,
    /// The key for it; sent with every request.
    pub api_key: Option<Secret>,
    /// The key for when `api_key` is not set and the client brought none of its own.
    pub fallback_key: Option<Secret>,
    /// The deployment, where it is not called like the engine (Azure).
    pub deployment: Option<String>,
    /// The version of the API (Azure).
    pub api_version: Option<String>,
}

impl Block {
    /// What a policy says about OpenRouter, as a block.
    pub(super) fn open_router(upstream: &Upstream) -> Self {
        let headers = [
            ("http-referer", &upstream.referer),
            ("x-title", &upstream.title),
        ];
        Self {
            name: OpenRouter.name().to_owned(),
            kind: &OpenRouter,
            endpoints: vec![Endpoint {
                name: FIRST.to_owned(),
                base_url: upstream.base_url.clone(),
                api_key: upstream.api_key.clone(),
                fallback_key: upstream.fallback_key.clone(),
                deployment: None,
                api_version: None,
            }],
            dialects: upstream.dialects.clone(),
            headers: headers
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect(),
            timeout: upstream.timeout,
            private: upstream.private,
        }
    }

    /// Whether an endpoint may turn out to lie in a private network: where that is allowed, and where
    /// its host is not a public name, so that whoever wrote it knew.
    pub fn may_be_private(&self, endpoint: &Endpoint) -> bool {
        self.private || !endpoint.base_url.is_public_name()
    }

    /// Whether any of its endpoints has a key.
    pub fn has_key(&self) -> bool {
        let key =
            |endpoint: &Endpoint| endpoint.api_key.is_some() || endpoint.fallback_key.is_some();
        self.endpoints.iter().any(key)
    }

    /// The dialect in which it is asked for a client that speaks `client`: that one if it can, else
    /// the first of chat, messages, responses, Gemini that it understands. `None` when there is no
    /// way, such as for embeddings.
    pub fn speaks(&self, client: Dialect) -> Option<Dialect> {
        if self.dialects.contains(&client) {
            return Some(client);
        }
        if client == Dialect::Embeddings {
            return None;
        }
        [
            Dialect::Chat,
            Dialect::Messages,
            Dialect::Responses,
            Dialect::Gemini,
        ]
        .into_iter()
        .find(|dialect| self.dialects.contains(dialect))
    }
}

impl fmt::Debug for Block {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("dialects", &self.dialects)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
