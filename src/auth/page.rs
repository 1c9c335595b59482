//! Whether a web page may have sent a request.
//!
//! A browser lets any page send requests to this machine, which would be let in without a key. It says so in
//! `Origin`, but not for what a page reads from its own host; and a page may have its host's name point to this
//! machine once it is loaded (DNS rebinding). Then that name is in `Host`.

use http::{HeaderMap, header};
use std::net::IpAddr;

/// Names below these are in nobody's public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375; ICANN for `internal`).
const PRIVATE: [&str; 7] = [
    "localhost",
    "internal",
    "local",
    "home.arpa",
    "test",
    "lan",
    "localdomain",
];

/// Whether a web page may have sent a request with these headers.
pub fn may_have_sent(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST);
    headers.contains_key(header::ORIGIN)
        || host.is_some_and(|host| host.to_str().map_or(true, is_public))
}

/// Whether a host, with or without a port, is a name that anybody may have registered.
fn is_public(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if !name.contains('.') || address.parse::<IpAddr>().is_ok() {
        return false;
    }
    !PRIVATE.iter().any(|private| {
        let before = name.strip_suffix(private);
        before.is_some_and(|before| before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_anybody_may_register_is_public() {
        for host in [
            "evil.example",
            "evil.example.com:8080",
            "127.0.0.1.evil.example:8080",
            "localhost.evil.example.",
            "notlocal.xlocal.io",
            "a.mylocal",
        ] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "",
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "weir",
            "weir:8080",
            "host.docker.internal:8080",
            "nas.local",
            "box.home.arpa.",
            "api.localhost:3000",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }

    #[test]
    fn a_page_shows_by_its_origin_or_by_the_name_that_it_asks() {
        let with = |name, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_bytes(value).unwrap());
            may_have_sent(&headers)
        };
        assert!(with(header::ORIGIN, b"null"));
        assert!(with(header::HOST, b"evil.example:8080"));
        assert!(with(header::HOST, b"\xe9.example"));
        assert!(!with(header::HOST, b"127.0.0.1:8080"));
        assert!(!may_have_sent(&HeaderMap::new()));
    }
}
