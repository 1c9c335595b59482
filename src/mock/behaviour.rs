//! What the mock is told to do: `key=value` pairs, from flags, query, header and prompt.
//!
//! Decides which keys exist, what their values may be and which combinations make sense. It does
//! not act on them. An unknown key is an error, so that a typo in a test is found at once.

mod keys;

use crate::money::Nanos;

pub use keys::KeyError;

/// How one answer is to be given. The fields are the keys of the table in [the module](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Content chunks per choice, before `max_tokens` is looked at.
    pub chunks: u64,
    /// Milliseconds before each content chunk of a stream, on a fixed schedule.
    pub delay_ms: u64,
    /// Milliseconds before the answer's head.
    pub lat_ms: u64,
    /// Put everything that is due at the same time in one write.
    pub coalesce: bool,
    /// Write the body in pieces of this many bytes, whatever the events are.
    pub split: Option<usize>,
    /// End lines of an event stream with CR LF.
    pub crlf: bool,
    /// Send `: OPENROUTER PROCESSING` lines.
    pub comment: bool,
    /// Send `data: [DONE]`. `None`: yes, except after a mid-stream error.
    pub done: Option<bool>,
    /// Compress, whether or not it was asked for.
    pub gzip: bool,
    /// Bytes of each content chunk instead of a word.
    pub pad: Option<usize>,
    /// Extra answer headers of about a hundred bytes each.
    pub headers: u32,
    /// Whose answers to imitate.
    pub dialect: Dialect,
    /// The model that says it answered.
    pub model: Option<String>,
    /// The second of `models` answers.
    pub fallback: bool,
    /// Announced prompt tokens.
    pub tokens_in: Option<u64>,
    /// Announced completion tokens.
    pub tokens_out: Option<u64>,
    /// Announced cached tokens, inside the prompt tokens (Anthropic: beside them).
    pub cached: u64,
    /// Announced reasoning tokens, inside the completion tokens (Gemini: on top of them).
    pub reasoning: u64,
    /// Announced tokens written to the cache.
    pub cache_write: u64,
    /// Announced tokens written to the cache for an hour (Anthropic).
    pub cache_write_1h: u64,
    /// Announced prompt tokens of tool results, on top of the prompt (Gemini).
    pub tool_use: u64,
    /// The announced cost.
    pub cost: Cost,
    /// How usage is announced.
    pub usage: UsageForm,
    /// An error answer instead of content.
    pub status: Option<u16>,
    /// The code of an error, in its answer or its event.
    pub code: Option<String>,
    /// `Retry-After` of an error answer.
    pub retry_after: Option<String>,
    /// `error.metadata.limit_source` of an error answer.
    pub limit_source: Option<String>,
    /// A mid-stream error after this many content chunks; 0: it is the only event.
    pub error_at: Option<u64>,
    /// The cost that the mid-stream error carries.
    pub error_cost: Option<Nanos>,
    /// Break the connection after this many content chunks (bytes, for a JSON answer).
    pub cut_at: Option<u64>,
    /// How the connection is broken.
    pub cut: Option<Cut>,
    /// Fall silent after this many content chunks (bytes, for a JSON answer).
    pub hang_at: Option<u64>,
    /// Never answer at all.
    pub hang_headers: bool,
    /// An error body that repeats the `Authorization` header.
    pub echo_auth: bool,
    /// An HTML error page.
    pub html: bool,
    /// A redirect to this place.
    pub redirect: Option<String>,
    /// Replay this recorded file.
    pub replay: Option<String>,
    /// Only the first so many attempts of `key` fail; later ones succeed.
    pub fail_first: u64,
    /// Names the attempts that belong together.
    pub key: Option<String>,
    /// Copied into the record.
    pub tag: Option<String>,
    /// Answer with a digest of what was received.
    pub body_sha: Digested,
    /// Answer with these chunks.
    pub text: Option<Vec<String>>,
    /// Answer with so many tool calls, two at most.
    pub tool: usize,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            chunks: 64,
            delay_ms: 0,
            lat_ms: 0,
            coalesce: false,
            split: None,
            crlf: false,
            comment: false,
            done: None,
            gzip: false,
            pad: None,
            headers: 0,
            dialect: Dialect::OpenRouter,
            model: None,
            fallback: false,
            tokens_in: None,
            tokens_out: None,
            cached: 0,
            reasoning: 0,
            cache_write: 0,
            cache_write_1h: 0,
            tool_use: 0,
            cost: Cost::Computed,
            usage: UsageForm::On,
            status: None,
            code: None,
            retry_after: None,
            limit_source: None,
            error_at: None,
            error_cost: None,
            cut_at: None,
            cut: None,
            hang_at: None,
            hang_headers: false,
            echo_auth: false,
            html: false,
            redirect: None,
            replay: None,
            fail_first: 0,
            key: None,
            tag: None,
            body_sha: Digested::Nothing,
            text: None,
            tool: 0,
        }
    }
}

