//! Weir: a programmable edge proxy for LLM traffic on Pingora.
//!
//! The modules, from the vocabulary up; imports run towards the top of this list only (checked by
//! `tests/it/layers.rs`):
//!
//! | layer | modules |
//! |---|---|
//! | vocabulary | [`money`] [`usage`] [`identity`] [`secret`] [`refusal`] [`wire`] |
//! | pure decisions | [`json`] [`tokens`] [`catalog`] [`budget`] [`balance`] [`limit`] [`settings`] [`policy`] [`auth`] [`surface`] [`stream`] [`dialect`] [`provider`] [`route`] [`bill`] [`answer`] [`event`] [`signature`] [`guard`] [`breaker`] [`trace`] |
//! | stores | [`ledger`] (memory, spend log) [`fleet`] (Redis) [`feed`] (events) [`insight`] [`custody`] (quarantine, canaries, audit) |
//! | the running gateway | [`metrics`] [`classifier`] [`gateway`] |
//! | the outside | [`proxy`] [`admin`] [`console`] [`telemetry`] [`otel`] [`webhook`] [`mock`] |
//! | composition | [`app`] [`cli`] |
//!
//! `docs/architecture.md` explains the whole, `docs/request.md` the way of one request.

pub mod admin;
pub mod answer;
pub mod app;
pub mod auth;
pub mod balance;
pub mod bill;
pub mod breaker;
pub mod budget;
pub mod catalog;
pub mod classifier;
pub mod cli;
pub mod console;
pub mod custody;
pub mod dialect;
pub mod event;
pub mod feed;
pub mod fleet;
pub mod gateway;
pub mod guard;
pub mod identity;
pub mod insight;
pub mod json;
pub mod ledger;
pub mod limit;
pub mod metrics;
pub mod mock;
pub mod money;
pub mod otel;
pub mod policy;
pub mod provider;
pub mod proxy;
pub mod refusal;
pub mod route;
pub mod secret;
pub mod settings;
pub mod signature;
pub mod stream;
pub mod surface;
pub mod telemetry;
pub mod tokens;
pub mod trace;
pub mod usage;
pub mod webhook;
pub mod wire;
