//! Google's `generateContent`: requests are written, answers and streams are read.
//!
//! Decides what of the common form Google can be told and what its answers mean. The model is in the
//! path, not in the body; that is [`crate::provider`]'s. Google proves what its models thought with
//! signatures that have to come back with the call they led to. Where a client's dialect can only
//! carry a signature of reasoning, it is marked as Google's, since another provider's would be
//! refused; where it can carry none, a value stands in its place with which Google's check is
//! skipped.

mod chunk;
mod contents;
mod failure;
mod generation;
#[cfg(test)]
mod generation_tests;
mod json;
mod read;
#[cfg(test)]
mod recorded;
mod request;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod tests;

pub(super) use failure::read_failure;
pub(super) use read::{Events, read_reply};
pub(super) use request::write_request;

/// What a signature begins with in [`super::form::Part::Reasoning`], so that it can be told from
/// another provider's. No base64 contains it.
const OURS: &str = "gemini:";