/// Whose answers the mock imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Usage and cost always; the last chunk has one choice with an empty delta.
    OpenRouter,
    /// No cost; in a stream usage only when asked for, in a chunk without choices.
    OpenAi,
}

/// What is announced as the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Announced tokens times the mock's price table.
    Computed,
    /// No cost field.
    Off,
    /// This amount.
    Exactly(Nanos),
    /// This JSON text, which need not be an amount of money, nor even JSON.
    Wrong(String),
}

/// How usage is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageForm {
    /// Truthfully, at the end.
    On,
    /// Not at all.
    Off,
    /// `usage: null`.
    Null,
    /// Token counts below zero.
    Negative,
    /// Token counts near 2^63.
    Huge,
    /// Token counts of zero.
    Zero,
    /// Truthfully, two times.
    Twice,
    /// Truthfully, in the first event instead of at the end.
    Early,
    /// Numbers as JSON strings.
    Text,
}

/// How a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A TCP reset (a stream reset on HTTP/2).
    Reset,
    /// A TCP close without the end of the answer.
    Close,
    /// A TCP close right after the request was read.
    Accept,
}

/// What `body_sha` digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digested {
    /// Nothing: the usual words are answered.
    Nothing,
    /// The whole body.
    Body,
    /// The value of `messages`, byte for byte.
    Messages,
}

impl Behaviour {
    /// Whether the keys make sense together; to be called once all were applied.
    ///
    /// # Errors
    /// [`KeyError::Combination`].
    pub fn check(&self) -> Result<(), KeyError> {
        if matches!(self.cut, Some(Cut::Reset | Cut::Close)) && self.cut_at.is_none() {
            return Err(KeyError::Combination("cut=rst and cut=fin need cut_at=N"));
        }
        if self.fail_first > 0 && self.key.is_none() {
            return Err(KeyError::Combination(
                "fail_first=N needs key=NAME to count by",
            ));
        }
        if self.error_cost.is_some() && self.error_at.is_none() {
            return Err(KeyError::Combination("error_cost needs error_at=N"));
        }
        let fails = self.status.is_some() || self.error_at.is_some() || self.fail_first > 0;
        if self.code.is_some() && !fails {
            return Err(KeyError::Combination(
                "code=NAME needs status=N or error_at=N",
            ));
        }
        Ok(())
    }

    /// Takes every key that makes an answer fail back to its default: what is left is the answer
    /// of an attempt after the failing ones.
    pub(super) fn heal(&mut self) {
        self.status = None;
        self.code = None;
        self.error_at = None;
        self.error_cost = None;
        self.cut_at = None;
        self.cut = None;
        self.hang_at = None;
        self.hang_headers = false;
        self.echo_auth = false;
        self.html = false;
        self.redirect = None;
    }

    /// Whether any key asks for a failure.
    pub(super) fn fails(&self) -> bool {
        let mut healed = self.clone();
        healed.heal();
        healed != *self
    }
}
