//! Anthropic's messages.
//!
//! Decides what of a client's request the common form can carry and refuses the rest by name; says
//! the common form as a request that Anthropic takes; reads and writes answers, whole and as
//! streams. A client's request is read strictly, a provider's answer leniently.
//!
//! Anthropic counts cached tokens beside the other input, Weir inside it ([`Usage`]); the one place
//! that knows both is `usage.rs`.
//!
//! [`Usage`]: crate::usage::Usage

mod ask;
mod blocks;
mod content;
mod events;
mod failure;
mod reply;
mod request;
mod stream;
mod thinking;
mod turns;
mod usage;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

pub(super) use ask::write_request;
pub(super) use events::Events;
pub(super) use failure::read_failure;
pub use failure::write_failure;
pub(super) use reply::{read_reply, write_reply};
pub(super) use request::read_request;
pub(super) use stream::Stream;
