//! What the session wrapper and the request's context know together: the body to send, whether the
//! client is there, and what becomes of an answer that is kept back.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType, Result};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long and how much to read on from upstream for a client that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// From the moment the client was found gone.
    pub time: Duration,
    /// Body bytes read after that moment.
    pub bytes: u64,
}

/// The answer goes on.
pub(super) const PASS: u8 = 0;
/// The answer is kept back.
pub(super) const KEEP: u8 = 1;
/// The answer is dropped: another attempt is made in its place.
pub(super) const DROP: u8 = 2;

/// What was not known of a header before the end of its answer.
#[derive(Default)]
pub(super) struct Late {
    headers: Vec<(HeaderName, HeaderValue)>,
    status: Option<StatusCode>,
    longer: i64,
}

impl Late {
    pub(super) fn is_nothing(&self) -> bool {
        self.headers.is_empty() && self.status.is_none() && self.longer == 0
    }

    /// Puts it into the header.
    pub(super) fn complete(&self, header: &mut ResponseHeader) -> Result<()> {
        for (name, value) in &self.headers {
            header.insert_header(name.clone(), value.clone())?;
        }
        if let Some(status) = self.status {
            header.set_status(status)?;
        }
        let announced = header.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<i64>().ok());
        if let (Some(announced), true) = (announced, self.longer != 0) {
            let length = HeaderValue::from(announced.saturating_add(self.longer).max(0));
            header.insert_header(header::CONTENT_LENGTH, length)?;
        }
        Ok(())
    }
}

/// What the wrapper and the request's context know together.
pub(crate) struct Link {
    drain: Drain,
    gone: AtomicBool,
    gone_at: Mutex<Option<Instant>>,
    drained: AtomicU64,
    pub(super) stopping: Arc<AtomicBool>,
    body: Mutex<Bytes>,
    /// Whether the answer is kept back until it is known what becomes of it.
    pub(super) judging: AtomicU8,
    /// What becomes of the header of an answer that was kept back.
    late: Mutex<Late>,
    pub(super) home: Mutex<Option<Box<ServerSession>>>,
}

impl Link {
    /// A link for a request whose rewritten body is `body`. While `stopping` is set, answers carry
    /// `Connection: close`.
    pub(crate) fn new(body: Bytes, drain: Drain, stopping: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            drain,
            gone: AtomicBool::new(false),
            gone_at: Mutex::new(None),
            drained: AtomicU64::new(0),
            stopping,
            body: Mutex::new(body),
            judging: AtomicU8::new(PASS),
            late: Mutex::default(),
            home: Mutex::new(None),
        })
    }

    /// Whether the client has left.
    pub(crate) fn client_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The body to send upstream; empty once [`Link::forget_body`] was called.
    pub(crate) fn body(&self) -> Bytes {
        lock(&self.body).clone()
    }

    /// Replaces the body, for a further attempt.
    pub(crate) fn set_body(&self, body: Bytes) {
        *lock(&self.body) = body;
    }

    /// Frees the body: an answer has begun, so there will be no other attempt.
    pub(crate) fn forget_body(&self) {
        *lock(&self.body) = Bytes::new();
    }

    /// Keeps the answer back, its header included, until [`Link::release`] or [`Link::discard`].
    pub(crate) fn keep_back(&self) {
        self.judging.store(KEEP, Ordering::Release);
    }

    /// Lets an answer that was kept back go on.
    pub(crate) fn release(&self) {
        self.judging.store(PASS, Ordering::Release);
    }

    /// Puts a header into an answer that was kept back, when it is let go.
    pub(crate) fn put(&self, name: HeaderName, value: HeaderValue) {
        lock(&self.late).headers.push((name, value));
    }

    /// Changes the status of an answer that was kept back.
    pub(crate) fn set_status(&self, status: StatusCode) {
        lock(&self.late).status = Some(status);
    }

    /// The status that an answer which was kept back will have instead of its own.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        lock(&self.late).status
    }

    /// The body of an answer that was kept back has become longer by so many bytes, or shorter.
    pub(crate) fn lengthen(&self, by: i64) {
        lock(&self.late).longer += by;
    }

    /// What was to become of the header, once.
    pub(super) fn late(&self) -> Late {
        std::mem::take(&mut *lock(&self.late))
    }

    /// Drops an answer that was kept back: the exchange fails, and may be tried again.
    pub(crate) fn discard(&self) {
        self.judging.store(DROP, Ordering::Release);
    }

    pub(super) fn leave(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            *lock(&self.gone_at) = Some(Instant::now());
        }
    }

    /// Counts what arrived for nobody; an error once the limits are reached.
    pub(super) fn count(&self, bytes: usize) -> Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let drained = self
            .drained
            .fetch_add(bytes, Ordering::AcqRel)
            .saturating_add(bytes);
        if drained > self.drain.bytes || self.time_left().is_zero() {
            return Err(over());
        }
        Ok(())
    }

    pub(super) fn time_left(&self) -> Duration {
        lock(&self.gone_at).map_or(self.drain.time, |at| {
            self.drain.time.saturating_sub(at.elapsed())
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn over() -> Box<Error> {
    Error::explain(
        ErrorType::ConnectionClosed,
        "client left, drain limit reached",
    )
    .into_down()
}
