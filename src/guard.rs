//! The guard: what texts on their way in and out are searched for.
//!
//! Pure: it is handed text and says what it found. What is refused, and how, is the business of the phases
//! that ask it. It finds much and promises nothing; `docs/guard.md` says what it catches, measured.

pub mod audit;
pub mod canary;
mod decode;
pub mod detect;
pub mod filter;
pub mod finding;
pub mod injection;
pub mod input;
mod known;
mod leak;
mod phrases;
mod pii;
pub mod plant;
pub mod quarantine;
pub mod redact;
pub mod score;
pub mod screen;
mod secrets;
pub mod session;
pub mod stored;
mod structure;
pub mod text;
pub mod validate;
pub mod view;

use crate::json;
use known::Name;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

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
#[derive(Clone, Debug)]
pub struct Passage<'a> {
    /// Where it comes from.
    pub source: Source,
    /// The place of its JSON string in the body, with the quotation marks.
    pub at: Range<usize>,
    /// As it stands there between them; `None` for a text of no body.
    inner: Option<&'a str>,
    text: OnceLock<Cow<'a, str>>,
    name: OnceLock<Name>,
}

impl<'a> Passage<'a> {
    /// A text between the quotation marks of a JSON string, which stands with them `at` its body. Its escapes
    /// are undone when somebody reads it.
    pub const fn json(source: Source, inner: &'a str, at: Range<usize>) -> Self {
        Self {
            source,
            at,
            inner: Some(inner),
            text: OnceLock::new(),
            name: OnceLock::new(),
        }
    }

    /// A text of no body.
    pub fn plain(source: Source, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            source,
            at: 0..0,
            inner: None,
            text: OnceLock::from(text.into()),
            name: OnceLock::new(),
        }
    }

    /// The text, without the escapes of JSON.
    pub fn text(&self) -> &str {
        self.text
            .get_or_init(|| json::unescape(self.inner.unwrap_or_default()))
    }

    fn name(&self) -> Name {
        *self.name.get_or_init(|| match self.inner {
            Some(inner) => Name::of_json(inner),
            None => Name::of(self.text()),
        })
    }
}

/// What is looked for.
#[derive(Clone)]
pub struct Rules {
    /// Attempts to take the instructions over.
    pub injection: Arc<injection::Rules>,
    /// Secrets, personal data, words of a system prompt.
    pub screen: Arc<detect::Rules>,
}

impl Default for Rules {
    /// Those that Weir brings along.
    fn default() -> Self {
        Self {
            injection: injection::Rules::bundled(),
            screen: detect::Rules::bundled(),
        }
    }
}
