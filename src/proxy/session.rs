//! The downstream session while a request is being proxied: replay, drain, close.
//!
//! Pingora replays a request body only from a 64 KiB buffer and ends a request when its client
//! leaves. Neither will do: prompts are larger, and an answer that nobody reads must still be
//! metered. [`Relayed`] wraps the real session, answers Pingora's question for the body with the
//! whole rewritten one, and swallows the client's disappearance so that the upstream is read to its
//! terminal usage within the limits of [`super::link::Drain`].
//!
//! It decides nothing about budgets or content. The trait it implements is hidden in Pingora's
//! documentation, which is why Pingora's version is pinned.

use super::link::{KEEP, Link, PASS, lock, over};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};

use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::Digest;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn discarded() -> Box<Error> {
    Error::explain(ErrorType::Custom("Discarded"), "another model takes over").into_up()
}

/// Puts the wrapper in place of the real session.
pub(crate) fn install(session: &mut Box<ServerSession>, link: &Arc<Link>) {
    let mut inner = std::mem::replace(session, placeholder());
    let was_empty = inner.is_body_empty();
    let lean = lean(inner.req_header());
    // A client that half-closes still wants its answer; a real close is found on writing.
    inner.set_abort_on_close(false);
    **session = ServerSession::Custom(Box::new(Relayed {
        inner: Some(inner),
        was_empty,
        link: Arc::clone(link),
        kept: Vec::new(),
        lean,
    }));
}

fn lean(header: &RequestHeader) -> RequestHeader {
    let built = RequestHeader::build_no_case(header.method.clone(), header.raw_path(), Some(0));
    // The path was a request's already.
    let Ok(mut lean) = built else {
        return header.clone();
    };
    lean.set_version(header.version);
    lean
}

/// Puts the real session back, so that Pingora can keep the connection alive. Does nothing when it
/// is in place already.
pub(crate) fn restore(session: &mut Box<ServerSession>, link: &Link) {
    if !session.is_custom() {
        return;
    }
    // Dropping the wrapper takes the real session home.
    drop(std::mem::replace(session, placeholder()));
    if let Some(inner) = lock(&link.home).take() {
        *session = inner;
    }
}

fn placeholder() -> Box<ServerSession> {
    Box::new(ServerSession::Custom(Box::new(())))
}

struct Relayed {
    /// `Some` until dropped.
    inner: Option<Box<ServerSession>>,
    was_empty: bool,
    link: Arc<Link>,
    /// What is kept back of an answer.
    kept: Vec<HttpTask>,
    /// The request's header without its fields: Pingora copies it for every attempt, and none of
    /// them goes upstream that way.
    lean: RequestHeader,
}

impl Drop for Relayed {
    fn drop(&mut self) {
        *lock(&self.link.home) = self.inner.take();
    }
}

impl Relayed {
    fn inner(&self) -> &ServerSession {
        self.inner.as_ref().expect("present until dropped")
    }

    fn inner_mut(&mut self) -> &mut ServerSession {
        self.inner.as_mut().expect("present until dropped")
    }

    fn client_left(&mut self) {
        self.link.leave();
        self.inner_mut().set_keepalive(None);
    }

    /// The result of a write: a failed one means that the client left, which is not an error here.
    fn written(&mut self, result: &Result<()>) -> Result<()> {
        if result.is_err() {
            self.client_left();
        }
        Ok(())
    }

    fn gone(&self) -> bool {
        self.link.client_gone()
    }

    /// Puts in what was not known of the header before the end of its answer.
    fn complete(&self, tasks: &mut [HttpTask]) -> Result<()> {
        let late = self.link.late();
        if late.is_nothing() {
            return Ok(());
        }
        for task in tasks {
            if let HttpTask::Header(header, _) = task
                && !header.status.is_informational()
            {
                late.complete(header)?;
            }
        }
        Ok(())
    }

