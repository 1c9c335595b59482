//! Keeps our upstream key out of a provider's error answer.
//!
//! Some providers echo the credentials they refuse. The key's bytes are replaced by as many
//! asterisks, so the length stays what the header announced. A key split over two pieces is found:
//! the last bytes of a piece are held back while they could be the key's beginning.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use memchr::memmem;
use pingora::http::ResponseHeader;
use zeroize::Zeroizing;

pub(crate) struct Redactor {
    /// Empty when there is nothing to look for.
    key: Zeroizing<Vec<u8>>,
    held: BytesMut,
}

impl Redactor {
    pub(crate) fn new(key: Option<&[u8]>) -> Self {
        Self {
            key: Zeroizing::new(key.unwrap_or_default().to_vec()),
            held: BytesMut::new(),
        }
    }

    /// Takes the key out of header values.
    pub(crate) fn headers(&self, response: &mut ResponseHeader) {
        if self.key.is_empty() {
            return;
        }
        let names: Vec<_> = response
            .headers
            .iter()
            .filter(|(_, value)| memmem::find(value.as_bytes(), &self.key).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            // The name came from a valid header and the value is ASCII.
            let _ = response.insert_header(name, HeaderValue::from_static("[redacted]"));
        }
    }

    /// Passes a piece on, less what could still be the beginning of the key.
    pub(crate) fn pass(&mut self, piece: Bytes, end: bool) -> Bytes {
        if self.key.is_empty() || (piece.is_empty() && self.held.is_empty()) {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        let mut from = 0;
        while let Some(at) = memmem::find(&self.held[from..], &self.key) {
            let at = from + at;
            self.held[at..at + self.key.len()].fill(b'*');
            from = at + self.key.len();
        }
        let keep = if end { 0 } else { self.beginning() };
        let ready = self.held.len() - keep;
        self.held.split_to(ready).freeze()
    }

    /// The length of the longest end of what is held that begins the key.
    fn beginning(&self) -> usize {
        let longest = self.held.len().min(self.key.len() - 1);
        (1..=longest)
            .rev()
            .find(|&length| self.key.starts_with(&self.held[self.held.len() - length..]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_that_echoes_the_key_is_redacted() {
        let mut response = ResponseHeader::build(401, None).unwrap();
        response
            .insert_header("x-echo", "Bearer sk-secret")
            .unwrap();
        response.insert_header("x-other", "fine").unwrap();
        Redactor::new(Some(b"sk-secret")).headers(&mut response);
        assert_eq!(response.headers["x-echo"], "[redacted]");
        assert_eq!(response.headers["x-other"], "fine");
    }

    proptest! {
        #[test]
        fn the_key_never_comes_through_in_any_split(
            text in "[ab]{0,12}",
            splits in proptest::collection::vec(1_usize..6, 1..8),
        ) {
            let body = format!("x{text}aabab{text}y");
            let mut redactor = Redactor::new(Some(b"aabab"));
            let mut rest = Bytes::from(body.clone());
            let mut out = Vec::new();
            for size in splits.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece = rest.split_to((*size).min(rest.len()));
                out.extend_from_slice(&redactor.pass(piece, false));
            }
            out.extend_from_slice(&redactor.pass(Bytes::new(), true));
            let out = String::from_utf8(out).unwrap();
            prop_assert_eq!(out.len(), body.len());
            prop_assert!(!out.contains("aabab"));
            prop_assert!(out.contains("*****"));
        }
    }
}
