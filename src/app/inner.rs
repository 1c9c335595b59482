//! The way by which the process asks itself: a connection in memory, with the proxy at its other end.
//!
//! Decides that such a request is served as any that came over a socket, by the same process and without one:
//! it needs no address, and during a handover no other process takes it.

use crate::answer::{Answer, Rest};
use crate::gateway::Gateway;
use crate::gateway::inner::{Asker, Inner, NoAnswer, Said};
use crate::proxy::{Front, Local, Proxy, within};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pingora_core::apps::ServerApp as _;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::io::duplex;
use tokio::sync::watch;

/// Bytes that are on their way in each direction.
const BUFFER: usize = 64 << 10;

/// The largest answer, in bytes.
const LARGEST: usize = 64 << 20;

/// The process, as it asks itself.
pub(super) struct Loop {
    front: Arc<Front>,
    /// Never told to shut down: a request that was begun is part of one that is served.
    told: watch::Sender<bool>,
}

impl Loop {
    /// A way to the proxy over a running gateway.
    pub(super) fn new(gateway: &Arc<Gateway>, conf: &Arc<ServerConf>) -> Self {
        let proxy = Proxy::new(Arc::clone(gateway), Arc::new(Nothing));
        let mut proxy = HttpProxy::new(proxy, Arc::clone(conf));
        proxy.handle_init_modules();
        let timeouts = &gateway.settings.timeouts;
        let connections = Arc::new(AtomicUsize::new(0));
        let front = Front::new(proxy, timeouts.header, timeouts.keepalive, connections);
        Self {
            front: Arc::new(front),
            told: watch::channel(false).0,
        }
    }
}

#[async_trait]
impl Inner for Loop {
    async fn ask(&self, mut request: Request<Bytes>, asker: Asker) -> Result<Said, NoAnswer> {
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (ours, theirs) = duplex(BUFFER);
        let shutdown = self.told.subscribe();
        let served = self.front.process_new(Box::new(theirs), &shutdown);
        let served = within(asker, served);
        let (answer, (_, charged)) = tokio::join!(exchange(ours, request), served);
        Ok(Said {
            response: answer?,
            charged,
        })
    }
}

/// Sends a request and reads the whole answer; the connection ends with it.
async fn exchange(
    ours: tokio::io::DuplexStream,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, NoAnswer> {
    let broken = |error: hyper::Error| NoAnswer::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.map_err(broken)?;
    let asked = async {
        let response = sender.send_request(request.map(Full::new)).await;
        drop(sender);
        let (parts, body) = response.map_err(broken)?.into_parts();
        let body = Limited::new(body, LARGEST)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NoAnswer::TooLarge
                } else {
                    NoAnswer::Broken(error.to_string())
                }
            })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let mut asked = std::pin::pin!(asked);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answer = asked.as_mut() => answer,
        // What was read before its end is still to be handed over.
        _ = connection.as_mut() => asked.await,
    }
}

/// No routes but those to models.
struct Nothing;

#[async_trait]
impl Local for Nothing {
    fn serves(&self, _: &str) -> bool {
        false
    }

    async fn answer(&self, _: Request<Bytes>, _: Option<IpAddr>) -> (Answer, Option<Rest>) {
        (Answer::refusal(&crate::refusal::Refusal::Internal), None)
    }
}
