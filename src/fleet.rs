//! What gateways share with each other through Redis.
//!
//! Decides how Redis is reached. The record of truth stays with each gateway, in its own spend log;
//! what is in Redis can be made again from there.

pub mod connect;
pub mod limits;

#[cfg(test)]
#[path = "../tests/it/support/redis.rs"]
mod server;
