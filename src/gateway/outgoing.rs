//! What every request to the provider carries, prepared once per configuration.

use crate::policy::upstream::{BaseUrl, Upstream};
use crate::secret::Secret;
use http::{HeaderName, HeaderValue, header};

/// The unchanging part of a request to the provider.
pub struct Outgoing {
    /// The chat route's path.
    pub path: String,
    /// Headers that every request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The policy's key as a header.
    key: Option<HeaderValue>,
    /// The environment's key as a header.
    fallback: Option<HeaderValue>,
}

impl Outgoing {
    /// Prepares what `upstream` implies. Texts that are no valid header are left out; the policy
    /// has been checked not to have any.
    pub fn new(upstream: &Upstream) -> Self {
        let text = |text: &str| {
            HeaderValue::try_from(text)
                .ok()
                .filter(|value| !value.is_empty())
        };
        let json = HeaderValue::from_static("application/json");
        // What cannot be read cannot be metered.
        let identity = HeaderValue::from_static("identity");
        let headers = [
            (header::HOST, text(&host(&upstream.base_url))),
            (header::CONTENT_TYPE, Some(json)),
            (header::ACCEPT_ENCODING, Some(identity)),
            (
                HeaderName::from_static("http-referer"),
                text(&upstream.referer),
            ),
            (HeaderName::from_static("x-title"), text(&upstream.title)),
        ];
        Self {
            path: format!("{}/chat/completions", upstream.base_url.path),
            headers: headers
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            key: upstream.api_key.as_ref().and_then(bearer),
            fallback: upstream.fallback_key.as_ref().and_then(bearer),
        }
    }

    /// The policy's key; without one the client's own header, where no Weir key was used; else the
    /// key from the environment.
    pub fn authorization<'a>(&'a self, client: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
        self.key.as_ref().or(client).or(self.fallback.as_ref())
    }
}

fn bearer(key: &Secret) -> Option<HeaderValue> {
    if key.is_empty() {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The `Host` header of an address: without the scheme's own port.
fn host(url: &BaseUrl) -> String {
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.clone()
    };
    match (url.https, url.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}
