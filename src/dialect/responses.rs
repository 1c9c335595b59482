//! OpenAI's responses, as OpenAI, Azure, OpenRouter and compatible servers speak them.
//!
//! Decides what of a client's request the common form can carry and refuses the rest by name; says
//! the common form as a request that keeps nothing at the provider; reads and writes answers, whole
//! and as streams of typed events. A client's request is read strictly, a provider's answer
//! leniently. Conversations, prompts and answers that the provider keeps are not served across
//! dialects: what they stand for is not in the request.

mod answer;
mod events;
mod failure;
mod input;
mod item;
mod output;
mod question;
mod reply;
mod request;
mod stream;

#[cfg(test)]
mod tests;

pub(super) use events::Events;
pub(super) use question::write_request;
pub(super) use reply::{read_reply, write_reply};
pub(super) use request::read_request;
pub(super) use stream::Stream;

use super::form::Text;

/// What a signature begins with in the common form that is encrypted content of a provider of this
/// dialect: it can be told from another provider's proof, which would be refused. No base64
/// contains it.
const OURS: &str = "openai:";

/// What `encrypted_content` begins with where it is another provider's, and stands for a text that
/// is not shown: Anthropic takes such back in other words than the proof of a text that was left out.
const REDACTED: &str = "redacted:";

/// What OpenAI's encrypted content begins with: the version and the year of a Fernet token. No
/// signature of Anthropic's does.
const FERNET: &str = "gAAAAA";

/// The signature for encrypted content that came from a provider.
fn signature_of(encrypted: &str) -> Text<'static> {
    Text::Owned(format!("{OURS}{encrypted}"))
}

/// The signature that encrypted content of a client's is, and whether it stands for a text.
fn sent_back(encrypted: Text<'_>) -> (Text<'_>, bool) {
    if let Some(signature) = encrypted.strip_prefix(REDACTED) {
        return (signature.to_owned().into(), true);
    }
    if encrypted.starts_with(FERNET) {
        return (signature_of(&encrypted), false);
    }
    (encrypted, false)
}
