//! Answers as they pass: what they say about themselves, and the few bytes taken out or put in.
//!
//! Decides nothing about money. [`Meter`] reads one answer, a stream of events or a JSON object, in
//! whatever pieces it arrives, and hands on what may be passed to the client; [`Reading`] is what
//! it learned. Every answer gives the same reading and the same output however it was split.

mod book;
mod chunk;
mod events;
mod gemini;
mod messages;
pub mod meter;
#[cfg(test)]
mod recorded;
mod sparse;
pub mod sse;
mod tally;
pub(crate) mod usage;
mod whole;

pub use meter::{AnswerKind, Finish, Meter, MeterOptions, Place, Reading};
