//! Anthropic's messages.

use super::form::{
    Answering, Conversation, Event, EventReader, EventWriter, Failure, Inexpressible, Reply,
    Writing,
};
use crate::json::Object;

/// Reads a request.
pub(super) fn read_request<'a>(_object: &Object<'a>) -> Result<Conversation<'a>, Inexpressible> {
    todo!()
}
/// Writes a request.
pub(super) fn write_request(
    _conversation: &Conversation<'_>,
    _writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    todo!()
}
/// Reads a whole answer.
pub(super) fn read_reply(_text: &str) -> Option<Reply<'_>> {
    todo!()
}
/// Writes a whole answer, a JSON object without white space after it.
pub(super) fn write_reply(_reply: &Reply<'_>, _answering: &Answering) -> Vec<u8> {
    todo!()
}
/// Reads an error answer.
pub(super) fn read_failure(_status: u16, _body: &[u8]) -> Failure {
    todo!()
}
/// Reads a stream.
#[derive(Default)]
pub(super) struct Events;
impl EventReader for Events {
    fn read<'e>(&mut self, _data: &'e str, _emit: &mut dyn FnMut(Event<'e>)) {
        todo!()
    }
}
/// Writes a stream.
pub(super) struct Stream {
    _answering: Answering,
}
impl Stream {
    pub(super) fn new(answering: Answering) -> Self {
        Self {
            _answering: answering,
        }
    }
}
impl EventWriter for Stream {
    fn write(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {
        todo!()
    }
    fn finish(&mut self, _before: &mut Vec<u8>, _after: &mut Vec<u8>) {
        todo!()
    }
}
