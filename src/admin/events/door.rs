//! The listener that has nothing but `/events`: HTTP/1.1 on connections that somebody else accepts.
//!
//! Decides how long a request may take to arrive, and how many connections there may be without one.

use super::super::amiss::no_route;
use super::super::{Refused, Shared};
use super::events;
use crate::refusal::Refusal;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tower::ServiceExt as _;

/// Connections without a watcher, beside as many as there may be watchers.
const SPARE: usize = 64;

/// The largest header, in bytes.
const HEADER: usize = 64 << 10;

/// Ends the connection that a request came by.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Cut(Arc<Notify>);

impl Cut {
    pub(super) fn cut(&self) {
        self.0.notify_one();
    }
}

/// The way in for whoever watches.
pub struct Door {
    router: Router,
    header: Duration,
    open: AtomicUsize,
    most: usize,
}

impl Door {
    pub(in crate::admin) fn new(shared: Shared) -> Self {
        let settings = &shared.gateway.settings;
        let (header, most) = (settings.timeouts.header, settings.events.watchers + SPARE);
        let router = Router::new()
            .route("/events", get(events))
            .method_not_allowed_fallback(only_get)
            .fallback(no_route)
            .with_state(shared);
        Self {
            router,
            header,
            open: AtomicUsize::new(0),
            most,
        }
    }

    /// Serves one request of a connection whose other end is `peer`. One that becomes a WebSocket goes on by
    /// itself.
    pub async fn serve<S>(&self, stream: S, peer: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = Open::enter(&self.open);
        if self.open.load(Ordering::Relaxed) > self.most {
            return;
        }
        let cut = Cut::default();
        let told = cut.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(told.clone());
            let answer = self.router.clone().oneshot(request.map(Body::new));
            async {
                let mut answer = answer.await?;
                if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    // One request is all that this is for.
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header)
            .max_buf_size(HEADER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::select! {
            // A client that breaks off is nothing to tell of.
            _ = connection => {}
            () = cut.0.notified() => {}
        }
    }
}

async fn only_get() -> Refused {
    Refused(Refusal::MethodNotAllowed { allow: "GET" })
}

/// Counts a connection for as long as it lives.
struct Open<'d>(&'d AtomicUsize);

impl<'d> Open<'d> {
    fn enter(count: &'d AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
