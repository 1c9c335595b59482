//! The request log of the Execwall OR Gate: one indented JSON object per request, then a line of
//! sixty `=`.
//!
//! One thread writes, in the order in which requests were read; a request is answered only after it
//! was logged, so that whoever has the answer can read the log.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use tokio::sync::oneshot;

/// The writing end of the log.
pub(super) struct Journal {
    entries: Sender<(Bytes, oneshot::Sender<()>)>,
}

impl Journal {
    /// Opens the log for appending and starts its writer, which ends with the last `Journal`.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let (entries, inbox) = mpsc::channel();
        std::thread::Builder::new()
            .name("mock-journal".to_owned())
            .spawn(move || write(file, &inbox))?;
        Ok(Self { entries })
    }

    /// Hands over a body, which must be valid JSON. The answer says when it is in the file.
    pub(super) fn log(&self, body: Bytes) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // A writer that has ended drops `done`, which ends the wait as well.
        let _ = self.entries.send((body, done));
        written
    }
}

fn write(mut file: File, inbox: &Receiver<(Bytes, oneshot::Sender<()>)>) {
    let mut text = Vec::new();
    while let Ok((body, done)) = inbox.recv() {
        text.clear();
        indent(&body, &mut text);
        text.push(b'\n');
        text.extend_from_slice(&[b'='; 60]);
        text.push(b'\n');
        if let Err(error) = file.write_all(&text) {
            tracing::error!(%error, "a request could not be logged");
        }
        let _ = done.send(());
    }
}

/// Valid JSON with two spaces per level; strings, numbers and the order of fields stay as they are.
fn indent(json: &[u8], out: &mut Vec<u8>) {
    let line = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = json.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if in_string {
            out.push(byte);
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => {
                out.push(byte);
                while rest.next_if(u8::is_ascii_whitespace).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(depth, out);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(depth, out);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(depth, out);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn indented(json: &str) -> String {
        let mut out = Vec::new();
        indent(json.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_keep_their_order_and_strings_their_bytes() {
        assert_eq!(
            indented(r#"{"z":[1, {"a":"x\"{,\\"}],"e":{ },"n":1e400}"#),
            "{\n  \"z\": [\n    1,\n    {\n      \"a\": \"x\\\"{,\\\\\"\n    }\n  ],\n  \"e\": {},\n  \"n\": 1e400\n}"
        );
    }

    proptest! {
        #[test]
        fn indenting_is_what_serde_prints(text in "[a-z{}\\[\\],:\"\\\\ ]{0,20}", number: i64) {
            let value = serde_json::json!({"a": [text, {"b": number, "c": []}], "d": null});
            prop_assert_eq!(indented(&value.to_string()), serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
