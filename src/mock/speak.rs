//! What every interface has to say of an answer, and what was decided about it before.

use super::announced::Announced;
use super::api::Place;
use super::behaviour::Behaviour;
use super::content::Content;
use super::usage::Usage;

/// Everything that was decided about a content answer.
pub(super) struct Plan<'a> {
    pub(super) behaviour: &'a Behaviour,
    pub(super) place: &'a Place,
    /// The number of the request, for the ids in the answer.
    pub(super) seq: u64,
    pub(super) model: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) content: Content,
    pub(super) stream: bool,
    pub(super) choices: u64,
    /// Content chunks of each choice.
    pub(super) per_choice: u64,
    /// Whether the limit of the request made the answer shorter.
    pub(super) limited: bool,
    pub(super) include_usage: bool,
    /// Whether the answer shows reasoning before its content.
    pub(super) thinks: bool,
    pub(super) prompt_tokens: u64,
    pub(super) usage: Usage,
}

impl Plan<'_> {
    /// Content chunks of all choices.
    pub(super) fn total(&self) -> u64 {
        self.per_choice.saturating_mul(self.choices)
    }
}

/// A whole answer.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// One answer in the words of one interface. The parts of a stream are asked for in their order,
/// and none of them after an error.
pub(super) trait Speaker: Send + Sync {
    /// The events before any content.
    fn opening(&mut self, out: &mut Vec<u8>);
    /// The event of the content chunk with this number.
    fn chunk(&mut self, index: u64, out: &mut Vec<u8>);
    /// The events that end the content.
    fn closing(&mut self, out: &mut Vec<u8>);
    /// The events that end the answer, usage among them.
    fn farewell(&mut self, out: &mut Vec<u8>);
    /// The event of an error after so many chunks.
    fn error(&mut self, produced: u64, out: &mut Vec<u8>);
    /// Whether `[DONE]` ends the stream unless otherwise asked for.
    fn done(&self) -> bool;
    /// What the events so far, or the whole answer, have announced.
    fn announced(&self) -> Option<Announced>;
    /// The answer as one body, of so many chunks per choice; `failed`: an error came after them.
    fn whole(&mut self, chunks: u64, failed: bool) -> Whole;
}

/// Thoughts shown before the content, when the answer shows any. They are no content chunks.
pub(super) const THOUGHTS: [&str; 2] = ["Water finds its way.", " So will the answer."];
