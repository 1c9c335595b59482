//! Where requests go: the provider's address, key and patience.
//!
//! Decides which addresses are acceptable. Nothing a client sends ever reaches this.

use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The variable that holds the provider's key when nothing else does.
pub const KEY_VARIABLE: &str = "OPENROUTER_API_KEY";

/// The provider.
#[derive(Clone)]
pub struct Upstream {
    /// Its address.
    pub base_url: BaseUrl,
    /// The key in the policy; sent with every request.
    pub api_key: Option<Secret>,
    /// The key in the environment, for when the policy has none and the client brought none.
    pub fallback_key: Option<Secret>,
    /// The longest silence accepted from it.
    pub timeout: Duration,
    /// Sent as `HTTP-Referer`; nothing when empty.
    pub referer: String,
    /// Sent as `X-Title`; nothing when empty.
    pub title: String,
    /// Certificates to trust besides the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            base_url: BaseUrl::open_router(),
            api_key: None,
            fallback_key: None,
            timeout: Duration::from_secs(120),
            referer: String::new(),
            title: "Weir".to_owned(),
            ca_file: None,
        }
    }
}

impl fmt::Debug for Upstream {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("base_url", &self.base_url.text)
            .field("api_key", &self.api_key.is_some())
            .field("fallback_key", &self.fallback_key.is_some())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The address under which the provider's routes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// The host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path without a trailing slash: `/api/v1`, or nothing.
    pub path: String,
    /// The whole as it was written, without a trailing slash.
    pub text: String,
}

impl BaseUrl {
    /// OpenRouter's own address.
    pub fn open_router() -> Self {
        Self {
            https: true,
            host: "openrouter.ai".into(),
            port: 443,
            path: "/api/v1".into(),
            text: "https://openrouter.ai/api/v1".into(),
        }
    }

    /// Checks and takes an address. No message quotes it: it may hold a password.
    ///
    /// # Errors
    /// When it is no `http` or `https` address, or carries a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let like = "such as https://openrouter.ai/api/v1";
        let text = text.trim().trim_end_matches('/');
        if text.is_empty() {
            return Err(Complaint::new("the URL is empty").suggesting(like));
        }
        if text.contains('#') {
            return Err(Complaint::new("a base URL may not have a fragment"));
        }
        let (scheme, _) = text
            .split_once("://")
            .ok_or_else(|| Complaint::new("is no URL").suggesting(like))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => {
                return Err(Complaint::new(
                    "the URL must begin with https:// or http://",
                ));
            }
        };
        let uri: http::Uri = text
            .parse()
            .map_err(|_| Complaint::new("is no valid URL").suggesting(like))?;
        let authority = uri
            .authority()
            .ok_or_else(|| Complaint::new("the URL has no host").suggesting(like))?;
        if authority.as_str().contains('@') {
            return Err(Complaint::new("a base URL may not hold a user or password")
                .suggesting("use api_key"));
        }
        if uri.query().is_some() {
            return Err(Complaint::new("a base URL may not have a query"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(Complaint::new("the URL has no host").suggesting(like));
        }
        let rest = authority
            .as_str()
            .rsplit_once(']')
            .map_or(authority.as_str(), |(_, rest)| rest);
        let port = match (rest.contains(':'), authority.port_u16()) {
            (_, Some(0)) | (true, None) => {
                return Err(Complaint::new("the URL's port must be between 1 and 65535"));
            }
            (_, Some(port)) => port,
            (false, None) if https => 443,
            (false, None) => 80,
        };
        Ok(Self {
            https,
            host: host.to_owned(),
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
            text: text.to_owned(),
        })
    }
}

/// Reads the section `openrouter`.
pub(super) fn read(section: &Section<'_>) -> Upstream {
    let default = Upstream::default();
    let reader = section.reader();
    let base_url = section.or("base_url", default.base_url, BaseUrl::parse, |url| {
        url.text.clone()
    });
    let api_key = section.secret("api_key");
    let fallback = reader.environment.filled(KEY_VARIABLE).map(str::trim);
    if let (None, Some(key)) = (&api_key, fallback) {
        reader.fact(
            section.path_of("api_key"),
            masked(key),
            Origin::Variable(KEY_VARIABLE),
        );
    }
    let timeout = section.or("timeout_seconds", default.timeout, patience, |time| {
        units::show_duration(*time)
    });
    let header = |key, default| section.or(key, default, header_value, Clone::clone);
    Upstream {
        base_url,
        api_key,
        fallback_key: fallback.map(|key| Secret::new(key.to_owned())),
        timeout,
        referer: header("referer", default.referer),
        title: header("title", default.title),
        ca_file: section.optional("ca_file", path, |path| path.display().to_string()),
    }
}

fn patience(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if time < Duration::from_millis(10) || time > Duration::from_secs(86_400) {
        return Err(Complaint::new("must be between 10ms and 24h"));
    }
    Ok(time)
}

/// A path to a file.
///
/// # Errors
/// When it is empty.
pub(super) fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

fn header_value(text: &str) -> Result<String, Complaint> {
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(Complaint::new(
            "is sent as a header and may hold printable ASCII only",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the section `console`, which Weir accepts but does not act on: budgets are pushed through
/// the budget API.
pub(super) fn read_console(section: &Section<'_>) {
    let enabled = section.or("enabled", false, units::flag, ToString::to_string);
    let not_empty = |text: &str| {
        if text.is_empty() {
            Ok(None)
        } else {
            BaseUrl::parse(text).map(Some)
        }
    };
    section.optional("url", not_empty, |url| {
        url.as_ref().map(|url| url.text.clone()).unwrap_or_default()
    });
    section.optional("sync_interval_seconds", units::duration, |time| {
        units::show_duration(*time)
    });
    if enabled {
        section.warn(
            Complaint::new("Weir does not fetch budgets from a console")
                .suggesting("let the console push them: POST /api/budget/{agent_id}"),
        );
        section.secret("api_key");
    } else {
        section.get("api_key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_taken_apart() {
        let url = BaseUrl::parse("https://openrouter.ai/api/v1/").unwrap();
        assert_eq!(url, BaseUrl::open_router());
        let url = BaseUrl::parse("http://localhost:9000/v1").unwrap();
        assert_eq!(
            (url.https, url.host.as_str(), url.port, url.path.as_str()),
            (false, "localhost", 9000, "/v1")
        );
        let url = BaseUrl::parse("http://[::1]:9000").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("::1", 9000, "")
        );
        assert_eq!(BaseUrl::parse("HTTP://[::1]").unwrap().port, 80);
    }

    #[test]
    fn an_address_that_is_no_base_is_refused_without_being_quoted() {
        for bad in [
            "",
            "openrouter.ai",
            "ftp://x/y",
            "file:///etc/passwd",
            "https://",
            "https://:443/x",
            "https://sesame:open@host/v1",
            "https://sesame@host",
            "https://h/v1?key=sesame",
            "https://h/v1#sesame",
            "https://h:0/",
            "https://h:99999/",
            "https://h:/",
            "https://h h/",
            "https://ho\u{0}st",
        ] {
            let complaint = BaseUrl::parse(bad).expect_err(bad);
            assert!(!format!("{complaint:?}").contains("sesame"));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(https?://)?[\\PC]{0,30}|https?://[a-z@:\\[\\]/?#.0-9%]{0,30}") {
            let _ = BaseUrl::parse(&text);
        }
    }
}
