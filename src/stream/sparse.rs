//! What is left of a JSON answer without what is in its arrays.
//!
//! An answer with embeddings is megabytes of numbers, and what it says about itself stands beside
//! them. Decides nothing about that: it only leaves out, piece by piece, whatever is inside an
//! array, so that the rest can be read like any other answer.

use memchr::{memchr2, memchr3};

/// The most that is kept.
const LIMIT: usize = 64 << 10;

/// An answer on its way, without the content of its arrays.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    kept: Vec<u8>,
    /// How many arrays are open.
    depth: u64,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
    /// There was more than is kept.
    overflow: bool,
}

impl Sparse {
    /// Takes in a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let mut at = 0;
        while at < piece.len() {
            if std::mem::take(&mut self.escaped) {
                self.keep(&piece[at..=at]);
                at += 1;
                continue;
            }
            let rest = &piece[at..];
            let found = if self.in_string {
                memchr2(b'"', b'\\', rest)
            } else {
                memchr3(b'"', b'[', b']', rest)
            };
            let Some(length) = found else {
                self.keep(rest);
                return;
            };
            self.keep(&rest[..length]);
            match rest[length] {
                b'[' => {
                    self.keep(b"[");
                    self.depth += 1;
                }
                b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.keep(b"]");
                }
                byte => {
                    self.keep(&[byte]);
                    if byte == b'"' {
                        self.in_string = !self.in_string;
                    } else {
                        self.escaped = true;
                    }
                }
            }
            at += length + 1;
        }
    }

    /// What was kept; nothing when it was too much.
    pub(super) fn finish(self) -> Vec<u8> {
        self.kept
    }

    fn keep(&mut self, part: &[u8]) {
        if self.depth > 0 || self.overflow {
            return;
        }
        if self.kept.len() + part.len() > LIMIT {
            self.overflow = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sparse(text: &str, step: usize) -> String {
        let mut sparse = Sparse::default();
        for piece in text.as_bytes().chunks(step) {
            sparse.push(piece);
        }
        String::from_utf8(sparse.finish()).unwrap()
    }

    #[test]
    fn what_is_in_arrays_is_left_out_however_it_is_cut() {
        let text = r#"{"data":[{"embedding":[0.1,-2e-3],"x":"]\"["},"a\\"],"m\"[":"[]\\","usage":{"a":1,"b":[]}}"#;
        let rest = r#"{"data":[],"m\"[":"[]\\","usage":{"a":1,"b":[]}}"#;
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(sparse(text, step), rest, "{step}");
        }
    }

    #[test]
    fn memory_stays_small() {
        let mut sparse = Sparse::default();
        sparse.push(b"{\"data\":[");
        let numbers = "0.123456789,".repeat(10_000);
        for _ in 0..200 {
            sparse.push(numbers.as_bytes());
        }
        assert!(sparse.kept.capacity() < 100);
        sparse.push(b"1],\"x\":\"");
        for _ in 0..200 {
            sparse.push(numbers.as_bytes());
        }
        assert_eq!((sparse.kept.capacity(), sparse.finish().len()), (0, 0));
    }

    fn emptied(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Array(_) => serde_json::Value::Array(Vec::new()),
            serde_json::Value::Object(all) => {
                all.into_iter().map(|(key, v)| (key, emptied(v))).collect()
            }
            other => other,
        }
    }

    proptest! {
        #[test]
        fn the_rest_is_the_same_json_with_empty_arrays(
            strings in proptest::collection::vec(".{0,12}", 3),
            numbers in proptest::collection::vec(any::<i32>(), 0..5),
            step in 1_usize..20,
        ) {
            let value = serde_json::json!({
                strings[0].as_str(): [strings[1], [numbers, {"k": strings[2]}]],
                "s": strings[1],
                "o": {"t": strings[2], "e": [], "n": numbers},
            });
            let rest: serde_json::Value = serde_json::from_str(&sparse(&value.to_string(), step)).unwrap();
            prop_assert_eq!(rest, emptied(value));
        }
    }
}
