//! The client of the collector.
//!
//! Metrics are sent from a plain thread of the SDK's, where an asynchronous client finds no reactor: so
//! every message is sent by a task of the exporter's own runtime, whoever asks.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use reqwest::redirect;
use std::fmt;
use std::time::Duration;
use tokio::runtime::Handle;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 << 10;

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl Client {
    /// A client that waits so long, connecting included.
    pub(super) fn new(runtime: Handle, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            // Headers may carry a key.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .build()?;
        Ok(Self { http, runtime })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move { send(http, request).await });
        sent.await?
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    let asked = http
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body);
    let mut answer = asked.send().await.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    let mut read = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if read.len() + piece.len() > LARGEST {
            return Err("the answer is too large".into());
        }
        read.extend_from_slice(&piece);
    }
    let mut response = Response::new(Bytes::from(read));
    *response.status_mut() = status;
    Ok(response)
}
