//! The gateway through its front door: the real binary, real sockets, a scripted provider.
//!
//! Each test tells one story and is named for the failure it prevents. Conditions are awaited by
//! asking again within a bound, never by sleeping for a fixed time, and nothing asserts how long
//! something took.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, with a trace"
)]

mod support;

mod admin;
mod billing;
mod bodies;
mod breaker;
mod budget_warnings;
mod campaign;
mod console;
mod deploy;
mod disconnects;
mod errors;
mod events;
mod execwall;
mod failover;
mod firewall;
mod fleet;
mod fleet_limits;
mod fleet_users;
mod framing;
mod guard;
mod identity;
mod insights;
mod layers;
mod leaving;
mod ledger_verify;
mod limits;
mod listeners;
mod listings;
mod matrix;
mod metadata;
mod metrics;
mod orchestrator;
mod otel;
mod reload;
mod secure;
mod signatures;
mod similar;
mod smoke;
mod spend_log;
mod teams;
mod tiers;
mod titan;
mod upgrade;
mod watching;
