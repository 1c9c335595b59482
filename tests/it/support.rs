//! What the stories are told with: a gateway, a provider, a client, and what can go wrong.

pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod console;
pub(crate) mod detour;
pub(crate) mod faults;
pub(crate) mod gateway;
pub(crate) mod listener;
pub(crate) mod postgres;
pub(crate) mod provider;
pub(crate) mod purse;
#[expect(dead_code, reason = "the library's own tests use more of it")]
pub(crate) mod redis;
pub(crate) mod speaker;
pub(crate) mod watcher;

pub(crate) use client::{Raw, Reply};
pub(crate) use detour::Detour;
pub(crate) use faults::{Peer, Scripted};
pub(crate) use gateway::{Agent, Gateway, Setup};
pub(crate) use provider::{Provider, Seen};
pub(crate) use purse::Purse;

use std::time::{Duration, Instant};

/// The longest that any condition is waited for. Far more than it takes, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until `look` gives something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The future's result, or a failure when it takes longer than any healthy run would.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("never happened: {what}"),
    }
}
