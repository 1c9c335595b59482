//! The guard: what texts on their way in and out are searched for.
//!
//! Pure: it is handed text and says what it found. What is refused, and how, is the business of the phases
//! that ask it. It finds much and promises nothing; `docs/guard.md` says what it catches, measured.

pub mod detect;
pub mod filter;
pub mod finding;
pub mod input;
mod leak;
mod pii;
pub mod redact;
pub mod screen;
mod secrets;

use std::borrow::Cow;
use std::ops::Range;

/// Where a text of a request comes from, and so how far it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The operator's instructions.
    System,
    /// What the caller says.
    User,
    /// What a model said before, with the arguments of its tool calls.
    Assistant,
    /// What a tool or a document says: nobody vouches for it.
    Tool,
}

/// One text of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage<'a> {
    /// Where it comes from.
    pub source: Source,
    /// The text, without the escapes of JSON.
    pub text: Cow<'a, str>,
    /// The place of its JSON string in the body, with the quotation marks.
    pub at: Range<usize>,
}
