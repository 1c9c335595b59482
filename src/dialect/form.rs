//! The common form: what a request, an answer and a stream say, whatever words they use for it.
//!
//! Decides the vocabulary only. Every text is borrowed from what it was read from where that is
//! possible. Parts that no dialect but one knows have no place here: a reader refuses them by name,
//! or leaves them out where they change nothing about the answer (`user`, `metadata`, `store`).

mod failure;
mod inexpressible;

pub use failure::{Failure, FailureKind};
pub use inexpressible::{Feature, Inexpressible};

use crate::usage::Usage;
use std::borrow::Cow;

/// A text, unescaped.
pub type Text<'a> = Cow<'a, str>;

/// JSON as text: checked, its white space as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<'a>(pub Cow<'a, str>);

/// A request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation<'a> {
    /// Instructions and messages, in order.
    pub turns: Vec<Turn<'a>>,
    /// The functions that the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it must call.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether it may call several at once; `None`: the dialect's default, which is yes everywhere.
    pub parallel_tools: Option<bool>,
    /// The most output tokens.
    pub max_tokens: Option<u64>,
    /// Sampling temperature, the JSON number as it came.
    pub temperature: Option<Json<'a>>,
    /// Nucleus sampling, the JSON number as it came.
    pub top_p: Option<Json<'a>>,
    /// Sampling from the most likely tokens only.
    pub top_k: Option<u64>,
    /// Penalty for frequent tokens, the JSON number as it came.
    pub frequency_penalty: Option<Json<'a>>,
    /// Penalty for tokens that occurred, the JSON number as it came.
    pub presence_penalty: Option<Json<'a>>,
    /// The seed, the JSON number as it came.
    pub seed: Option<Json<'a>>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// The form of the answer's text.
    pub format: Option<Format<'a>>,
    /// How much is thought about it.
    pub reasoning: Option<Reasoning>,
    /// The end user, as the client names it.
    pub user: Option<Text<'a>>,
    /// Whether the answer is a stream.
    pub stream: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions: `system` and `developer`.
    System,
    /// The user; results of tools are the user's, too.
    User,
    /// The model.
    Assistant,
}

/// What one side said at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// Who.
    pub role: Role,
    /// What, in order.
    pub parts: Vec<Part<'a>>,
}

/// A part of a message or of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    /// Text.
    Text {
        /// The text.
        text: Text<'a>,
        /// Whether the prompt may be cached up to here (Anthropic's `cache_control`, as JSON).
        cache: Option<Json<'a>>,
    },
    /// An image.
    Image(Media<'a>),
    /// A document, such as a PDF.
    Document {
        /// Its bytes or where they are.
        media: Media<'a>,
        /// Its file name or title.
        name: Option<Text<'a>>,
    },
    /// Sound.
    Audio(Media<'a>),
    /// What the model thought.
    Reasoning {
        /// The text; empty when it is encrypted only.
        text: Text<'a>,
        /// The provider's proof, without which it does not take the text back: Anthropic's
        /// `signature`, the encrypted content of responses, Gemini's `thoughtSignature`.
        signature: Option<Text<'a>>,
        /// Whether [`Part::Reasoning::signature`] stands for a text that is not shown (Anthropic's
        /// `redacted_thinking`).
        redacted: bool,
    },
    /// A refusal in the model's words.
    Refusal(Text<'a>),
    /// A call of a tool.
    ToolCall {
        /// Its id.
        id: Text<'a>,
        /// The tool's name.
        name: Text<'a>,
        /// The arguments, a JSON object as text; whatever the model wrote where it is none.
        arguments: Text<'a>,
        /// Gemini's `thoughtSignature`.
        signature: Option<Text<'a>>,
    },
    /// The result of a call.
    ToolResult {
        /// The call's id.
        id: Text<'a>,
        /// Texts and images.
        content: Vec<Part<'a>>,
        /// Whether the call failed.
        error: bool,
    },
}

/// Bytes that are no text, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media<'a> {
    /// In the request.
    Inline {
        /// Such as `image/png`.
        mime: Text<'a>,
        /// Base64.
        data: Text<'a>,
    },
    /// At an address that the provider fetches.
    Url(Text<'a>),
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it does.
    pub description: Option<Text<'a>>,
    /// The JSON schema of its arguments; `None` for none.
    pub schema: Option<Json<'a>>,
    /// Whether the schema is enforced.
    pub strict: Option<bool>,
    /// Anthropic's `cache_control`.
    pub cache: Option<Json<'a>>,
}

/// Which tool must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// Any, but one.
    Required,
    /// This one.
    Named(Text<'a>),
}

/// The form of an answer's text.
#[derive(Clone, Debug, PartialEq)]
pub enum Format<'a> {
    /// Any.
    Text,
    /// A JSON object.
    Object,
    /// JSON by a schema.
    Schema {
        /// The schema's name.
        name: Text<'a>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The schema.
        schema: Json<'a>,
        /// Whether it is enforced.
        strict: Option<bool>,
    },
}

/// How much is thought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// OpenAI's word for it.
    pub effort: Option<Effort>,
    /// Anthropic's and Google's number of tokens; 0 for none.
    pub budget: Option<u64>,
    /// Whether what was thought is to be shown, in whole or as a summary.
    pub shown: Option<bool>,
}

