//! Providers: what upstreams speak, one file each, behind one trait.
//!
//! A provider decides how it is addressed: path, key, headers, the fields of a body in a dialect
//! that it speaks itself. No I/O, no clock, no log; it knows neither policy nor ledger. Saying a
//! request in another dialect is [`crate::dialect`]'s.
//!
//! A new provider is a file here and a line in [`ALL`].

mod anthropic;
mod azure;
mod body;
mod google;
mod openai;
mod openclaw;
pub mod openrouter;

use crate::surface::Request;
use crate::wire::Dialect;
use http::HeaderName;
use std::borrow::Cow;
use std::fmt;

/// How one kind of upstream is spoken to.
pub trait Provider: Send + Sync + 'static {
    /// The name in settings, headers, records and metrics.
    fn name(&self) -> &'static str;

    /// What the built-in block of that name reads from the environment; `None` when there is no such
    /// block.
    fn environment(&self) -> Option<Environment>;

    /// The dialects it understands, unless its block says otherwise.
    fn dialects(&self) -> &'static [Dialect];

    /// The path and query below the path of its base URL.
    fn path(&self, call: &Call<'_>) -> Cow<'static, str>;

    /// The model to write in a body, which is not everywhere the engine.
    fn model<'a>(&self, call: &Call<'a>) -> &'a str {
        call.engine
    }

    /// The header that carries the key, and its value.
    fn key(&self, call: &Call<'_>, key: &str) -> (HeaderName, String);

    /// Headers that every request carries, unless the client's own of that name is passed on.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Headers of the client that are passed on, besides those that always are.
    fn passes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it takes a list of models and falls back from one to the next itself.
    fn falls_back(&self) -> bool {
        false
    }

    /// Whether it counts the tokens of a request in its own dialect for nothing.
    fn counts_tokens(&self) -> bool {
        false
    }

    /// The field that bounds the output in a body of `dialect` for `engine`; `asked` is the one that
    /// the client used, if any, whatever dialect it speaks.
    fn output_limit(
        &self,
        dialect: Dialect,
        engine: &str,
        asked: Option<&'static str>,
    ) -> &'static str {
        let _ = engine;
        body::limit_field(dialect, asked)
    }

    /// The body for a request in a dialect that it speaks: the client's own fields, byte by byte,
    /// but for those that are replaced.
    fn body(&self, request: &Request<'_>, rewrite: &Rewrite<'_>) -> Vec<u8>;

    /// The names under which the price table may have `engine` when this provider serves it, best
    /// first.
    fn priced_as(&self, engine: &str) -> Vec<String>;
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Provider {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The variables of a built-in block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The variable with the key.
    pub key: &'static str,
    /// The variable with the base URL.
    pub base_url: &'static str,
    /// The base URL without that variable; `None` when there is no such thing.
    pub default_url: Option<&'static str>,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The dialect of its body.
    pub dialect: Dialect,
    /// The model, as the provider calls it.
    pub engine: &'a str,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether only the tokens are to be counted (messages).
    pub count_tokens: bool,
    /// The deployment, where it is not called like the engine (Azure).
    pub deployment: Option<&'a str>,
    /// The version of the API (Azure).
    pub api_version: Option<&'a str>,
}

/// What is to be replaced in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    /// The model to write; `None` to keep what the client asked for, its own fallbacks included.
    pub model: Option<&'a str>,
    /// All models that may answer, in order, for a provider that falls back itself; usually none.
    pub fallbacks: &'a [String],
    /// The field and the number to bound the output with; `None` to keep the client's.
    pub max_tokens: Option<(&'static str, u64)>,
}

/// Every kind of provider, by name.
pub static ALL: [&dyn Provider; 7] = [
    &openrouter::OpenRouter,
    &openai::OpenAi,
    &openai::Compatible,
    &azure::Azure,
    &anthropic::Anthropic,
    &google::Google,
    &openclaw::OpenClaw,
];

/// The name of an OpenClaw gateway, and another one for it.
pub use openclaw::{ALSO as OPENCLAW_GATEWAY, NAME as OPENCLAW};

/// The provider of that name.
pub fn named(name: &str) -> Option<&'static dyn Provider> {
    let name = if name == openclaw::ALSO {
        OPENCLAW
    } else {
        name
    };
    ALL.iter().copied().find(|provider| provider.name() == name)
}

#[cfg(test)]
mod tests;