    /// A final header passes: a process that is leaving says so.
    fn announce_leaving(&mut self) {
        if self.link.stopping.load(Ordering::Relaxed) {
            self.inner_mut().set_keepalive(None);
        }
    }
}

/// What a batch of tasks comes to, noted before the batch is moved.
struct Batch {
    end: bool,
    failed: bool,
    final_header: bool,
    bytes: usize,
}

impl Batch {
    fn of(tasks: &[HttpTask]) -> Self {
        let mut batch = Self {
            end: false,
            failed: false,
            final_header: false,
            bytes: 0,
        };
        for task in tasks {
            batch.end |= task.is_end();
            match task {
                HttpTask::Header(header, _) => {
                    batch.final_header |= !header.status.is_informational();
                }
                HttpTask::Body(Some(data), _) => batch.bytes += data.len(),
                HttpTask::Failed(_) => batch.failed = true,
                _ => {}
            }
        }
        batch
    }
}

#[async_trait]
impl CustomSession for Relayed {
    fn req_header(&self) -> &RequestHeader {
        &self.lean
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.lean
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner_mut().drain_request_body().await
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, _end: bool) -> Result<()> {
        if self.gone() {
            return Ok(());
        }
        if !resp.status.is_informational() {
            self.announce_leaving();
        }
        let result = self.inner_mut().write_response_header(resp).await;
        self.written(&result)
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(resp.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.gone() {
            return self.link.count(data.len());
        }
        let result = self.inner_mut().write_response_body(data, end).await;
        self.written(&result)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.gone() {
            return Ok(());
        }
        let result = self.inner_mut().write_response_trailers(trailers).await;
        self.written(&result)
    }

    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        match self.link.judging.load(Ordering::Acquire) {
            PASS if self.kept.is_empty() => {}
            PASS => {
                let later = std::mem::replace(&mut tasks, std::mem::take(&mut self.kept));
                tasks.extend(later);
            }
            // What nobody waits for is not kept, only counted.
            KEEP if self.gone() => self.kept.clear(),
            KEEP => {
                let batch = Batch::of(&tasks);
                self.kept.append(&mut tasks);
                if !batch.failed && !batch.end {
                    return Ok(false);
                }
                tasks = std::mem::take(&mut self.kept);
            }
            _ => {
                self.kept.clear();
                self.link.release();
                return Err(discarded());
            }
        }
        self.complete(&mut tasks)?;
        let batch = Batch::of(&tasks);
        if self.gone() {
            if let Some(error) = tasks.into_iter().find_map(|task| match task {
                HttpTask::Failed(error) => Some(error),
                _ => None,
            }) {
                return Err(error);
            }
            self.link.count(batch.bytes)?;
            return Ok(batch.end);
        }
        if batch.final_header {
            self.announce_leaving();
        }
        match self.inner_mut().response_duplex_vec(tasks).await {
            Ok(end) => Ok(end),
            // The upstream's own failure, passed on by Pingora in the batch.
            Err(error) if batch.failed => Err(error),
            Err(_) => {
                self.client_left();
                Ok(batch.end)
            }
        }
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner_mut().shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        if self.gone() {
            return Ok(());
        }
        let result = self.inner_mut().finish_body().await;
        self.written(&result)
    }

    fn is_body_empty(&mut self) -> bool {
        self.was_empty
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !self.gone() {
            match self.inner_mut().read_body_or_idle(no_body_expected).await {
                // Bytes of a next, pipelined request: the client is there.
                Err(error) if error.etype() == &ErrorType::ConnectError => {}
                Err(_) => self.client_left(),
                // Nothing more is expected, and nothing that comes matters.
                Ok(_) => {}
            }
        }
        if self.gone() {
            tokio::time::sleep(self.link.time_left()).await;
            return Err(over());
        }
        std::future::pending().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner().to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let body = self.link.body();
        (!body.is_empty()).then_some(body)
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<
            dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static,
        >,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
