//! How this process asks itself for a model, as one of its clients would.
//!
//! Decides what is handed over with such a request: who really asks, and what it has cost in the end. Routing,
//! budgets, limits and bills are those of any other request, because it is one. How it comes to the proxy is
//! decided where that is put together.

use crate::money::Nanos;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use std::net::IpAddr;

/// Whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The other end of the connection by which the request came that this one is part of.
    pub peer: Option<IpAddr>,
    /// Whether it presented the admin token.
    pub operator: bool,
    /// A digest of what was asked for, without what this process adds to it: the same call twice is the same.
    pub call: Option<[u8; 32]>,
}

/// What was said.
#[derive(Debug)]
pub struct Said {
    /// The whole answer.
    pub response: Response<Bytes>,
    /// What it was charged.
    pub charged: Nanos,
}

/// There was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The exchange broke off.
    #[error("the exchange broke off: {0}")]
    Broken(String),
    /// The answer is larger than any should be.
    #[error("the answer is too large")]
    TooLarge,
    /// This process serves nobody yet.
    #[error("nobody is there to be asked")]
    Nobody,
}

/// The way by which this process asks itself.
#[async_trait]
pub trait Inner: Send + Sync {
    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    async fn ask(&self, request: Request<Bytes>, asker: Asker) -> Result<Said, NoAnswer>;
}
