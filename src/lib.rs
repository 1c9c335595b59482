//! Weir: a programmable edge proxy for LLM traffic on Pingora.
//!
//! The modules, from the vocabulary up; imports run towards the top of this list only (checked by
//! `tests/it/layers.rs`):
//!
//! | layer | modules |
//! |---|---|
//! | vocabulary | [`money`] [`usage`] [`identity`] [`secret`] [`refusal`] |
//! | pure decisions | [`json`] [`tokens`] [`catalog`] [`budget`] [`settings`] [`policy`] [`auth`] [`surface`] [`provider`] [`stream`] |
//! | stores | [`ledger`] (memory, spend log) |
//! | the outside | [`proxy`] [`admin`] [`metrics`] [`telemetry`] [`mock`] |
//! | composition | [`app`] [`cli`] |
//!
//! `docs/architecture.md` explains the whole, `docs/request.md` the way of one request.

pub mod identity;
pub mod mock;
pub mod money;
pub mod refusal;
pub mod secret;
pub mod usage;
