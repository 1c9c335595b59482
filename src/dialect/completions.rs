//! Legacy text completions.

use super::form::{Answering, Conversation, Event, EventWriter, Inexpressible, Reply};
use crate::json::Object;

/// Reads a request.
pub(super) fn read_request<'a>(_object: &Object<'a>) -> Result<Conversation<'a>, Inexpressible> {
    todo!()
}
/// Writes a whole answer, a JSON object without white space after it.
pub(super) fn write_reply(_reply: &Reply<'_>, _answering: &Answering) -> Vec<u8> {
    todo!()
}
/// Writes a stream.
pub(super) struct Chunks {
    _answering: Answering,
}
impl Chunks {
    pub(super) fn new(answering: Answering) -> Self {
        Self {
            _answering: answering,
        }
    }
}
impl EventWriter for Chunks {
    fn write(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {
        todo!()
    }
    fn finish(&mut self, _before: &mut Vec<u8>, _after: &mut Vec<u8>) {
        todo!()
    }
}
