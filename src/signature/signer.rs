//! One answer on its way out, signed in one scheme or both.
//!
//! Decides what is held: of a stream the current event, and only for `titan`; a whole answer for `titan`
//! until its end, up to [`LARGEST_WHOLE`], after which it goes on unsigned. For `v1` nothing is held
//! here, but the header of a whole answer has to wait for [`Signer::finish`].

use super::content::{document, with_member};
use super::events::Chunks;
use super::titan::{self, WHOLE};
use super::v1::{Form, Seal};
use super::{Key, LARGEST_WHOLE};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Signs one answer while it passes.
pub struct Signer {
    titan: Option<Titan>,
    seal: Option<Seal>,
    /// Bytes of a whole answer that were sent, while its header waits.
    waiting: usize,
    /// Nothing may follow: the last line of a stream was sent.
    sealed: bool,
}

enum Titan {
    Stream(Box<Chunks>),
    Whole(Whole),
}

/// A whole answer that is kept.
struct Whole {
    key: Arc<Key>,
    kept: Vec<Bytes>,
    size: usize,
    /// Whether its length was announced, with [`titan::ROOM`].
    announced: bool,
}

/// The end of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Its last bytes.
    pub last: Bytes,
    /// The value of the `v1` header, for a whole answer.
    pub header: Option<String>,
}

impl Signer {
    /// A signer of a stream or a whole answer, in the schemes there is something for. `announced`: the
    /// length of a whole answer was announced, with [`titan::ROOM`] more.
    pub fn new(form: Form, titan: Option<Arc<Key>>, seal: Option<Seal>, announced: bool) -> Self {
        let titan = titan.map(|key| match form {
            Form::Stream => Titan::Stream(Box::new(Chunks::new(key))),
            Form::Whole => Titan::Whole(Whole {
                key,
                kept: Vec::new(),
                size: 0,
                announced,
            }),
        });
        Self {
            titan,
            seal,
            waiting: 0,
            sealed: false,
        }
    }

    /// The answer has another status than it began with.
    pub const fn set_status(&mut self, status: u16) {
        if let Some(seal) = &mut self.seal {
            seal.set_status(status);
        }
    }

    /// Whether the header has to wait for the end.
    pub fn header_waits(&self) -> bool {
        self.seal
            .as_ref()
            .is_some_and(|seal| seal.form() == Form::Whole)
    }

    /// Takes what is to be sent and gives what may be sent now.
    #[must_use]
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        if self.sealed {
            return Bytes::new();
        }
        let out = match &mut self.titan {
            None => piece,
            Some(Titan::Stream(chunks)) => chunks.push(&piece),
            Some(Titan::Whole(whole)) => match whole.push(piece) {
                Ok(()) => Bytes::new(),
                Err(all) => {
                    self.titan = None;
                    all
                }
            },
        };
        self.sent(&out);
        out
    }

    fn sent(&mut self, out: &[u8]) {
        let Some(seal) = &mut self.seal else { return };
        seal.update(out);
        self.waiting = self.waiting.saturating_add(out.len());
        if seal.form() == Form::Whole && self.waiting > LARGEST_WHOLE {
            self.seal = None;
        }
    }

    /// The end of the answer, at `now_millis` Unix milliseconds. What is pushed later is no part of it:
    /// it is dropped where a `v1` line ends the stream.
    pub fn finish(&mut self, now_millis: u64) -> Closing {
        let mut last = match self.titan.take() {
            None => Bytes::new(),
            Some(Titan::Stream(mut chunks)) => chunks.finish(),
            Some(Titan::Whole(whole)) => whole.finish(),
        };
        self.sent(&last);
        let Some(seal) = self.seal.take() else {
            return Closing { last, header: None };
        };
        if seal.form() == Form::Whole {
            let header = Some(seal.header(now_millis));
            return Closing { last, header };
        }
        self.sealed = true;
        let comment = seal.comment(now_millis);
        last = if last.is_empty() {
            comment.into()
        } else {
            [&last, &comment[..]].concat().into()
        };
        Closing { last, header: None }
    }
}

impl Whole {
    /// Keeps a piece; gives everything back, with the room that was announced filled, when it is too much.
    fn push(&mut self, piece: Bytes) -> Result<(), Bytes> {
        self.size = self.size.saturating_add(piece.len());
        if !piece.is_empty() {
            self.kept.push(piece);
        }
        if self.size <= LARGEST_WHOLE {
            return Ok(());
        }
        // White space before a JSON value is part of JSON, too; what follows cannot be looked into.
        let mut all = BytesMut::new();
        if self.announced {
            all.resize(titan::ROOM, b' ');
        }
        self.kept
            .iter()
            .for_each(|piece| all.extend_from_slice(piece));
        Err(all.freeze())
    }

    fn finish(self) -> Bytes {
        let mut kept = self.kept;
        let body = match kept.len() {
            0 | 1 => kept.pop().unwrap_or_default(),
            _ => Bytes::from(kept.concat()),
        };
        let signed = std::str::from_utf8(&body).ok();
        let signed = signed.and_then(|text| sign(&self.key, text));
        if !self.announced {
            return signed.map_or(body, Bytes::from);
        }
        let length = body.len() + titan::ROOM;
        let fits = signed.filter(|signed| signed.len() <= length);
        let mut all = fits.unwrap_or_else(|| body.to_vec());
        all.resize(length, b' ');
        all.into()
    }
}

/// The answer with its signature; `None` when it is no answer.
fn sign(key: &Key, text: &str) -> Option<Vec<u8>> {
    let found = document(text, &[WHOLE])?;
    let content = titan::content(found.choices?)?;
    let member = format!("\"{WHOLE}\":\"{}\"", key.sign(content.as_bytes()));
    if found.taken {
        return with_member(text, &[WHOLE], &member).map(String::into_bytes);
    }
    let (before, after) = text.split_at(text.rfind('}')?);
    Some([before, ",", &member, after].concat().into_bytes())
}
