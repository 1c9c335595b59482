//! How Redis is addressed: URLs and `host:port`; and the parts of any URL.
//!
//! Decides which spellings are understood. A complaint never quotes the text, which may hold a
//! password.

use super::Node;
use crate::secret::Secret;
use crate::settings::problem::Complaint;
use std::fmt;
use std::path::PathBuf;

/// The port of a server.
pub(super) const PORT: u16 = 6379;

/// The port of a sentinel.
pub(super) const SENTINEL_PORT: u16 = 26_379;

/// What a URL says.
#[derive(Clone)]
pub(super) struct Url {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<u32>,
}

/// Where a URL points.
#[derive(Clone)]
pub(super) enum Place {
    Tcp(Node),
    Unix(PathBuf),
}

impl fmt::Display for Url {
    /// Without its user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.database.unwrap_or(0);
        match &self.place {
            Place::Tcp(node) if self.tls => write!(f, "rediss://{node}/{database}"),
            Place::Tcp(node) => write!(f, "redis://{node}/{database}"),
            Place::Unix(path) => write!(f, "unix://{}?db={database}", path.display()),
        }
    }
}

fn wrong() -> Complaint {
    Complaint::new("must be a URL of Redis").suggesting(
        "such as redis://127.0.0.1:6379/0, rediss://user:password@redis.example:6379 or unix:///run/redis.sock",
    )
}

/// A URL: `redis://`, `rediss://` (TLS) or `unix://`.
///
/// # Errors
/// When it is none, or asks for what there is not.
pub(super) fn url(text: &str) -> Result<Url, Complaint> {
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    if !["redis", "rediss", "unix"].contains(&scheme.as_str()) {
        return Err(wrong());
    }
    let (rest, fragment) = split(rest, '#');
    if fragment.is_some() {
        return Err(Complaint::new("must have no `#`").suggesting(
            "write a `#` of a password as %23, or put the password into stores.redis.password",
        ));
    }
    let (rest, query) = split(rest, '?');
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (mut username, mut password) = user.map_or(Ok((None, None)), credentials)?;
    let mut database = None;
    for (name, value) in pairs(query.unwrap_or_default()) {
        let filled = || decoded(value).map(Some);
        match name {
            "db" => database = Some(number(value)?),
            "user" | "username" if scheme == "unix" => username = filled()?,
            "pass" | "password" if scheme == "unix" => password = filled()?,
            _ => {
                return Err(Complaint::new("has an option that is not known")
                    .suggesting("after `?` there may be db=NUMBER"));
            }
        }
    }
    let place = if scheme == "unix" {
        if !host.is_empty() || path.len() < 2 {
            return Err(wrong());
        }
        Place::Unix(PathBuf::from(decoded(path)?))
    } else {
        if path.contains('@') {
            return Err(Complaint::new("has an `@` after its host").suggesting(
                "write a `/` of a password as %2F, or put the password into stores.redis.password",
            ));
        }
        let path = path.trim_matches('/');
        if !path.is_empty() {
            database = Some(number(path)?);
        }
        Place::Tcp(node(host, PORT).map_err(|_| wrong())?)
    };
    Ok(Url {
        place,
        tls: scheme == "rediss",
        username: username.filter(|name| !name.is_empty()),
        password: password
            .filter(|password| !password.is_empty())
            .map(Secret::new),
        database,
    })
}

/// `host`, `host:port` or `[address]:port`.
///
/// # Errors
/// When it is none of them.
pub(super) fn node(text: &str, port: u16) -> Result<Node, Complaint> {
    let wrong = || {
        Complaint::new("must be a host and a port").suggesting("such as redis-1:6379 or [::1]:6379")
    };
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            match after.strip_prefix(':') {
                Some(port) => (host, port.parse().map_err(|_| wrong())?),
                None if after.is_empty() => (host, port),
                None => return Err(wrong()),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, port),
        },
    };
    let character = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if host.is_empty() || port == 0 || !host.chars().all(character) {
        return Err(wrong());
    }
    Ok(Node {
        host: host.to_owned(),
        port,
    })
}

/// What is before and after the first `at`.
pub(super) fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn number(text: &str) -> Result<u32, Complaint> {
    text.parse()
        .map_err(|_| Complaint::new("must name the database by its number"))
}

/// `user:password`, `:password` or `user`.
pub(super) fn credentials(text: &str) -> Result<(Option<String>, Option<String>), Complaint> {
    let (user, password) = split(text, ':');
    let password = password.map(decoded).transpose()?;
    Ok((Some(decoded(user)?), password))
}

/// The text with `%40` and the like undone.
pub(super) fn decoded(text: &str) -> Result<String, Complaint> {
    let wrong = || {
        Complaint::new("has a `%` that two hexadecimal digits do not follow")
            .suggesting("write a `%` of a password as %25")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| Complaint::new("is no UTF-8 when it is decoded"))
}
