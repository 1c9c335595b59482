//! Providers: one module each, translating bytes.
//!
//! A provider module decides what the request looks like that is sent upstream. No I/O, no clock,
//! no log.

pub mod openrouter;
