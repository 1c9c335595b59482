//! Wire formats of requests and answers, and the one common form between them.
//!
//! Decides how a request that came in one format is said in another, and how its answer is said
//! back, whole or as a stream. Each format is one file that knows only itself and the common form
//! ([`form`]); none knows another. Where client and provider speak the same dialect nothing of this
//! is used: those bytes pass as they are. It does not decide who speaks what (that is
//! [`crate::provider`]) nor what anything costs.

pub mod form;

mod chat;
mod completions;
mod effort;
mod gemini;
mod json;
mod messages;
mod responses;
mod translate;
mod value;

pub use messages::write_failure as write_messages_failure;
pub use translate::{Translator, failure, request};
