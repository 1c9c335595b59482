//! What an answer says, chunk by chunk.
//!
//! Each chunk is one completion token by the mock's own count: that is its definition of a token.

use sha2::{Digest as _, Sha256};

use super::behaviour::{Behaviour, Digested};
use super::request::{Asked, Request};
use super::shape::quoted;

const WORDS: [&str; 12] = [
    " The",
    " weir",
    " holds",
    " the",
    " river",
    " back",
    " and",
    " lets",
    " through",
    " what",
    " was",
    " allowed.",
];

/// Bytes that are digested in one go, so that other exchanges get their turn between.
const STEP: usize = 1 << 20;

/// The content of every choice.
pub(super) enum Content {
    /// Words, over and over.
    Words,
    /// The same text in every chunk.
    Padded(String),
    /// These chunks.
    Fixed(Vec<String>),
    /// The arguments of calls of these tools, names as JSON text. The chunks are divided among
    /// them: the first gets the odd one.
    Tools(Vec<String>),
}

impl Content {
    /// Decides on the content; with it, how many chunks it has before `max_tokens` is looked at.
    pub(super) async fn choose(
        behaviour: &Behaviour,
        request: &Request,
        asked: &Asked<'_>,
    ) -> (Self, u64) {
        let digested = match behaviour.body_sha {
            Digested::Body => Some(&request.body[..]),
            Digested::Messages => Some(asked.messages().as_bytes()),
            Digested::Nothing => None,
        };
        if let Some(bytes) = digested {
            let chunks = vec![
                format!("sha256={}", digest(bytes).await),
                format!(" bytes={}", bytes.len()),
            ];
            return (Self::Fixed(chunks), 2);
        }
        let content = if behaviour.tool > 0 {
            let first = asked.tools.first().map_or("get_weather", String::as_str);
            let second = asked.tools.get(1).map_or(first, String::as_str);
            let names = [first, second].into_iter().map(quoted);
            Self::Tools(names.take(behaviour.tool).collect())
        } else if let Some(text) = &behaviour.text {
            // What a chunk holds is the inside of a JSON string.
            let inside = |chunk: &String| {
                let quoted = quoted(chunk);
                quoted[1..quoted.len() - 1].to_owned()
            };
            let chunks: Vec<String> = text.iter().map(inside).collect();
            let count = chunks.len() as u64;
            return (Self::Fixed(chunks), count);
        } else if let Some(size) = behaviour.pad {
            Self::Padded(format!(" {}", "x".repeat(size - 1)))
        } else {
            Self::Words
        };
        (content, behaviour.chunks)
    }

    /// The names of the tools that are called, as JSON text.
    pub(super) fn calls(&self) -> &[String] {
        match self {
            Self::Tools(names) => names,
            _ => &[],
        }
    }

    /// How many of `total` chunks belong to a call.
    pub(super) fn share(&self, call: u64, total: u64) -> u64 {
        let calls = (self.calls().len() as u64).max(1);
        total / calls + u64::from(call < total % calls)
    }

    /// Appends a chunk of text, as the inside of a JSON string.
    pub(super) fn chunk(&self, index: u64, out: &mut Vec<u8>) {
        match self {
            Self::Words | Self::Tools(_) => {
                let index = usize::try_from(index % 12).unwrap_or(0);
                out.extend_from_slice(WORDS[index].as_bytes());
            }
            Self::Padded(text) => out.extend_from_slice(text.as_bytes()),
            Self::Fixed(chunks) => {
                let chunk = usize::try_from(index)
                    .ok()
                    .and_then(|index| chunks.get(index));
                out.extend_from_slice(chunk.map_or(&[], |chunk| chunk.as_bytes()));
            }
        }
    }

    /// Appends chunk `index` of the `total` of one call's arguments, as the inside of a JSON string.
    pub(super) fn argument(&self, index: u64, total: u64, out: &mut Vec<u8>) {
        if index == 0 {
            out.extend_from_slice(br#"{\"text\":\""#);
        }
        self.chunk(index, out);
        if index + 1 == total {
            out.extend_from_slice(br#"\"}"#);
        }
    }

    /// All text of so many chunks, as the inside of a JSON string.
    pub(super) fn text(&self, total: u64) -> String {
        let mut text = Vec::with_capacity(1024);
        for index in 0..total {
            self.chunk(index, &mut text);
        }
        // Made of strings only.
        String::from_utf8(text).unwrap_or_default()
    }

    /// All arguments of a call of so many chunks, as the inside of a JSON string.
    pub(super) fn arguments(&self, total: u64) -> String {
        let mut text = Vec::with_capacity(1024);
        for index in 0..total {
            self.argument(index, total, &mut text);
        }
        // Made of strings only.
        String::from_utf8(text).unwrap_or_default()
    }

    /// All arguments of a call of so many chunks, as a JSON object.
    pub(super) fn input(&self, total: u64) -> String {
        // The words need no escapes.
        format!(r#"{{"text":"{}"}}"#, self.text(total))
    }
}

async fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    for step in bytes.chunks(STEP) {
        hash.update(step);
        tokio::task::yield_now().await;
    }
    hash.finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
