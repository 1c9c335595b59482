//! What an answer is written to, whichever protocol carries it.
//!
//! [`Wire`] is one exchange of one connection; `http1` and `http2` implement it. [`Out`] is what
//! stands between the answer and the wire: line ends, compression, and where writes are divided.

use std::borrow::Cow;
use std::future::Future;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::{Instant, sleep_until};

use super::behaviour::{Behaviour, Cut};

/// The peer is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Status and headers of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The length of the body; `None` for a stream.
    pub(super) length: Option<usize>,
}

/// The answering side of one exchange.
pub(super) trait Wire {
    /// Takes the head; it goes out with the next write.
    fn head(&mut self, head: &Head);
    /// Writes a piece of the body, possibly empty, at once and by itself. Returns when the socket
    /// has taken it.
    fn write(&mut self, piece: &[u8], last: bool) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Waits until the peer leaves. May be given up and called again.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
    /// Breaks the exchange: nothing more will be written.
    fn abort(&mut self, cut: Cut);
}

/// Sleeps, but not longer than the peer stays.
pub(super) async fn wait(wire: &mut impl Wire, until: Instant) -> Result<(), Gone> {
    tokio::select! {
        biased;
        () = sleep_until(until) => Ok(()),
        () = wire.gone() => Err(Gone),
    }
}

/// The body of one answer on its way to the wire.
pub(super) struct Out<'w, W> {
    wire: &'w mut W,
    /// Appended and not yet converted.
    text: Vec<u8>,
    /// Converted and not yet sent.
    ready: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    crlf: bool,
    split: Option<usize>,
}

impl<'w, W: Wire> Out<'w, W> {
    /// `events`: whether the body is an event stream, whose line ends may be changed.
    pub(super) fn new(wire: &'w mut W, behaviour: &Behaviour, events: bool) -> Self {
        Self {
            wire,
            text: Vec::with_capacity(512),
            ready: Vec::with_capacity(512),
            gzip: behaviour
                .gzip
                .then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            crlf: behaviour.crlf && events,
            split: behaviour.split,
        }
    }

    /// Where to append what the next flush sends.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The wire itself.
    pub(super) fn wire(&mut self) -> &mut W {
        self.wire
    }

    /// Sends what was appended. Unless `all`, a rest shorter than a piece of `split` bytes waits
    /// for more; the answer is whether nothing waits.
    pub(super) async fn flush(&mut self, all: bool) -> Result<bool, Gone> {
        self.convert();
        if let Some(size) = self.split {
            let mut at = 0;
            while self.ready.len() - at >= size || (all && at < self.ready.len()) {
                let end = self.ready.len().min(at + size);
                self.wire.write(&self.ready[at..end], false).await?;
                // Gives the peer its turn, so that it may see the piece by itself.
                tokio::task::yield_now().await;
                at = end;
            }
            self.ready.drain(..at);
        } else if !self.ready.is_empty() {
            self.wire.write(&self.ready, false).await?;
            self.ready.clear();
        }
        Ok(self.ready.is_empty())
    }

    /// Sends everything and ends the body.
    pub(super) async fn finish(mut self) -> Result<(), Gone> {
        self.convert();
        if let Some(gzip) = self.gzip.take() {
            // Writing to a `Vec` cannot fail.
            self.ready.append(&mut gzip.finish().unwrap_or_default());
        }
        let size = self.split.unwrap_or(usize::MAX);
        let mut at = 0;
        while self.ready.len() - at > size {
            self.wire.write(&self.ready[at..at + size], false).await?;
            tokio::task::yield_now().await;
            at += size;
        }
        self.wire.write(&self.ready[at..], true).await
    }

    fn convert(&mut self) {
        if self.crlf {
            let lines: Vec<&[u8]> = self.text.split(|byte| *byte == b'\n').collect();
            self.text = lines.join(&b"\r\n"[..]);
        }
        if let Some(gzip) = &mut self.gzip {
            let _ = gzip.write_all(&self.text).and_then(|()| gzip.flush());
            self.text.clear();
            self.ready.append(gzip.get_mut());
        } else {
            self.ready.append(&mut self.text);
        }
    }
}
