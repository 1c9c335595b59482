//! Chat completions, as OpenAI and those who are compatible with it speak them.
//!
//! Decides what of a client's request the common form can carry and refuses the rest by name; says
//! the common form as a request that every compatible provider takes; reads and writes answers,
//! whole and as streams. A client's request is read strictly, a provider's answer leniently.
//!
//! Fields that only some providers know (`cache_control`, `reasoning_details`) are written in
//! OpenRouter's form alone, that is when there are fallbacks: others answer them with a 400.

mod chunks;
mod events;
mod failure;
mod message;
mod question;
mod reply;
mod request;
mod turns;
mod usage;

#[cfg(test)]
mod tests;

pub(super) use chunks::Chunks;
pub(super) use events::Events;
pub(super) use failure::{read_failure, write_failure};
pub(super) use question::write_request;
pub(super) use reply::{finish_reason, read_reply, write_reply};
pub(super) use request::{common, read_request};
pub(super) use usage::usage;
