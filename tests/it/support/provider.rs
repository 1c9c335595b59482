//! The mock provider in this process, with its exact record of what it produced.

use super::eventually;
use serde_json::Value;
use weir::mock::{Behaviour, Mock, MockHandle, Options, Record};

/// A running mock provider; it ends when this is dropped.
pub(crate) struct Provider {
    mock: MockHandle,
    tls: bool,
}

impl Provider {
    /// A provider with the mock's defaults.
    #[expect(clippy::unused_async, reason = "says that a runtime is needed")]
    pub(crate) async fn start() -> Self {
        Self::with(Options::default())
    }

    /// A provider that does this to every request, such as `status=503`.
    pub(crate) fn that(behaviour: &str) -> Self {
        Self::with(Options {
            behaviour: Behaviour::parse(behaviour).expect("a known behaviour"),
            ..Options::default()
        })
    }

    /// A provider started in another way.
    pub(crate) fn with(options: Options) -> Self {
        let tls = options.tls.is_some();
        Self {
            mock: Mock::start(options).expect("the mock starts"),
            tls,
        }
    }

    /// What a policy calls `base_url`, of a provider that is asked below `/v1`.
    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// The same without a path, for Azure, Gemini and the like.
    pub(crate) fn origin(&self) -> String {
        if self.tls {
            // The name its certificate is for.
            format!("https://localhost:{}", self.mock.addr.port())
        } else {
            format!("http://{}", self.mock.addr)
        }
    }

    /// Everything asked so far, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.mock.records()
    }

    /// The record of the only request so far, once it is over.
    pub(crate) async fn only_record(&self) -> Record {
        let mut records = eventually("the end of a request", || {
            let records = self.records();
            let over = !records.is_empty() && records.iter().all(|record| record.ended);
            over.then_some(records)
        })
        .await;
        assert_eq!(records.len(), 1, "one request reached the provider");
        records.remove(0)
    }

    /// The requests with this `tag`.
    pub(crate) fn tagged(&self, tag: &str) -> Vec<Record> {
        self.mock.tagged(tag)
    }

    /// The only request with this `tag`, once it is over.
    pub(crate) async fn ended(&self, tag: &str) -> Record {
        let mut records = eventually(&format!("the end of {tag}"), || {
            let records = self.tagged(tag);
            let over = !records.is_empty() && records.iter().all(|record| record.ended);
            over.then_some(records)
        })
        .await;
        assert_eq!(records.len(), 1, "one request with the tag {tag}");
        records.remove(0)
    }

    /// The request with this `tag`, once it has arrived.
    pub(crate) async fn arrived(&self, tag: &str) -> Record {
        eventually(&format!("the arrival of {tag}"), || {
            self.tagged(tag).into_iter().next()
        })
        .await
    }

    /// Forgets everything asked so far.
    pub(crate) fn forget(&self) {
        self.mock.forget();
    }
}

/// What the provider received.
pub(crate) trait Seen {
    /// Its body.
    fn body(&self) -> Value;

    /// One of its headers.
    fn header(&self, name: &str) -> Option<String>;
}

impl Seen for Record {
    fn body(&self) -> Value {
        let request = self.request.as_ref().expect("requests are kept");
        serde_json::from_slice(&request.body).expect("the gateway sends JSON")
    }

    fn header(&self, name: &str) -> Option<String> {
        let request = self.request.as_ref().expect("requests are kept");
        let value = request.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}
