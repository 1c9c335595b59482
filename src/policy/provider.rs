//! Provider blocks: who serves models, at which addresses, with which keys.
//!
//! Decides what `providers:` in the models file and the environment's variables mean. Addresses come
//! from here only, never from a client.

use super::upstream::{BaseUrl, Upstream};
use crate::dialect::Dialect;
use crate::provider::Provider;
use crate::provider::openrouter::OpenRouter;
use crate::secret::Secret;
use std::fmt;
use std::time::Duration;

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
    /// What the section `openrouter` of the policy says. Another server than OpenRouter's own is
    /// taken to speak OpenAI's plain dialects only, unless `dialects` says more.
    pub fn open_router(upstream: &Upstream, dialects: Option<Vec<Dialect>>) -> Self {
        let own = upstream.base_url == BaseUrl::open_router();
        let plain = [Dialect::Chat, Dialect::Completions, Dialect::Embeddings];
        let known = if own { OpenRouter.dialects() } else { &plain };
        Self {
            name: OpenRouter.name().to_owned(),
            kind: &OpenRouter,
            endpoints: vec![Endpoint {
                name: "0".to_owned(),
                base_url: upstream.base_url.clone(),
                api_key: upstream.api_key.clone(),
                fallback_key: upstream.fallback_key.clone(),
                deployment: None,
                api_version: None,
            }],
            dialects: dialects.unwrap_or_else(|| known.to_vec()),
            headers: vec![
                ("http-referer".to_owned(), upstream.referer.clone()),
                ("x-title".to_owned(), upstream.title.clone()),
            ],
            timeout: upstream.timeout,
            private: !own,
        }
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