/// How much is thought, in words. Between a word and a number of tokens the factors that OpenRouter
/// documents hold: 0.1 of `max_tokens` for minimal, 0.2 for low, 0.5 for medium, 0.8 for high,
/// 0.95 for the highest; never below 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// The default.
    Medium,
    /// Much.
    High,
    /// As much as there is (`xhigh`, `max`).
    Highest,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply<'a> {
    /// The provider's id of it.
    pub id: Option<Text<'a>>,
    /// The model that answered.
    pub model: Option<Text<'a>>,
    /// What it said.
    pub parts: Vec<Part<'a>>,
    /// Why it stopped.
    pub stop: Stop<'a>,
    /// The tokens used, if the provider said.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stop<'a> {
    /// It was complete.
    #[default]
    End,
    /// The limit of output tokens, or the context window, was reached.
    Length,
    /// A tool is called.
    ToolCalls,
    /// One of the texts that end an answer was met; which, if the provider said.
    Sequence(Option<Text<'a>>),
    /// It was stopped by the provider's filter.
    Filter,
}

/// Something that a stream says.
///
/// Calls have an ordinal in the answer, from 0. Dialects with blocks (messages, responses) show one
/// part at a time, so their writers keep back what comes for a call while another one is open.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The answer begins. Comes first, once; a reader makes one up where its dialect has none.
    Start {
        /// The provider's id of the answer.
        id: Option<Text<'a>>,
        /// The model that answers.
        model: Option<Text<'a>>,
        /// Input tokens, where they are known at the start (Anthropic).
        usage: Option<Usage>,
    },
    /// More text.
    Text(Text<'a>),
    /// More of what is thought. A signature belongs to the text before it and ends that part.
    Reasoning {
        /// More text.
        text: Text<'a>,
        /// See [`Part::Reasoning`].
        signature: Option<Text<'a>>,
        /// See [`Part::Reasoning`].
        redacted: bool,
    },
    /// More of a refusal.
    Refusal(Text<'a>),
    /// A call begins.
    Call {
        /// Its ordinal.
        call: u32,
        /// Its id.
        id: Text<'a>,
        /// The tool's name.
        name: Text<'a>,
        /// See [`Part::ToolCall`].
        signature: Option<Text<'a>>,
    },
    /// More of a call's arguments.
    Arguments {
        /// Its ordinal.
        call: u32,
        /// More text.
        text: Text<'a>,
    },
    /// Token counts; each replaces the one before.
    Usage(Usage),
    /// Why the answer ends. Usage may still follow.
    Stop(Stop<'a>),
    /// The provider failed; nothing good follows.
    Failed(Failure),
    /// A sign of life.
    Ping,
    /// The provider said that this was all.
    End,
}

/// What a translated request says besides the conversation.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// The model, as the provider calls it.
    pub model: &'a str,
    /// The models that may answer in its place, in order, for a provider that has fallbacks of its
    /// own (OpenRouter); usually none.
    pub fallbacks: &'a [String],
    /// The most output tokens, in place of the conversation's own.
    pub max_tokens: Option<u64>,
    /// The output limit for a dialect that needs one (messages), when nobody names any.
    pub default_max_tokens: u64,
    /// The field for the output limit, where the dialect has two.
    pub max_tokens_field: &'static str,
}

/// What a translated answer says besides what was answered.
#[derive(Clone, Debug, Default)]
pub struct Answering {
    /// An id for an answer that has none: Weir's own.
    pub id: String,
    /// The model for an answer that names none: the one that was asked for.
    pub model: String,
    /// When the request arrived, in Unix seconds.
    pub created: u64,
    /// Whether a chat client asked for the usage chunk.
    pub include_usage: bool,
}

/// Reads the events of a stream in one dialect.
pub trait EventReader: Send + Sync {
    /// Reads the data of one server-sent event. Data that cannot be read says nothing.
    fn read<'e>(&mut self, data: &'e str, emit: &mut dyn FnMut(Event<'e>));
}

/// Writes the events of a stream in one dialect.
pub trait EventWriter: Send + Sync {
    /// Writes what an event says, whole server-sent events, to `out`. [`Event::End`] writes nothing
    /// that [`EventWriter::finish`] would write.
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>);

    /// Writes the end of a stream that is complete: in `before` what comes before the place where
    /// something may be put in, in `after` what comes after it. When the stream broke off, this is
    /// not called.
    fn finish(&mut self, before: &mut Vec<u8>, after: &mut Vec<u8>);

    /// Whether chunks of chat completions can be put in at the end.
    fn takes_chunk(&self) -> bool {
        false
    }
}
