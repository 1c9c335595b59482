//! Addresses of electronic mail.

use std::ops::Range;

/// The address around the `@` at `at`.
pub(super) fn around(text: &[u8], at: usize) -> Option<Range<usize>> {
    let before = text[..at].iter().rev().take(65);
    let length = before.take_while(|byte| is_local(**byte)).count();
    let mut start = at - length;
    // Quotation marks and dots at the beginning are the sentence's.
    while start < at && !text[start].is_ascii_alphanumeric() && text[start] != b'_' {
        start += 1;
    }
    if start == at || length > 64 || text[at - 1] == b'.' || is_login(&text[start..at]) {
        return None;
    }
    let domain = &text[at + 1..text.len().min(at + 256)];
    let length = domain.iter().take_while(|byte| is_domain(**byte)).count();
    let mut domain = &domain[..length];
    while let [rest @ .., b'.' | b'-'] = domain {
        domain = rest;
    }
    let mut labels = domain.rsplit(|byte| *byte == b'.');
    let top = labels.next()?;
    let is_top =
        top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic) || top.starts_with(b"xn--");
    let rest =
        labels.clone().count() > 0 && labels.all(|label| !label.is_empty() && label.len() <= 63);
    (is_top && rest).then(|| start..at + 1 + domain.len())
}

const fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

const fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

/// `git@host:path` is no address.
fn is_login(local: &[u8]) -> bool {
    local == b"git"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_name_and_a_domain() {
        let found = |text: &str| {
            let at = text.find('@').unwrap();
            around(text.as_bytes(), at).map(|span| text[span].to_owned())
        };
        for (text, expected) in [
            (
                "write to john.doe+x@mail.example.com.",
                "john.doe+x@mail.example.com",
            ),
            ("'info@presidio.site'", "info@presidio.site"),
            ("<user@xn--80ak6aa92e.com>", "user@xn--80ak6aa92e.com"),
            ("a_b@c.xn--p1ai", "a_b@c.xn--p1ai"),
        ] {
            assert_eq!(found(text).as_deref(), Some(expected));
        }
        for text in [
            "info@presidio.",
            "@types/node",
            "a@b",
            "v@1.2.3",
            "git@github.com:a/b",
            "x@.com",
            "é@é.com",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
