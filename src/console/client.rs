//! The way to the console: one address, one key, and an end to everything.
//!
//! Decides that no redirect is followed with the key, that nobody in between is asked, how long an
//! answer may take and how large it may be.

use super::Failure;
use crate::policy::console::Console;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, StatusCode, redirect};
use std::error::Error as _;
use std::time::Duration;

/// The longest that a whole exchange may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept for the rest of a round. The next round makes its own.
const IDLE: Duration = Duration::from_secs(1);

/// The largest answer, in bytes.
const LARGEST: usize = 1 << 20;

/// A client of one console.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    authorization: HeaderValue,
}

impl Client {
    /// A client that speaks for the gateway of that name.
    pub(super) fn new(console: &Console, gateway_id: &str) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1);
        if let Some(path) = &console.ca_file {
            let here = |error: &dyn std::fmt::Display| {
                Failure::Here(format!("console.ca_file {}: {error}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| here(&error))?;
            let trusted = Certificate::from_pem_bundle(&pem).map_err(|error| here(&error))?;
            builder = builder.tls_certs_merge(trusted);
        }
        let bearer = format!("Bearer {}", console.api_key.expose());
        let mut authorization = HeaderValue::try_from(bearer)
            .map_err(|_| Failure::Here("console.api_key cannot be sent".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| Failure::Here(told(error)))?,
            url: format!("{}/api/v1/gateways/{gateway_id}/sync", console.url.text),
            authorization,
        })
    }

    /// Sends a message and gives the body of the answer.
    pub(super) async fn send(&self, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                Failure::Slow
            } else {
                Failure::Unreachable(told(error))
            }
        };
        let request = self
            .http
            .post(&self.url)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(message);
        let mut answer = request.send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => {}
            refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(Failure::Refused(refused.as_u16()));
            }
            other => return Err(Failure::Status(other.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LARGEST {
                return Err(Failure::Answer(super::answer::BadAnswer::TooLarge));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// An error and its causes, without the address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}
