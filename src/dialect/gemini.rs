//! Google's generateContent.

use super::form::{Conversation, Event, EventReader, Failure, Inexpressible, Reply, Writing};

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
