//! The words of a block: names, headers, dialects.

use crate::policy::upstream::header_value;
use crate::provider::{self, Call, Provider};
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Section;
use crate::wire::Dialect;
use http::HeaderName;

/// The longest name of a block or an endpoint, in bytes.
const LONGEST_NAME: usize = 64;

/// Headers that Weir sets itself or that belong to one connection.
const OWN_HEADERS: [&str; 19] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// A kind of provider.
///
/// # Errors
/// When there is none of that name.
pub(super) fn kind(text: &str) -> Result<&'static dyn Provider, Complaint> {
    let word = text.trim();
    provider::named(word).ok_or_else(|| {
        let names: Vec<&str> = provider::ALL.iter().map(|kind| kind.name()).collect();
        Complaint {
            message: "is no kind of provider".into(),
            suggestion: did_you_mean(word, &names),
        }
    })
}

/// A part of an address, such as a deployment.
///
/// # Errors
/// When it is empty, too long, or not printable ASCII.
pub(in crate::policy) fn part(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if text.is_empty() || text.len() > LONGEST_NAME || !plain {
        return Err(Complaint::new(format!(
            "must be 1 to {LONGEST_NAME} printable ASCII characters without spaces"
        )));
    }
    Ok(text.to_owned())
}

/// The name of a block or an endpoint, which is shown in headers and metrics.
pub(super) fn label(text: &str) -> Result<String, Complaint> {
    let name = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        return Err(Complaint::new(format!(
            "the name must be 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores"
        )));
    }
    Ok(name.to_owned())
}

/// Reads the section `headers`.
pub(super) fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let mut section = section.section("headers");
    let mut read: Vec<(String, String)> = Vec::new();
    for (written, value) in section.entries() {
        let name = match header_name(written) {
            Ok(name) => name,
            Err(complaint) => {
                value.error(complaint);
                continue;
            }
        };
        let Some(text) = value.read(header_value) else {
            continue;
        };
        if read.iter().any(|(other, _)| *other == name) {
            value.error(Complaint::new(format!("`{name}` is given twice")));
        }
        let origin = value.origin();
        let shown = if origin.variables().is_empty() {
            text.clone()
        } else {
            masked(&text)
        };
        value.reader().fact(value.path(), shown, origin);
        read.push((name, text));
    }
    read
}

fn header_name(text: &str) -> Result<String, Complaint> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Complaint::new("is no valid name of a header"))?;
    if OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
        return Err(Complaint::new("this header is Weir's to set")
            .suggesting("a key belongs in `api_key`; headers that frame a request cannot be set"));
    }
    Ok(name.as_str().to_owned())
}

/// Reads the list `dialects`, or `speaks`; what is not stated is `default`.
pub(in crate::policy) fn dialects(
    section: &Section<'_>,
    kind: &'static dyn Provider,
    default: impl FnOnce() -> Vec<Dialect>,
) -> Vec<Dialect> {
    let (list, alias) = (section.get("dialects"), section.get("speaks"));
    if let (Some(_), Some(alias)) = (&list, &alias) {
        alias.error(Complaint::new(
            "is the same as `dialects`, which is there as well",
        ));
    }
    let Some(list) = list.or(alias) else {
        let default = default();
        let origin = Origin::Default;
        section
            .reader()
            .fact(section.path_of("dialects"), shown(&default), origin);
        return default;
    };
    let mut read = Vec::new();
    let items = list.list();
    if items.is_empty() {
        list.error(Complaint::new("must name at least one dialect"));
    }
    for item in items {
        let Some(dialect) = item.read(dialect) else {
            continue;
        };
        if !is_addressable(kind, dialect) {
            item.error(Complaint {
                message: format!(
                    "a provider of the kind {} has no route for {dialect}",
                    kind.name()
                ),
                suggestion: None,
            });
        }
        if !read.contains(&dialect) {
            read.push(dialect);
        }
    }
    section
        .reader()
        .fact(list.path(), shown(&read), list.origin());
    read
}

fn shown(dialects: &[Dialect]) -> String {
    let names: Vec<&str> = dialects.iter().map(|dialect| dialect.name()).collect();
    names.join(", ")
}

/// Whether a kind has a route for a dialect: one of those it always has, or one that is not just the
/// route it falls back to, which is that of its first dialect.
fn is_addressable(kind: &'static dyn Provider, dialect: Dialect) -> bool {
    let path = |dialect| {
        let call = Call {
            dialect,
            engine: "x",
            stream: false,
            count_tokens: false,
            deployment: None,
            api_version: None,
        };
        kind.path(&call)
    };
    let dialects = kind.dialects();
    dialects.contains(&dialect)
        || dialects
            .first()
            .is_some_and(|first| path(dialect) != path(*first))
}

/// The name of a dialect.
///
/// # Errors
/// When there is none of that name.
pub(in crate::policy) fn dialect(text: &str) -> Result<Dialect, Complaint> {
    let word = text.trim();
    Dialect::ALL
        .into_iter()
        .find(|dialect| dialect.name() == word)
        .ok_or_else(|| Complaint {
            message: "is no dialect".into(),
            suggestion: did_you_mean(word, &Dialect::ALL.map(Dialect::name)),
        })
}
