//! The time a request's header may take, from the moment its connection is ready for it.
//!
//! Pingora limits each read, so that a header of one byte a minute would hold a connection for
//! ever. [`Front`] ends a connection whose header is not complete in time; a kept-alive one may
//! idle as long as it is allowed to before that.

use super::Proxy;
use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

tokio::task_local! {
    /// Set once the header of the request that this task works on was read.
    static ARRIVED: Arc<AtomicBool>;
}

/// Notes that the header of the current request was read.
pub(super) fn header_arrived() {
    // HTTP/2 streams have their header when they begin, and are not watched.
    let _ = ARRIVED.try_with(|arrived| arrived.store(true, Ordering::Relaxed));
}

/// The proxy behind a deadline for headers.
pub struct Front {
    proxy: Arc<HttpProxy<Proxy>>,
    header: Duration,
    keepalive: Duration,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// Watches the headers of `proxy`'s requests: `header` for the whole of one, after at most
    /// `keepalive` without a byte on a connection that has served a request. `connections` counts
    /// those that speak HTTP/1.1, between two requests too.
    pub fn new(
        proxy: HttpProxy<Proxy>,
        header: Duration,
        keepalive: Duration,
        connections: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            proxy: Arc::new(proxy),
            header,
            keepalive,
            connections,
        }
    }
}

#[async_trait]
impl HttpServerApp for Front {
    /// As `async fn`, written out: a session is large, and is moved once this way, not twice.
    fn process_new_http<'s, 'w, 'f>(
        self: &'s Arc<Self>,
        session: ServerSession,
        shutdown: &'w ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        's: 'f,
        'w: 'f,
        Self: 'f,
    {
        if session.is_http2() {
            return self.proxy.process_new_http(session, shutdown);
        }
        let kept_alive = session.get_keepalive().is_some();
        let deadline = self.header
            + if kept_alive {
                self.keepalive
            } else {
                Duration::ZERO
            };
        let open = Open::enter(&self.connections);
        let arrived = Arc::new(AtomicBool::new(false));
        let work = self.proxy.process_new_http(session, shutdown);
        let work = ARRIVED.scope(Arc::clone(&arrived), work);
        Box::pin(async move {
            let _open = open;
            let mut work = std::pin::pin!(work);
            match tokio::time::timeout(deadline, work.as_mut()).await {
                Ok(done) => done,
                Err(_) if arrived.load(Ordering::Relaxed) => work.await,
                Err(_) => {
                    tracing::debug!("a request's header did not arrive in time");
                    None
                }
            }
        })
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    /// Nothing: Pingora would close every connection that waits for its next request. They stay for
    /// as long as the process does, so that their clients learn from an answer that it is leaving.
    async fn http_cleanup(&self) {}
}

/// Counts a connection as open while it waits for a request or is served.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
