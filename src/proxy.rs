//! The proxy: Pingora's hooks, each one call into the file of its phase.
//!
//! `docs/request.md` tells the same story at length. Nothing is decided here.

pub mod context;

mod admit;
mod attempt;
mod breaker;
mod caller;
mod ending;
mod execwall;
mod finish;
mod framing;
mod front;
mod guard;
mod head;
pub(crate) mod inner;
mod journey;
mod link;
mod receive;
mod recording;
mod redact;
mod relay;
mod reply;
mod screening;
mod session;
mod settle;
mod sign;
mod tell;
mod titan;
mod told;
mod upstream;
mod verdict;

use crate::answer::{Answer, Rest};
use crate::gateway::Gateway;
use async_trait::async_trait;
use bytes::Bytes;
use context::Context;
pub use front::Front;
pub use inner::within;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Routes that are answered inside the process, such as the admin API. The proxy knows no more of
/// them than this.
#[async_trait]
pub trait Local: Send + Sync {
    /// Whether `path` is one of these routes.
    fn serves(&self, path: &str) -> bool;

    /// Whether requests to one of these routes may be as large as those to models.
    fn takes_conversations(&self, _path: &str) -> bool {
        false
    }

    /// Whether models are served beside these routes.
    fn beside_models(&self) -> bool {
        true
    }

    /// Answers a request whose body was read whole; `peer` is the other end of the connection. With a
    /// rest, that follows the answer as long as it lasts.
    async fn answer(
        &self,
        request: http::Request<Bytes>,
        peer: Option<IpAddr>,
    ) -> (Answer, Option<Rest>);
}

/// Weir as Pingora sees it.
pub struct Proxy {
    gateway: Arc<Gateway>,
    local: Arc<dyn Local>,
    resolver: upstream::Resolver,
}

impl Proxy {
    /// A proxy over a running gateway.
    pub fn new(gateway: Arc<Gateway>, local: Arc<dyn Local>) -> Self {
        Self {
            gateway,
            local,
            resolver: upstream::Resolver::default(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        front::header_arrived();
        Context::new(&self.gateway.in_flight)
    }

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {
        // None: Pingora's default is a compression module that Weir never turns on.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        recording::begin(&self.gateway, &session.req_header().headers, ctx);
        admit::request(&self.gateway, self.local.as_ref(), session, ctx).await
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let peer = upstream::peer(&self.gateway, &self.resolver, ctx).await?;
        recording::sets_out(ctx);
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        upstream::header(ctx, request)?;
        recording::tell(&self.gateway, ctx, request)
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        recording::answered(ctx, response);
        relay::examine(&self.gateway, response, ctx)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        relay::header(response, ctx)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        relay::body(&self.gateway, body, end_of_stream, ctx);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        recording::failed(ctx, &error);
        upstream::connect_failed(&self.gateway, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        recording::failed(ctx, &error);
        upstream::exchange_failed(&self.gateway, session, ctx, error, reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        finish::failed(&self.gateway, session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        finish::finished(&self.gateway, session, error, ctx);
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // Every request has its own line, with the error in it.
        true
    }
}
