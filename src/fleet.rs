//! What gateways share with each other through Redis.
//!
//! Decides how Redis is reached, when it may be asked, and how a state that it lost is put together
//! again. The record of truth stays with each gateway, in its own spend log; what is in Redis can be
//! made again from there.

pub mod audit;
mod breaker;
pub mod connect;
mod day;
mod functions;
mod lease;
mod ledger;
mod limits;
mod link;
pub mod reconcile;
#[cfg(test)]
#[path = "../tests/it/support/redis.rs"]
mod server;
mod share;
#[cfg(test)]
mod tests;
mod wards;
mod warn;

pub use day::Others;
pub use ledger::Fleet;
pub use limits::SharedLimits;
pub use link::Figures;
pub use wards::{Heard, Wards};
pub use warn::Once;
