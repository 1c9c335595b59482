//! What an answer says, chunk by chunk.
//!
//! Each chunk is one completion token by the mock's own count: that is its definition of a token.

use sha2::{Digest as _, Sha256};

use super::behaviour::{Behaviour, Digested};
use super::request::{Chat, Request};
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
    /// The arguments of a call of this tool, a name as JSON text.
    Tool(String),
}

impl Content {
    /// Decides on the content; with it, how many chunks it has before `max_tokens` is looked at.
    pub(super) async fn choose(
        behaviour: &Behaviour,
        request: &Request,
        chat: &Chat<'_>,
    ) -> (Self, u64) {
        let digested = match behaviour.body_sha {
            Digested::Body => Some(&request.body[..]),
            Digested::Messages => Some(chat.messages().as_bytes()),
            Digested::Nothing => None,
        };
        if let Some(bytes) = digested {
            let chunks = vec![
                format!("sha256={}", digest(bytes).await),
                format!(" bytes={}", bytes.len()),
            ];
            return (Self::Fixed(chunks), 2);
        }
        let content = if behaviour.tool {
            Self::Tool(quoted(chat.tool.as_deref().unwrap_or("get_weather")))
        } else if let Some(size) = behaviour.pad {
            Self::Padded(format!(" {}", "x".repeat(size - 1)))
        } else {
            Self::Words
        };
        (content, behaviour.chunks)
    }

    /// Appends chunk `index` of `total`, as the inside of a JSON string.
    fn chunk(&self, index: u64, total: u64, out: &mut Vec<u8>) {
        let word = |index: u64| {
            let index = usize::try_from(index % 12).unwrap_or(0);
            WORDS[index].as_bytes()
        };
        match self {
            Self::Words => out.extend_from_slice(word(index)),
            Self::Padded(text) => out.extend_from_slice(text.as_bytes()),
            Self::Fixed(chunks) => {
                let chunk = usize::try_from(index)
                    .ok()
                    .and_then(|index| chunks.get(index));
                out.extend_from_slice(chunk.map_or(&[], |chunk| chunk.as_bytes()));
            }
            Self::Tool(_) => {
                if index == 0 {
                    out.extend_from_slice(br#"{\"text\":\""#);
                }
                out.extend_from_slice(word(index));
                if index + 1 == total {
                    out.extend_from_slice(br#"\"}"#);
                }
            }
        }
    }

    /// The inside of the delta that opens a choice.
    pub(super) fn opening(&self, choice: u64) -> String {
        match self {
            Self::Tool(name) => format!(
                r#""role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"call_mock_{choice}","type":"function","function":{{"name":{name},"arguments":""}}}}]"#
            ),
            _ => r#""role":"assistant","content":"""#.to_owned(),
        }
    }

    /// Appends the inside of the delta of chunk `index` of `total`.
    pub(super) fn delta(&self, index: u64, total: u64, out: &mut Vec<u8>) {
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Tool(_) => (
                br#""tool_calls":[{"index":0,"function":{"arguments":""#,
                br#""}}]"#,
            ),
            _ => (br#""content":""#, br#"""#),
        };
        out.extend_from_slice(before);
        self.chunk(index, total, out);
        out.extend_from_slice(after);
    }

    /// The inside of the message of a JSON answer with `total` chunks.
    pub(super) fn message(&self, choice: u64, total: u64) -> Vec<u8> {
        let (before, after) = match self {
            Self::Tool(name) => (
                format!(
                    r#""role":"assistant","content":null,"refusal":null,"tool_calls":[{{"index":0,"id":"call_mock_{choice}","type":"function","function":{{"name":{name},"arguments":""#
                ),
                r#""}}]"#,
            ),
            _ => (
                r#""role":"assistant","refusal":null,"content":""#.to_owned(),
                r#"""#,
            ),
        };
        let mut message = before.into_bytes();
        for index in 0..total {
            self.chunk(index, total, &mut message);
        }
        message.extend_from_slice(after.as_bytes());
        message
    }

    /// Why a choice that said everything ends.
    pub(super) fn finish_reason(&self) -> &'static str {
        if matches!(self, Self::Tool(_)) {
            "tool_calls"
        } else {
            "stop"
        }
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
