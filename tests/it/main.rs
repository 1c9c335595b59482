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
mod campaign;
mod console;
mod disconnects;
mod errors;
mod execwall;
mod failover;
mod firewall;
mod fleet;
mod framing;
mod identity;
mod layers;
mod leaving;
mod limits;
mod listings;
mod matrix;
mod metadata;
mod secure;
mod smoke;
mod spend_log;
mod teams;
mod tiers;
mod titan;
