//! The address of a provider.
//!
//! Decides which addresses are acceptable: none of a link, where clouds keep the credentials of their
//! machines. It resolves no names.

use crate::settings::problem::Complaint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
        acceptable(host)?;
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

    /// Whether the host is that of another address.
    pub fn is_of(&self, other: &Self) -> bool {
        name(&self.host) == name(&other.host)
    }

    /// Whether the host is this machine, as it is written.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => name(&self.host) == "localhost",
        }
    }

    /// Whether the host is a name that the whole world resolves alike. An address, `localhost`, a
    /// name without a dot and those of private networks are not: whoever wrote them meant a private
    /// address.
    pub fn is_public_name(&self) -> bool {
        const PRIVATE: [&str; 6] = [
            ".localhost",
            ".local",
            ".internal",
            ".lan",
            ".home.arpa",
            ".svc",
        ];
        let host = name(&self.host);
        host.contains('.')
            && host.parse::<IpAddr>().is_err()
            && !host.contains(':')
            && !PRIVATE.iter().any(|suffix| host.ends_with(suffix))
    }
}

/// A host name as it is compared.
fn name(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Refuses hosts that no provider has: addresses of the link, where clouds hand out credentials, and
/// addresses in a spelling that only some resolvers read as one.
fn acceptable(host: &str) -> Result<(), Complaint> {
    let metadata = || {
        Complaint::new(
            "is a link-local address, where clouds keep credentials; no provider is there",
        )
    };
    let name = name(host);
    // The address of a link may carry the name of an interface.
    let bare = name.split('%').next().unwrap_or_default();
    if let Ok(address) = bare.parse::<IpAddr>() {
        return if is_of_the_link(address) {
            Err(metadata())
        } else {
            Ok(())
        };
    }
    if name == "metadata.google.internal" {
        return Err(metadata());
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if number {
        return Err(Complaint::new("is no host name and no IP address")
            .suggesting("write an IPv4 address as four plain numbers"));
    }
    Ok(())
}

fn is_of_the_link(address: IpAddr) -> bool {
    /// Where Amazon's machines find their metadata over IPv6.
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, high, low] = address.segments();
            // IPv4 behind a translator.
            let behind = (a, b, [c, d, e, f]) == (0x64, 0xff9b, [0; 4]);
            let translated = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            address.is_unicast_link_local()
                || address == AMAZON
                || (behind && translated.is_link_local())
        }
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

    #[test]
    fn addresses_where_clouds_keep_credentials_are_refused_in_every_spelling() {
        for bad in [
            "http://169.254.169.254/v1",
            "http://169.254.169.254./v1",
            "http://169.254.0.1",
            "http://[fe80::1]",
            "http://[::ffff:169.254.169.254]",
            "http://[::ffff:a9fe:a9fe]",
            "http://[64:ff9b::a9fe:a9fe]",
            "http://[fd00:ec2::254]",
            "http://metadata.google.internal/v1",
            "http://Metadata.Google.Internal./v1",
        ] {
            let complaint = BaseUrl::parse(bad).expect_err(bad);
            assert!(
                complaint.message.contains("link-local"),
                "{bad}: {complaint:?}"
            );
        }
        for bad in [
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://127.1/",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
        for good in [
            "http://10.0.0.1/v1",
            "http://127.0.0.1:9000",
            "http://[fd12::1]",
            "http://gpu-1:8000",
            "https://x.1password.com",
        ] {
            assert!(BaseUrl::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_public_name_is_told_from_what_is_private_by_itself() {
        let public = |text| BaseUrl::parse(text).unwrap().is_public_name();
        for text in ["https://api.openai.com/v1", "http://LLM.example.org."] {
            assert!(public(text), "{text}");
        }
        for text in [
            "http://localhost:8000",
            "http://vllm:8000",
            "http://10.1.2.3",
            "http://[::1]",
            "http://gpu.corp.internal",
            "http://vllm.default.svc",
            "http://mac.local",
        ] {
            assert!(!public(text), "{text}");
        }
        let loopback = |text| BaseUrl::parse(text).unwrap().is_loopback();
        assert!(loopback("http://LOCALHOST:1") && loopback("http://[::1]:1"));
        assert!(loopback("http://127.8.9.1") && !loopback("http://10.0.0.1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(https?://)?[\\PC]{0,30}|https?://[a-z@:\\[\\]/?#.0-9%]{0,30}") {
            let _ = BaseUrl::parse(&text);
        }
    }
}
